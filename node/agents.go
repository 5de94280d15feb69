package node

import (
	"context"
	"crypto/ed25519"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/devices"
)

func (n *Node) buildAgents(key ed25519.PrivateKey) (err error) {
	r := n.rooms
	cfg := n.cfg.Agents
	cfg.Log, cfg.Now = n.cfg.Log, n.cfg.now
	r.agents, err = agents.New(cfg, agents.Deps{
		Peers: r.rpc, Directory: r.dht, Table: r.disk.Table("agents"), Members: r.members, Code: agentCode{n}, Key: key,
		Boottime: devices.Boottime,
	})
	if err != nil {
		return err
	}
	root, err := r.members.RootKey()
	switch {
	case shoal.KindOf(err) == shoal.NotFound || shoal.KindOf(err) == shoal.Refused:
		return nil // the founder's directory serves
	case err != nil:
		return err
	case n.start != Founded: // an imported key is no birth
		return nil
	}
	return r.agents.FoundOwner(root, r.members.Root())
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

// CreateAgent makes an agent. code is what Module takes.
func (n *Node) CreateAgent(ctx context.Context, code string, o agents.CreateOptions) (*agents.Created, error) {
	if err := n.belong("create agent " + o.Name); err != nil {
		return nil, err
	}
	c, err := n.Module(ctx, code)
	if err != nil {
		return nil, err
	}
	o.Code = c.String()
	return n.rooms.agents.Create(ctx, o)
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
	return n.rooms.agents.Show(ctx, agent)
}

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
			list = append(list, AgentName{Name: e.Name, Key: agents.KeyText(shoal.Key(e.Key)), Pending: e.Pending, BornMS: e.At})
			after = e.Name
		}
		if len(page) < pageOfNames {
			return list, nil
		}
	}
}

const pageOfNames = 1000
