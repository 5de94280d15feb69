package pubsub

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/cast"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/wire"
)

// Start says where a subscription begins.
type Start struct {
	From     uint64    // durable: this offset
	Since    time.Time // or what was published then or later; of a fast topic as far as publishers still have it
	Consumer string    // durable: where this consumer's position is; what is delivered must be acknowledged. From: where it begins if it is new
}

// Event is a message of a topic, or what is missing before the next.
type Event struct {
	topic.Delivery
	Gap *cast.Gap // not nil: no message
}

// Subscription is the messages of a topic as they come: of one publisher in order, of a durable topic all in the order of
// their offsets. One goroutine may use it at a time.
type Subscription struct {
	t    *local
	fast *cast.Subscription // nil: of a durable topic

	next  uint64 // durable
	queue []topic.Delivery
	fetch *topic.Fetch // of a consumer
}

// Subscribe begins to hear a topic. Close must be called.
func (p *PubSub) Subscribe(ctx context.Context, name string, from Start) (*Subscription, error) {
	what := "subscribe to " + name
	t, err := p.open(ctx, name)
	if err != nil {
		return nil, err
	}
	long, err := t.isDurable(ctx)
	if err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	s := &Subscription{t: t}
	if !long {
		if from.From > 0 || from.Consumer != "" {
			return nil, shoal.E(shoal.Invalid, what, "the topic is not durable: it has no offsets, and keeps no positions", "use --since, or make a durable topic")
		}
		s.fast, err = p.cast.Subscribe(ctx, t.key, cast.Start{Recent: !from.Since.IsZero(), Since: from.Since})
		return s, shoal.Wrap(shoal.Unavailable, what, err)
	}
	if from.Consumer != "" {
		s.fetch = &topic.Fetch{Consumer: from.Consumer, Worker: p.worker(), Start: from.From}
		return s, nil
	}
	q := topic.Read{From: from.From, Limit: 1}
	if from.From == 0 && !from.Since.IsZero() {
		q.Since = from.Since.UnixMilli()
	}
	var page topic.Page
	if err := p.look(ctx, t.key, "read", q, &page); err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	switch {
	case from.From > 0:
		s.next = from.From
	case from.Since.IsZero() || len(page.Messages) == 0:
		s.next = page.Next
	default:
		s.next = page.Messages[0].Offset
	}
	return s, nil
}

// Close ends it. What a consumer did not acknowledge is delivered again.
func (s *Subscription) Close() {
	if s.fast != nil {
		s.fast.Close()
	}
}

// Next waits for the next message, whose bytes must not be written.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	if s.fast != nil {
		e, err := s.fast.Next(ctx)
		return Event{Delivery: topic.Delivery{Message: e.Message}, Gap: e.Gap}, err
	}
	for len(s.queue) == 0 {
		gap, err := s.more(ctx)
		if err != nil || gap != nil {
			return Event{Gap: gap}, err
		}
	}
	e := s.queue[0]
	s.queue = s.queue[1:]
	return Event{Delivery: e}, nil
}

// Ack says that a consumer's messages are processed. It tells the topic with the next that is fetched, or in Flush.
func (s *Subscription) Ack(offsets ...uint64) {
	if s.fetch != nil {
		s.fetch.Ack = append(s.fetch.Ack, offsets...)
	}
}

// Flush tells the topic what was acknowledged.
func (s *Subscription) Flush(ctx context.Context) error {
	if s.fetch == nil || len(s.fetch.Ack) == 0 {
		return nil
	}
	q := *s.fetch
	q.Limit = 0
	var page topic.Page
	err := s.t.p.call(ctx, s.t.key, "fetch", q, &page)
	if err == nil {
		s.fetch.Ack = nil
	}
	return err
}

const fetchMost = 256 // messages at once

// more gets messages, or waits until there are some.
func (s *Subscription) more(ctx context.Context) (gap *cast.Gap, err error) {
	t := s.t
	t.mu.Lock()
	news := t.news
	t.mu.Unlock()
	var page topic.Page
	if s.fetch != nil {
		s.fetch.Limit = fetchMost
		if err := t.p.call(ctx, t.key, "fetch", *s.fetch, &page); err != nil {
			return nil, err
		}
		s.fetch.Ack = nil
		s.queue = page.Messages
		if len(s.queue) == 0 {
			wait := time.Minute
			if page.Due > 0 {
				wait = max(time.UnixMilli(page.Due).Sub(t.p.cfg.Now()), 10*time.Millisecond)
			}
			return nil, t.wait(ctx, news, page.Next, wait)
		}
		return nil, nil
	}
	if err := t.p.look(ctx, t.key, "read", topic.Read{From: s.next}, &page); err != nil {
		return nil, err
	}
	if page.First > s.next { // it was retained no longer
		gap = &cast.Gap{From: s.next, To: page.First - 1}
		s.next = page.First
		return gap, nil
	}
	if s.queue = page.Messages; len(s.queue) == 0 {
		return nil, t.wait(ctx, news, s.next, time.Minute)
	}
	s.next = s.queue[len(s.queue)-1].Offset + 1
	return nil, nil
}

// Waiting for a durable topic's next message: its agent's node knows when it comes.
const (
	waitMost  = 10 * time.Second // for one answer
	waitBlind = time.Second      // if the agent lives somewhere else than was thought
)

// waiting is the question whether there is a message with an offset.
type waiting struct {
	Key  []byte `cbor:"k"`
	Next uint64 `cbor:"n"`
}

// wait returns when there may be a message with an offset, or most is over. news is the channel from before it was found that there is none.
func (t *local) wait(ctx context.Context, news <-chan struct{}, next uint64, most time.Duration) error {
	p := t.p
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	to := p.Agents.Leader(t.key)
	if to == p.Peers.Self() || to == "" {
		most := waitMost
		if to == "" {
			most = waitBlind
		}
		select {
		case <-news:
		case <-time.After(most):
		case <-ctx.Done():
		case <-p.life.Done():
			return closing()
		}
	} else if _, err := p.Peers.Ask(ctx, to, "pubsub.wait", wire.Marshal(waiting{[]byte(t.key), next})); err != nil {
		select {
		case <-time.After(waitBlind):
		case <-ctx.Done():
		}
	}
	if err := context.Cause(ctx); err != nil && shoal.KindOf(err) == shoal.Canceled {
		return shoal.Wrap(shoal.Canceled, "wait", err)
	}
	return nil
}

// onWait answers when a topic that lives here has a message with an offset, or after a while.
func (p *PubSub) onWait(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	var q waiting
	if err := wire.Unmarshal("question to a topic", req, &q); err != nil {
		return nil, err
	}
	key := shoal.Key(q.Key)
	if len(key) == 0 || len(key) > 128 {
		return nil, shoal.E(shoal.Invalid, "topic", "not a key", "")
	}
	most := waitMost
	if p.Agents.Leader(key) != p.Peers.Self() {
		most = waitBlind
	}
	t := p.at(key)
	t.mu.Lock()
	news := t.news
	t.mu.Unlock()
	v, err := topicAgents{p}.View(ctx, key)
	if err != nil || v.Next > q.Next {
		return nil, err
	}
	select {
	case <-news:
	case <-time.After(most):
	case <-ctx.Done():
	case <-p.life.Done():
	}
	return nil, nil
}
