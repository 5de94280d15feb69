package model

import (
	"slices"
	"time"
)

// measure is what a node knows of the rate of the link to another: the room rpc measures what large streams bring.
type measure struct {
	rate   float64 // bytes a second
	probed bool    // by a probe only
}

const (
	rateBytes = 256 << 10 // rpc/link.go: less does not fill a record and says nothing
	rateShare = 0.25      // rpc/link.go: of a new measurement
	putKeeps  = 3         // data/keep.go: partitions that a node fetches at once when it is to keep them
	maxRated  = 1 << 16   // nodes whose links are remembered
)

// synced is how long a node's disk takes to have what was written last.
func (c *city) synced(n node) time.Duration {
	return time.Duration(float64(c.of(n).Sync) * c.machines.factor(slowDisk, n))
}

// links returns what a node knows of its links. When it is asked for the first time, that is what it measured when it was given
// datasets to keep: all copies leave the node that put them at once, and share its link.
func (t *tasks) links(n node) map[node]measure {
	known := t.rates[n]
	if known != nil {
		return known
	}
	if len(t.rates) >= maxRated {
		clear(t.rates)
	}
	known = map[node]measure{}
	t.rates[n] = known
	if t.c.lives(n) > 0 {
		return known // it has forgotten what was before
	}
	d := t.c.data
	for _, part := range d.by[n] {
		s := d.of(part)
		if from := d.putter(s); from != n {
			if rate := d.spreadRates(s)[n]; rate > 0 {
				known[from] = measure{rate: rate}
			}
		}
	}
	return known
}

// rate is what a node knows of the rate of the link to another; 0: nothing.
func (t *tasks) rate(a, b node) float64 { return t.links(a)[b].rate }

// measured takes in how long bytes took to a node from another. The other is told nothing: who fetches resets the stream in the
// end (data/source.go), and what a receiver has measured goes back only when it is closed.
func (t *tasks) measured(to, from node, bytes uint64, took time.Duration) {
	if bytes < rateBytes || took <= 0 {
		return
	}
	rate := float64(bytes) / took.Seconds()
	known := t.links(to)
	m := known[from]
	for range max(1, min(bytes/leafBytes, 64)) { // each leaf is a run of its own
		if m.rate == 0 || m.probed {
			m = measure{rate: rate}
		} else {
			m.rate += rateShare * (rate - m.rate)
		}
	}
	known[from] = m
}

// probed takes in what a probe found, if nothing better is known.
func (t *tasks) probed(a, b node, rate float64) {
	if m := t.links(a)[b]; m.rate == 0 || m.probed {
		t.links(a)[b] = measure{rate, true}
	}
}

// usual is the median of the rates that a node has measured; 0: there is none.
func (t *tasks) usual(n node) float64 {
	known := t.links(n)
	if len(known) == 0 {
		return 0
	}
	var few [32]float64
	all := few[:0]
	for _, m := range known { // all of them: the order of a map decides nothing
		all = append(all, m.rate)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// putter is the node that put a dataset: any.
func (d *data) putter(s *set) node {
	return node(d.c.hashed("putter", uint64(s.first)) % uint64(d.c.len()))
}

// spreadRates is at what rates the holders of a dataset got it from the node that put it. Partitions that are too small to
// tell say nothing.
func (d *data) spreadRates(s *set) map[node]float64 {
	from, copies, all := d.putter(s), map[node]int{}, 0
	for p := s.first; p < s.first+uint32(s.parts); p++ {
		if d.bytes(p) < rateBytes {
			continue
		}
		for _, n := range d.keeps[p] {
			if n != from && copies[n] < putKeeps {
				copies[n]++
				all++
			}
		}
	}
	rates := map[node]float64{}
	for n, k := range copies {
		rates[n] = min(orBoundless(float64(d.c.of(from).Up))/float64(all), orBoundless(float64(d.c.of(n).Down))/float64(k))
	}
	return rates
}
