package pubsub

import (
	"cmp"
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
	m       *topic.Delivery
	members []*topic.Member // in the order in which they are to be tried
	done    func(err error) // told once what came of it
}

// together is how many messages of one lane are delivered at once.
const together = 64

// group is those that share messages, and how they are delivered to them.
type group struct {
	t        *local
	consumer string        // "": of one who asks
	limit    time.Duration // of one try; 0: CallTime
	tries    int           // of one message
}

// request names a delivery, so that an agent processes it once, however often it is tried, and from whichever node.
func (g *group) request(m *topic.Delivery) string {
	return fmt.Sprintf("%s/%s/%s", g.t.text[max(0, len(g.t.text)-16):], g.consumer, m.ID())
}

// all delivers messages one after the other, each as often as it must be, or may be.
func (g *group) all(ctx context.Context, list []*delivery) {
	for try := 0; len(list) > 0; {
		n, err := g.some(ctx, list)
		for _, d := range list[:n] {
			d.done(nil)
			try = 0
		}
		list = list[n:]
		if err == nil || len(list) == 0 {
			continue
		}
		if ctx.Err() != nil {
			return // whoever goes on delivers them again
		}
		head := list[0]
		if try++; head.m.Try+try > g.tries {
			head.done(err)
			list, try = list[1:], 0
			continue
		}
		select {
		case <-time.After(backoff(try)):
		case <-ctx.Done():
			return
		}
	}
}

// some delivers the first messages, at least one, and returns how many were, and the error of the next.
func (g *group) some(ctx context.Context, list []*delivery) (n int, err error) {
	first := list[0].members[0]
	if first.Kind == topic.Agent {
		var ones []Request
		size := 0
		for _, d := range list {
			if d.members[0].ID != first.ID || len(ones) >= together {
				break
			}
			b, err := g.t.p.payload(ctx, &d.m.Message)
			if size += len(b); err != nil || size > turn.MaxPayload && len(ones) > 0 {
				break
			}
			ones = append(ones, Request{Payload: b, Name: g.request(d.m), Begun: d.m.Begun})
		}
		if len(ones) > 1 {
			try, cancel := context.WithTimeout(ctx, g.time())
			n, err = g.t.p.Agents.Series(try, first.To, first.Method, ones)
			cancel()
			switch {
			case n > 0 || err == nil:
				return n, nil // the next fails again, if it does
			case ctx.Err() != nil || !elsewhere(err) || len(list[0].members) == 1:
				return 0, err
			}
		}
	}
	if _, err := g.one(ctx, list[0]); err != nil {
		return 0, err
	}
	return 1, nil
}

// one has one of the members process a message. The next is asked if one cannot, or does not answer; then both may have processed
// it, if they are different agents or no agents at all. The error is the last one's.
func (g *group) one(ctx context.Context, d *delivery) (reply []byte, err error) {
	payload, err := g.t.p.payload(ctx, &d.m.Message)
	if err != nil {
		return nil, err
	}
	for _, b := range d.members {
		if reply, err = g.to(ctx, b, payload, d.m); err == nil || ctx.Err() != nil || !elsewhere(err) {
			break
		}
	}
	return reply, err
}

func (g *group) time() time.Duration { return cmp.Or(g.limit, g.t.p.cfg.CallTime) }

// to has one member process a message.
func (g *group) to(ctx context.Context, b *topic.Member, payload []byte, m *topic.Delivery) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, g.time())
	defer cancel()
	if b.Kind == topic.Service {
		return g.t.p.Services.Call(ctx, b.To, payload)
	}
	r := shoal.CallRequest{Method: b.Method, Payload: payload, Read: b.Read}
	if g.consumer != "" {
		r.Request, r.Begun = g.request(m), m.Begun
	}
	return g.t.p.Agents.Call(ctx, b.To, r)
}

// payload is what is bound gets of a message: its body, or, if that is longer than a call may be, its CID.
func (p *PubSub) payload(ctx context.Context, m *topic.Message) ([]byte, error) {
	b, err := p.Body(ctx, m, turn.MaxPayload)
	if err != nil && shoal.KindOf(err) == shoal.Invalid {
		return []byte(m.Data), nil
	}
	return b, err
}

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
			reply, err := (&group{t: t}).one(ctx, &delivery{m: &topic.Delivery{Message: m}, members: members})
			if err != nil {
				t.delivered(err)
				return nil, shoal.Wrap(shoal.Unavailable, what, err)
			}
			t.delivered(nil)
			return reply, nil
		}
	}
	return nil, shoal.E(shoal.NotFound, what, "nobody is bound to answer it", "bind somebody with 'shoal topic bind "+name+" --to AGENT.METHOD --mode ask'")
}

// backoff is how long a delivery that failed waits for the next try.
func backoff(try int) time.Duration {
	return min(100*time.Millisecond<<min(try, 10), 10*time.Second)
}
