package cast

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Publish gives messages to all that subscribe, at best effort, in their order. It fills in, in list itself, Epoch, Seq, and where
// they are zero At and Publisher, which else must be the key of an agent. It waits for nobody; the bytes are the caller's again when it returns.
func (c *Cast) Publish(_ context.Context, key shoal.Key, list ...topic.Message) error {
	for i := range list {
		m := &list[i]
		if err := m.Check(); err != nil {
			return err
		}
		if p := m.Publisher; p != "" && p != c.self && !agentLike(p) {
			return shoal.E(shoal.Invalid, "message", "its publisher is neither this node nor an agent", "")
		}
	}
	l, err := c.line(key)
	if err != nil || len(list) == 0 {
		return err
	}
	now := c.cfg.Now()
	l.mu.Lock()
	if l.over || l.missing != nil {
		err := l.missing
		l.mu.Unlock()
		if err == nil {
			return closed()
		}
		l.fresh() // perhaps it is there by now
		return err
	}
	l.used = now
	first, at, grown := l.ring.next, now.UnixMilli(), 0
	for i := range list {
		m := &list[i]
		if m.Publisher == "" {
			m.Publisher = c.self
		}
		if m.At == 0 {
			m.At = at
		}
		m.Epoch, m.Seq, m.Offset = l.epoch, l.ring.next, 0
		grown += l.ring.add(m, c.self)
	}
	if grown > 0 {
		l.shrink(grown)
	}
	if len(l.subs) > 0 {
		l.hearSelf(first)
	}
	begins := !l.publishing
	l.publishing = true
	stale := now.Sub(l.viewAt) > c.cfg.Fresh
	said := l.saying
	l.more.Broadcast()
	l.mu.Unlock()
	if grown > 0 && c.kept.Load() > int64(c.cfg.Rings) {
		c.relieve()
	}
	if said {
		select {
		case l.poke <- struct{}{}:
		default:
		}
	}
	if begins {
		c.spawn(func(ctx context.Context) { _ = l.present(ctx) })
	} else if stale {
		l.fresh()
	}
	return nil
}

// shrink drops this topic's oldest messages where there are too many bytes by now. The lock is held.
func (l *line) shrink(grown int) {
	for l.ring.bytes > l.c.cfg.Ring {
		n := l.ring.drop()
		if n == 0 {
			break
		}
		grown -= n
	}
	l.c.kept.Add(int64(grown))
}

// relieve drops the oldest messages of the topics that keep the most, until all together keep no more than they may: who publishes
// much to one topic takes nothing from others that keep little. No lock is held.
func (c *Cast) relieve() {
	for c.kept.Load() > int64(c.cfg.Rings) {
		var most *line
		bytes := 0
		for _, l := range c.all() {
			l.mu.Lock()
			if l.ring.bytes > bytes {
				most, bytes = l, l.ring.bytes
			}
			l.mu.Unlock()
		}
		if most == nil {
			return
		}
		most.mu.Lock()
		n := most.ring.drop()
		if n == 0 {
			n = most.ring.clear() // even what it said last
		}
		c.kept.Add(-int64(n))
		most.mu.Unlock()
	}
}

// hearSelf gives this node's own messages from seq on to its own subscriptions. The lock is held.
func (l *line) hearSelf(seq uint64) {
	for seq < l.ring.next {
		first, count, b := l.ring.cut(seq, maxBody)
		if first > seq { // more at once than the ring holds
			l.put(block{life: l.own, first: seq, count: first - seq, gap: true})
		}
		l.put(block{life: l.own, first: first, count: uint64(count), b: b})
		seq = first + uint64(count)
	}
	l.own.next = l.ring.next
}
