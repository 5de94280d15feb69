package pubsub

import (
	"context"
	"strings"
	"sync"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/wire"
)

// full is the name of the agent that is a topic. What a user types is a path, or OWNER/path.
func (p *PubSub) full(name string) (string, error) {
	p.mu.Lock()
	full := p.names[name]
	p.mu.Unlock()
	if full != "" {
		return full, nil
	}
	path, owner := name, ""
	if head, rest, ok := strings.Cut(name, "/"); ok && p.Agents.Owns(head) {
		path, owner = rest, head+"/"
	}
	if err := topic.CheckName(path); err != nil {
		return "", err
	}
	full = owner + topic.Prefix + path
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) >= maxNames {
		clear(p.names)
	}
	p.names[name] = full
	return full, nil
}

// maxNames is how many names are remembered as they are written, until forget.
const maxNames = 1024

// Create makes a topic with so many keepers (0: 3). Exists: there is one of the name.
func (p *PubSub) Create(ctx context.Context, name string, d topic.Definition, replicas int) (shoal.Key, error) {
	what := "create topic " + name
	if err := d.Check(); err != nil {
		return "", err
	}
	full, err := p.full(name)
	if err != nil {
		return "", err
	}
	exists := shoal.E(shoal.Exists, what, "there is one of this name", "choose another, or see it with 'shoal topic show "+name+"'")
	key, err := p.Agents.Create(ctx, full, topic.Code, replicas)
	if shoal.KindOf(err) == shoal.Exists && err != nil { // unless whoever began it went away before it was done
		if key, err = p.Agents.Resolve(ctx, full); err != nil {
			return "", shoal.Wrap(shoal.Unavailable, what, err)
		}
		v, err := topicAgents{p}.View(ctx, key)
		if err != nil {
			return "", shoal.Wrap(shoal.Unavailable, what, err)
		}
		if v.Made {
			return "", exists
		}
	} else if err != nil {
		return "", shoal.Wrap(shoal.Unavailable, what, err)
	}
	var v topic.View
	if err := p.call(ctx, key, "define", d, &v); err != nil {
		if shoal.KindOf(err) == shoal.Exists {
			return "", exists
		}
		return "", shoal.Wrap(shoal.Unavailable, what, err)
	}
	return key, nil
}

// Remove ends a topic: its messages, bindings and consumers are gone.
func (p *PubSub) Remove(ctx context.Context, name string) error {
	full, err := p.full(name)
	if err != nil {
		return err
	}
	if _, err := p.open(ctx, name); err != nil {
		return err
	}
	return shoal.Wrap(shoal.Unavailable, "remove topic "+name, p.Agents.Remove(ctx, full))
}

// Listed is a topic in a list.
type Listed struct {
	Name string
	Key  string // as people write it
	At   int64  // Unix milliseconds
	View *topic.View
	Err  error // its agent could not be asked
}

// List lists the topics of an owner ("": the fabric's) whose names begin so.
func (p *PubSub) List(ctx context.Context, owner, prefix string) ([]Listed, error) {
	names, err := p.Agents.Names(ctx, owner, topic.Prefix+prefix)
	if err != nil {
		return nil, err
	}
	out := make([]Listed, len(names))
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, n := range names {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out[i] = Listed{Name: strings.TrimPrefix(n.Name, topic.Prefix), Key: p.Agents.Text(n.Key), At: n.At}
			out[i].View, out[i].Err = topicAgents{p}.View(ctx, n.Key)
		})
	}
	all.Wait()
	return out, nil
}

// call asks a topic's agent.
func (p *PubSub) call(ctx context.Context, key shoal.Key, method string, request, answer any) error {
	return p.ask(ctx, key, shoal.CallRequest{Method: method, Payload: wire.Marshal(request)}, answer)
}

// look is call for methods that only read.
func (p *PubSub) look(ctx context.Context, key shoal.Key, method string, request, answer any) error {
	r := shoal.CallRequest{Method: method, Read: true}
	if request != nil {
		r.Payload = wire.Marshal(request)
	}
	return p.ask(ctx, key, r, answer)
}

func (p *PubSub) ask(ctx context.Context, key shoal.Key, r shoal.CallRequest, answer any) error {
	b, err := p.Agents.Call(ctx, p.Agents.Text(key), r)
	if err != nil || answer == nil {
		return err
	}
	return wire.Unmarshal("answer of a topic", b, answer)
}

// topicAgents are the topics' agents, as the carriers need them.
type topicAgents struct{ p *PubSub }

// View implements cast.Topics.
func (t topicAgents) View(ctx context.Context, key shoal.Key) (*topic.View, error) {
	var v topic.View
	if err := t.p.look(ctx, key, "view", nil, &v); err != nil {
		return nil, err
	}
	return &v, nil
}

// Join implements cast.Topics.
func (t topicAgents) Join(ctx context.Context, key shoal.Key, in topic.Presence) (*topic.View, error) {
	var v topic.View
	if err := t.p.call(ctx, key, "join", in, &v); err != nil {
		return nil, err
	}
	return &v, nil
}
