package model

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/data/spread"
	"github.com/shoal-fabric/shoal/scheduler/gravity"
	"github.com/shoal-fabric/shoal/simulations/report"
)

// data is the district of datasets: who keeps which partitions, how they are fetched, repaired, and copied towards demand. What
// it does and when is what the room data does; constants are that room's defaults.
type data struct {
	c       *city
	dice    *rand.Rand
	first   []int // by family: its first set
	sets    []set
	keeps   [][]node // by partition: who keeps it for the fabric, on its disk
	by      map[node][]uint32
	held    map[node]uint64 // bytes of those
	extra   map[uint32][]node
	extras  map[node]uint64 // bytes of those
	demands map[uint64]*demand
	caches  map[node]*cache
	flights map[uint64][]func(uint64, bool)
	looking map[node]bool // that went down and are missed by others by now, or will be

	repaired uint64 // bytes
}

// set is one dataset.
type set struct {
	family int
	first  uint32 // partition
	parts  int
	size   uint64
}

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

const (
	repairEvery = 20 * time.Second // data.Config
	repairAfter = 30 * time.Second
	surveyEvery = 10 * time.Minute
	stall       = 10 * time.Second
	heldTimeout = 700 * time.Millisecond
	findTimeout = 5 * time.Second
	fetchWindow = 8 << 20
	maxSources  = 6
	cacheBytes  = 8 << 30
	keepExtra   = time.Hour
	tellPrice   = 1.0             // data/copies.go
	freeShare   = 4               // data/copies.go: a copy takes one part in so many of what is free, at most
	leafBytes   = 1 << 20         // blobs/import.go
	swapWait    = 3 * time.Second // data/ensure.go: bitswap, the last resort
	downAfter   = 30 * time.Second

	heldAsk, heldReply = 41, 70 // bytes of data.held: query and heldReply of one partition, encoded
	spreadOver         = 4096   // peers among which a dataset is spread, drawn, where there are more
)

func (c *city) buildData() error {
	d := &data{
		c: c, dice: c.loop.Rand("data"), by: map[node][]uint32{}, held: map[node]uint64{}, extra: map[uint32][]node{}, extras: map[node]uint64{},
		demands: map[uint64]*demand{}, caches: map[node]*cache{}, flights: map[uint64][]func(uint64, bool){}, looking: map[node]bool{},
	}
	c.data = d
	for f := range c.s.Data {
		d.first = append(d.first, len(d.sets))
		if err := d.place(f); err != nil {
			return err
		}
	}
	c.onDown = append(c.onDown, d.down)
	c.onWipe = append(c.onWipe, d.wiped)
	c.finishers = append(c.finishers, d.finish)
	return nil
}

// place puts the datasets of a family where put would: data/spread decides.
func (d *data) place(family int) error {
	c, f := d.c, &d.c.s.Data[family]
	fits := func(n node) bool { return f.Class == "" || c.of(n).Name == f.Class }
	var pool []node
	for i := range c.len() {
		if fits(node(i)) {
			pool = append(pool, node(i))
		}
	}
	replicas := max(f.Replicas, 1)
	if len(pool) == 0 {
		return fmt.Errorf("no node keeps the datasets %s", f.Name) // scenario.Parse refuses it first
	}
	for i := range max(f.Count, 1) {
		size := f.Size(c.seed, i)
		s := set{family, uint32(len(d.keeps)), f.Parts(size), size}
		among := pool
		if most := min(max(256, s.parts*replicas), spreadOver); len(pool) > most {
			among = make([]node, 0, most)
			for len(among) < most {
				among = append(among, pool[d.dice.IntN(len(pool))])
			}
			slices.Sort(among)
			among = slices.Compact(among)
		}
		p := spread.Problem{Salt: fmt.Sprintf("%s/%d", f.Name, i), Replicas: replicas, Parts: make([]uint64, s.parts)}
		for k := range p.Parts {
			p.Parts[k] = f.PartBytes(size, k)
		}
		p.Peers = d.peers(among)
		d.sets = append(d.sets, s)
		for k, at := range spread.Solve(p) {
			d.keeps = append(d.keeps, nil)
			for _, x := range at {
				d.keep(s.first+uint32(k), among[x], p.Parts[k])
			}
		}
	}
	return nil
}

func (d *data) peers(among []node) []spread.Peer {
	out := make([]spread.Peer, len(among))
	for i, n := range among {
		cl := d.c.of(n)
		free := uint64(cl.Disk)
		out[i] = spread.Peer{ID: peerID(n), Zone: cl.Labels["zone"], Free: free - min(free, d.held[n])}
	}
	return out
}

// keep makes a node a holder of a partition for the fabric.
func (d *data) keep(part uint32, n node, bytes uint64) {
	d.keeps[part] = append(d.keeps[part], n)
	d.by[n] = append(d.by[n], part)
	d.held[n] += bytes
}

// part returns the partition of a request.
func (d *data) part(family, item, part int) uint32 {
	s := &d.sets[d.first[family]+item]
	return s.first + uint32(part%s.parts)
}

// of returns the dataset of a partition.
func (d *data) of(part uint32) *set {
	i, ok := slices.BinarySearchFunc(d.sets, part, func(s set, p uint32) int { return cmp.Compare(s.first, p) })
	if !ok {
		i--
	}
	return &d.sets[i]
}

func (d *data) bytes(part uint32) uint64 {
	s := d.of(part)
	return d.c.s.Data[s.family].PartBytes(s.size, int(part-s.first))
}

// kept reports whether a node keeps a partition for the fabric.
func (d *data) kept(n node, part uint32) bool { return slices.Contains(d.keeps[part], n) }

// here reports whether a node has a partition, in its cache if nowhere else.
func (d *data) here(n node, part uint32) bool {
	if d.kept(n, part) || slices.Contains(d.extra[part], n) {
		return true
	}
	k := d.caches[n]
	if k == nil {
		return false
	}
	_, ok := k.used[part]
	return ok
}

// holders are those that announce a partition and answer.
func (d *data) holders(part uint32) (out []node) {
	for _, list := range [][]node{d.keeps[part], d.extra[part]} {
		for _, n := range list {
			if d.c.up[n] && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// locate finds who has a partition: a look-up, and each one found is asked at once. It returns when all have answered or had
// their time.
func (d *data) locate(from node, part uint32) (found []node, took time.Duration) {
	heard, whole, ok := d.c.find(from, uint64(part))
	for _, list := range [][]node{d.keeps[part], d.extra[part]} {
		for _, n := range list {
			if n != from && !ok {
				continue // nobody heard of it
			}
			t, answers := d.c.ask(from, n, d.c.links.other, heldAsk, heldReply)
			if !answers {
				t = heldTimeout
			} else if !slices.Contains(found, n) {
				found = append(found, n)
			}
			took = max(took, t)
		}
	}
	return found, max(min(whole, findTimeout), heard+took)
}

func pair(n node, part uint32) uint64 { return uint64(n)<<32 | uint64(part) }

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
		if bytes > leafBytes {
			trips = 2 // inner nodes, then leaves
		} else {
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
			c.links.net.Send(n, to, part, wait, most, func(moved uint64, all bool) {
				*kind += moved
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
				done(total, true)
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

// down has the other holders miss a node that has gone, and repair what it kept.
func (d *data) down(n node) {
	for key := range d.flights {
		if node(key>>32) == n {
			delete(d.flights, key)
		}
	}
	if len(d.by[n]) == 0 || d.looking[n] {
		return
	}
	d.looking[n] = true
	life := d.c.lives(n)
	tick := func() time.Duration { return repairEvery*3/4 + time.Duration(d.dice.Int64N(int64(repairEvery/2))) }
	// When its absence is noted: with a member table at the first look after it counts as down; without one only when the
	// dataset is surveyed again.
	wait := downAfter + time.Duration(d.dice.Float64()*float64(tick()))
	if !d.c.s.Table {
		wait = time.Duration(d.dice.Float64() * float64(surveyEvery))
	}
	for patience := time.Duration(0); patience < repairAfter; {
		t := tick()
		wait, patience = wait+t, patience+t
	}
	d.c.loop.After(wait, func() {
		delete(d.looking, n)
		if !d.c.up[n] && d.c.lives(n) == life {
			d.repair(slices.Clone(d.by[n]))
		}
	})
}

// repair restores the copies of partitions that have too few on nodes that are up. Of each set one problem is solved, as its
// holders would: who has the lowest name asks others to keep it, and they fetch.
func (d *data) repair(parts []uint32) {
	slices.Sort(parts)
	for len(parts) > 0 {
		s := d.of(parts[0])
		n := 0
		for n < len(parts) && parts[n] < s.first+uint32(s.parts) {
			n++
		}
		d.repairSet(s, parts[:n])
		parts = parts[n:]
	}
}

func (d *data) repairSet(s *set, parts []uint32) {
	c, f := d.c, &d.c.s.Data[s.family]
	var p spread.Problem
	var short []uint32
	var among []node
	at := map[node]int{}
	index := func(n node) int {
		i, ok := at[n]
		if !ok {
			i = len(among)
			at[n], among = i, append(among, n)
		}
		return i
	}
	for _, part := range parts {
		var have []int
		for _, n := range d.keeps[part] {
			if c.up[n] {
				have = append(have, index(n))
			}
		}
		for _, n := range d.extra[part] { // an extra copy is made one of those first
			if len(have) > 0 && len(have) < f.Replicas && c.up[n] && !d.kept(n, part) {
				d.keep(part, n, d.bytes(part))
				have = append(have, index(n))
			}
		}
		d.extra[part] = slices.DeleteFunc(d.extra[part], func(n node) bool { return d.kept(n, part) })
		if len(d.extra[part]) == 0 {
			delete(d.extra, part)
		}
		if len(have) > 0 && len(have) < f.Replicas {
			short = append(short, part)
			p.Parts, p.Have = append(p.Parts, d.bytes(part)), append(p.Have, have)
		}
	}
	if len(short) == 0 {
		return
	}
	known := c.known(among[0])
	for _, n := range known {
		if c.up[n] && (f.Class == "" || c.of(n).Name == f.Class) {
			index(n)
		}
	}
	p.Salt, p.Replicas, p.Peers = fmt.Sprintf("%s/%d", f.Name, s.first), f.Replicas, d.peers(among)
	for i, list := range spread.Solve(p) {
		for _, x := range list[len(p.Have[i]):] {
			d.replicate(short[i], among[x])
		}
	}
}

// replicate has a node fetch a partition and keep it.
func (d *data) replicate(part uint32, n node) {
	from := d.holders(part)
	if len(from) == 0 || d.kept(n, part) {
		return
	}
	asker := slices.MinFunc(from, func(a, b node) int { return cmp.Compare(peerID(a), peerID(b)) })
	wait, ok := d.c.ask(asker, n, d.c.links.other, heldAsk, heldReply)
	if !ok {
		return
	}
	d.c.loop.Note(pair(n, part))
	d.c.loop.After(wait/2, func() {
		d.fetch(n, part, from, func(moved uint64, ok bool) {
			d.repaired += moved
			if ok && !d.kept(n, part) {
				d.uncache(n, part)
				d.keep(part, n, d.bytes(part))
				d.announced(n, part)
			}
		})
	})
}

// announced tells the DHT that a node has a partition.
func (d *data) announced(n node, part uint32) {
	if d.c.provide != nil {
		d.c.provide(n, uint64(part))
	}
}

// wiped: a node's disk is gone.
func (d *data) wiped(n node) {
	gone := d.by[n]
	for _, part := range gone {
		d.keeps[part] = slices.DeleteFunc(d.keeps[part], func(x node) bool { return x == n })
	}
	for part, list := range d.extra {
		d.extra[part] = slices.DeleteFunc(list, func(x node) bool { return x == n })
	}
	delete(d.by, n)
	delete(d.held, n)
	delete(d.caches, n)
	delete(d.extras, n)
	if len(gone) == 0 {
		return
	}
	// It is silent, or answers that it has nothing: both are seen at the next survey.
	wait := time.Duration(d.dice.Float64() * float64(surveyEvery))
	if d.c.s.Table {
		wait = downAfter + repairAfter + time.Duration(d.dice.Float64()*float64(repairEvery))
	}
	d.c.loop.After(wait, func() { d.repair(gone) })
}

func (d *data) finish(r *report.Run) {
	if len(d.sets) == 0 {
		return
	}
	var lost, short int
	for i := range d.sets {
		s := &d.sets[i]
		want := d.c.s.Data[s.family].Replicas
		for p := s.first; p < s.first+uint32(s.parts); p++ {
			up := 0
			for _, n := range d.keeps[p] {
				if d.c.up[n] {
					up++
				}
			}
			if len(d.keeps[p])+len(d.extra[p]) == 0 {
				lost++
			}
			if up < want {
				short++
			}
		}
	}
	r.Figures["partitions_lost"], r.Figures["partitions_short"] = float64(lost), float64(short)
	r.Figures["repair_bytes"] = float64(d.repaired)
}
