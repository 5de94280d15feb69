package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/cast"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// PubSub is a node's part in the fabric's topics. Its methods may be called from many goroutines.
type PubSub struct {
	Deps
	cfg  Config
	cast *cast.Cast
	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup

	workers atomic.Uint64 // named so far

	mu     sync.Mutex
	closed bool
	topics map[shoal.Key]*local
	names  map[string]string // what users type, and what agents' names that is
}

// local is what this node knows of a topic, and does for it.
type local struct {
	p    *PubSub
	key  shoal.Key
	text string // the key, as agents are called by it
	in   *gather

	mu      sync.Mutex
	kind    kind
	used    time.Time
	route   *topic.Route
	groups  map[string]*lanes[*delivery] // fast: what this node's messages wait in, by consumer
	waiting int                          // fast: bytes of messages that wait
	room    chan struct{}                // closed when fewer wait; nil: nobody asked
	counts  Counts
	in10    meter // messages that were published
	out10   meter // and delivered
	tender  *tender
	news    chan struct{} // closed when a message was appended, as far as this node hears of it
}

// kind is whether a topic is durable; it never changes.
type kind uint8

const (
	unknown kind = iota
	fast
	durable
)

// Counts are what this node did for a topic since it began.
type Counts struct {
	Published uint64 `json:"published"`
	Delivered uint64 `json:"delivered"` // to what is bound
	Failed    uint64 `json:"failed"`    // deliveries that were given up
	Why       string `json:"why,omitempty"`

	PublishRate float64 `json:"publish_rate"` // a second, of the last 10
	DeliverRate float64 `json:"deliver_rate"`
}

// New registers the room's methods at d.Peers. Run starts the work in the background.
func New(cfg Config, d Deps) (*PubSub, error) {
	for name, missing := range map[string]bool{
		"peers": d.Peers == nil, "members": d.Members == nil, "agents": d.Agents == nil, "services": d.Services == nil, "bodies": d.Bodies == nil,
	} {
		if missing {
			return nil, shoal.E(shoal.Invalid, "open topics", "no "+name+" was given", "")
		}
	}
	p := &PubSub{Deps: d, cfg: cfg.withDefaults(), topics: map[shoal.Key]*local{}, names: map[string]string{}}
	if p.cfg.Cast.Log == nil {
		p.cfg.Cast.Log = p.cfg.Log
	}
	var err error
	p.cast, err = cast.New(p.cfg.Cast, cast.Deps{Peers: d.Peers, Members: d.Members, Topics: topicAgents{p}, Gossip: d.Gossip})
	if err != nil {
		return nil, err
	}
	p.life, p.end = context.WithCancel(context.Background())
	d.Peers.Handle("pubsub.wait", p.onWait)
	d.Peers.Handle("pubsub.changed", p.onChanged)
	return p, nil
}

// Run carries messages and forgets what is not used, until ctx ends.
func (p *PubSub) Run(ctx context.Context) error {
	if p.enter() {
		go func() {
			defer p.work.Done()
			if err := p.cast.Run(ctx); err != nil && ctx.Err() == nil {
				p.cfg.Log.Error("topics: fast ones end", "err", err)
			}
		}()
	}
	tick := time.NewTicker(p.cfg.Idle / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.forget()
		case <-ctx.Done():
			return nil
		case <-p.life.Done():
			return nil
		}
	}
}

// Close ends what goes on here. Durable topics go on elsewhere.
func (p *PubSub) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	err := p.cast.Close()
	p.work.Wait()
	return err
}

// enter counts work that Close waits for; false when Close has begun.
func (p *PubSub) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.work.Add(1)
	return true
}

func closing() error {
	return shoal.E(shoal.Unavailable, "topics", "this node is stopping", "ask another node")
}

// at returns what this node has of a topic.
func (p *PubSub) at(key shoal.Key) *local {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[key]
	if t == nil {
		t = &local{p: p, key: key, text: p.Agents.Text(key), groups: map[string]*lanes[*delivery]{}, news: make(chan struct{})}
		t.in = &gather{life: p.life, work: &p.work, append: t.appendLog}
		p.topics[key] = t
	}
	t.mu.Lock()
	t.used = p.cfg.Now()
	t.mu.Unlock()
	return t
}

// open finds a topic by the name of its agent.
func (p *PubSub) open(ctx context.Context, name string) (*local, error) {
	full, err := p.full(name)
	if err != nil {
		return nil, err
	}
	if p.life.Err() != nil {
		return nil, closing()
	}
	key, err := p.Agents.Resolve(ctx, full)
	if shoal.KindOf(err) == shoal.NotFound && err != nil {
		return nil, shoal.E(shoal.NotFound, "topic "+name, "there is no such topic", "see 'shoal topic ls', or make it with 'shoal topic create "+name+"'")
	}
	if err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, "topic "+name, err)
	}
	return p.at(key), nil
}

// forget drops what was not used for a while.
func (p *PubSub) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.names) // this node may know more owners by now
	for key, t := range p.topics {
		t.mu.Lock()
		if p.cfg.Now().Sub(t.used) > p.cfg.Idle && t.tender == nil && t.waiting == 0 && t.room == nil {
			delete(p.topics, key)
		}
		t.mu.Unlock()
	}
}

// isDurable tells the topic's kind, asking its agent the first time.
func (t *local) isDurable(ctx context.Context) (bool, error) {
	t.mu.Lock()
	k := t.kind
	t.mu.Unlock()
	if k == unknown {
		v, err := t.p.cast.View(ctx, t.key)
		if err != nil {
			return false, err
		}
		if !v.Made {
			return false, shoal.E(shoal.NotFound, "topic", "its creation was not finished", "create it again, with the same name")
		}
		k = t.know(v)
	}
	return k == durable, nil
}

// know notes what a view says.
func (t *local) know(v *topic.View) kind {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v.Made {
		if t.kind = fast; v.Durable {
			t.kind = durable
		}
	}
	if t.route == nil || t.route.Version < v.Version {
		t.route = topic.NewRoute(v)
	}
	return t.kind
}

// count changes the counts.
func (t *local) count(f func(c *Counts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.counts)
}

// delivered notes what came of a delivery.
func (t *local) delivered(err error) {
	if err == nil {
		t.count(func(c *Counts) { c.Delivered++; t.out10.add(t.p.cfg.Now(), 1) })
		return
	}
	t.count(func(c *Counts) { c.Failed, c.Why = c.Failed+1, err.Error() })
	t.p.cfg.Log.Debug("topic: a delivery is given up", "topic", t.text, "err", err)
}
