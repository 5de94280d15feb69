package model

import (
	"cmp"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/gravity"
)

// demand is what a node has paid for a partition that it does not keep: data.demand.
type demand struct {
	rent   gravity.Copy
	stock  gravity.Stock
	fetch  float64 // seconds
	bought bool
}

// cache is the partitions that a node has besides.
type cache struct {
	used  map[uint32]uint64 // by partition: when, in the order of uses
	bytes uint64
	uses  uint64
}

// fetch brings a partition to a node, from those that are said to have it or else from whoever is found; done hears how many
// bytes moved, and whether all of it is there. Many who want the same at once share one fetch.
func (d *data) fetch(to node, part uint32, from []node, done func(moved uint64, ok bool)) {
	if d.here(to, part) {
		d.use(to, part)
		done(0, true)
		return
	}
	key := pair(to, part)
	if wait, under := d.flights[key]; under {
		d.flights[key] = append(wait, func(_ uint64, ok bool) { done(0, ok) })
		return
	}
	d.flights[key] = []func(uint64, bool){done}
	d.bring(to, from, d.bytes(part), d.c.links.data,
		func() ([]node, time.Duration) { return d.locate(to, part) },
		func(moved uint64, ok bool) {
			wait := d.flights[key]
			delete(d.flights, key)
			if ok {
				d.use(to, part)
			}
			for _, f := range wait {
				f(moved, ok)
			}
		})
}

// bring moves bytes from several sources at once; look finds others when those fail.
func (d *data) bring(to node, from []node, bytes uint64, kind *uint64, look func() ([]node, time.Duration), done func(uint64, bool)) {
	c, total, looked := d.c, uint64(0), false
	life := c.lives(to)
	var try func(from []node, left uint64)
	try = func(from []node, left uint64) {
		from = slices.DeleteFunc(slices.Clone(from), func(n node) bool { return n == to || !c.up[n] || !c.reach(n, to) || !c.reach(to, n) })
		slices.SortStableFunc(from, func(a, b node) int { return cmp.Compare(c.rtt(a, to), c.rtt(b, to)) })
		if len(from) == 0 {
			if looked || look == nil {
				c.loop.After(swapWait, func() { done(total, false) })
				return
			}
			looked = true
			found, took := look()
			c.loop.After(took, func() { try(found, left) })
			return
		}
		from = from[:min(len(from), maxSources)]
		trips := 1 // what is one leaf comes with the first question
		if bytes > leafBytes || kind == c.links.results {
			trips = 2 // inner nodes, then leaves; what a task left is a folder
		}
		if bytes <= leafBytes {
			from = from[:1]
		}
		rates := make([]float64, len(from))
		var sum float64
		for i, n := range from { // each takes the next piece when it has room: so they share by their speed
			rates[i] = min(c.links.net.Rate(n, to), fetchWindow/max(c.rtt(n, to).Seconds(), 1e-6))
			sum += rates[i]
		}
		open, short, given := len(from), uint64(0), uint64(0)
		for i, n := range from {
			part := uint64(float64(left) * rates[i] / sum)
			if i == len(from)-1 {
				part = left - given
			}
			given += part
			wait := c.dial(to, n)
			for range trips {
				wait += c.way(to, n) + c.way(n, to)
			}
			most := min(fetchWindow/max(c.rtt(n, to).Seconds(), 1e-6), orBoundless(float64(c.of(to).DiskRate)/float64(len(from))), orBoundless(float64(c.of(n).DiskRate)))
			begun := time.Duration(c.loop.Now()) + wait
			c.links.send(n, to, part, wait, most, func(moved uint64, all bool) {
				c.tasks.measured(to, n, moved, time.Duration(c.loop.Now())-begun)
				*kind += moved + uint64(trips)*stream("data.fetch") // the inner nodes come by a stream of their own
				total += moved
				short += part - moved
				if open--; open > 0 || c.lives(to) != life {
					return
				}
				if short > 0 { // others are asked once a source has been silent for so long
					rest := short
					c.loop.After(stall, func() {
						if c.lives(to) == life {
							try(from, rest)
						}
					})
					return
				}
				c.loop.After(c.synced(to), func() {
					if c.lives(to) == life {
						done(total, true)
					}
				})
			})
		}
	}
	try(from, bytes)
}

func orBoundless(rate float64) float64 {
	if rate <= 0 {
		return 1e15
	}
	return rate
}

// use notes that a partition is in a node's cache, or was wanted again.
func (d *data) use(n node, part uint32) {
	if d.kept(n, part) || slices.Contains(d.extra[part], n) {
		return
	}
	k := d.caches[n]
	if k == nil {
		k = &cache{used: map[uint32]uint64{}}
		d.caches[n] = k
	}
	if _, ok := k.used[part]; !ok {
		k.bytes += d.bytes(part)
	}
	k.uses++
	k.used[part] = k.uses
	for k.bytes > cacheBytes && len(k.used) > 1 { // the one that was used the longest ago goes
		old, at := part, k.uses
		for p, u := range k.used {
			if u < at {
				old, at = p, u
			}
		}
		delete(k.used, old)
		k.bytes -= d.bytes(old)
	}
}

// wanted notes that a task on a node has read a partition whose fetch took so long, and may make the node keep a copy:
// data.Demand.
func (d *data) wanted(n node, part uint32, took time.Duration) {
	if d.kept(n, part) {
		return
	}
	key, now := pair(n, part), d.c.clock()
	e := d.demands[key]
	if e == nil {
		e = &demand{}
		d.demands[key] = e
	}
	if took > 0 {
		e.fetch = took.Seconds()
	}
	if e.bought {
		e.stock.Saved(e.fetch, keepExtra, now)
		return
	}
	*d.c.leaves["gravity"]++
	if buy, _ := e.rent.Read(e.fetch, e.fetch+tellPrice); !buy || d.bytes(part) > d.free(n)/freeShare {
		return
	}
	e.bought, e.stock = true, gravity.Bought(e.fetch+tellPrice, now)
	d.extra[part] = append(d.extra[part], n)
	d.extras[n] += d.bytes(part)
	d.uncache(n, part)
	d.c.loop.Note(key)
	d.announced(n, part)
	d.c.loop.After(keepExtra, func() { d.retire(n, part, key) })
}

// free is how much room a node has on its disk for what nobody asked it to keep.
func (d *data) free(n node) uint64 {
	used := d.held[n] + d.extras[n]
	if k := d.caches[n]; k != nil {
		used += k.bytes
	}
	disk := uint64(d.c.of(n).Disk)
	return disk - min(disk, used)
}

// uncache has a partition be no part of a node's cache any more: it is kept for another reason.
func (d *data) uncache(n node, part uint32) {
	if k := d.caches[n]; k != nil {
		if _, ok := k.used[part]; ok {
			delete(k.used, part)
			k.bytes -= d.bytes(part)
		}
	}
}

// retire drops a copy that does not pay any more: it is in the cache then.
func (d *data) retire(n node, part uint32, key uint64) {
	e := d.demands[key]
	if e == nil || !e.bought {
		return
	}
	left := e.stock.Left(keepExtra, d.c.clock())
	if left > 0 {
		d.c.loop.After(time.Duration(left/e.stock.Price*float64(keepExtra))+repairEvery, func() { d.retire(n, part, key) })
		return
	}
	delete(d.demands, key)
	d.extras[n] -= min(d.extras[n], d.bytes(part))
	d.extra[part] = slices.DeleteFunc(d.extra[part], func(x node) bool { return x == n })
	if len(d.extra[part]) == 0 {
		delete(d.extra, part)
	}
	d.use(n, part)
}
