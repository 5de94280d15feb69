package model

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/data/spread"
)

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
	wait := d.missed()
	for patience := time.Duration(0); patience < repairAfter; {
		t := d.tick()
		wait, patience = wait+t, patience+t
	}
	d.c.loop.After(wait, func() {
		delete(d.looking, n)
		if !d.c.up[n] && d.c.lives(n) == life {
			d.repair(slices.Clone(d.by[n]))
		}
	})
}

// missed is when it is noted first that a holder does not answer: with a member table it is suspected soon, and visited when its fellows look next
// at what they keep, unless it was visited a moment ago; without one it is visited when its turn comes.
func (d *data) missed() time.Duration {
	if d.c.s.Table {
		ago := time.Duration(d.dice.Float64() * float64(visitAlive*visitAgain))
		return max(suspectAfter, visitAgain-ago) + time.Duration(d.dice.Float64()*float64(d.tick()))
	}
	return time.Duration(d.dice.Float64() * float64(visitEvery))
}

// parted has holders on either side of a partition, of which some nodes are one, miss those on the other, and repair what they kept if it lasts.
func (d *data) parted(some *crowd, lasts func() bool) {
	for i := range d.sets {
		s := &d.sets[i]
		in := 0
		list := d.sharers(s)
		for _, n := range list {
			if some.has(n) {
				in++
			}
		}
		if in == 0 || in == len(list) {
			continue
		}
		wait := d.missed()
		for patience := time.Duration(0); patience < repairAfter; {
			t := d.tick()
			wait, patience = wait+t, patience+t
		}
		d.c.loop.After(wait, func() {
			if !lasts() {
				return
			}
			for _, within := range []bool{true, false} {
				d.side = func(n node) bool { return some.has(n) == within }
				parts := make([]uint32, s.parts)
				for k := range parts {
					parts[k] = s.first + uint32(k)
				}
				d.repair(parts)
				d.side = nil
			}
		})
	}
}

// alive reports whether a node is up and, while one side of a partition is looked at, on that side.
func (d *data) alive(n node) bool { return d.c.up[n] && (d.side == nil || d.side(n)) }

// tick is the time between two looks of a holder at what it keeps.
func (d *data) tick() time.Duration {
	return repairEvery*3/4 + time.Duration(d.dice.Int64N(int64(repairEvery/2)))
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
		list := d.sharers(s)
		for _, by := range list { // each counts: what it missed, and after that with the directory's help
			d.recount(by, s, list, false)
			d.recount(by, s, list, true)
		}
		d.repairSet(s, parts[:n])
		parts = parts[n:]
	}
}

// came has a node that starts count the copies of what it keeps, which it has forgotten.
func (d *data) came(n node) {
	if len(d.by[n]) == 0 {
		return
	}
	life := d.c.lives(n)
	d.c.loop.After(d.tick(), func() {
		if !d.c.up[n] || d.c.lives(n) != life {
			return
		}
		var last *set
		for _, part := range slices.Sorted(slices.Values(d.by[n])) {
			if s := d.of(part); s != last {
				last = s
				d.recount(n, s, d.sharers(s), true)
			}
		}
	})
}

// sharers are the nodes that keep something of a set and are up, sorted.
func (d *data) sharers(s *set) (out []node) {
	for p := s.first; p < s.first+uint32(s.parts); p++ {
		for _, n := range d.keeps[p] {
			if d.alive(n) {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// recount has a node that keeps something of a set ask all who do, in list, what they keep. look: and the DHT, who else there is.
func (d *data) recount(by node, s *set, list []node, look bool) {
	if look {
		d.c.find(by, d.c.rootKey(s), len(list))
	}
	d.inquire(by, list, true)
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
			if d.alive(n) {
				have = append(have, index(n))
			}
		}
		for _, n := range d.extra[part] { // an extra copy is made one of those first
			if len(have) > 0 && len(have) < f.Replicas && d.alive(n) && !d.kept(n, part) {
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
		if d.alive(n) && (f.Class == "" || c.of(n).Name == f.Class) {
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
	wait, ok := d.c.ask(asker, n, d.c.links.held, heldAsk, heldReply)
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
	// It is silent, or answers that it has another disk: both are seen at the next visit.
	wait := time.Duration(d.dice.Float64() * float64(visitEvery))
	if d.c.s.Table {
		wait = downAfter + repairAfter + time.Duration(d.dice.Float64()*float64(repairEvery))
	}
	d.c.loop.After(wait, func() { d.repair(gone) })
}
