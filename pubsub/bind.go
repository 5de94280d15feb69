package pubsub

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Bind ties a topic to what is to process its messages, and returns the binding with its ID. For a Function b.To is a module's CID and b.Method
// an export. Binding the same again changes nothing.
func (p *PubSub) Bind(ctx context.Context, name string, b topic.Binding) (*topic.Binding, error) {
	what := "bind topic " + name
	if err := b.Check(); err != nil {
		return nil, err
	}
	if _, err := expr.CompileFilter(b.Filter); err != nil {
		return nil, err
	}
	if _, err := expr.CompileKey(b.Key); err != nil {
		return nil, err
	}
	t, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	if b.Mode == topic.Ask && b.From > 0 {
		return nil, shoal.E(shoal.Invalid, what, "what is asked is asked now, from no offset", "leave out --from")
	}
	switch b.Kind {
	case topic.Function:
		if b.To, err = p.Services.Function(ctx, b.To, b.Method); err != nil {
			return nil, shoal.Wrap(shoal.Unavailable, what, err)
		}
		b.Kind, b.Method = topic.Service, ""
	case topic.Agent: // a typing error is told now, not when a message comes
		if _, err := p.Agents.Resolve(ctx, b.To); err != nil {
			return nil, shoal.Wrap(shoal.Unavailable, what, err)
		}
	}
	var made topic.Binding
	if err := p.call(ctx, t.key, "bind", b, &made); err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	p.changed(ctx, t)
	return &made, nil
}

// Unbind takes bindings away, by ID or by what is bound (AGENT.METHOD, a service's name), and returns how many there were. NotFound: none.
func (p *PubSub) Unbind(ctx context.Context, name, what string) (int, error) {
	t, err := p.open(ctx, name)
	if err != nil {
		return 0, err
	}
	var n int
	err = p.ask(ctx, t.key, shoal.CallRequest{Method: "unbind", Payload: []byte(what)}, &n)
	if err != nil {
		return 0, shoal.Wrap(shoal.Unavailable, "unbind topic "+name, err)
	}
	if n == 0 {
		return 0, shoal.E(shoal.NotFound, "unbind topic "+name, "nothing is bound that is called "+what, "see 'shoal topic show "+name+"'")
	}
	p.changed(ctx, t)
	return n, nil
}

// tellMost is how many members are told of a change; others find out when they look again, within seconds.
const (
	tellMost = 64
	tellTime = time.Second
)

// changed has nodes look again at what is bound to a topic.
func (p *PubSub) changed(ctx context.Context, t *local) {
	p.refresh(ctx, t)
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	var all sync.WaitGroup
	n := 0
	for _, m := range p.Members.Table() {
		if m.State != shoal.Alive {
			continue
		}
		if n++; n > tellMost {
			break
		}
		all.Go(func() { _, _ = p.Peers.Ask(ctx, m.ID, "pubsub.changed", []byte(t.key)) })
	}
	all.Wait()
}

// refresh looks again at a topic.
func (p *PubSub) refresh(ctx context.Context, t *local) {
	v, err := p.cast.Refresh(ctx, t.key)
	if err == nil {
		t.know(v)
	}
}

// onChanged hears that a topic's bindings are others now. A node that has nothing to do with the topic has nothing to do.
func (p *PubSub) onChanged(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	p.mu.Lock()
	t := p.topics[shoal.Key(req)]
	p.mu.Unlock()
	if t != nil {
		p.refresh(ctx, t)
	}
	return nil, nil
}
