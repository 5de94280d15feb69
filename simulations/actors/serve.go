package actors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// Question is a call, as it reaches a keeper.
type Question struct {
	Read    bool
	Payload []byte
	Tells   int          // bytes of the answer to a call that writes, besides how many turns there were
	Request turn.Request // of a call that writes
	// Fetch has what the call reads of datasets fetched to where the agent lives; done is called when it is there. nil: nothing.
	Fetch func(a *Agent, at Node, done func())
	// Look is a method that only reads, in place of the usual one, which returns how many turns there were; nil: that one.
	Look func(v turn.View) []byte

	acked uint64 // turns that were acknowledged when it came
}

// Answer is what a keeper says: the reply, or where it believes the agent to be.
type Answer struct {
	Done    bool
	Reply   []byte
	Leader  Node // if Led
	Led     bool
	Keepers []Node
}

// countKey is where the usual turn keeps how many turns there were.
var countKey = []byte("count")

// Ask has a node answer a question. answer is called once, at that node's, unless the node loses its power.
func (t *Troupe) Ask(n Node, a *Agent, q *Question, answer func(Answer)) {
	a.touch()
	m := a.member(n)
	if m == nil || !m.load() {
		answer(Answer{})
		return
	}
	q.acked = a.acked
	end := t.w.Now() + Patience
	over := false
	var try func()
	try = func() {
		switch {
		case over:
			return
		case m.g == nil && !m.load():
			over = true
			answer(Answer{})
			return
		case m.open:
			over = true
			m.serve(q, answer)
			return
		case t.w.Now() >= end:
			over = true
			answer(m.place())
			return
		}
		t.w.Count("group")
		if err := m.g.Campaign(t.now()); err != nil { // another leads
			over = true
			answer(m.place())
			m.flush()
			return
		}
		m.changed = append(m.changed, try)
		m.flush()
	}
	t.w.After(Patience, try)
	try()
}

// place is what a member knows of where the agent is.
func (m *member) place() (a Answer) {
	if m.g == nil {
		return a
	}
	s := m.g.Status()
	for _, x := range s.Conf.Members {
		a.Keepers = append(a.Keepers, m.t.w.Node(x.Peer))
	}
	if s.Leader.ID != 0 {
		a.Leader, a.Led = m.t.w.Node(s.Leader.Peer), true
	}
	return a
}

// tellChanged has those who wait for a leader look again.
func (m *member) tellChanged() {
	list := m.changed
	m.changed = nil
	for _, f := range list {
		m.t.w.After(0, f)
	}
}

// lead begins or ends the activation.
func (m *member) lead(l group.Leadership) {
	m.unlead()
	m.epoch = l.Epoch
	if l.Leading {
		m.open = true
		m.rest()
		a := m.a
		if n := count(m.kv); n < a.acked {
			m.t.w.Broken(fmt.Sprintf("agent %d: an acknowledged turn is lost: epoch %d begins with %d turns, %d were acknowledged", a.ID, l.Epoch, n, a.acked))
		}
		if a.lastLead != m.n {
			a.Pull = nil
		}
		a.lastLead = m.n
	}
	m.tellChanged()
}

// unlead drops all that is not durable.
func (m *member) unlead() {
	if m.pipe != nil {
		m.pipe.Reset()
	}
	m.open, m.busy = false, false
	list := m.waiting
	m.waiting = nil
	for _, w := range list {
		w.done(false)
	}
	mail := m.mail
	m.mail = nil
	for _, f := range mail {
		f()
	}
}

// rest puts the agent to sleep when nobody has used it for a while.
func (m *member) rest() {
	if m.a.idling {
		return
	}
	m.a.idling = true
	m.t.w.After(Idle+time.Duration(m.t.w.Dice(int64(tend))), m.a.idle)
}

func (a *Agent) idle() {
	a.idling = false
	for _, m := range slices.Clone(a.members) {
		if !m.open {
			continue
		}
		if left := m.used + Idle - a.t.w.Now(); left > 0 {
			a.idling = true
			a.t.w.After(left+time.Duration(a.t.w.Dice(int64(tend))), a.idle)
			return
		}
		a.touch()
		a.t.w.Count("group")
		if len(m.waiting)+len(m.reads) > 0 || m.busy || a.moving || !m.g.Quiet() || m.g.Sleep(a.t.now()) != nil {
			a.idling = true
			a.t.w.After(tend, a.idle)
			return
		}
		m.flush()
		if m.g != nil {
			m.leave()
		}
		return
	}
	a.touch()
	// Nobody leads: members that are awake all the same go by themselves, a while later.
	for _, m := range slices.Clone(a.members) {
		if m.g == nil {
			continue
		}
		if a.t.w.Now() < m.used+2*Idle || !m.g.Quiet() || m.g.Status().Leader.ID != 0 {
			a.idling = true
			a.t.w.After(Idle, a.idle)
			return
		}
		m.leave()
	}
}

// serve processes a question here, where the agent lives; turns that read datasets go one after the other.
func (m *member) serve(q *Question, answer func(Answer)) {
	m.used = m.t.w.Now()
	notHere := func() { answer(Answer{}) }
	if q.Fetch == nil {
		if q.Read {
			m.read(q, answer, notHere)
		} else {
			m.turn(q, answer, notHere)
		}
		return
	}
	epoch, life := m.epoch, m.load_
	var begin func()
	begin = func() {
		if !m.open || m.epoch != epoch || m.load_ != life {
			notHere()
			return
		}
		if m.busy && !q.Read {
			m.mail = append(m.mail, begin)
			return
		}
		m.busy = m.busy || !q.Read
		q.Fetch(m.a, m.n, func() {
			if m.g == nil || !m.open || m.epoch != epoch || m.load_ != life {
				notHere()
				return
			}
			if q.Read {
				m.read(q, answer, notHere)
				return
			}
			m.busy = false
			m.turn(q, answer, notHere)
			if len(m.mail) > 0 {
				next := m.mail[0]
				m.mail = m.mail[1:]
				next()
			}
		})
	}
	begin()
}

// read runs a method that only reads, under the lease or after a round of the keepers.
func (m *member) read(q *Question, answer func(Answer), notHere func()) {
	look := func() {
		n := count(m.kv)
		if n < q.acked {
			m.t.w.Broken(fmt.Sprintf("agent %d: a stale read: %d turns, %d were acknowledged", m.a.ID, n, q.acked))
		}
		reply := binary.BigEndian.AppendUint64(nil, n)
		if q.Look != nil {
			reply = q.Look(m.kv)
		}
		answer(Answer{Done: true, Reply: reply})
	}
	m.t.w.Count("group")
	if m.g.Read(m.t.now()) {
		look()
		return
	}
	id, err := m.g.ReadIndex(m.t.now())
	if err != nil {
		notHere()
		return
	}
	m.reads[id] = func(ok bool) {
		if ok {
			look()
		} else {
			notHere()
		}
	}
	m.flush()
}

// turn processes a question that writes.
func (m *member) turn(q *Question, answer func(Answer), notHere func()) {
	m.t.w.Count("turn")
	digest := turn.Digest("write", q.Payload)
	reply, done, err := turn.Lookup(m.pipe, q.Request, digest)
	if err != nil {
		m.t.w.Broken(fmt.Sprintf("agent %d: a request is refused: %v", m.a.ID, err))
		notHere()
		return
	}
	if done { // it was processed: the reply waits for whatever is before it
		tell := func(ok bool) {
			if ok {
				answer(Answer{Done: true, Reply: reply})
			} else {
				notHere()
			}
		}
		if n := len(m.waiting); n > 0 {
			then := m.waiting[n-1].done
			m.waiting[n-1].done = func(ok bool) { then(ok); tell(ok) }
		} else {
			tell(true)
		}
		return
	}
	stage := turn.NewStage(m.pipe, time.Unix(1.7e9, int64(m.t.w.Now())), 0, false)
	var n uint64
	if b, ok, _ := stage.Get(countKey); ok {
		n = binary.BigEndian.Uint64(b)
	}
	n++
	count := binary.BigEndian.AppendUint64(nil, n)
	reply = append(count, make([]byte, q.Tells)...)
	key := append([]byte("slot"), byte('0'+n%8))
	err = errors.Join(stage.Put(countKey, count), stage.Put(key, q.Payload))
	var e *turn.Entry
	if err == nil {
		e, err = stage.Turn(turn.Message{Method: "write", Payload: q.Payload, Request: q.Request}, reply)
	}
	if err != nil {
		m.t.w.Broken(fmt.Sprintf("agent %d: a turn fails: %v", m.a.ID, err))
		notHere()
		return
	}
	m.t.w.Count("group")
	at, err := m.g.Propose(m.t.now(), e.Encode())
	if err != nil {
		notHere()
		m.flush()
		return
	}
	m.t.w.Count("turn")
	if _, err := m.pipe.Push(at.Index, e); err != nil {
		m.t.w.Broken(fmt.Sprintf("agent %d: a turn cannot be staged: %v", m.a.ID, err))
	}
	a := m.a
	m.waiting = append(m.waiting, waiting{at, func(happened bool) {
		if !happened {
			notHere()
			return
		}
		a.acked = max(a.acked, n)
		answer(Answer{Done: true, Reply: reply})
	}})
	m.flush()
}

// count is how many turns a state has seen.
func count(v view) uint64 {
	if b, ok := v["u"+string(countKey)]; ok { // as turn lays out what is the agent's own
		return binary.BigEndian.Uint64(b)
	}
	return 0
}
