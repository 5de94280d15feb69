package cast

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// world is some nodes over one network, in virtual time, with one double for the agents that are topics.
type world struct {
	t     *testing.T
	net   *shoaltest.Network
	cfg   Config
	mesh  *mesh // nil: there is no gossip
	nodes []*node

	mu     sync.Mutex
	topics map[shoal.Key]*agent
	down   bool // topics' agents do not answer
}

// agent is what a topic's agent knows of a fast topic.
type agent struct {
	def    topic.Definition
	number uint64
	list   []topic.Presence
	until  map[topic.Presence]time.Time
}

type node struct {
	*Cast
	w    *world
	id   shoal.PeerID
	at   *door
	stop context.CancelFunc
	done chan struct{}
}

// door is a place in the network whose methods belong to the node's present life.
type door struct {
	*shoaltest.Node
	mu      sync.Mutex
	asks    map[string]shoal.Handler
	streams map[string]shoal.StreamHandler
}

func (d *door) Handle(method string, h shoal.Handler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.asks[method] == nil {
		d.Node.Handle(method, func(ctx context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
			d.mu.Lock()
			h := d.asks[method]
			d.mu.Unlock()
			return h(ctx, from, b)
		})
	}
	d.asks[method] = h
}

func (d *door) HandleStream(method string, h shoal.StreamHandler) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.streams[method] == nil {
		d.Node.HandleStream(method, func(ctx context.Context, from shoal.PeerID, b []byte, s shoal.Stream) error {
			d.mu.Lock()
			h := d.streams[method]
			d.mu.Unlock()
			return h(ctx, from, b, s)
		})
	}
	d.streams[method] = h
}

func (n *node) Table() (out []shoal.Member) {
	for _, other := range n.w.nodes {
		if other.id != n.id {
			out = append(out, shoal.Member{ID: other.id, State: shoal.Alive})
		}
	}
	return out
}

// key is the topic that most tests use.
var key = shoal.NameKey("agent", "orders")

func newWorld(t *testing.T, nodes int, cfg Config) *world {
	w := &world{t: t, net: shoaltest.NewNetwork(), cfg: cfg, topics: map[shoal.Key]*agent{}}
	w.topics[key] = &agent{until: map[topic.Presence]time.Time{}}
	for range nodes {
		w.add()
	}
	return w
}

func (w *world) add() *node {
	id := shoal.PeerID(fmt.Sprintf("peer-%03d", len(w.nodes)))
	n := &node{w: w, id: id, at: &door{Node: w.net.Node(id), asks: map[string]shoal.Handler{}, streams: map[string]shoal.StreamHandler{}}}
	w.nodes = append(w.nodes, n)
	n.up()
	return n
}

func (n *node) up() {
	n.w.t.Helper()
	d := Deps{Peers: n.at, Members: n, Topics: doubles{n}}
	if n.w.mesh != nil {
		d.Gossip = place{n.w.mesh, n.id}
	}
	c, err := New(n.w.cfg, d)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.at.Start() // not before: the handlers of the process that was killed would take in what comes
	ctx, stop := context.WithCancel(context.Background())
	n.Cast, n.stop, n.done = c, stop, make(chan struct{})
	go func() {
		defer close(n.done)
		_ = c.Run(ctx)
	}()
}

func (n *node) down() {
	n.stop()
	<-n.done
	n.at.Stop()
	_ = n.Close()
}

func (w *world) close() {
	for _, n := range w.nodes {
		n.down()
	}
}

func (w *world) cut(a, b *node) { w.net.Cut(a.id, b.id); w.net.Cut(b.id, a.id) }

func (w *world) heal(a, b *node) { w.net.Heal(a.id, b.id); w.net.Heal(b.id, a.id) }

// doubles answers for topics' agents.
type doubles struct{ n *node }

func (d doubles) View(ctx context.Context, key shoal.Key) (*topic.View, error) {
	return d.Join(ctx, key, topic.Presence{})
}

func (d doubles) Join(_ context.Context, key shoal.Key, p topic.Presence) (*topic.View, error) {
	w := d.n.w
	time.Sleep(time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	a := w.topics[key]
	switch {
	case w.down:
		return nil, shoal.E(shoal.Unavailable, "topic", "its agent does not answer", "")
	case a == nil:
		return nil, shoal.E(shoal.NotFound, "topic", "there is none", "")
	}
	return a.join(p, time.Now()), nil
}

func (a *agent) join(p topic.Presence, now time.Time) *topic.View {
	p.Number = 0
	leaves := p.Leaves
	p.Leaves = false
	a.list = slices.DeleteFunc(a.list, func(q topic.Presence) bool {
		id := q
		id.Number = 0
		older := q.Peer == p.Peer && q.Publishes == p.Publishes && q.Epoch < p.Epoch
		return a.until[id].Before(now) || older || leaves && id == p
	})
	if p.Peer != "" && !leaves {
		known := slices.ContainsFunc(a.list, func(q topic.Presence) bool { q.Number = 0; return q == p })
		a.until[p] = now.Add(topic.Lease)
		if !known {
			a.number++
			q := p
			q.Number = a.number
			a.list = append(a.list, q)
		}
	}
	v := &topic.View{Definition: a.def, Made: true, Version: 1}
	for _, q := range a.list {
		if q.Publishes {
			v.Pubs = append(v.Pubs, q)
		} else if v.Subscribed++; len(v.Subs) < topic.Shown {
			v.Subs = append(v.Subs, q)
		}
	}
	return v
}

type keyed = shoal.Key

func newAgent() *agent { return &agent{until: map[topic.Presence]time.Time{}} }

func newNet() *shoaltest.Network { return shoaltest.NewNetwork() }

// told is how many envelopes were said.
func (m *mesh) told() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said
}

// mesh is gossip that loses, doubles and reorders.
type mesh struct {
	rand      *rand.Rand
	lose, dup float64
	late      time.Duration // at most

	mu    sync.Mutex
	ears  map[string]map[shoal.PeerID]*ear
	said  int
	bytes int
	cut   map[shoal.PeerID]bool
}

type ear struct {
	m     *mesh
	name  string
	id    shoal.PeerID
	valid func(shoal.PeerID, []byte) Verdict
	each  func(shoal.PeerID, []byte)
}

type place struct {
	m  *mesh
	id shoal.PeerID
}

func newMesh(seed uint64) *mesh {
	return &mesh{rand: rand.New(rand.NewPCG(seed, 7)), ears: map[string]map[shoal.PeerID]*ear{}, cut: map[shoal.PeerID]bool{}}
}

func (p place) Join(channel string, valid func(shoal.PeerID, []byte) Verdict, each func(shoal.PeerID, []byte)) (Channel, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if p.m.ears[channel] == nil {
		p.m.ears[channel] = map[shoal.PeerID]*ear{}
	}
	e := &ear{p.m, channel, p.id, valid, each}
	p.m.ears[channel][p.id] = e
	return e, nil
}

func (e *ear) Publish(_ context.Context, b []byte) error {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	e.m.said++
	e.m.bytes += len(b)
	b = slices.Clone(b)
	ids := make([]shoal.PeerID, 0, len(e.m.ears[e.name]))
	for id := range e.m.ears[e.name] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		to := e.m.ears[e.name][id]
		if id == e.id || e.m.cut[id] || e.m.cut[e.id] || e.m.rand.Float64() < e.m.lose {
			continue
		}
		times := 1
		if e.m.rand.Float64() < e.m.dup {
			times = 2
		}
		for range times {
			wait := time.Duration(e.m.rand.Int64N(int64(e.m.late) + 1))
			time.AfterFunc(wait, func() {
				if to.valid(e.id, b) == Accept {
					to.each(e.id, b)
				}
			})
		}
	}
	return nil
}

func (e *ear) Peers() int {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	return len(e.m.ears[e.name]) - 1
}

func (e *ear) Close() error {
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	if e.m.ears[e.name][e.id] == e {
		delete(e.m.ears[e.name], e.id)
	}
	return nil
}

// reader reads a subscription to its end and checks what every reader may rely on.
type reader struct {
	sub  *Subscription
	mu   sync.Mutex
	got  []Event
	bad  string
	next map[string]uint64 // by publisher and epoch
	done chan struct{}
}

func (n *node) read(t *testing.T, start Start) *reader {
	t.Helper()
	sub, err := n.Subscribe(t.Context(), key, start)
	if err != nil {
		t.Fatal(err)
	}
	return watch(t, sub)
}

func watch(t *testing.T, sub *Subscription) *reader {
	r := &reader{sub: sub, next: map[string]uint64{}, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			e, err := sub.Next(t.Context())
			if err != nil {
				return
			}
			r.see(e)
		}
	}()
	return r
}

func (r *reader) see(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	who, seq, to := fmt.Sprint(e.Publisher, e.Epoch), e.Seq, e.Seq
	if e.Gap != nil {
		who, seq, to = fmt.Sprint(e.Gap.Publisher, e.Gap.Epoch), e.Gap.From, e.Gap.To
	}
	if next, known := r.next[who]; known && seq != next || to < seq {
		r.bad += fmt.Sprintf("%s: %d came where %d was due (gap %v); ", who, seq, next, e.Gap)
	}
	r.next[who] = to + 1
	if e.Gap == nil && len(e.Body) > 0 && string(e.Body) != fmt.Sprint("m", e.Seq) {
		r.bad += fmt.Sprintf("%s.%d has another body; ", who, e.Seq)
	}
	r.got = append(r.got, e)
}

func (r *reader) events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// wrong says what came as it may not.
func (r *reader) wrong() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad
}

// upTo is what is due next of a node.
func (r *reader) upTo(n *node) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next[fmt.Sprint(string(n.id), n.have(key).epoch)]
}

// expect checks that messages from..to of a node came once each and in order, without gaps.
func (r *reader) expect(t *testing.T, n *node, from, to uint64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad != "" {
		t.Error(r.bad)
	}
	var seqs []uint64
	for _, e := range r.got {
		if e.Gap != nil && e.Gap.Publisher == string(n.id) {
			t.Errorf("a gap of %s: %+v", n.id, *e.Gap)
		}
		if e.Gap == nil && e.Publisher == string(n.id) {
			seqs = append(seqs, e.Seq)
		}
	}
	if len(seqs) != int(to-from+1) || to >= from && (seqs[0] != from || seqs[len(seqs)-1] != to) {
		t.Errorf("of %s %d messages came, %v to %v; want %d to %d", n.id, len(seqs), slices.Concat(seqs, []uint64{0})[0], last(seqs), from, to)
	}
}

func last(s []uint64) uint64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1]
}

// say publishes so many messages, whose bodies tell their numbers.
func (n *node) say(t *testing.T, count int) {
	t.Helper()
	for range count {
		n.sayOne(t)
	}
}

func (n *node) sayOne(t *testing.T) {
	t.Helper()
	l, err := n.line(key)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	body := fmt.Sprint("m", l.ring.next)
	l.mu.Unlock()
	if err := n.Publish(t.Context(), key, topic.Message{Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
}

// inWorld runs f in virtual time, over some nodes.
func inWorld(t *testing.T, nodes int, cfg Config, f func(t *testing.T, w *world)) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, nodes, cfg)
		defer w.close()
		f(t, w)
	})
}
