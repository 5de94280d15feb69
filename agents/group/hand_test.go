package group

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// handSwitches turn off rules that live around the leaf.
type handSwitches struct {
	early        bool // a turn is acknowledged when the leader has it on disk
	noTombstone  bool // a state that arrives late is taken for a member that was removed
	keepIdentity bool // a wiped disk comes back as the store that it was, with the state of a birth
}

// member is a group in a node's memory.
type member struct {
	n       *node
	gi      int
	g       *Group
	leading bool
	epoch   uint64
	staged  []uint64 // requests proposed over the applied state
	waiting []waiter
	apply   []Entry
	marks   []Mark // of the last entries of what is in apply
	busy    bool
	wrote   []wrote
	reads   []reader
	timer   Instant
	confs   []Conf // that were in force since it was loaded
	closed  bool
}

type waiter struct {
	pos  Position
	conf int // index in confs, when it was proposed
	req  uint64
	f    func()
}

type wrote struct {
	batch uint64
	at    int
	sync  bool
}

type reader struct {
	id    uint64
	acked int
}

// load brings a group into memory; nil if the node has none, or if it is damaged.
func (n *node) load(gi int) *member {
	if n.open[gi] != nil {
		return n.open[gi]
	}
	r := &n.disk.live[gi]
	if !r.have || n.taking[gi] {
		return nil
	}
	p := n.promises[gi]
	p.Wait = max(p.Wait, n.boot.Wait)
	cfg := Config{
		Self: r.self, Incarnation: n.incarnation, Seed: n.w.seed ^ uint64(n.id)<<8 ^ uint64(gi), Lease: n.w.lease, Behind: 8, off: n.w.off,
	}
	g, err := Open(cfg, r.stored(), p, n.local())
	if err != nil {
		if shoal.KindOf(err) != shoal.Corrupt || !r.bad {
			n.w.check.fail("a sound group was put out of use", "%s on %s: %v", n.w.names[gi], n.peer, err)
			return nil
		}
		n.w.log("%s %s quarantined", n.peer, n.w.names[gi])
		n.replaceStore()
		return nil
	}
	n.w.log("%s %s loaded", n.peer, n.w.names[gi])
	m := &member{n: n, gi: gi, g: g, confs: []Conf{g.conf}}
	n.open[gi] = m
	for j, x := range n.w.nodes {
		if j != n.id && n.met[j] > 0 {
			g.Alive(n.local(), x.peer, n.met[j])
			if n.suspect[j] {
				g.Suspect(n.local(), x.peer)
			}
		}
	}
	m.settle()
	return m
}

// drop takes a group out of memory, and keeps its promise.
func (m *member) drop() {
	m.n.promises[m.gi] = m.g.Promise()
	m.n.open[m.gi] = nil
	m.closed = true
}

// settle does what the group wants done.
func (m *member) settle() {
	n, w := m.n, m.n.w
	out := m.g.Take()
	if m.confs[len(m.confs)-1].Index != m.g.conf.Index {
		w.aim(m, m.confs[len(m.confs)-1], m.g.conf)
		m.confs = append(m.confs, m.g.conf)
	}
	if out.Quarantined != nil {
		w.check.fail("a sound group was put out of use", "%s on %s: %v", w.names[m.gi], n.peer, out.Quarantined)
		return
	}
	if b := out.Persist; b != nil {
		m.persist(b)
	}
	for _, e := range out.Send {
		to := w.node(e.To.Peer)
		data := e.Data
		w.answering(m.gi, to, data)
		w.send(n, to, func() { to.receive(m.gi, n.peer, data) })
	}
	if len(out.Apply) > 0 {
		m.apply = append(m.apply, out.Apply...)
		m.marks = append(m.marks, out.Mark)
		m.applySoon()
	}
	for _, l := range out.Leads {
		m.led(l)
	}
	for _, r := range out.Reads {
		m.readDone(r)
	}
	for _, to := range out.Ship {
		m.ship(to)
	}
	if m.closed {
		return
	}
	if out.Removed {
		w.log("%s %s removed", n.peer, w.names[m.gi])
		m.drop()
		n.removed[m.gi] = max(n.removed[m.gi], m.g.cfg.Self)
		n.disk.write(m.gi, func(r *rec) { *r = rec{} })
		return
	}
	if out.Sleep && m.g.Quiet() {
		w.log("%s %s sleeps", n.peer, w.names[m.gi])
		m.drop()
		return
	}
	m.arm()
	m.probe()
}

// probe reads under the lease, if there is one.
func (m *member) probe() {
	if !m.closed && m.g.Read(m.n.local()) {
		m.n.w.stats["lease reads"]++
		m.n.w.check.leaseRead(m)
	}
}

func (m *member) arm() {
	t, ok := m.g.Next()
	if !ok || t == m.timer {
		return
	}
	m.timer = t
	m.n.when(m.n.truly(t), func() {
		if !m.closed && m.timer == t {
			m.timer = 0
			m.g.Wake(m.n.local())
			m.settle()
		}
	})
}

func (m *member) persist(b *Batch) {
	d := &m.n.disk
	d.write(m.gi, func(r *rec) {
		if b.Hard != nil {
			r.hard = *b.Hard
		}
		if len(b.Entries) > 0 {
			keep := len(r.entries)
			for keep > 0 && r.entries[keep-1].Index >= b.Entries[0].Index {
				keep--
			}
			r.entries = append(r.entries[:keep:keep], b.Entries...)
		}
	})
	m.n.w.log("%s %s writes %d entries %v", m.n.peer, m.n.w.names[m.gi], len(b.Entries), b.Hard)
	m.wrote = append(m.wrote, wrote{b.ID, d.written, b.Sync})
	if b.Sync {
		d.sync()
		return
	}
	if len(m.wrote) == 1 { // nobody waits for it
		m.n.after(0, func() {
			if !m.closed {
				m.confirm(func(x wrote) bool { return !x.sync })
			}
		})
	}
}

// confirm tells the group of batches, in order, as long as ok says so.
func (m *member) confirm(ok func(wrote) bool) {
	var id uint64
	for len(m.wrote) > 0 && ok(m.wrote[0]) {
		id = m.wrote[0].batch
		m.wrote = m.wrote[1:]
	}
	if id == 0 {
		return
	}
	m.g.Persisted(m.n.local(), id)
	if m.n.w.hand.early {
		m.ackEarly()
	}
	m.settle()
}

// ackEarly acknowledges what this member alone has on disk.
func (m *member) ackEarly() {
	for _, x := range m.waiting {
		if last := m.g.log.last(); m.leading && x.pos.Index <= last {
			m.n.w.check.ack(m, x)
			x.f()
		}
	}
	m.waiting = nil
}

func (m *member) synced() {
	d := &m.n.disk
	if d.durable[m.gi].self == d.live[m.gi].self {
		m.g.Synced(d.durable[m.gi].mark.Index)
	}
	m.confirm(func(x wrote) bool { return x.at <= d.done || !x.sync })
}

// applySoon applies what was committed, a little later.
func (m *member) applySoon() {
	if m.busy {
		return
	}
	m.busy = true
	d := time.Duration(m.n.w.rng.ExpFloat64() * float64(time.Millisecond))
	if m.n.w.rng.IntN(20) == 0 {
		d *= 30
	}
	if m.n.w.calm {
		d = 0
	}
	m.n.after(d, func() {
		if m.closed {
			return
		}
		m.busy = false
		m.applyNow()
	})
}

func (m *member) applyNow() {
	w, d := m.n.w, &m.n.disk
	mark := m.marks[0]
	m.marks = m.marks[1:]
	state := d.live[m.gi].state
	var done []waiter
	for len(m.apply) > 0 && m.apply[0].Index <= mark.Index {
		e := m.apply[0]
		m.apply = m.apply[1:]
		var req uint64
		switch e.Kind {
		case Turn:
			req = binary.BigEndian.Uint64(e.Data)
			base := binary.BigEndian.Uint64(e.Data[8:])
			w.check.turn(m, req, base, state)
			state = append(state[:len(state):len(state)], req)
			if len(m.staged) > 0 && m.staged[0] == req {
				m.staged = m.staged[1:]
			}
		case Discarded:
			w.check.fail("a turn was discarded", "%s entry %d: %s", w.names[m.gi], e.Index, e.Why)
		}
		w.check.chosen(m, e, req)
		m.waiting = slices.DeleteFunc(m.waiting, func(x waiter) bool {
			if x.pos == e.Position && e.Kind == Turn {
				done = append(done, x)
			}
			return x.pos.Index == e.Index
		})
	}
	w.check.configured(m.gi, mark.Conf)
	d.write(m.gi, func(r *rec) { r.state, r.mark = state, mark })
	w.log("%s %s applied to %d: %d turns", m.n.peer, w.names[m.gi], mark.Index, len(state))
	m.g.Applied(m.n.local(), mark.Index)
	for _, x := range done {
		w.check.ack(m, x)
		x.f()
	}
	m.compact()
	if len(m.marks) > 0 {
		m.applySoon()
	}
	m.settle()
}

// compact truncates the log now and then, to as far as the group lets it.
func (m *member) compact() {
	r := &m.n.disk.live[m.gi]
	if len(r.entries) < 12 || m.n.w.rng.IntN(4) > 0 {
		return
	}
	base := m.g.Compact(r.mark.Index - uint64(m.n.w.rng.IntN(6)))
	cut := func(r *rec) { // at once, as when a file is removed
		for len(r.entries) > 0 && r.entries[0].Index <= base.Index {
			r.entries = r.entries[1:]
		}
		r.base = base
	}
	cut(&m.n.disk.live[m.gi])
	cut(&m.n.disk.durable[m.gi])
	if w := m.n.w; w.aims && !w.healed && w.rng.IntN(60) == 0 {
		w.at(w.now, func() { m.n.crash(100 * time.Millisecond) })
	}
}

func (m *member) led(l Leadership) {
	m.n.w.log("%s %s epoch %d: leading %v, leader %d", m.n.peer, m.n.w.names[m.gi], l.Epoch, l.Leading, l.Leader.ID)
	m.leading = l.Leading
	m.staged, m.waiting = nil, nil
	if !l.Leading {
		m.reads = nil
		return
	}
	m.n.w.stats["epochs"]++
	m.epoch = l.Epoch
	m.n.w.check.leads(m, l.Epoch)
}
