package actors

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// member is one keeper of an agent: what is on its disk, and, while the agent is awake there, its group.
type member struct {
	a    *Agent
	t    *Troupe
	n    Node
	self uint64

	stored  group.Stored // as read or written last; Mark is that of kv
	kv      view
	undo    []func() // of what is not synced, in order
	durable int      // writes that are, since the beginning of undo
	promise group.Promise
	owed    uint64 // the life of the node in which promise was given

	// In memory only.
	g       *group.Group
	load_   int // counts loads, to drop what was scheduled for an earlier one
	pipe    *turn.Pipe
	open    bool
	epoch   uint64
	waiting []waiting
	reads   map[uint64]func(ok bool)
	changed []func() // wait for another leadership
	mail    []func() // wait for the turn under way
	busy    bool
	timer   time.Duration // an event is queued for then
	writes  []*write
	used    time.Duration
	peers   []Node // to whom signs of life go
}

// waiting is a turn that was proposed.
type waiting struct {
	at   group.Position
	done func(happened bool)
}

// load brings a member into memory; false: there is nothing of it, or its node is down.
func (m *member) load() bool {
	if m.g != nil {
		return true
	}
	if !m.t.w.Up(m.n) {
		return false
	}
	now, life := m.t.now(), m.t.w.Life(m.n)
	promise := m.promise
	if begun := group.Instant(m.t.w.Born(m.n) + epochStart); m.owed != life && life > 1 && now < begun.Add(Lease) {
		promise = group.Booted(begun, Lease)
	} else if m.owed != life {
		promise = group.Promise{}
	}
	m.t.w.Count("group")
	g, err := group.Open(group.Config{Self: m.self, Incarnation: life, Seed: uint64(m.t.w.Dice(1 << 62)), Lease: Lease}, m.stored, promise, now)
	if err != nil {
		m.t.w.Broken(fmt.Sprintf("agent %d: a sound group was put out of use on node %d: %v", m.a.ID, m.n, err))
		m.t.forget(m)
		return false
	}
	m.g, m.pipe, m.reads = g, turn.NewPipe(m.kv), map[uint64]func(bool){}
	m.load_++
	m.timer, m.used = 0, m.t.w.Now()
	m.watch(m.stored.Mark.Conf)
	m.flush()
	return m.g != nil
}

// watch looks after the life of the other members.
func (m *member) watch(c group.Conf) {
	m.release()
	for _, o := range c.Members {
		n := m.t.w.Node(o.Peer)
		if n == m.n {
			continue
		}
		m.peers = append(m.peers, n)
		m.t.w.Use(m.n, n)
		if m.t.w.Hears(m.n, n) {
			m.t.w.Count("group")
			m.g.Alive(m.t.now(), o.Peer, m.t.w.Life(n))
			continue
		}
		life, at := m.t.w.Life(n), m.load_
		m.t.w.After(Suspect+time.Duration(m.t.w.Dice(int64(Beat))), func() {
			if m.g != nil && m.load_ == at && !m.t.w.Hears(m.n, n) && m.t.w.Life(n) == life {
				m.event(func(g *group.Group, now group.Instant) { g.Suspect(now, m.t.w.Peer(n)) })
			}
		})
	}
}

// release: no signs of life go to the other members for this agent.
func (m *member) release() {
	for _, n := range m.peers {
		m.t.w.Release(m.n, n)
	}
	m.peers = m.peers[:0]
}

func (m *member) event(f func(g *group.Group, now group.Instant)) {
	if m.g != nil {
		f(m.g, m.t.now())
		m.flush()
	}
}

// flush does what the group asks for, until it asks for nothing.
func (m *member) flush() {
	for m.g != nil {
		m.t.w.Count("group")
		e := m.g.Take()
		if e.Quarantined != nil {
			m.t.w.Broken(fmt.Sprintf("agent %d: a sound group was put out of use on node %d: %v", m.a.ID, m.n, e.Quarantined))
			m.leave()
			return
		}
		busy := false
		if e.Persist != nil {
			m.persist(e.Persist)
		}
		for _, x := range e.Send {
			m.send(x)
		}
		if len(e.Apply) > 0 {
			m.apply(e.Apply, e.Mark)
			if m.g == nil {
				return
			}
			m.t.w.Count("group")
			m.g.Applied(m.t.now(), e.Mark.Index)
			busy = true
		}
		for _, l := range e.Leads {
			m.lead(l)
			busy = true
		}
		for _, r := range e.Reads {
			if f := m.reads[r.ID]; f != nil {
				delete(m.reads, r.ID)
				f(r.OK)
			}
		}
		for _, to := range e.Ship {
			m.ship(to)
		}
		switch {
		case m.g == nil:
			return
		case e.Sleep && m.g.Quiet():
			m.leave()
			return
		case e.Removed:
			m.leave()
			m.t.forget(m)
			return
		}
		if !busy {
			break
		}
	}
	m.arm()
}

// arm has the group woken when it wants to be. An event that is queued for earlier looks again then.
func (m *member) arm() {
	if m.g == nil || m.a.still || m.t.past > 0 {
		return
	}
	next, ok := m.g.Next()
	if !ok || m.still(next) {
		return
	}
	at := time.Duration(next) - epochStart
	if m.timer > 0 && m.timer <= at {
		return
	}
	m.timer = max(at, m.t.w.Now()+1)
	due, life := m.timer, m.load_
	m.t.w.After(due-m.t.w.Now(), func() {
		if m.g == nil || m.load_ != life || m.timer != due {
			return
		}
		if m.timer = 0; m.a.still {
			return
		}
		if t, ok := m.g.Next(); ok && m.t.now() >= t {
			m.t.w.Count("group")
			m.g.Wake(m.t.now())
		}
		m.flush()
	})
}

func (m *member) send(x group.Envelope) {
	to := m.t.w.Node(x.To.Peer)
	a, from := m.a, m.t.w.Peer(m.n)
	if was := m.t.past; was > 0 {
		o := a.member(to)
		if o == nil || o.g == nil {
			return
		}
		m.t.bytes += len(x.Data) + postHead
		m.t.past = was.Add(m.t.w.Way(m.n, to))
		m.t.w.Count("group")
		_ = o.g.Step(m.t.past, from, x.Data) // a group's own message
		o.flush()
		m.t.past = was
		return
	}
	m.t.w.Post(m.n, to, len(x.Data)+postHead, func() {
		o := a.member(to)
		if o == nil || !o.load() {
			return
		}
		m.t.w.Count("group")
		if err := o.g.Step(m.t.now(), from, x.Data); err != nil {
			m.t.w.Broken(fmt.Sprintf("agent %d: a message was malformed: %v", a.ID, err))
		}
		o.flush()
	})
}

// persist writes a batch. Writes are done in their order.
func (m *member) persist(b *group.Batch) {
	hard := m.stored.Hard
	m.undo = append(m.undo, func() { m.stored.Hard = hard })
	if b.Hard != nil {
		m.stored.Hard = *b.Hard
	}
	if len(b.Entries) > 0 {
		first := b.Entries[0].Index
		cut := func() (removed []group.Raw) {
			s := &m.stored
			n := len(s.Entries)
			for n > 0 && s.Entries[n-1].Index >= first {
				n--
			}
			removed = s.Entries[n:]
			s.Entries = s.Entries[:n:n]
			return removed
		}
		if n := len(m.stored.Entries); n == 0 || m.stored.Entries[n-1].Index < first { // the usual
			m.stored.Entries = append(m.stored.Entries, b.Entries...)
			m.undo = append(m.undo, func() { cut() })
		} else {
			removed := cut()
			m.stored.Entries = append(m.stored.Entries, b.Entries...)
			m.undo = append(m.undo, func() {
				cut()
				for _, e := range removed {
					if e.Index > m.stored.Base.Index {
						m.stored.Entries = append(m.stored.Entries, e)
					}
				}
			})
		}
	}
	life, id, applied, done := m.load_, b.ID, m.stored.Mark.Index, m.durable+len(m.undo)
	w := &write{confirm: func() {
		if m.g == nil || m.load_ != life {
			return
		}
		m.t.w.Count("group")
		if b.Sync {
			m.g.Synced(applied)
		}
		m.g.Persisted(m.t.now(), id)
		m.flush()
		m.truncate()
	}}
	m.writes = append(m.writes, w)
	if b.Sync {
		m.t.w.Sync(m.n, func() {
			m.synced(done)
			m.written(w)
		})
		return
	}
	up := m.t.w.Life(m.n)
	m.t.w.After(0, func() {
		if m.t.w.Up(m.n) && m.t.w.Life(m.n) == up {
			m.written(w)
		}
	})
}

// write is one on its way to the disk.
type write struct {
	done    bool
	confirm func()
}

// written: a write is done. They are told in their order.
func (m *member) written(w *write) {
	w.done = true
	for len(m.writes) > 0 && m.writes[0].done {
		next := m.writes[0]
		m.writes = m.writes[1:]
		next.confirm()
	}
}

// synced: so many writes, counted from the first one ever, will be found again.
func (m *member) synced(done int) {
	if n := done - m.durable; n > 0 {
		m.undo = m.undo[:copy(m.undo, m.undo[n:])]
		m.durable = done
	}
}

// crash loses what was not synced, and what was in memory.
func (m *member) crash() {
	for i := len(m.undo) - 1; i >= 0; i-- {
		m.undo[i]()
	}
	m.durable += len(m.undo)
	m.undo, m.writes = nil, nil
	if m.g == nil {
		return
	}
	m.release()
	m.g, m.pipe, m.reads, m.waiting, m.changed, m.mail = nil, nil, nil, nil, nil, nil
	if m.open {
		m.a.Pull = nil
	}
	m.open, m.busy = false, false
}

// leave takes a group out of memory.
func (m *member) leave() {
	m.promise, m.owed = m.g.Promise(), m.t.w.Life(m.n)
	m.release()
	m.unlead()
	m.g, m.pipe = nil, nil
	for id, f := range m.reads {
		delete(m.reads, id)
		f(false)
	}
	m.reads = nil
	m.tellChanged()
}

// apply brings committed entries into the state.
func (m *member) apply(entries []group.Entry, mark group.Mark) {
	old := m.stored.Mark
	m.undo = append(m.undo, func() { m.stored.Mark = old })
	for _, e := range entries {
		m.a.check(m, e)
		if e.Kind != group.Turn {
			continue
		}
		list, ok := m.pipe.Staged(e.Index)
		if !ok {
			m.t.w.Count("turn")
			d, err := turn.Decode(e.Data)
			if err == nil {
				list, err = m.pipe.Push(e.Index, d)
			}
			if err != nil {
				m.t.w.Broken(fmt.Sprintf("agent %d: an entry cannot be applied: %v", m.a.ID, err))
				return
			}
		}
		for _, w := range list {
			m.put(string(w.Key), w)
		}
	}
	m.stored.Mark = mark
	m.pipe.Applied(mark.Index)
	if mark.Conf.Index != old.Conf.Index {
		m.watch(mark.Conf)
	}
	for _, e := range entries {
		for len(m.waiting) > 0 && m.waiting[0].at.Index <= e.Index {
			w := m.waiting[0]
			m.waiting = m.waiting[1:]
			w.done(e.Kind == group.Turn && w.at == e.Position)
		}
	}
}

func (m *member) put(key string, w shoal.Write) {
	was, had := m.kv[key]
	if w.Delete {
		delete(m.kv, key)
	} else {
		m.kv[key] = w.Value
	}
	m.undo = append(m.undo, func() {
		if had {
			m.kv[key] = was
		} else {
			delete(m.kv, key)
		}
	})
}

// check holds what is applied on one member against what was on others: at each index the same, after the same.
func (a *Agent) check(m *member, e group.Entry) {
	h := fnv.New64a()
	h.Write([]byte{byte(e.Kind)})
	h.Write(e.Data)
	x := entry{e.Index, h.Sum64() ^ e.Term}
	at := &a.log[e.Index%uint64(len(a.log))]
	switch {
	case at.index == x.index && at.sum != x.sum:
		m.t.w.Broken(fmt.Sprintf("agent %d: two entries at %d of the log", a.ID, e.Index))
	case at.index < x.index:
		*at = x
	}
	if e.Kind == group.Discarded {
		m.t.w.Broken(fmt.Sprintf("agent %d: a turn was discarded: %s", a.ID, e.Why))
	}
}

// truncate forgets the log that nobody needs any more.
func (m *member) truncate() {
	s := &m.stored
	if m.g == nil || len(s.Entries) < logMost || s.Mark.Index < logLeast {
		return
	}
	base := m.g.Compact(s.Mark.Index - logLeast)
	if base.Index <= s.Base.Index {
		return
	}
	s.Base = base
	for len(s.Entries) > 0 && s.Entries[0].Index <= base.Index {
		s.Entries = s.Entries[1:]
	}
}
