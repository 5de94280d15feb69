package cast

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// line is a topic that is in use on this node.
type line struct {
	c       *Cast
	key     shoal.Key
	epoch   uint64
	telling chan struct{} // one in it while the topic's agent is told of this node

	mu   sync.Mutex
	more sync.Cond // the ring has more, or streams are to end
	over bool
	used time.Time

	// What the topic's agent says.
	view     *topic.View
	viewAt   time.Time
	looking  bool
	hinted   uint64 // Version of a view that somebody else knows
	missing  error  // there is no such topic
	told     [2]bool
	renewed  time.Time
	number   uint64 // this node's as a subscriber; greater ones came later
	starting Start  // of the subscription that makes it one
	again    bool   // it was given another number since: the agent had forgotten it

	// Publishing.
	ring       ring
	publishing bool
	greeted    bool // subscribers were told of this publisher
	streams    int
	turn       uint64    // odd: by gossip
	turned     time.Time // when it last changed
	poke       chan struct{}
	saying     bool   // say runs
	said       uint64 // and has said what is before it

	// Subscribing.
	subs    map[*Subscription]struct{}
	own     *life // this node's messages, for its own subscriptions
	sources map[shoal.PeerID]*source
	in      inbox
	channel Channel
	joining bool
	needed  time.Time // when somebody last needed the channel

	stats Stats
	was   uint64 // received at the last tick
}

func newLine(c *Cast, key shoal.Key, epoch uint64) *line {
	l := &line{
		c: c, key: key, epoch: epoch, telling: make(chan struct{}, 1), used: c.cfg.Now(), ring: newRing(), poke: make(chan struct{}, 1),
		subs: map[*Subscription]struct{}{}, sources: map[shoal.PeerID]*source{},
	}
	l.more.L = &l.mu
	return l
}

// large reports whether this node says its messages by gossip. The lock is held.
func (l *line) large() bool { return l.turn%2 == 1 }

func (l *line) close() {
	l.mu.Lock()
	l.over = true
	l.more.Broadcast()
	for s := range l.subs {
		s.end()
	}
	l.leave()
	ch := l.channel
	l.channel = nil
	l.c.kept.Add(-int64(l.ring.clear()))
	l.mu.Unlock()
	if ch != nil {
		_ = ch.Close()
	}
}

// leave ends what is there for subscriptions. The lock is held.
func (l *line) leave() {
	for p, s := range l.sources {
		s.stop()
		delete(l.sources, p)
	}
	l.own, l.in, l.number, l.again = nil, inbox{base: l.in.end()}, 0, false
}

// idleFor is how long a topic is kept that nobody uses: its ring serves who was cut off.
const idleFor = 5 * time.Minute

// tick does what is due.
func (l *line) tick() {
	now := l.c.cfg.Now()
	l.mu.Lock()
	if l.over {
		l.mu.Unlock()
		return
	}
	l.stats.ReceiveRate += (float64(l.stats.Received-l.was)/tickEvery.Seconds() - l.stats.ReceiveRate) / 3
	l.was = l.stats.Received
	if len(l.subs) > 0 {
		l.used = now
	}
	idle := now.Sub(l.used) > idleFor && l.streams == 0
	if idle {
		l.publishing = false
	}
	wants := l.publishing || len(l.subs) > 0
	due := now.Sub(l.renewed) >= topic.Renew && (wants || l.told[0] || l.told[1]) || idle && l.told[1]
	for _, s := range l.sources {
		s.tick(now)
	}
	if l.large() {
		l.tuneIn() // if it failed
	}
	var leaves Channel
	if l.channel != nil && !l.large() && now.Sub(l.needed) > 3*l.c.cfg.Grace && !l.saying {
		leaves, l.channel = l.channel, nil
	}
	l.mu.Unlock()
	if leaves != nil {
		_ = leaves.Close()
	}
	if due {
		l.c.spawn(func(ctx context.Context) { _ = l.present(ctx) })
	}
	if idle {
		l.forget()
	}
}

// forget takes a topic out of use, unless somebody uses it by now.
func (l *line) forget() {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.mu.Lock()
	idle := l.c.cfg.Now().Sub(l.used) > idleFor && !l.told[0] && !l.told[1] && len(l.subs) == 0 && l.streams == 0
	if idle {
		delete(l.c.lines, l.key)
	}
	l.mu.Unlock()
	if idle {
		l.close()
	}
}
