package pubsub

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Publish sends messages to a topic, in their order, and fills in what they get on the way: who published them, their
// number or offset, their time, and the CID of a body that is longer than topic.MaxBody. The messages belong to the room until Publish
// returns nil. To a fast topic they are on their way then, to whoever is there; of a durable one they are on the disks of
// most of its keepers. Timeout, Unavailable: it is not known whether they are.
func (p *PubSub) Publish(ctx context.Context, name string, list ...topic.Message) error {
	if len(list) == 0 {
		return nil
	}
	if !p.enter() { // work that others do for it begins below
		return closing()
	}
	defer p.work.Done()
	t, err := p.open(ctx, name)
	if err != nil {
		return err
	}
	for i := range list {
		if err := p.fit(ctx, &list[i]); err != nil {
			return shoal.Wrap(shoal.Unavailable, "publish to "+name, err)
		}
	}
	long, err := t.isDurable(ctx)
	if err == nil && long {
		err = t.publishDurable(ctx, list)
	} else if err == nil {
		err = t.publishFast(ctx, list)
	}
	if err != nil {
		return shoal.Wrap(shoal.Unavailable, "publish to "+name, err)
	}
	t.count(func(c *Counts) {
		c.Published += uint64(len(list))
		t.in10.add(p.cfg.Now(), uint64(len(list)))
	})
	return nil
}

// fit makes a message fit to be sent.
func (p *PubSub) fit(ctx context.Context, m *topic.Message) error {
	if len(m.Body) > topic.MaxBody {
		c, err := p.Bodies.Put(ctx, m.Body)
		if err != nil {
			return err
		}
		m.Body, m.Data = nil, c
	}
	if m.Publisher == "" {
		m.Publisher = string(p.Peers.Self())
	}
	return m.Check()
}

// Body returns a message's body, wherever it lies. Invalid: it is longer than most bytes.
func (p *PubSub) Body(ctx context.Context, m *topic.Message, most int) ([]byte, error) {
	if m.Data == "" {
		return m.Body, nil
	}
	return p.Bodies.Get(ctx, m.Data, most)
}

// publishDurable brings messages into the topic's log.
func (t *local) publishDurable(ctx context.Context, list []topic.Message) error {
	for len(list) > 0 {
		n, size := 0, 0
		for n < len(list) && n < mostTogether && (n == 0 || size+list[n].Size() <= bytesTogether) {
			size += list[n].Size()
			n++
		}
		if err := t.in.put(ctx, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// appendLog is what a gatherer does with what it has.
func (t *local) appendLog(ctx context.Context, list []topic.Message) (uint64, error) {
	var got topic.Appended
	if err := t.p.call(ctx, t.key, "append", topic.Append{Messages: list}, &got); err != nil {
		return 0, err
	}
	return got.First, nil
}

// publishFast sends messages to those that subscribe, and to what is bound, from here.
func (t *local) publishFast(ctx context.Context, list []topic.Message) error {
	v, err := t.p.cast.View(ctx, t.key)
	if err != nil {
		return err
	}
	t.know(v)
	t.mu.Lock()
	route := t.route
	t.mu.Unlock()
	if !route.Delivers() {
		return t.p.cast.Publish(ctx, t.key, list...)
	}
	size := 0
	for i := range list {
		size += list[i].Size()
	}
	if err := t.reserve(ctx, size); err != nil {
		return err
	}
	// Under the lock messages get their numbers and their places in the lanes in the same order.
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.p.cast.Publish(ctx, t.key, list...); err != nil {
		t.release(size)
		return err
	}
	for i := range list {
		t.dispatch(route, list[i])
	}
	return nil
}

// reserve waits until there is room for messages that wait for what is bound.
func (t *local) reserve(ctx context.Context, size int) error {
	for {
		t.mu.Lock()
		if t.waiting == 0 || t.waiting+size <= t.p.cfg.Waiting {
			t.waiting += size
			t.mu.Unlock()
			return nil
		}
		if t.room == nil {
			t.room = make(chan struct{})
		}
		room := t.room
		t.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return shoal.E(shoal.Overloaded, "publish", "what is bound to the topic does not keep up: as many messages wait here as may", "publish more slowly, or make the topic durable")
		case <-t.p.life.Done():
			return closing()
		}
	}
}

// release gives room back. The lock is held.
func (t *local) release(size int) {
	t.waiting -= size
	if t.room != nil {
		close(t.room)
		t.room = nil
	}
}

// dispatch puts a message, for which room was reserved, into the lanes of all who are to have it. The lock is held.
func (t *local) dispatch(route *topic.Route, m topic.Message) {
	letter := m.Letter()
	left, size := 1, m.Size() // this one
	done := func() {
		if left--; left == 0 {
			t.release(size)
		}
	}
	d := &topic.Delivery{Message: m, Try: 1, Begun: m.At}
	for _, g := range route.Groups {
		if g.Mode == topic.Ask {
			continue
		}
		members, lane := g.Pick(&m, letter)
		if len(members) == 0 {
			continue
		}
		l := t.groups[g.Consumer]
		if l == nil {
			to := &group{t: t, consumer: g.Consumer, tries: fastTries}
			l = newLanes(t.p.life, t.p.cfg.Lanes, together, &t.p.work, func(list []*delivery) { to.all(t.p.life, list) })
			t.groups[g.Consumer] = l
		}
		left++
		l.put(lane, &delivery{m: d, members: members, done: func(err error) {
			t.delivered(err)
			t.mu.Lock()
			defer t.mu.Unlock()
			done()
		}})
	}
	done()
}

// fastTries is how often a message of a fast topic is brought to what is bound before it is given up.
const fastTries = 2
