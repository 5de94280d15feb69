package group

import (
	"container/heap"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// A world is some nodes with clocks and disks, a network between them, groups on them, clients, and faults,
// all out of one seed. The nodes run the real leaf; hand_test.go is the part around it that the mind has in
// a node. The checker looks at everything after every step.
type world struct {
	seed  uint64
	rng   *rand.Rand
	now   Instant // true time
	seq   int
	queue events

	nodes []*node
	names []string // of the groups
	first [][]Keeper
	cut   [][]bool
	loss  float64

	off   switches
	hand  handSwitches
	lease time.Duration

	check   *checker
	trace   hash.Hash // nil: no transcript
	lines   func(string)
	calm    bool // everything takes a millisecond, and nobody looks after members
	healed  bool
	aims    bool
	victims []uint64        // by group: the member that a move replaces, 0: any
	moves   []bool          // by group: a move is wanted
	pausing []time.Duration // by group: how long to pause the leader when an answer is on its way to it
	stats   map[string]int
}

type event struct {
	at  Instant
	seq int
	f   func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any     { o := *q; x := o[len(o)-1]; *q = o[:len(o)-1]; return x }

// node is a machine with one store.
type node struct {
	w      *world
	id     int
	peer   shoal.PeerID
	offset Instant
	rate   float64 // of its clock

	up          bool
	life        int     // counts starts and ends, to drop what was scheduled before
	paused      Instant // until then
	slow        Instant // until then the disk is slow
	store       string
	stores      int
	incarnation uint64

	disk     disk
	open     []*member // by group; nil: not in memory
	promises []Promise // of groups that are not
	boot     Promise
	removed  []uint64  // by group: the newest member that was removed here; on the disk, with what is removed
	taking   []bool    // by group: a shipped state is being written
	seen     []Instant // by node: when it last answered
	suspect  []bool
	met      []uint64 // incarnations
}

func newWorld(seed uint64, nodes, groups, replicas int) *world {
	return build(seed, nodes, groups, replicas, false)
}

func build(seed uint64, nodes, groups, replicas int, calm bool) *world {
	w := &world{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5eed)), lease: 1500 * time.Millisecond,
		stats: map[string]int{}, calm: calm,
	}
	w.check = newChecker(w, groups)
	w.victims, w.moves, w.pausing = make([]uint64, groups), make([]bool, groups), make([]time.Duration, groups)
	for i := range nodes {
		n := &node{
			w: w, id: i, peer: shoal.PeerID(fmt.Sprintf("n%d", i)), rate: 0.99 + 0.02*w.rng.Float64(),
			offset: Instant(w.rng.Int64N(int64(time.Hour))), up: true, store: fmt.Sprintf("n%d/0", i), incarnation: 1,
			open: make([]*member, groups), promises: make([]Promise, groups), taking: make([]bool, groups), removed: make([]uint64, groups),
			seen: make([]Instant, nodes), suspect: make([]bool, nodes), met: make([]uint64, nodes),
		}
		if calm {
			n.rate, n.offset = 1, 0
		}
		n.disk = disk{n: n, live: make([]rec, groups), durable: make([]rec, groups)}
		w.nodes = append(w.nodes, n)
		w.cut = append(w.cut, make([]bool, nodes))
	}
	for g := range groups {
		w.names = append(w.names, string(rune('A'+g)))
		var ks []Keeper
		order := w.rng.Perm(nodes)
		if calm {
			slices.Sort(order)
		}
		for _, i := range order[:replicas] {
			ks = append(ks, w.nodes[i].keeper())
		}
		w.first = append(w.first, ks)
		for i, k := range ks {
			n := w.node(k.Peer)
			s := Birth(ks)
			n.disk.write(g, func(r *rec) { *r = recOf(s, uint64(i+1), nil) })
			n.disk.flush()
			w.check.hasState(g, uint64(i+1))
		}
		w.check.configured(g, Birth(ks).Mark.Conf)
	}
	for _, n := range w.nodes {
		n.tick()
	}
	return w
}

func (w *world) node(p shoal.PeerID) *node {
	for _, n := range w.nodes {
		if n.peer == p {
			return n
		}
	}
	return nil
}

func (n *node) keeper() Keeper { return Keeper{Peer: n.peer, Store: n.store} }

// at schedules f.
func (w *world) at(t Instant, f func()) {
	w.seq++
	heap.Push(&w.queue, event{max(t, w.now), w.seq, f})
}

// run goes on until t, or until the checker objects.
func (w *world) run(t Instant) {
	for len(w.queue) > 0 && w.queue[0].at <= t && w.check.broken == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.f()
	}
	w.now = max(w.now, t)
}

// local is the node's clock; truly is when it will show t.
func (n *node) local() Instant          { return n.offset + Instant(float64(n.w.now)*n.rate) }
func (n *node) truly(t Instant) Instant { return Instant(float64(t-n.offset)/n.rate) + 1 }

// after has the node do f in a while, if it has not been restarted by then. A paused node does it when it goes on.
func (n *node) after(d time.Duration, f func()) { n.when(n.w.now.Add(d), f) }

func (n *node) when(t Instant, f func()) {
	life := n.life
	var try func()
	try = func() {
		switch {
		case n.life != life:
		case n.paused > n.w.now:
			n.w.at(n.paused, try)
		default:
			f()
		}
	}
	n.w.at(t, try)
}

// send carries a message; it may be lost, delayed, overtaken, and come twice.
func (w *world) send(from, to *node, f func()) {
	copies := 1
	if w.rng.IntN(50) == 0 && !w.calm {
		copies = 2
	}
	for range copies {
		if w.cut[from.id][to.id] || w.rng.Float64() < w.loss {
			continue
		}
		d := time.Duration((0.3 + w.rng.ExpFloat64()*2) * float64(time.Millisecond))
		if w.rng.IntN(50) == 0 {
			d += time.Duration(w.rng.Int64N(int64(700 * time.Millisecond)))
		}
		if w.calm {
			d = time.Millisecond
		}
		var deliver func()
		deliver = func() {
			switch {
			case !to.up || w.cut[from.id][to.id]:
			case to.paused > w.now:
				w.at(to.paused, deliver)
			default:
				f()
			}
		}
		w.at(w.now.Add(d), deliver)
	}
}

// log adds a line to the transcript.
func (w *world) log(format string, args ...any) {
	if w.trace == nil && w.lines == nil {
		return
	}
	s := fmt.Sprintf("%8.1f ", float64(w.now)/1e6) + fmt.Sprintf(format, args...)
	if w.trace != nil {
		w.trace.Write([]byte(s + "\n"))
	}
	if w.lines != nil {
		w.lines(s)
	}
}

// rec is what a store has of one group.
type rec struct {
	have    bool
	self    uint64
	gen     uint64
	hard    Hard
	base    Position
	mark    Mark
	entries []Raw
	state   []uint64 // the requests that were applied, in order
	bad     bool     // damaged
}

func recOf(s Stored, self uint64, state []uint64) rec {
	return rec{
		have: true, self: self, gen: s.Generation, hard: s.Hard, base: s.Base, mark: s.Mark,
		entries: s.Entries, state: state[:len(state):len(state)],
	}
}

func (r *rec) stored() Stored {
	s := Stored{Generation: r.gen, Hard: r.hard, Base: r.base, Mark: r.mark, Entries: r.entries}
	for len(s.Entries) > 0 && s.Entries[0].Index <= s.Base.Index {
		s.Entries = s.Entries[1:]
	}
	if r.bad { // a hole, as a flipped bit would leave it
		s.Hard.Commit += uint64(len(s.Entries)) + 1
	}
	return s
}

// has reports whether the store has an entry, or its effect.
func (r *rec) has(p Position) bool {
	if !r.have || p.Index <= r.base.Index || p.Index <= r.mark.Index {
		return r.have
	}
	i := int(p.Index - r.base.Index - 1)
	es := r.stored().Entries
	return i < len(es) && es[i].Position == p
}

// disk is a store: a write is seen at once, and is safe after the next fsync. A crash keeps some prefix of what
// was not synced.
type disk struct {
	n             *node
	durable, live []rec
	wal           []walOp
	written, done int // operations
	syncing       bool
	wanted        bool
	era           int // counts stores that were given up
	waiting       []diskWait
}

type walOp struct {
	g int
	f func(*rec)
}

type diskWait struct {
	at int
	f  func()
}

func (d *disk) write(g int, f func(*rec)) {
	f(&d.live[g])
	d.wal = append(d.wal, walOp{g, f})
	d.written++
}

func (d *disk) flush() {
	for _, o := range d.wal {
		o.f(&d.durable[o.g])
	}
	d.done += len(d.wal)
	d.wal = nil
}

// sync begins an fsync, or has another follow the one under way.
func (d *disk) sync() {
	if d.syncing {
		d.wanted = true
		return
	}
	d.syncing, d.wanted = true, false
	n, era := len(d.wal), d.era
	took := time.Duration((0.5 + d.n.w.rng.ExpFloat64()*2) * float64(time.Millisecond))
	if d.n.w.calm {
		took = time.Millisecond
	}
	if d.n.slow > d.n.w.now {
		took = time.Duration(d.n.slow - d.n.w.now)
	}
	d.n.after(took, func() {
		if d.era != era {
			return
		}
		for _, o := range d.wal[:n] {
			o.f(&d.durable[o.g])
		}
		d.wal = append([]walOp(nil), d.wal[n:]...)
		d.done += n
		d.syncing = false
		if d.wanted {
			d.sync()
		}
		for len(d.waiting) > 0 && d.waiting[0].at <= d.done {
			f := d.waiting[0].f
			d.waiting = d.waiting[1:]
			f()
		}
		for _, m := range d.n.open {
			if m != nil {
				m.synced()
			}
		}
	})
}

// then calls f when all that is written now is safe.
func (d *disk) then(f func()) {
	d.waiting = append(d.waiting, diskWait{d.written, f})
	d.sync()
}

// crash keeps a prefix of what was not synced.
func (d *disk) crash() {
	keep := d.n.w.rng.IntN(len(d.wal) + 1)
	for _, o := range d.wal[:keep] {
		o.f(&d.durable[o.g])
	}
	copy(d.live, d.durable)
	d.wal, d.waiting = nil, nil
	d.done = d.written
	d.syncing, d.wanted = false, false
}
