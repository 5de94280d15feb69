package actors

import (
	"maps"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/keepers"
	"github.com/shoal-fabric/shoal/scheduler/gravity"
)

// askBytes is a question whether a peer would keep an agent, or its answer, with their frames.
const askBytes = 60

// care has the leader look after who keeps the agent, until nothing is lacking.
func (a *Agent) care() {
	a.touch()
	if !a.caring {
		a.caring = true
		a.t.w.After(time.Duration(a.t.w.Dice(int64(tend))), a.mend)
	}
}

// mend makes the next change to the configuration, if it lacks anything: agents' mend.
func (a *Agent) mend() {
	w := a.t.w
	a.caring = false
	m := a.leader()
	if m == nil || a.moving {
		if a.moving || slices.ContainsFunc(a.members, func(m *member) bool { return m.g != nil }) {
			a.caring = true
			w.After(tend, a.mend) // one will lead, or all go to sleep
		}
		return
	}
	c := m.stored.Mark.Conf
	gone := a.gone(m.n)
	var nodes []Node
	var zones []string // in which it goes on being kept
	for _, x := range c.Members {
		n := w.Node(x.Peer)
		if nodes = append(nodes, n); !gone(x.Peer) {
			zones = append(zones, w.Zone(n))
		}
	}
	lacks := keepers.Lacks(c, a.Wanted, w.Free(nodes), gone)
	if lacks.None() && !c.Joint() && !c.Learners() {
		return
	}
	m.used = w.Now()
	a.caring = true
	w.After(tend, a.mend)
	ch := group.Change{Promote: lacks.Promote, Remove: lacks.Remove}
	if lacks.Learn > 0 {
		n, ok := w.Spare(m.n, nodes, zones)
		if !ok {
			return
		}
		a.ask(m, n, func() { m.change(group.Change{Learn: []group.Keeper{a.t.keeper(n)}}) })
		return
	}
	m.change(ch)
}

// ask has a leader ask a node whether it would keep the agent.
func (a *Agent) ask(m *member, n Node, then func()) {
	life := m.load_
	a.t.w.Post(m.n, n, askBytes, func() {
		a.t.w.Post(n, m.n, askBytes, func() {
			if m.g != nil && m.load_ == life {
				then()
			}
		})
	})
}

func (m *member) change(ch group.Change) {
	if len(ch.Learn)+len(ch.Promote)+len(ch.Remove) > 0 {
		m.event(func(g *group.Group, now group.Instant) {
			m.t.w.Count("group")
			_ = g.Change(now, ch) // if it cannot be now, then later
		})
	}
}

func (a *Agent) leader() *member {
	for _, m := range a.members {
		if m.open {
			return m
		}
	}
	return nil
}

// gone says which keepers count for nothing any more to one of them: those that have been away for long, or have lost their disk.
func (a *Agent) gone(at Node) func(shoal.PeerID) bool {
	return func(p shoal.PeerID) bool {
		n := a.t.w.Node(p)
		return a.t.w.Gone(at, n) || a.member(n) == nil && a.t.stores[n] > 0
	}
}

// ship sends the state to a member that is new, or too far behind.
func (m *member) ship(to group.Member) {
	a, t, n, life := m.a, m.t, m.t.w.Node(to.Peer), m.load_
	mark, kv, size := m.stored.Mark, maps.Clone(m.kv), a.Bytes
	for k, v := range kv {
		size += uint64(len(k) + len(v))
	}
	shipped := func(index uint64) {
		if m.g != nil && m.load_ == life {
			m.event(func(g *group.Group, now group.Instant) { g.Shipped(now, to.ID, index) })
		}
	}
	t.w.Carry(m.n, n, size, func(ok bool) {
		if !ok || !t.w.Up(n) || t.keeper(n) != to.Keeper {
			shipped(0)
			return
		}
		o := a.member(n)
		var s group.Stored
		var err error
		if o != nil {
			s, err = o.stored.Restored(mark)
		} else {
			s, err = group.Joined(m.stored.Generation, mark, to.ID)
		}
		if err != nil {
			shipped(0)
			return
		}
		if o == nil {
			o = t.add(a, n, to.ID, s, kv)
		} else {
			if o.g != nil {
				o.leave()
			}
			o.stored, o.kv, o.self = s, kv, to.ID
		}
		t.w.Sync(n, func() {
			o.load()
			t.w.Post(n, m.n, askBytes, func() { shipped(mark.Index) })
		})
	})
}

// What a move costs, in seconds, besides the transport of the state (agents/pull.go).
const (
	costLead  = 0.05
	costLearn = 0.15
	pullEvery = time.Second
)

// Pull is what an agent has paid for the distance to what it reads.
type Pull struct {
	ledger      *gravity.Ledger
	bytes, took float64
	looked      time.Duration
	looking     bool
}

// Keeps reports whether a node is a keeper that votes, as the leader knows it.
func (a *Agent) Keeps(n Node) bool {
	m := a.leader()
	if m == nil {
		return false
	}
	return slices.ContainsFunc(m.stored.Mark.Conf.Members, func(x group.Member) bool {
		return x.Peer == a.t.w.Peer(n) && x.Role != group.Learner && x.Role != group.Outgoing
	})
}

// Paid notes that an agent that lives on a node read so many bytes of what another has, and how long that took; of what is on
// its own node nothing. It may have the agent move there: agents' paid and attract.
func (a *Agent) Paid(at, from Node, bytes uint64, took time.Duration) {
	w, p := a.t.w, a.Pull
	if p == nil {
		if at == from { // who never paid is not drawn
			return
		}
		p = &Pull{ledger: gravity.At(w.Peer(at)), looked: w.Now()}
		a.Pull = p
	}
	w.Count("gravity")
	if at == from {
		if p.bytes > 0 {
			p.ledger.Pay(w.Peer(at), float64(bytes)*p.took/p.bytes, 0)
		}
		return
	}
	const fade = 0.95
	p.bytes, p.took = p.bytes*fade+float64(bytes), p.took*fade+took.Seconds()
	p.ledger.Pay(w.Peer(from), took.Seconds(), a.price(at, from))
	if p.looking {
		return
	}
	p.looking = true
	w.After(max(p.looked+pullEvery-w.Now(), 0)+time.Duration(w.Dice(int64(tend))), func() {
		if p.looking = false; a.Pull == p {
			a.attract(p)
		}
	})
}

// Rank is how an agent that lives on a node ranks those who have what it reads, the least first: keepers, who could become one, and others
// (agents' way).
func (a *Agent) Rank(at, n Node) int {
	switch {
	case a.Keeps(n):
		return 0
	case a.price(at, n) > 0:
		return 1
	}
	return 2
}

// price is what having the agent live on a node costs, in seconds; 0: it cannot.
func (a *Agent) price(at, to Node) float64 {
	switch {
	case at == to || !a.t.w.Hears(at, to):
		return 0
	case a.Keeps(to):
		return costLead
	}
	if m := a.leader(); m != nil {
		c, zone := m.stored.Mark.Conf, func(p shoal.PeerID) string { return a.t.w.Zone(a.t.w.Node(p)) }
		if keepers.Spread(c, zone, 0, "") > keepers.Spread(c, zone, keepers.Leaves(c, m.self, a.gone(m.n), a.like(to)), a.t.w.Zone(to)) {
			return 0
		}
	}
	return costLead + costLearn + float64(a.Bytes)/a.t.w.Rate(at, to)
}

// like says which peers are in the same zone as a node.
func (a *Agent) like(n Node) func(shoal.PeerID) bool {
	zone := a.t.w.Zone(n)
	return func(p shoal.PeerID) bool { return zone != "" && a.t.w.Zone(a.t.w.Node(p)) == zone }
}

func (a *Agent) attract(p *Pull) {
	a.touch()
	w, m := a.t.w, a.leader()
	if m == nil || a.moving || m.stored.Mark.Conf.Joint() {
		return
	}
	p.looked = w.Now()
	var fit []gravity.Place
	for _, s := range p.ledger.Sites {
		fit = append(fit, gravity.Place{Peer: s.Peer, Price: a.price(m.n, w.Node(s.Peer))})
	}
	w.Count("gravity")
	d := p.ledger.Decide(fit)
	if d.Move {
		a.moving = true
		a.follow(m, p, w.Node(d.To), w.Now()+moveTime, 0)
	}
}

// follow takes the steps of a move, until the target leads, or another does, or it takes too long: agents' move.
func (a *Agent) follow(m *member, p *Pull, to Node, end, handed time.Duration) {
	w := a.t.w
	if l, ok := a.Leader(); ok && l == to {
		a.moving = false
		w.Moved(a, to)
		return
	}
	if m.g == nil || !m.open && handed == 0 || w.Now() >= end || !w.Up(to) {
		a.moving = false
		p.ledger.Spoil(w.Peer(to))
		a.care() // what was begun is undone
		return
	}
	if m.open {
		m.used = w.Now()
		c, g := m.stored.Mark.Conf, m.g
		step := keepers.Step{}
		if !c.Joint() {
			step = keepers.Swap(c, w.Peer(to), m.self, a.gone(m.n), a.like(to))
		}
		switch {
		case step.Learn:
			a.ask(m, to, func() { m.change(group.Change{Learn: []group.Keeper{a.t.keeper(to)}}) })
		case step.Lead > 0 && (handed == 0 || w.Now() > handed+2*Lease):
			w.Count("group")
			if g.Transfer(a.t.now(), step.Lead) == nil {
				handed = w.Now()
			}
			m.flush()
		case len(step.Promote) > 0:
			m.change(group.Change{Promote: step.Promote, Remove: step.Remove})
		}
	}
	w.After(movePause, func() { a.follow(m, p, to, end, handed) })
}
