package model

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/kad"
)

const (
	upkeepEvery = time.Minute      // the tables that are refreshed in it go together
	fillEvery   = 10 * time.Second // those that came up in it fill their tables together
	mostUpkeep  = 128              // nodes whose turn it is are simulated, each
	someUpkeep  = 8                // if there are more, so many are drawn; the others cost as much on average
	someFills   = 1                // of those that fill their tables, if there are more,
	someEvery   = 2                // and only every other time: an hour has 180, and theirs differ by a fifth, so their mean by 1.5 %
	growths     = 4                // times that a table is refreshed as it grows, until it has K peers (dht/table.go); its buckets once
	maxRefresh  = 15               // kbucket's maxCplForRefresh
	// What kad-dht's sweeping provider looks up as it starts: one lookup to see whether it is online, four to guess how many peers there are, three
	// to explore the only region that a young table has, one to place the first key.
	sweepStart = 1 + 4 + 3 + 1
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

// upkeep refreshes tables: each node's every ten minutes, by a lookup of its own id and, every other time, one in each bucket. Nodes
// that come up fill theirs.
func (d *dht) upkeep() {
	dice := d.c.loop.Rand("upkeep")
	turns, turn := int(kad.Refresh/upkeepEvery), 0
	d.c.every(upkeepEvery, func() {
		turn++
		due := d.c.len()/turns + min(1, max(0, d.c.len()%turns-turn%turns))
		cost := d.some(due, someUpkeep, func(i int, all bool) uint64 {
			x := node(i*turns + turn%turns)
			if !all {
				x = node(dice.IntN(d.c.len()))
			}
			if int(x) >= d.c.len() || !d.c.up[x] {
				return 0 // those that are down have nothing to refresh
			}
			return d.refresh(x, dice, turn/turns%2 == int(x>>4)%2)
		})
		d.c.loop.Note(cost)
	})
	fills := 0
	d.c.every(fillEvery, func() {
		if fills++; d.back > mostUpkeep && fills%someEvery > 0 {
			return
		}
		back, list := d.back, d.filling
		d.back, d.filling = 0, nil
		cost := d.some(back, someFills, func(i int, _ bool) uint64 {
			if !d.space.Up(list[i]) {
				return 0
			}
			return d.fill(d.nodeAt[list[i]], dice)
		})
		d.c.loop.Note(cost)
	})
}

// fill is what a node does that came up, and returns its bytes. It knows a few members, with whom its table grows: by a refresh, and some
// more while it is small. The sweeper starts, too early; then it announces what it is once more, each key by itself (dht/again.go).
func (d *dht) fill(x node, dice *rand.Rand) (cost uint64) {
	me, now, old := d.place(x), d.c.now(), d.s.Tables
	d.near = d.links.Of(me, meshAlone, d.near[:0])
	for len(d.near) < min(meshAlone, d.c.len()-d.c.downs-1) && d.c.len() >= manyNodes {
		y, ok := d.c.anyone(dice)
		if !ok {
			break
		}
		d.near = append(d.near, d.place(y))
	}
	if d.grown == nil {
		d.grown = kad.NewGrowing(d.space, old)
	}
	g := d.grown
	g.Begin(me, d.near, now)
	d.s.Tables = g
	defer func() { d.s.Tables = old }()
	for range growths {
		cost += d.refresh(x, dice, false)
	}
	_, buckets := g.Size()
	cost += d.refreshBuckets(x, dice, buckets)
	keys := d.records.keys[d.c.bodies[x].class]
	news := d.random(x, sweepStart+keys+1, dice) // and its record
	news += uint64(keys*kad.K*kad.SizeAnnounce + kad.K*recordBytes)
	d.announceBytes += news
	return cost + news
}

// random has a node look up n random keys, and returns the bytes.
func (d *dht) random(x node, n int, dice *rand.Rand) (cost uint64) {
	for range n {
		cost += d.cost(d.s.Find(d.place(x), dice.Uint64(), d.c.now(), nil), kad.SizeAsk)
	}
	return cost
}

// some has n nodes do something, or a few of them if they are more than mostUpkeep, and counts its bytes and connections as if all had.
func (d *dht) some(n, few int, do func(i int, all bool) uint64) (cost uint64) {
	k := n
	if n > mostUpkeep {
		k = few
	}
	opened, told := d.links.Opened, d.announceBytes
	for i := range k {
		cost += do(i, k == n)
	}
	if k > 0 {
		d.announceBytes += (d.announceBytes - told) * uint64(n-k) / uint64(k)
		*d.bytes += cost * uint64(n) / uint64(k)
		d.links.Opened += (d.links.Opened - opened) * uint64(n-k) / uint64(k)
	}
	return cost
}

// refresh refreshes the table of one node and returns what that costs in bytes.
func (d *dht) refresh(x node, dice *rand.Rand, buckets bool) (cost uint64) {
	me := d.place(x)
	cost = d.cost(d.s.Find(me, d.space.ID(me), d.c.now(), nil), kad.SizeAsk+12) // the key is an id of 38 bytes
	if buckets {
		cost += d.refreshBuckets(x, dice, bits.Len(uint(d.c.len())))
	}
	return cost
}

// refreshBuckets has a node look for a key in each of its first n buckets.
func (d *dht) refreshBuckets(x node, dice *rand.Rand, n int) (cost uint64) {
	me := d.place(x)
	for i := range min(n, maxRefresh+1) {
		key := d.space.ID(me) ^ 1<<(63-i) ^ dice.Uint64()>>(i+1)
		cost += d.cost(d.s.Find(me, key, d.c.now(), nil), kad.SizeAsk+12)
	}
	return cost
}
