package node

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

func (n *Node) buildAgents(key ed25519.PrivateKey) (err error) {
	r := n.rooms
	cfg := n.cfg.Agents
	cfg.Log, cfg.Now, cfg.NoGravity = n.cfg.Log, n.cfg.now, cfg.NoGravity || n.cfg.NoGravity
	r.agents, err = agents.New(cfg, agents.Deps{
		Peers: r.rpc, Directory: r.dht, Table: n.table("agents"), Members: r.members, Code: agentCode{n}, Key: key,
		Data: agentData{n}, Shared: r.state, Link: n.link, Connected: r.host.Connected, Natives: n.natives(),
		Boottime: n.cfg.stage().boottime(),
	})
	if err != nil {
		return err
	}
	n.late.agents.Store(r.agents)
	root, err := r.members.RootKey()
	switch {
	case shoal.KindOf(err) == shoal.NotFound || shoal.KindOf(err) == shoal.Refused:
		if by := n.cfg.stage().By; by != nil && n.start == Joined { // as whoever is joined over the network learns it
			return r.agents.LearnOwner(by.rooms.agents, r.members.Root())
		}
		return nil // the founder's directory serves
	case err != nil:
		return err
	case n.start != Founded: // an imported key is no birth
		return nil
	}
	return r.agents.FoundOwner(root, r.members.Root())
}

// lateAgents are the agents, for rooms that are built before them.
type lateAgents struct{ n *Node }

func (l lateAgents) Call(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	a := l.n.late.agents.Load()
	if a == nil {
		return nil, shoal.E(shoal.Unavailable, "call "+agent, "this node is starting", "try again")
	}
	return a.Call(ctx, agent, r)
}

// agentCode makes modules of the fabric the code of agents. A node that keeps an agent keeps its module.
type agentCode struct{ n *Node }

func (c agentCode) Keep(ctx context.Context, module string, from ...shoal.PeerID) error {
	id, err := shoal.ParseCID(module)
	if err != nil {
		return err
	}
	for _, m := range c.n.rooms.data.Pins() {
		if m.Root == id {
			return nil
		}
	}
	if _, err := c.n.rooms.data.Ensure(ctx, id, data.Code, from); err != nil {
		return err
	}
	return c.n.rooms.data.Pin(ctx, id)
}

func (c agentCode) Behaviour(ctx context.Context, module string) (shoal.Behaviour, error) {
	id, err := shoal.ParseCID(module)
	if err != nil {
		return nil, err
	}
	if err := c.n.rooms.sched.Prepare(ctx, id); err != nil {
		return nil, err
	}
	return c.n.rooms.sandbox.Behaviour(ctx, id)
}

// agentData reads datasets for agents.
type agentData struct{ n *Node }

func (d agentData) Read(ctx context.Context, dataset, path string, offset int64, b []byte, w agents.Way) (int, error) {
	c, err := shoal.ParseCID(dataset)
	if err != nil {
		return 0, err
	}
	return d.n.rooms.data.ReadPart(ctx, c, path, offset, b, data.Way(w))
}

func (d agentData) Files(ctx context.Context, dataset, path, after string, limit int, w agents.Way) ([]shoal.File, error) {
	c, err := shoal.ParseCID(dataset)
	if err != nil {
		return nil, err
	}
	return d.n.rooms.data.ListPart(ctx, c, path, after, limit, data.Way(w))
}

// CreateAgent makes an agent. code is what Module takes; near, if it is defined, is data that its keepers rather hold.
func (n *Node) CreateAgent(ctx context.Context, code string, near cid.Cid, o agents.CreateOptions) (*agents.Created, error) {
	if err := n.belong("create agent " + o.Name); err != nil {
		return nil, err
	}
	var err error
	if near.Defined() {
		if o.Near, err = n.holders(ctx, near); err != nil {
			return nil, shoal.Wrap(shoal.Unavailable, "create agent "+o.Name+" near "+near.String(), err)
		}
	}
	c, err := n.Module(ctx, code)
	if err != nil {
		return nil, err
	}
	o.Code = c.String()
	return n.rooms.agents.Create(ctx, o)
}

// holders lists who holds data, those with the most of it first.
func (n *Node) holders(ctx context.Context, c cid.Cid) (list []shoal.PeerID, err error) {
	held, _, err := n.rooms.data.Where(ctx, c)
	if err != nil {
		return nil, err
	}
	if len(held) == 0 {
		return nil, shoal.E(shoal.NotFound, c.String(), "nobody is known to hold it", "check the CID with 'shoal where'")
	}
	slices.SortStableFunc(held, func(x, y shoal.Holder) int { return cmp.Compare(y.Bytes, x.Bytes) })
	for _, h := range held {
		list = append(list, h.Peer)
	}
	return list, nil
}

// MoveAgent has an agent live on a peer, or, if that is "", on the holder of the most of near that takes it. It returns
// where it lives then.
func (n *Node) MoveAgent(ctx context.Context, agent string, to shoal.PeerID, near cid.Cid) (shoal.PeerID, error) {
	what := "move agent " + agent
	if err := n.belong(what); err != nil {
		return "", err
	}
	if to != "" {
		return to, n.rooms.agents.Move(ctx, agent, to)
	}
	list, err := n.holders(ctx, near)
	if err != nil {
		return "", shoal.Wrap(shoal.Unavailable, what+" near "+near.String(), err)
	}
	for _, to := range list {
		if err = n.rooms.agents.Move(ctx, agent, to); err == nil || ctx.Err() != nil {
			return to, err
		}
	}
	return "", err
}

// UpgradeAgent gives an agent other code, which is what Module takes.
func (n *Node) UpgradeAgent(ctx context.Context, agent, code string) (*agents.Upgraded, error) {
	if err := n.belong("upgrade agent " + agent); err != nil {
		return nil, err
	}
	c, err := n.Module(ctx, code)
	if err != nil {
		return nil, err
	}
	return n.rooms.agents.Upgrade(ctx, agent, c.String())
}

// RecoverAgent begins a new generation of an agent most of whose keepers are gone for good.
func (n *Node) RecoverAgent(ctx context.Context, agent string, acceptLoss bool) (*agents.Recovered, error) {
	if err := n.belong("recover agent " + agent); err != nil {
		return nil, err
	}
	return n.rooms.agents.Recover(ctx, agent, acceptLoss, n.ownerKey)
}

// AgentHistory lists where an agent lived, who kept it and what code it ran, the oldest first.
func (n *Node) AgentHistory(ctx context.Context, agent string) ([]turn.Event, error) {
	return n.rooms.agents.History(ctx, agent)
}

// AgentLogs gives what an agent's code logged to each, line by line; with follow, as it comes, until ctx ends.
func (n *Node) AgentLogs(ctx context.Context, agent string, follow bool, each func(agents.Line) error) error {
	seen := agents.Tail{}
	for round := 0; ; round++ {
		lines, err := n.rooms.agents.Logs(ctx, agent, seen)
		if err != nil && (round == 0 || shoal.KindOf(err) == shoal.NotFound) {
			return err
		}
		for _, l := range lines {
			if err := each(l); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-time.After(logPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// logPause is how often a log that is followed is looked at.
const logPause = 500 * time.Millisecond

// NewOwner makes an owner, with its directory, and keeps its key on this node.
func (n *Node) NewOwner(_ context.Context) (shoal.PeerID, error) {
	if err := n.belong("owner new"); err != nil {
		return "", err
	}
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	owner := capability.PeerIDOf(pub)
	if err := n.rooms.disk.KV("node").Set(ownerKeys+string(owner), key.Seed()); err != nil {
		return "", err
	}
	return owner, n.rooms.agents.FoundOwner(key, owner)
}

const ownerKeys = "owner/"

// Owner is somebody in whose directory agents have names.
type Owner struct {
	ID   shoal.PeerID `json:"owner"`
	Root bool         `json:"root,omitempty"` // the fabric's own, whose names need no prefix
	Here bool         `json:"key_here"`       // this node has its key
}

// Owners lists the owners that this node knows of.
func (n *Node) Owners() ([]Owner, error) {
	root := n.rooms.members.Root()
	list := []Owner{}
	for _, id := range n.rooms.agents.Owners() {
		key, err := n.ownerKey(id)
		if err != nil {
			return nil, err
		}
		list = append(list, Owner{ID: id, Root: id == root, Here: key != nil})
	}
	return list, nil
}

// ownerKey returns the key of an owner, nil if this node does not have it.
func (n *Node) ownerKey(id shoal.PeerID) (ed25519.PrivateKey, error) {
	if id == n.rooms.members.Root() {
		key, err := n.rooms.members.RootKey()
		if shoal.KindOf(err) == shoal.NotFound {
			return nil, nil
		}
		return key, err
	}
	seed, err := n.rooms.disk.KV("node").Get(ownerKeys + string(id))
	switch {
	case shoal.KindOf(err) == shoal.NotFound && err != nil:
		return nil, nil
	case err != nil:
		return nil, err
	case len(seed) != ed25519.SeedSize:
		return nil, shoal.E(shoal.Corrupt, "key of owner "+id.Short(), "it has the wrong length", "")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// CallAgent calls an agent by key or name.
func (n *Node) CallAgent(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	if err := n.belong("call " + agent); err != nil {
		return nil, err
	}
	return n.rooms.agents.Call(ctx, agent, r)
}

// ShowAgent describes an agent.
func (n *Node) ShowAgent(ctx context.Context, agent string) (*agents.Show, error) {
	s, err := n.rooms.agents.Show(ctx, agent)
	if err != nil {
		return nil, err
	}
	look, cancel := context.WithTimeout(ctx, locateTime)
	defer cancel()
	s.Located = n.rooms.agents.Located(look, s.Key)
	return s, nil
}

// locateTime bounds a look into the DHT that is for show.
const locateTime = time.Second

// RemoveAgent ends an agent for good.
func (n *Node) RemoveAgent(ctx context.Context, agent string) error {
	if err := n.belong("remove agent " + agent); err != nil {
		return err
	}
	return n.rooms.agents.Remove(ctx, agent)
}

// AgentName is an agent in its owner's directory.
type AgentName struct {
	Name    string `json:"name"`
	Key     string `json:"key"`
	Pending bool   `json:"pending,omitempty"` // its birth is not finished
	BornMS  int64  `json:"born_ms"`           // Unix milliseconds
}

// Agents lists the names in the directory of an owner, "" for the fabric's.
func (n *Node) Agents(ctx context.Context, owner shoal.PeerID) (list []AgentName, err error) {
	for after := ""; ; {
		page, err := n.rooms.agents.List(ctx, owner, after, 0)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if after = e.Name; !e.Service && !strings.HasPrefix(e.Name, topic.Prefix) {
				list = append(list, AgentName{Name: e.Name, Key: agents.KeyText(shoal.Key(e.Key)), Pending: e.Pending, BornMS: e.At})
			}
		}
		if len(page) < pageOfNames {
			return list, nil
		}
	}
}

const pageOfNames = 1000
