package model

import (
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// churn is the district of what goes wrong: nodes that go and come, links that are cut or slow.
type churn struct {
	c    *city
	turn event.Kind // a session or a downtime ends
	ups  int        // of soon: what is read has to go somewhere

	classes scenario.Spells
	all     *scenario.Fault // of kind churn, while it lasts
	among   *crowd          // whom it concerns
	spells  scenario.Spells // of it
	churned []*crowd        // whom faults of kind churn concern, each at its time: in place of the classes' figures
	cuts    []cut
	healed  []cut // a beat ago at most
	slow    []slowed
}

// crowd is a set of nodes.
type crowd struct {
	in   []uint64 // a bit by node
	list []node
}

func (s *crowd) has(n node) bool { return s.in[n>>6]>>(n&63)&1 == 1 }

// cut is a fault that keeps packets back.
type cut struct {
	of     *crowd
	oneWay bool
	at     event.Time // since when
}

// between reports whether it keeps back what is sent from one node to another.
func (x cut) between(from, to node) bool {
	in := x.of.has(from)
	return x.oneWay && in && from != to || !x.oneWay && in != x.of.has(to)
}

// slowed is a fault that makes links slow.
type slowed struct {
	of     *crowd
	factor float64
}

func (c *city) buildChurn() error {
	n := c.len()
	h := &churn{c: c, classes: c.s.Spells(c.seed, -1)}
	h.turn = c.loop.Handle(h.turned)
	c.loop.Soon(h.soon)
	c.churn, c.reach = h, h.reach
	for i := range c.s.Faults {
		f, of := &c.s.Faults[i], h.crowd(i)
		if f.Kind == scenario.Churn {
			h.churned = append(h.churned, of)
		}
		c.loop.After(f.At, func() { h.strike(i, of) })
	}
	for i := range n {
		h.begin(node(i))
	}
	if c.s.Settle > 0 { // with the load ends what comes and goes
		c.loop.After(c.s.Duration, func() {
			for i := range n {
				h.stay(node(i))
			}
		})
	}
	return nil
}

// figures are the mean session and downtime of a node now; a session of 0 does not end.
func (h *churn) figures(n node) (session, downtime time.Duration, from scenario.Spells) {
	if h.all != nil && h.among.has(n) {
		return h.all.Session, h.all.Downtime, h.spells
	}
	for _, x := range h.churned {
		if x.has(n) {
			return 0, 0, 0
		}
	}
	class := h.c.of(n)
	return class.Session, class.Downtime, h.classes
}

// begin draws when a node's session, or its downtime, ends.
func (h *churn) begin(n node) {
	session, down, from := h.figures(n)
	if session <= 0 {
		return
	}
	b, mean := &h.c.bodies[n], session
	if b.away {
		mean = down
	}
	h.c.loop.Add(from.Of(int(n), int(b.spell), mean), h.turn, n, uint64(b.session))
	b.spell++
}

// stay ends a node's coming and going.
func (h *churn) stay(n node) {
	b := &h.c.bodies[n]
	b.session++
	b.spell = 0
	if b.away {
		b.away = false
		h.settle(n)
	}
}

func (h *churn) turned(e event.Event) {
	n := e.Who
	b := &h.c.bodies[n]
	if uint16(e.Arg) != b.session {
		return
	}
	b.away = !b.away
	h.settle(n)
	h.begin(n)
}

// soon has the processor fetch what turns of nodes will look at.
func (h *churn) soon(list []event.Event) {
	var places [64]uint32
	n := 0
	for i := range list {
		if e := &list[i]; e.Of == h.turn && n < len(places) {
			places[n] = h.c.bodies[e.Who].place
			if h.c.up[e.Who] {
				h.ups++
			}
			n++
		}
	}
	h.c.dht.soon(places[:n])
}

// settle brings a node up or takes it down as it should be.
func (h *churn) settle(n node) {
	b := &h.c.bodies[n]
	h.c.set(n, !b.away && b.held == 0)
}

// crowd is whom a fault concerns.
func (h *churn) crowd(fault int) *crowd {
	s := &crowd{in: make([]uint64, (h.c.len()+63)/64), list: h.c.victims(fault)}
	for _, n := range s.list {
		s.in[n>>6] |= 1 << (n & 63)
	}
	return s
}

// strike begins a fault, and has it end.
func (h *churn) strike(fault int, of *crowd) {
	c := h.c
	f := &c.s.Faults[fault]
	end := func(g func()) {
		if f.For > 0 {
			c.loop.After(f.For, g)
		}
	}
	if f.Kind == scenario.Partition || f.Kind == scenario.OneWay || f.Kind == scenario.SlowLink {
		for _, g := range c.onCut {
			g()
		}
	}
	switch f.Kind {
	case scenario.Kill, scenario.Wipe:
		for _, n := range of.list {
			c.bodies[n].held++
			h.settle(n)
			if f.Kind == scenario.Wipe {
				c.wipe(n)
			}
		}
		if f.At+f.For >= c.s.Duration+c.s.Settle {
			return // they are lost for good
		}
		end(func() {
			for _, n := range of.list {
				c.bodies[n].held--
				h.settle(n)
			}
		})
	case scenario.Churn:
		h.all, h.among, h.spells = f, of, c.s.Spells(c.seed, fault)
		for _, n := range of.list {
			h.stay(n)
			h.begin(n)
		}
		end(func() {
			if h.all != f {
				return // another has begun meanwhile
			}
			h.all = nil
			for _, n := range of.list {
				h.stay(n)
			}
		})
	case scenario.Partition, scenario.OneWay:
		h.cuts = append(h.cuts, cut{of: of, oneWay: f.Kind == scenario.OneWay, at: c.loop.Now()})
		if f.Kind == scenario.Partition {
			lasts := func() bool { return slices.ContainsFunc(h.cuts, func(x cut) bool { return x.of == of }) }
			c.data.parted(of, lasts)
			c.dht.parted(of, lasts, end)
		}
		c.agents.troupe.Parted()
		end(func() {
			ended := func(x cut) bool { return x.of == of }
			h.healed = append(h.healed, h.cuts[slices.IndexFunc(h.cuts, ended)])
			h.cuts = without(h.cuts, ended)
			c.agents.troupe.Healed()
			c.loop.After(actors.Beat, func() { h.healed = without(h.healed, ended) })
		})
	case scenario.SlowLink:
		factor := f.Factor
		if factor <= 0 {
			factor = 10 // the scenario's default
		}
		h.slow = append(h.slow, slowed{of, factor})
		end(func() { h.slow = without(h.slow, func(x slowed) bool { return x.of == of }) })
	case scenario.ClockStep: // nothing that the model has reads a clock that steps: leases and liveness count from clocks that do not
	}
}

// without leaves the old list alone: events of this very moment may be reading it.
func without[T any](list []T, gone func(T) bool) (out []T) {
	for _, x := range list {
		if !gone(x) {
			out = append(out, x)
		}
	}
	return out
}

// reach reports whether what is sent from one node to another arrives now.
func (h *churn) reach(from, to node) bool {
	if !h.c.up[from] || !h.c.up[to] {
		return false
	}
	if len(h.cuts) > 0 {
		if r, relayed := h.c.links.via(from, to); relayed && h.c.up[r] && !(h.reach(from, r) && h.reach(r, to)) {
			return false // one that is down has a stand-in
		}
	}
	for _, x := range h.cuts {
		if x.between(from, to) {
			return false
		}
	}
	return true
}

// silent says since when two nodes that are up have had no sign of life of each other, if they have none. Each such sign answers an earlier one:
// so the silence outlasts the cut by a beat.
func (h *churn) silent(a, b node) (since event.Time, yes bool) {
	legs := [][2]node{{a, b}, {b, a}}
	if r, relayed := h.c.links.via(a, b); relayed {
		legs = append(legs, [2]node{a, r}, [2]node{r, b}, [2]node{b, r}, [2]node{r, a})
	}
	for _, list := range [][]cut{h.healed, h.cuts} {
		for _, x := range list {
			apart := slices.ContainsFunc(legs, func(l [2]node) bool { return x.between(l[0], l[1]) })
			if apart && (!yes || x.at < since) {
				since, yes = x.at, true
			}
		}
	}
	return since, yes
}

// delay is how many times as long a packet takes from one node to another.
func (h *churn) delay(from, to node) float64 {
	f := 1.0
	for _, x := range h.slow {
		if x.of.has(from) || x.of.has(to) {
			f *= x.factor
		}
	}
	return f
}
