package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/gossip"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/services"
)

func (n *Node) buildTopics() (err error) {
	r := n.rooms
	r.gossip = gossip.New(r.host.Libp2p(), gossip.Config{Fabric: r.members.Fabric(), Log: n.cfg.Log})
	cfg := n.cfg.Topics
	cfg.Log, cfg.Now = n.cfg.Log, n.cfg.now
	r.pubsub, err = pubsub.New(cfg, pubsub.Deps{
		Peers: r.rpc, Members: r.members, Agents: topicAgents{r.agents}, Services: topicServices{n}, Bodies: topicBodies{n}, Gossip: r.gossip,
	})
	if err == nil {
		n.late.pubsub.Store(r.pubsub)
	}
	return err
}

// natives is the code of agents that comes with the node.
func (n *Node) natives() map[string]agents.Native {
	list := map[string]agents.Native{topic.Code: {Behaviour: topic.Behaviour{}, Turned: func(key shoal.Key, method string) {
		if p := n.late.pubsub.Load(); p != nil {
			p.Turned(key, method)
		}
	}}}
	maps.Copy(list, n.cfg.stage().Natives)
	return list
}

// topicAgents are the agents, as topics need them.
type topicAgents struct{ *agents.Agents }

func (a topicAgents) Create(ctx context.Context, name, code string, replicas int) (shoal.Key, error) {
	c, err := a.Agents.Create(ctx, agents.CreateOptions{Name: name, Code: code, Replicas: replicas})
	if err != nil {
		return "", err
	}
	return a.Resolve(ctx, c.Key)
}

func (a topicAgents) Series(ctx context.Context, agent, method string, list []pubsub.Request) (int, error) {
	ones := make([]agents.One, len(list))
	for i, r := range list {
		ones[i] = agents.One{Payload: r.Payload, Request: r.Name, Begun: r.Begun}
	}
	return a.Agents.Series(ctx, agent, method, ones)
}

func (a topicAgents) Names(ctx context.Context, owner, prefix string) (list []pubsub.Named, err error) {
	after := strings.TrimSuffix(prefix, ":") // the directory gives what comes after it; ':' follows the digits
	for {
		page, err := a.List(ctx, shoal.PeerID(owner), after, 0)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			after = e.Name
			if strings.HasPrefix(e.Name, prefix) && !e.Service {
				list = append(list, pubsub.Named{Name: e.Name, Key: shoal.Key(e.Key), At: e.At})
			}
			if e.Name > prefix && !strings.HasPrefix(e.Name, prefix) {
				return list, nil
			}
		}
		if len(page) < pageOfNames {
			return list, nil
		}
	}
}

func (a topicAgents) Text(key shoal.Key) string { return agents.KeyText(key) }

// topicServices are the services, as topics need them.
type topicServices struct{ n *Node }

func (s topicServices) Call(ctx context.Context, name string, payload []byte) ([]byte, error) {
	return s.n.rooms.services.Call(ctx, name, payload, services.CallOptions{})
}

// Function makes an export of a module a service, under a name that is made of both.
func (s topicServices) Function(ctx context.Context, module, export string) (string, error) {
	c, err := s.n.Module(ctx, module)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256([]byte(c.String() + "#" + export))
	name := "fn:" + hex.EncodeToString(h[:10])
	_, err = s.n.rooms.services.Create(ctx, services.Spec{Name: name, Code: c.String(), Method: export})
	if err != nil && shoal.KindOf(err) == shoal.Exists {
		err = nil
	}
	return name, err
}

// topicBodies are datasets of one file each.
type topicBodies struct{ n *Node }

func (b topicBodies) Put(ctx context.Context, body []byte) (string, error) {
	const what = "keep the body"
	dir, err := os.MkdirTemp(filepath.Join(b.n.cfg.Dir, "tasks"), "body")
	if err != nil {
		return "", shoal.Wrap(shoal.Internal, what, err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "body")
	if err := os.WriteFile(path, body, 0o600); err != nil {
		return "", shoal.Wrap(shoal.Internal, what, err)
	}
	res, err := b.n.rooms.data.Put(ctx, path, data.PutOptions{})
	return res.Manifest.Root.String(), err
}

func (b topicBodies) Get(ctx context.Context, dataset string, most int) ([]byte, error) {
	c, err := shoal.ParseCID(dataset)
	if err != nil {
		return nil, err
	}
	var out []byte
	part := make([]byte, min(most+1, 1<<20))
	for {
		n, err := b.n.rooms.data.ReadPart(ctx, c, "", int64(len(out)), part, data.Way{})
		if err != nil {
			return nil, err
		}
		if out = append(out, part[:n]...); len(out) > most {
			return nil, shoal.E(shoal.Invalid, "body "+dataset, fmt.Sprintf("it is longer than %d bytes", most), "read it as data: 'shoal get "+dataset+"'")
		}
		if n < len(part) {
			return out, nil
		}
	}
}

// CreateTopic makes a topic with so many keepers (0: 3), and returns its key.
func (n *Node) CreateTopic(ctx context.Context, name string, d topic.Definition, replicas int) (string, error) {
	if err := n.belong("create topic " + name); err != nil {
		return "", err
	}
	key, err := n.rooms.pubsub.Create(ctx, name, d, replicas)
	if err != nil {
		return "", err
	}
	return agents.KeyText(key), nil
}

// Topics are this node's part in the fabric's topics. Refused: it is a member of none.
func (n *Node) Topics() (*pubsub.PubSub, error) {
	if err := n.belong("use topics"); err != nil {
		return nil, err
	}
	return n.rooms.pubsub, nil
}
