package pubsub

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/cast"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Show is what there is to say of a topic.
type Show struct {
	Key       string
	View      *topic.View
	Consumers []topic.Consumer // durable
	Here      Counts           // this node's part
	Cast      cast.Stats       // this node's part, of a fast topic
}

// Show describes a topic.
func (p *PubSub) Show(ctx context.Context, name string) (*Show, error) {
	t, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	s := &Show{Key: t.text}
	if s.View, err = (topicAgents{p}).View(ctx, t.key); err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
	}
	if s.View.Durable {
		if err := p.look(ctx, t.key, "consumers", nil, &s.Consumers); err != nil {
			return nil, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
		}
	}
	t.mu.Lock()
	s.Here = t.counts
	s.Here.PublishRate, s.Here.DeliverRate = t.in10.rate(p.cfg.Now()), t.out10.rate(p.cfg.Now())
	t.mu.Unlock()
	s.Cast = p.cast.Stats(t.key)
	return s, nil
}

// Dead is a message that a consumer gave up.
type Dead struct {
	Consumer string
	topic.Delivery
}

// dead lists the consumers that have given up something; consumer "": of all.
func (p *PubSub) dead(ctx context.Context, t *local, consumer string) (names []string, err error) {
	if consumer != "" {
		return []string{consumer}, nil
	}
	var list []topic.Consumer
	err = p.look(ctx, t.key, "consumers", nil, &list)
	for _, c := range list {
		if c.Dead > 0 {
			names = append(names, c.Name)
		}
	}
	return names, err
}

// Dead lists what a consumer of a durable topic gave up; "": all consumers.
func (p *PubSub) Dead(ctx context.Context, name, consumer string) (list []Dead, err error) {
	t, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	names, err := p.dead(ctx, t, consumer)
	for _, c := range names {
		for from := uint64(0); ; {
			var page topic.Page
			if err := p.look(ctx, t.key, "dead", topic.Read{Consumer: c, From: from}, &page); err != nil {
				return nil, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
			}
			if len(page.Messages) == 0 {
				break
			}
			for _, m := range page.Messages {
				list = append(list, Dead{c, m})
				from = m.Offset + 1
			}
		}
	}
	return list, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
}

// Resend has what a consumer ("": each) gave up delivered again, or forgets it; no offsets: all. It returns how many there were.
func (p *PubSub) Resend(ctx context.Context, name, consumer string, drop bool, offsets ...uint64) (n int, err error) {
	t, err := p.open(ctx, name)
	if err != nil {
		return 0, err
	}
	names, err := p.dead(ctx, t, consumer)
	for _, c := range names {
		var some int
		if err = p.call(ctx, t.key, "resend", topic.Resend{Consumer: c, Offsets: offsets, Drop: drop}, &some); err != nil {
			break
		}
		n += some
	}
	return n, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
}

// Forget drops a consumer's position.
func (p *PubSub) Forget(ctx context.Context, name, consumer string) error {
	t, err := p.open(ctx, name)
	if err != nil {
		return err
	}
	return shoal.Wrap(shoal.Unavailable, "topic "+name, p.ask(ctx, t.key, shoal.CallRequest{Method: "forget", Payload: []byte(consumer)}, nil))
}
