package cast

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Cast carries the messages of fast topics. Its methods may be called from many goroutines at once.
type Cast struct {
	Deps
	cfg  Config
	self string
	life context.Context
	end  context.CancelFunc
	wmu  sync.Mutex // held while work is added to, and while life ends
	work sync.WaitGroup

	kept atomic.Int64 // bytes of all rings

	mu    sync.RWMutex
	lines map[shoal.Key]*line
	epoch uint64 // of a topic that is taken into use anew

	members struct {
		sync.Mutex
		is map[shoal.PeerID]bool
		at time.Time
	}
}

// New registers the methods that other nodes ask. Run must be called for the rest.
func New(cfg Config, d Deps) (*Cast, error) {
	if d.Peers == nil || d.Members == nil || d.Topics == nil {
		return nil, shoal.E(shoal.Internal, "fast topics", "a room that they need is missing", "")
	}
	cfg = cfg.withDefaults()
	c := &Cast{Deps: d, cfg: cfg, self: string(d.Peers.Self()), lines: map[shoal.Key]*line{}, epoch: cfg.Epoch}
	c.life, c.end = context.WithCancel(context.Background())
	d.Peers.HandleStream(followMethod, c.onFollow)
	d.Peers.Handle(pullMethod, c.onPull)
	d.Peers.Handle(headsMethod, c.onHeads)
	d.Peers.Handle(helloMethod, c.onHello)
	return c, nil
}

// tickEvery is how often it is looked what is due.
const tickEvery = time.Second

// Run renews what is leased, and looks for what is missing, until ctx ends.
func (c *Cast) Run(ctx context.Context) error {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.life.Done():
			return nil
		case <-tick.C:
			for _, l := range c.all() {
				l.tick()
			}
		}
	}
}

// Close ends all streams and subscriptions, and waits for them. Others learn of it when the leases end.
func (c *Cast) Close() error {
	c.wmu.Lock()
	c.end()
	c.wmu.Unlock()
	for _, l := range c.all() {
		l.close()
	}
	c.work.Wait()
	return nil
}

// spawn runs f, which ends when the node stops. Any lock may be held.
func (c *Cast) spawn(f func(ctx context.Context)) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.life.Err() == nil {
		c.work.Go(func() { f(c.life) })
	}
}

func (c *Cast) all() []*line {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*line, 0, len(c.lines))
	for _, l := range c.lines {
		out = append(out, l)
	}
	return out
}

// have returns a topic that is in use here; nil: it is not.
func (c *Cast) have(key shoal.Key) *line {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.lines[key]
}

// line returns a topic, which is in use from now on.
func (c *Cast) line(key shoal.Key) (*line, error) {
	if l := c.have(shoal.Key(key)); l != nil {
		return l, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lines[key]; l != nil {
		return l, nil
	}
	switch {
	case c.life.Err() != nil:
		return nil, closed()
	case len(key) == 0 || len(key) > 128:
		return nil, shoal.E(shoal.Invalid, "topic", "not a key", "")
	case len(c.lines) >= c.cfg.Topics:
		return nil, shoal.E(shoal.Overloaded, "topic", fmt.Sprintf("%d topics are in use on this node", len(c.lines)), "close subscriptions, or use fewer topics")
	}
	l := newLine(c, key, c.epoch)
	c.epoch = max(c.epoch+1, uint64(c.cfg.Now().UnixMilli())) // one that was forgotten does not come back in the same life
	c.lines[key] = l
	return l, nil
}

func closed() error {
	return shoal.E(shoal.Unavailable, "topics", "this node stops", "")
}

func (c *Cast) log() *slog.Logger { return c.cfg.Log }

// member reports whether p is one.
func (c *Cast) member(p shoal.PeerID) bool {
	m := &c.members
	m.Lock()
	defer m.Unlock()
	now := c.cfg.Now()
	if age := now.Sub(m.at); m.is == nil || age > 5*time.Second || !m.is[p] && age > time.Second {
		m.is, m.at = map[shoal.PeerID]bool{}, now
		for _, one := range c.Members.Table() {
			if one.State != shoal.Left && one.State != shoal.Forgotten {
				m.is[one.ID] = true
			}
		}
	}
	return m.is[p]
}

// View returns what a topic is, as this node last heard it. If that is some seconds old, it is asked for anew meanwhile.
func (c *Cast) View(ctx context.Context, key shoal.Key) (*topic.View, error) {
	l, err := c.line(key)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	v := l.view
	l.mu.Unlock()
	if v != nil {
		l.fresh()
		return v, nil
	}
	return l.look(ctx)
}

// Stats are figures of a topic on this node.
type Stats struct {
	Published   uint64  // messages by this node
	Received    uint64  // messages of others, each once
	Doubled     uint64  // messages that came more than once
	Lost        uint64  // messages in gaps
	ReceiveRate float64 // messages a second, of the last seconds
	Subscribed  int     // nodes, as the topic's agent last said
	Publishers  int     // nodes that this one hears
	Streams     int     // to nodes that follow this one
	Gossip      bool    // this node says its messages by gossip
	Locals      int     // subscriptions on this node
}

// Stats returns figures of a topic, zero if it is not in use here.
func (c *Cast) Stats(key shoal.Key) Stats {
	l := c.have(key)
	if l == nil {
		return Stats{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Published, s.Streams, s.Gossip = l.ring.next-1, l.streams, l.large()
	s.Publishers, s.Locals = len(l.sources), len(l.subs)
	if l.view != nil {
		s.Subscribed = l.view.Subscribed
	}
	return s
}
