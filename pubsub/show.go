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
	t.mu.Unlock()
	s.Cast = p.cast.Stats(t.key)
	return s, nil
}

// Dead lists what a consumer of a durable topic gave up, from an offset on.
func (p *PubSub) Dead(ctx context.Context, name, consumer string, from uint64) ([]topic.Delivery, error) {
	t, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	var list []topic.Delivery
	for {
		var page topic.Page
		if err := p.look(ctx, t.key, "dead", topic.Read{Consumer: consumer, From: from}, &page); err != nil {
			return nil, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
		}
		if len(page.Messages) == 0 {
			return list, nil
		}
		list = append(list, page.Messages...)
		from = list[len(list)-1].Offset + 1
	}
}

// Resend has what a consumer gave up delivered again, or forgets it; no offsets: all. It returns how many there were.
func (p *PubSub) Resend(ctx context.Context, name, consumer string, drop bool, offsets ...uint64) (n int, err error) {
	t, err := p.open(ctx, name)
	if err != nil {
		return 0, err
	}
	err = p.call(ctx, t.key, "resend", topic.Resend{Consumer: consumer, Offsets: offsets, Drop: drop}, &n)
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
