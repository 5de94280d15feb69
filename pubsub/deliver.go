package pubsub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// delivery is a message on its way to one of the members of a group.
type delivery struct {
	t        *local
	m        *topic.Message
	consumer string
	begun    int64         // Unix milliseconds when it was first tried: with the rest it names the request
	limit    time.Duration // of one try; 0: CallTime
}

// request names a delivery, so that an agent processes it once, however often it is tried, and from whichever node.
func (d *delivery) request() string {
	return fmt.Sprintf("%s/%s/%s", d.t.text[max(0, len(d.t.text)-16):], d.consumer, d.m.ID())
}

// deliver has one of the members, in their order, process a message. The next is asked if one cannot, or does not answer; then both
// may have processed it, if they are different agents or no agents at all. The error is the last one's.
func (p *PubSub) deliver(ctx context.Context, members []*topic.Member, d *delivery) (reply []byte, err error) {
	payload, err := p.payload(ctx, d.m)
	if err != nil {
		return nil, err
	}
	for i, b := range members {
		reply, err = p.deliverTo(ctx, b, payload, d)
		if err == nil || ctx.Err() != nil || !elsewhere(err) || i == len(members)-1 {
			return reply, err
		}
	}
	return reply, err
}

// deliverTo has one member process a message.
func (p *PubSub) deliverTo(ctx context.Context, b *topic.Member, payload []byte, d *delivery) ([]byte, error) {
	limit := d.limit
	if limit == 0 {
		limit = p.cfg.CallTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if b.Kind == topic.Service {
		return p.Services.Call(ctx, b.To, payload)
	}
	r := shoal.CallRequest{Method: b.Method, Payload: payload}
	if d.consumer != "" {
		r.Request, r.Begun = d.request(), d.begun
	}
	return p.Agents.Call(ctx, b.To, r)
}

// payload is what is bound gets of a message: its body, or, if that is longer than a call may be, its CID.
func (p *PubSub) payload(ctx context.Context, m *topic.Message) ([]byte, error) {
	b, err := p.Body(ctx, m, turnPayload)
	if err != nil && shoal.KindOf(err) == shoal.Invalid {
		return []byte(m.Data), nil
	}
	return b, err
}

const turnPayload = turn.MaxPayload

// elsewhere reports whether another member may do better: not so if the program itself said no.
func elsewhere(err error) bool {
	var e *shoal.Error
	return !errors.As(err, &e) || e.Kind != shoal.Failed
}

// Ask sends a message and returns the answer of one of those that are bound to answer, within ctx, or CallTime. NotFound: nobody is.
func (p *PubSub) Ask(ctx context.Context, name string, m topic.Message) ([]byte, error) {
	what := "ask topic " + name
	t, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := p.fit(ctx, &m); err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	v, err := p.cast.View(ctx, t.key)
	if err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	t.know(v)
	t.mu.Lock()
	route := t.route
	t.counts.Published++
	m.At, m.Seq = p.cfg.Now().UnixMilli(), t.counts.Published
	t.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.cfg.CallTime)
		defer cancel()
	}
	letter := m.Letter()
	for _, g := range route.Groups {
		if g.Mode != topic.Ask {
			continue
		}
		if members, _ := g.Pick(&m, letter); len(members) > 0 {
			reply, err := p.deliver(ctx, members, &delivery{t: t, m: &m})
			if err != nil {
				t.failed(err)
				return nil, shoal.Wrap(shoal.Unavailable, what, err)
			}
			t.count(func(c *Counts) { c.Delivered++ })
			return reply, nil
		}
	}
	return nil, shoal.E(shoal.NotFound, what, "nobody is bound to answer it", "bind somebody with 'shoal topic bind "+name+" --to AGENT.METHOD --mode ask'")
}

// backoff is how long a delivery that failed waits for the next try.
func backoff(try int) time.Duration {
	return min(100*time.Millisecond<<min(try, 10), 10*time.Second)
}
