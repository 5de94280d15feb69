// Package flow carries bytes between the nodes of a modelled cluster. A node's way up and its way down are each shared equally
// by the transfers under way on it, and a transfer has the lesser of its two shares: min(up/n, down/m). That is what a
// round-robin over streams gives, but that what one transfer cannot use of its share is not given to the others, so a transfer is
// never faster than it would be, and at most slower where its neighbours are held up at their other ends.
//
// A Net belongs to the goroutine of its loop.
package flow

import (
	"math"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
)

// Net is the links of all nodes. Nodes on which nothing is under way take no memory.
type Net struct {
	loop  *event.Loop
	kind  event.Kind
	rates func(node uint32) (up, down float64)
	alive func(node uint32) bool
	ports map[uint32]*port
	list  []transfer
	free  []uint32
	spare []*port
}

// Moved is told once of each transfer: how many bytes arrived, and whether that was all.
type Moved func(bytes uint64, all bool)

// ID names a transfer under way; it is never used twice.
type ID uint64

// port is a node's link.
type port struct {
	up, down float64
	out, in  []uint32 // transfers by slot
}

type transfer struct {
	from, to uint32
	gen      uint32 // of the slot
	state    state
	bytes    uint64
	left     float64
	rate     float64
	most     float64
	at       event.Time // as of then left is left
	due      event.Time // of the earliest event that is queued for it
	done     Moved
}

type state uint8

const (
	idle state = iota
	coming
	flowing
)

// New returns the links of nodes with these rates, in bytes a second; 0 or less: without bound. alive says whether a node has its
// power; nil: all have. Kinds of events are numbered as Net is made.
func New(l *event.Loop, rates func(node uint32) (up, down float64), alive func(node uint32) bool) *Net {
	n := &Net{loop: l, rates: rates, alive: alive, ports: map[uint32]*port{}}
	n.kind = l.Handle(n.happen)
	return n
}

// Send carries bytes from one node to another, from after a latency on, at no more than most bytes a second (0: without
// bound), and calls done when the last one has left, or when an end is cut. What of its latency comes after that, the caller
// adds. Within a node it takes no time.
func (n *Net) Send(from, to uint32, bytes uint64, latency time.Duration, most float64, done Moved) ID {
	if most <= 0 {
		most = math.Inf(1)
	}
	var i uint32
	if k := len(n.free); k > 0 {
		i, n.free = n.free[k-1], n.free[:k-1]
	} else {
		i = uint32(len(n.list))
		n.list = append(n.list, transfer{})
	}
	t := &n.list[i]
	*t = transfer{from: from, to: to, gen: t.gen, state: coming, bytes: bytes, left: float64(bytes), most: most, done: done}
	n.loop.Add(latency, n.kind, i, uint64(t.gen))
	return ID(t.gen)<<32 | ID(i)
}

func (n *Net) happen(e event.Event) {
	t := &n.list[e.Who]
	if uint64(t.gen) != e.Arg || t.state == idle {
		return
	}
	if t.state == coming {
		n.begin(e.Who)
		return
	}
	if t.due != n.loop.Now() {
		return // an older guess
	}
	t.settle(n.loop.Now())
	if t.over() {
		n.end(e.Who, true)
		return
	}
	n.expect(e.Who, true)
}

func (n *Net) begin(i uint32) {
	t := &n.list[i]
	switch {
	case n.alive != nil && !(n.alive(t.from) && n.alive(t.to)):
		n.end(i, false)
		return
	case t.from == t.to || t.bytes == 0:
		t.left = 0
		n.end(i, true)
		return
	}
	t.state, t.at = flowing, n.loop.Now()
	a, b := n.port(t.from), n.port(t.to)
	a.out, b.in = append(a.out, i), append(b.in, i)
	n.share(a.out)
	n.share(b.in)
}

func (n *Net) port(node uint32) *port {
	p := n.ports[node]
	if p == nil {
		if k := len(n.spare); k > 0 {
			p, n.spare = n.spare[k-1], n.spare[:k-1]
		} else {
			p = &port{}
		}
		p.up, p.down = n.rates(node)
		if p.up <= 0 {
			p.up = math.Inf(1)
		}
		if p.down <= 0 {
			p.down = math.Inf(1)
		}
		n.ports[node] = p
	}
	return p
}

// share gives the transfers of one side of a port their rates.
func (n *Net) share(list []uint32) {
	for _, i := range list {
		t := &n.list[i]
		a, b := n.ports[t.from], n.ports[t.to]
		rate := min(t.most, a.up/float64(len(a.out)), b.down/float64(len(b.in)), fastest)
		if rate == t.rate {
			continue
		}
		t.settle(n.loop.Now())
		t.rate = rate
		n.expect(i, false)
	}
}

// fastest stands for a rate without bound.
const fastest = 1e15

// expect queues an event for the end of a transfer, unless one is queued that is no later: that one then looks again.
func (n *Net) expect(i uint32, anew bool) {
	t := &n.list[i]
	now := n.loop.Now()
	at := now + event.Time(math.Ceil(min(t.left/t.rate*1e9, math.MaxInt64/4)))
	if !anew && t.due > now && t.due <= at {
		return
	}
	if t.due = at; at == now {
		t.due = now + 1
	}
	n.loop.Add(time.Duration(t.due-now), n.kind, i, uint64(t.gen))
}

func (t *transfer) settle(now event.Time) {
	if now > t.at {
		t.left = max(0, t.left-t.rate*(now-t.at).Seconds())
		t.at = now
	}
}

// over reports whether less is left than flows in a nanosecond, which is what times are rounded to.
func (t *transfer) over() bool { return t.left <= t.rate*1e-9 || t.left < 1e-6 }

// end takes a transfer out and tells its owner.
func (n *Net) end(i uint32, all bool) {
	t := &n.list[i]
	was := t.state
	moved := t.bytes
	if !all {
		moved = t.bytes - min(t.bytes, uint64(math.Ceil(t.left)))
	}
	from, to, done := t.from, t.to, t.done
	*t = transfer{gen: t.gen + 1}
	n.free = append(n.free, i)
	if was == flowing {
		a, b := n.ports[from], n.ports[to]
		a.out, b.in = drop(a.out, i), drop(b.in, i)
		n.share(a.out)
		n.share(b.in)
		n.tidy(from, a)
		n.tidy(to, b)
	}
	if done != nil {
		done(moved, all)
	}
}

func drop(list []uint32, i uint32) []uint32 {
	k := slices.Index(list, i)
	list[k] = list[len(list)-1]
	return list[:len(list)-1]
}

func (n *Net) tidy(node uint32, p *port) {
	if len(p.out)+len(p.in) == 0 && n.ports[node] == p {
		delete(n.ports, node)
		n.spare = append(n.spare, p)
	}
}

// Cut ends all transfers that are under way from or to a node: it has lost its power.
func (n *Net) Cut(node uint32) {
	p := n.ports[node]
	if p == nil {
		return
	}
	for _, i := range slices.Concat(p.out, p.in) {
		if t := &n.list[i]; t.state == flowing && (t.from == node || t.to == node) {
			t.settle(n.loop.Now())
			n.end(i, false)
		}
	}
}

// Stop ends one transfer, whose owner is told how far it came; one that has ended is left alone.
func (n *Net) Stop(id ID) {
	i, gen := uint32(id), uint32(id>>32)
	if t := &n.list[i]; t.gen == gen && t.state != idle {
		t.settle(n.loop.Now())
		n.end(i, false)
	}
}

// Sever ends the transfers that are under way between nodes that cannot reach one another any more.
func (n *Net) Sever(reach func(from, to uint32) bool) {
	for i := range n.list {
		if t := &n.list[i]; t.state == flowing && !reach(t.from, t.to) {
			t.settle(n.loop.Now())
			n.end(uint32(i), false)
		}
	}
}

// Rate returns at how many bytes a second one more transfer between two nodes would begin.
func (n *Net) Rate(from, to uint32) float64 {
	up, _ := n.rates(from)
	_, down := n.rates(to)
	share := func(rate float64, others int) float64 {
		if rate <= 0 {
			return fastest
		}
		return rate / float64(others+1)
	}
	var out, in int
	if p := n.ports[from]; p != nil {
		out = len(p.out)
	}
	if p := n.ports[to]; p != nil {
		in = len(p.in)
	}
	return min(share(up, out), share(down, in))
}

// Busy returns how many transfers are under way from a node and to it.
func (n *Net) Busy(node uint32) (out, in int) {
	if p := n.ports[node]; p != nil {
		return len(p.out), len(p.in)
	}
	return 0, 0
}
