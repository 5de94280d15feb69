package cast

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/wire"
)

const (
	agentLimit = 10 * time.Second // for an answer of a topic's agent
	helloLimit = 5 * time.Second
	tryAgain   = 3 * time.Second // after the topic's agent could not be told
)

// hello tells a node that subscribes of one that publishes.
type hello struct {
	Key  []byte         `cbor:"k"`
	Who  topic.Presence `cbor:"w"`
	Turn uint64         `cbor:"t,omitempty"` // as in a frame
}

// present tells the topic's agent in which ways this node takes part, and hears what the topic is then.
func (l *line) present(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	select {
	case l.telling <- struct{}{}:
		defer func() { <-l.telling }()
	case <-ctx.Done():
		return shoal.Wrap(shoal.Unavailable, "topic", ctx.Err())
	}
	var failed error
	for i, publishes := range []bool{false, true} {
		l.mu.Lock()
		l.renewed = l.c.cfg.Now()
		is := len(l.subs) > 0
		if publishes {
			is = l.publishing
		}
		tell := is || l.told[i]
		p := topic.Presence{Peer: shoal.PeerID(l.c.self), Publishes: publishes, Epoch: l.epoch, Leaves: !is}
		l.mu.Unlock()
		if !tell {
			continue
		}
		v, err := l.c.Topics.Join(ctx, l.key, p)
		l.mu.Lock()
		if err == nil || !is { // who leaves is forgotten anyway when the lease ends
			l.told[i] = is
		}
		if err != nil {
			l.renewed = l.c.cfg.Now().Add(tryAgain - topic.Renew)
		}
		l.mu.Unlock()
		if err != nil {
			failed = err
			l.learnt(nil, err)
			continue
		}
		l.learnt(v, nil)
		if is && publishes {
			l.greet(ctx, v)
		}
	}
	return failed
}

// find returns this node's number as a subscriber; if it is not listed, as there are many, it is taken for the last.
func (l *line) find(v *topic.View) (n uint64, listed bool) {
	for _, p := range v.Subs {
		if string(p.Peer) == l.c.self && p.Epoch == l.epoch {
			return p.Number, true
		}
		n = max(n, p.Number)
	}
	for _, p := range v.Pubs {
		n = max(n, p.Number)
	}
	return max(n, 1), false
}

// greet tells nodes that subscribe of this one, once: so that they follow it at once.
func (l *line) greet(_ context.Context, v *topic.View) {
	l.mu.Lock()
	done := l.greeted
	l.greeted = true
	turn := l.turn
	l.mu.Unlock()
	who := topic.Presence{Peer: shoal.PeerID(l.c.self), Publishes: true, Epoch: l.epoch}
	for _, p := range v.Pubs {
		if string(p.Peer) == l.c.self {
			who.Number = p.Number
		}
	}
	if done {
		return
	}
	b := wire.Marshal(hello{Key: []byte(l.key), Who: who, Turn: turn})
	for i, s := range v.Subs {
		if string(s.Peer) == l.c.self || i >= topic.Shown {
			continue
		}
		l.c.spawn(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, helloLimit)
			defer cancel()
			if _, err := l.c.Peers.Ask(ctx, s.Peer, helloMethod, b); err != nil {
				l.c.log().Debug("topics: a subscriber was not told of this publisher", "peer", s.Peer.Short(), "err", err)
			}
		})
	}
}

// onHello hears of a node that publishes.
func (c *Cast) onHello(_ context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
	var h hello
	if err := wire.Unmarshal("word of a publisher", b, &h); err != nil {
		return nil, err
	}
	if h.Who.Peer != from || !h.Who.Publishes {
		return nil, shoal.E(shoal.Invalid, "word of a publisher", "it is of another node", "")
	}
	if l := c.have(shoal.Key(h.Key)); l != nil {
		l.mu.Lock()
		l.meet([]topic.Presence{h.Who}, Start{})
		if s := l.sources[from]; s != nil && s.life != nil && s.life.epoch == h.Who.Epoch && h.Turn > s.turn {
			s.turn = h.Turn
			s.turned()
		}
		l.mu.Unlock()
	}
	return nil, nil
}

// look asks the topic's agent what the topic is.
func (l *line) look(ctx context.Context) (*topic.View, error) {
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	v, err := l.c.Topics.View(ctx, l.key)
	l.learnt(v, err)
	return v, err
}

// fresh has the view be asked for anew if it is old.
func (l *line) fresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh()
}

// hint notes that somebody knows a view with that version. The lock is held.
func (l *line) hint(version uint64) {
	if l.view != nil && version > l.view.Version && version > l.hinted {
		l.hinted, l.viewAt = version, time.Time{}
		l.refresh()
	}
}

// refresh is fresh for who holds the lock.
func (l *line) refresh() {
	if now := l.c.cfg.Now(); !l.looking && !l.over && now.Sub(l.viewAt) > l.c.cfg.Fresh {
		l.looking, l.viewAt = true, now
		l.c.spawn(func(ctx context.Context) {
			_, _ = l.look(ctx)
			l.mu.Lock()
			l.looking = false
			l.mu.Unlock()
		})
	}
}

// learnt takes in what the topic's agent says.
func (l *line) learnt(v *topic.View, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.viewAt = l.c.cfg.Now()
	if err != nil {
		if shoal.KindOf(err) == shoal.NotFound {
			l.missing = err
		}
		return
	}
	l.missing = nil
	if l.view != nil && v.Version < l.view.Version {
		return
	}
	l.view = v
	if len(l.subs) > 0 && l.told[0] {
		n, is := l.find(v)
		first := l.number == 0
		if first {
			l.number = n
		} else if is && n > l.number {
			l.again = true
		}
		listed := map[shoal.PeerID]bool{}
		for _, p := range v.Pubs {
			listed[p.Peer] = true
		}
		for p, s := range l.sources {
			s.listed = listed[p]
			if !s.listed && !s.stream && !s.missing() && l.viewAt.Sub(s.heard) > idleFor {
				s.stop()
				delete(l.sources, p)
			}
		}
		l.meet(v.Pubs, l.starting)
		for _, s := range l.sources {
			s.ask.Whole = s.ask.Whole && !first // those that there were when this node came
		}
	}
	l.choose()
}

// meet has publishers be followed that are not. The lock is held.
func (l *line) meet(list []topic.Presence, start Start) (fresh []*source) {
	if len(l.subs) == 0 || l.over {
		return nil
	}
	for _, p := range list {
		if string(p.Peer) == l.c.self || !p.Publishes || p.Leaves {
			continue
		}
		if s := l.sources[p.Peer]; s != nil {
			s.listed = true
			if p.Epoch > s.epoch {
				s.epoch = p.Epoch
				s.nudge()
			}
			continue
		}
		ctx, stop := context.WithCancel(l.c.life)
		s := &source{
			l: l, peer: p.Peer, epoch: p.Epoch, stop: stop, ready: make(chan struct{}), turns: make(chan struct{}, 1),
			compare: compareOnce, heard: l.c.cfg.Now(), listed: true,
		}
		s.ask = follow{Whole: l.number > 0 && (p.Number > l.number || l.again), Old: start.old(), Since: start.since()}
		l.sources[p.Peer] = s
		fresh = append(fresh, s)
		l.c.spawn(func(context.Context) {
			defer stop()
			s.run(ctx)
		})
	}
	return fresh
}

// compareWith asks a publisher how far it is with all topics that this node hears of it by gossip.
func (c *Cast) compareWith(ctx context.Context, p shoal.PeerID) {
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	var q heads
	var lines []*line
	for _, l := range c.all() {
		l.mu.Lock()
		if s := l.sources[p]; s != nil && s.gossip() && s.life != nil {
			q.Keys = append(q.Keys, []byte(l.key))
			lines = append(lines, l)
			s.heard = c.cfg.Now() // one question is enough
		}
		l.mu.Unlock()
	}
	b, err := c.Peers.Ask(ctx, p, headsMethod, wire.Marshal(q))
	var a headsAnswer
	if err == nil {
		err = wire.Unmarshal("heads of a publisher", b, &a)
	}
	if err != nil || len(a.Heads) != len(lines) {
		c.log().Debug("topics: a publisher does not tell its heads", "peer", p.Short(), "err", err)
		return
	}
	for i, l := range lines {
		if len(a.Heads[i]) == 0 {
			continue
		}
		f, err := parseFrame(a.Heads[i])
		if err != nil {
			return
		}
		l.mu.Lock()
		if s := l.sources[p]; s != nil {
			compare := s.compare
			if s.take(&f, true); !s.missing() {
				s.compare = compare
			}
		}
		l.mu.Unlock()
	}
}
