package model

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/data/spread"
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
	looking map[node]bool   // that went down and are missed by others by now, or will be
	side    func(node) bool // while one side of a partition is looked at: who is on it

	repaired uint64 // bytes
}

// set is one dataset.
type set struct {
	family int
	first  uint32 // partition
	parts  int
	size   uint64
}

const (
	repairEvery = 20 * time.Second // data.Config
	repairAfter = 30 * time.Second
	visitAgain  = 45 * time.Second // and 4 times as long from one visit of a fellow holder that is known to live to the next: data/life.go
	visitAlive  = 4
	visitEvery  = 3 * repairEvery // a fellow holder is visited in the first round 45 s or more after it was
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
	manyHolders        = 64     // of a dataset, who are asked one by one; more count as bytes, not as connections
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
	c.onUp, c.onDown = append(c.onUp, d.came), append(c.onDown, d.down)
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
			if d.alive(n) && !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// locate finds who has a partition: a look-up, and each one found is asked at once. It returns when all have answered or had
// their time.
func (d *data) locate(from node, part uint32) (found []node, took time.Duration) {
	heard, whole, ok := d.c.find(from, uint64(part), 1)
	found, took = d.inquire(from, slices.Concat(d.keeps[part], d.extra[part]), ok)
	return found, max(min(whole, findTimeout), heard+took)
}

// inquire asks nodes at once what they have of a dataset, or only the asker itself if it has not heard of them. It returns who answered, and
// after what time all have answered or had their time. Of very many those beyond the first count as bytes, not as connections.
func (d *data) inquire(from node, list []node, heard bool) (found []node, took time.Duration) {
	for i, n := range list {
		switch {
		case n != from && !heard:
			continue
		case i >= manyHolders:
			if n != from {
				*d.c.links.held += heldAsk + heldReply + askHead
			}
			continue
		case slices.Contains(list[:i], n):
			continue
		}
		t, answers := d.c.ask(from, n, d.c.links.held, heldAsk, heldReply)
		if answers {
			found = append(found, n)
		} else {
			t = heldTimeout
		}
		took = max(took, t)
	}
	return found, took
}

// holding is what a node said that it has of a dataset: so many partitions, cached ones as well.
type holding struct {
	n   node
	has int
}

// survey asks all who announce a dataset what they have of it, and returns by name who answered: data's locate. It takes until all have
// answered or had their time.
func (d *data) survey(from node, s *set) (held []holding, took time.Duration) {
	var all []node
	for p := s.first; p < s.first+uint32(s.parts); p++ {
		all = append(append(all, d.keeps[p]...), d.extra[p]...)
	}
	slices.SortFunc(all, byName)
	all = slices.Compact(all)
	heard, whole, ok := d.c.find(from, d.c.rootKey(s), len(all))
	found, took := d.inquire(from, all, ok)
	for _, n := range found {
		h := holding{n: n}
		for p := s.first; p < s.first+uint32(s.parts); p++ {
			if d.here(n, p) {
				h.has++
			}
		}
		held = append(held, h)
	}
	return held, max(min(whole, findTimeout), heard+took)
}

// rootKey is what a dataset is announced under, as a whole.
func (c *city) rootKey(s *set) uint64 { return c.hashed("dataset", uint64(s.first)) }

// pair is a key for a node and a partition, or another node.
func pair(n node, part uint32) uint64 { return uint64(n)<<32 | uint64(part) }

// announced tells the DHT that a node has a partition.
func (d *data) announced(n node, part uint32) {
	if d.c.provide != nil {
		d.c.provide(n, uint64(part))
	}
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
