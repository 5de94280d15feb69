package model

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/kad"
)

const (
	upkeepEvery = time.Minute // the tables that are refreshed in it go together
	mostUpkeep  = 128         // nodes whose turn it is are simulated, each
	someUpkeep  = 8           // if there are more, so many are drawn; the others cost as much on average
	maxRefresh  = 15          // kbucket's maxCplForRefresh
)

// every has f called again and again, the first time after one span.
func (c *city) every(span time.Duration, f func()) {
	var kind event.Kind
	kind = c.loop.Handle(func(event.Event) {
		f()
		c.loop.Add(span, kind, 0, 0)
	})
	c.loop.Add(span, kind, 0, 0)
}

// anyone draws a node that is up.
func (c *city) anyone(r *rand.Rand) (node, bool) {
	for range 1000 {
		if n := node(r.IntN(c.len())); c.up[n] {
			return n, true
		}
	}
	return 0, false
}

// upkeep refreshes tables: each node's every ten minutes, by a lookup of its own id and, every other time, one in each bucket.
func (d *dht) upkeep() {
	dice := d.c.loop.Rand("upkeep")
	turns, turn := int(kad.Refresh/upkeepEvery), 0
	d.c.every(upkeepEvery, func() {
		turn++
		due := d.c.len()/turns + min(1, max(0, d.c.len()%turns-turn%turns))
		n := due
		if due > mostUpkeep {
			n = someUpkeep
		}
		var cost uint64
		done := 0
		for i := range n {
			x := node(i*turns + turn%turns)
			if due > n {
				x = node(dice.IntN(d.c.len()))
			}
			if int(x) >= d.c.len() || !d.c.up[x] {
				continue // those that are down have nothing to refresh
			}
			cost += d.refresh(x, dice, turn/turns%2 == int(x>>4)%2)
			done++
		}
		if n > 0 {
			*d.bytes += cost * uint64(due) / uint64(n)
		}
		d.c.loop.Note(cost)
	})
}

// refresh refreshes the table of one node and returns what that costs in bytes.
func (d *dht) refresh(x node, dice *rand.Rand, buckets bool) (cost uint64) {
	me := d.place(x)
	id := d.space.ID(me)
	cost = d.cost(d.s.Find(me, id, d.c.now(), nil), kad.SizeAsk+12) // the key is an id of 38 bytes
	if buckets {
		for i := range min(bits.Len(uint(d.c.len())), maxRefresh+1) {
			key := id ^ 1<<(63-i) ^ dice.Uint64()>>(i+1)
			cost += d.cost(d.s.Find(me, key, d.c.now(), nil), kad.SizeAsk+12)
		}
	}
	return cost
}
