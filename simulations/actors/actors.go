// Package actors keeps agents in a simulation: around the state machines that production runs (agents/group, agents/turn,
// agents/keepers) it does what the room agents does around them, on the clock, the links and the disks of a World. An agent costs
// nothing until somebody calls it; its groups leave memory when it rests, as on a node.
//
// All of it belongs to one goroutine.
package actors

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// Node is a machine of the world.
type Node = uint32

// World is where agents live. What it calls back it does on the same goroutine, never from within the call itself.
type World interface {
	Now() time.Duration
	After(d time.Duration, f func())
	Up(n Node) bool
	Hears(a, b Node) bool                                   // both are up, and messages come through both ways
	Life(n Node) uint64                                     // how often the node has started, from 1; greater with each start
	Born(n Node) time.Duration                              // when it did so last
	Way(from, to Node) time.Duration                        // of a message, about
	Calm() bool                                             // nothing keeps messages back between nodes that are up
	Sent(bytes int)                                         // messages that were not posted one by one
	Post(from, to Node, bytes int, f func())                // calls f when a message arrives, if it does
	Sync(n Node, f func())                                  // calls f after an fsync, unless the node loses its power before
	Carry(from, to Node, bytes uint64, f func(ok bool))     // moves a state
	Spare(at Node, not []Node, zones []string) (Node, bool) // a node that may become a keeper, as one knows that looks for it: rather of none of these zones
	Free(not []Node) int                                    // how many there are
	Peer(n Node) shoal.PeerID                               // its name
	Node(p shoal.PeerID) Node                               // the inverse
	Gone(at, n Node) bool                                   // n has been away, or silent to another, for Missing or longer
	Zone(n Node) string                                     // that fails at once, as its label says; "": none is known
	Rate(from, to Node) float64                             // bytes a second, as measured
	Dice(n int64) int64                                     // from [0, n)
	Count(leaf string)                                      // a call of production's leaf
	Use(from, to Node)                                      // one more agent in use at from is kept by to as well: signs of life go there
	Release(from, to Node)                                  // one less
	Moved(a *Agent, to Node)                                // an agent moved by itself
	Broken(invariant string)                                // what must never be, was
}

// The defaults of the room agents.
const (
	Lease   = 1500 * time.Millisecond
	Beat    = 300 * time.Millisecond
	Suspect = 1500 * time.Millisecond
	Idle    = 30 * time.Second
	Replace = time.Minute
	Missing = Replace - Beat // when a node is silent: the last sign of life that had an answer was given a beat before

	Patience  = 2 * time.Second // that a call waits at a keeper for a leader
	movePause = 20 * time.Millisecond
	moveTime  = 30 * time.Second
	tend      = time.Second
	logLeast  = 64  // entries that are kept for those who are a little behind
	logMost   = 256 // after which the log is truncated; there it is 1,024, or a MiB
	postHead  = 40  // bytes around a group's message: the agent's key, and two lengths (agents/post.go)
)

// Troupe is all agents.
type Troupe struct {
	w      World
	agents map[uint32]*Agent
	past   group.Instant      // not 0: what is done now happened then; see Agent.touch
	bytes  int                // that messages took then
	at     map[Node][]*member // that have a state there, or had when they were last looked for
	stores map[Node]int       // disks that a node has lost
}

// epochStart is when the world begins, on the clock of groups: to them 0 is no time.
const epochStart = time.Hour

func (t *Troupe) now() group.Instant {
	if t.past > 0 {
		return t.past
	}
	return group.Instant(t.w.Now() + epochStart)
}

// New returns agents that live in w.
func New(w World) *Troupe {
	return &Troupe{w: w, agents: map[uint32]*Agent{}, at: map[Node][]*member{}, stores: map[Node]int{}}
}

// Agent is one agent.
type Agent struct {
	ID       uint32
	Bytes    uint64 // of its state, besides what its turns write here
	Wanted   int    // keepers
	Pull     *Pull  // what it has paid for distance; nil: nothing since it lives where it does
	t        *Troupe
	members  []*member
	acked    uint64 // turns that somebody was told of
	log      [32]entry
	caring   bool
	moving   bool
	idling   bool
	still    bool          // only the leader's beats go on, and these are not carried out one by one; see touch
	beatAt   time.Duration // the first of those that are left out
	lastLead Node
}

// entry is what was applied at an index of an agent's log: the same everywhere.
type entry struct {
	index, sum uint64
}

// Agent returns an agent, which is born if it was never called: on these nodes, the first of which rather leads.
func (t *Troupe) Agent(id uint32, born func() (keepers []Node, bytes uint64)) *Agent {
	a := t.agents[id]
	if a != nil {
		return a
	}
	nodes, bytes := born()
	a = &Agent{ID: id, Bytes: bytes, Wanted: len(nodes), t: t}
	t.agents[id] = a
	ks := make([]group.Keeper, len(nodes))
	for i, n := range nodes {
		ks[i] = t.keeper(n)
	}
	for i, n := range nodes {
		t.add(a, n, uint64(i)+1, group.Birth(ks), nil)
	}
	return a
}

// Known returns an agent that was called before, or nil.
func (t *Troupe) Known(id uint32) *Agent { return t.agents[id] }

// Awake counts the groups in memory; for tests.
func (t *Troupe) Awake() (n int) {
	for _, a := range t.agents {
		for _, m := range a.members {
			if m.g != nil {
				n++
			}
		}
	}
	return n
}

func (t *Troupe) keeper(n Node) group.Keeper {
	return group.Keeper{Peer: t.w.Peer(n), Store: fmt.Sprintf("%d.%d", n, t.stores[n])}
}

// add makes a member of a state that is on a node's disk.
func (t *Troupe) add(a *Agent, n Node, self uint64, s group.Stored, kv map[string][]byte) *member {
	m := &member{a: a, t: t, n: n, self: self, stored: s, kv: view(kv)}
	if m.kv == nil {
		m.kv = view{}
	}
	a.members = append(a.members, m)
	t.at[n] = append(t.at[n], m)
	return m
}

func (a *Agent) member(n Node) *member {
	for _, m := range a.members {
		if m.n == n {
			return m
		}
	}
	return nil
}

// forget drops a member whose disk has nothing of the agent any more.
func (t *Troupe) forget(m *member) {
	drop := func(list []*member) []*member { return slices.DeleteFunc(list, func(x *member) bool { return x == m }) }
	m.a.members, t.at[m.n] = drop(m.a.members), drop(t.at[m.n])
	if len(t.at[m.n]) == 0 {
		delete(t.at, m.n)
	}
}

// Keepers lists the nodes that keep an agent, as one of them knows it.
func (a *Agent) Keepers() (list []Node) {
	for _, m := range a.members {
		list = append(list, m.n)
	}
	return list
}

// Turns returns how many turns have been acknowledged.
func (a *Agent) Turns() uint64 { return a.acked }

// Leader returns where an agent lives; false: nobody leads it.
func (a *Agent) Leader() (Node, bool) {
	for _, m := range a.members {
		if m.open {
			return m.n, true
		}
	}
	return 0, false
}

// Down: a node has lost its power, and with it what its disk had not synced. Those who share agents in use with it suspect it
// in time.
func (t *Troupe) Down(n Node) {
	for _, m := range slices.Clone(t.at[n]) {
		m.a.touch()
		m.crash()
	}
	if len(t.at[n]) == 0 { // it keeps nothing: nobody misses it
		return
	}
	life := t.w.Life(n)
	// It is missed once no answer came for Suspect, which is looked at every Beat.
	t.w.After(Suspect+time.Duration(t.w.Dice(int64(Beat))), func() {
		if !t.w.Up(n) && t.w.Life(n) == life {
			t.tell(n, func(*member) bool { return true }, func(g *group.Group, now group.Instant) { g.Suspect(now, t.w.Peer(n)) })
		}
	})
	t.w.After(Missing, func() {
		if !t.w.Up(n) && t.w.Life(n) == life {
			t.Missed(n, false)
		}
	})
}

// Parted: from now on some nodes do not hear of others, though all are up. Those who share agents in use suspect each other in time, and
// later give each other's places away.
func (t *Troupe) Parted() {
	t.w.After(Suspect+time.Duration(t.w.Dice(int64(Beat))), t.listen)
	t.w.After(Missing, func() { t.look(t.all(), false) })
}

// Healed: they hear of one another again.
func (t *Troupe) Healed() { t.w.After(time.Duration(t.w.Dice(int64(Beat))), t.listen) }

// listen has all groups in memory know of which members signs of life come.
func (t *Troupe) listen() {
	for _, a := range t.all() {
		a.touch()
		for _, m := range slices.Clone(a.members) {
			if m.g == nil {
				continue
			}
			for _, n := range slices.Clone(m.peers) {
				switch {
				case !t.w.Up(n): // that is told where it went down
				case t.w.Hears(m.n, n):
					t.w.Count("group")
					m.event(func(g *group.Group, now group.Instant) { g.Alive(now, t.w.Peer(n), t.w.Life(n)) })
				default:
					t.w.Count("group")
					m.event(func(g *group.Group, now group.Instant) { g.Suspect(now, t.w.Peer(n)) })
				}
			}
		}
	}
}

// all are the agents that were called before, in order.
func (t *Troupe) all() (list []*Agent) {
	for _, id := range slices.Sorted(maps.Keys(t.agents)) {
		list = append(list, t.agents[id])
	}
	return list
}

// Started: a node is back, with its disk.
func (t *Troupe) Started(n Node) {
	if len(t.at[n]) == 0 {
		return
	}
	life := t.w.Life(n)
	t.w.After(time.Duration(t.w.Dice(int64(Beat))), func() {
		if t.w.Up(n) && t.w.Life(n) == life {
			hears := func(m *member) bool { return t.w.Hears(m.n, n) }
			t.tell(n, hears, func(g *group.Group, now group.Instant) { g.Alive(now, t.w.Peer(n), life) })
		}
	})
}

// tell has groups in memory elsewhere, that share an agent with a node, handle an event.
func (t *Troupe) tell(n Node, to func(*member) bool, f func(g *group.Group, now group.Instant)) {
	for _, m := range slices.Clone(t.at[n]) {
		m.a.touch()
		for _, o := range slices.Clone(m.a.members) {
			if o.n != n && o.g != nil && to(o) {
				t.w.Count("group")
				o.event(f)
			}
		}
	}
}

// Wiped: the disk of a node that is down is gone. It comes back as another keeper than it was, and its places are given to
// others as if it had not.
func (t *Troupe) Wiped(n Node, all bool) {
	var list []*Agent
	for _, m := range slices.Clone(t.at[n]) {
		m.a.touch()
		list = append(list, m.a)
		t.forget(m)
	}
	t.stores[n]++
	t.w.After(Suspect+Replace+time.Duration(t.w.Dice(int64(tend))), func() { t.look(list, all) })
}

// Missed: a node has been away for so long that its places are given to others: in the agents that are awake, or in all that
// it keeps, which wake for that.
func (t *Troupe) Missed(n Node, all bool) {
	var list []*Agent
	for _, m := range t.at[n] {
		list = append(list, m.a)
	}
	t.look(list, all)
}

func (t *Troupe) look(list []*Agent, all bool) {
	for _, a := range list {
		a.touch()
		awake := slices.ContainsFunc(a.members, func(o *member) bool { return o.g != nil && t.w.Up(o.n) })
		if !awake && all {
			for _, o := range slices.Clone(a.members) {
				if t.w.Up(o.n) && o.load() {
					o.event(func(g *group.Group, now group.Instant) { _ = g.Campaign(now) })
					awake = true
					break
				}
			}
		}
		if awake {
			a.care()
		}
	}
}

// Stir has all agents carry out what they do one by one from here on, as what lies between nodes is about to change.
func (t *Troupe) Stir() {
	for _, a := range t.all() {
		a.touch()
	}
}

// still lets an agent be still, if nothing but its leader's beats goes on: that is when the leader has just beaten, and wants to be woken
// for the next beat only.
func (m *member) still(next group.Instant) bool {
	a, t := m.a, m.t
	if !m.open || t.past > 0 || next != t.now().Add(Lease/3) || a.caring || a.moving || !t.w.Calm() || !m.g.Quiet() ||
		len(m.waiting)+len(m.reads)+len(m.changed) > 0 || len(a.members) != len(m.stored.Mark.Conf.Members) {
		return false
	}
	for _, o := range a.members {
		if o.g == nil || !t.w.Up(o.n) || len(o.writes) > 0 || o != m && !o.g.Quiet() {
			return false
		}
	}
	a.still, a.beatAt = true, time.Duration(next)-epochStart
	return true
}

// touch ends an agent's stillness, before something happens to it. The beats that were left out would have changed nothing but how
// long the lease holds and when members heard of one another last. Of those whose answers would be there by now the last one is
// carried out, as of its time, and as many before it as it takes for nobody to seem silent; the bytes of all are counted.
func (a *Agent) touch() {
	if !a.still {
		return
	}
	a.still = false
	t, m := a.t, a.leader()
	if m == nil {
		return
	}
	slowest := time.Duration(0)
	for _, o := range a.members {
		slowest = max(slowest, t.w.Way(m.n, o.n)+t.w.Way(o.n, m.n))
	}
	const every, skip = Lease / 3, 5 // a leader is given up after two leases
	last := int((t.w.Now() - slowest - a.beatAt) / every)
	if t.w.Now()-slowest < a.beatAt {
		last = -1
	}
	for i := 0; i <= last; i = min(i+skip, max(last, i+1)) {
		t.past, t.bytes = group.Instant(a.beatAt+time.Duration(i)*every+epochStart), 0
		t.w.Count("group")
		m.g.Wake(t.past)
		m.flush()
		t.w.Sent(t.bytes * (min(i+skip, max(last, i+1)) - i))
	}
	t.past = 0
	for _, o := range a.members {
		o.arm()
	}
}

// view is an agent's applied state.
type view map[string][]byte

// Get implements turn.View.
func (v view) Get(key []byte) ([]byte, bool, error) {
	b, ok := v[string(key)]
	return b, ok, nil
}

// Scan implements turn.View.
func (v view) Scan(low, high []byte) iter.Seq2[[]byte, turn.Cell] {
	return func(yield func([]byte, turn.Cell) bool) {
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if k >= string(low) && (high == nil || k < string(high)) && !yield([]byte(k), turn.Cell{Value: v[k]}) {
				return
			}
		}
	}
}
