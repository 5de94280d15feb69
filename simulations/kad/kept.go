package kad

import (
	"math/bits"
	"slices"
	"time"
)

// Kept are routing tables that are in memory, as kbucket has them: for networks whose nodes find each other by and by, so that who
// was met first stays in a bucket that is full. Such a table takes some hundred bytes a node.
type Kept struct {
	s      *Space
	tables []table // by place
}

type table [][]contact // by bucket; the last has all who share more bits

type contact struct {
	place uint32
	loose bool // may be replaced by somebody who was asked and answered
}

// NewKept returns empty tables for the nodes of a space.
func NewKept(s *Space) *Kept { return &Kept{s: s, tables: make([]table, s.Len())} }

// Met implements Tables: kad-dht adds whom it asked, package dht whoever asked it.
func (t *Kept) Met(a, b uint32, now time.Duration) {
	t.Add(a, b, false, now)
	if int(a) < t.s.n { // nobody asks clients
		t.Add(b, a, true, now)
	}
}

// Lost implements Tables.
func (t *Kept) Lost(a, b uint32, _ time.Duration) {
	if k := t.tables[a]; len(k) > 0 {
		i := t.bucket(a, t.s.ids[b])
		k[i] = slices.DeleteFunc(k[i], func(c contact) bool { return c.place == b })
	}
}

// bucket returns in which bucket of a an id belongs.
func (t *Kept) bucket(a uint32, id uint64) int {
	return min(bits.LeadingZeros64(t.s.ids[a]^id), len(t.tables[a])-1)
}

// Add puts b into the table of a if there is room, or in place of one who is loose.
func (t *Kept) Add(a, b uint32, loose bool, now time.Duration) {
	if a == b {
		return
	}
	if t.tables[a] == nil {
		t.tables[a] = table{nil}
	}
	i := t.bucket(a, t.s.ids[b])
	list := t.tables[a][i]
	if slices.ContainsFunc(list, func(c contact) bool { return c.place == b }) {
		return
	}
	if len(list) >= K {
		list = slices.DeleteFunc(list, func(c contact) bool { return t.s.evicted(a, c.place, now) })
		t.tables[a][i] = list
	}
	if len(list) >= K && i == len(t.tables[a])-1 {
		t.split(a)
		i = t.bucket(a, t.s.ids[b])
		list = t.tables[a][i]
	}
	if len(list) >= K {
		j := slices.IndexFunc(list, func(c contact) bool { return c.loose })
		if j < 0 {
			return
		}
		list = slices.Delete(list, j, j+1)
	}
	t.tables[a][i] = append(list, contact{b, loose})
}

// split unfolds the last bucket of a until it is not full.
func (t *Kept) split(a uint32) {
	for len(t.tables[a][len(t.tables[a])-1]) >= K {
		at := len(t.tables[a]) - 1
		var stay, next []contact
		for _, c := range t.tables[a][at] {
			if bits.LeadingZeros64(t.s.ids[a]^t.s.ids[c.place]) > at {
				next = append(next, c)
			} else {
				stay = append(stay, c)
			}
		}
		t.tables[a][at] = stay
		t.tables[a] = append(t.tables[a], next)
	}
}

// Closest implements Tables.
func (t *Kept) Closest(of uint32, key uint64, n int, now time.Duration, out []uint32) []uint32 {
	k, begin := t.tables[of], len(out)
	if len(k) == 0 {
		return out
	}
	at := t.bucket(of, key)
	out = t.take(of, k[at], now, out)
	if len(out)-begin < n {
		for _, b := range k[at+1:] {
			out = t.take(of, b, now, out)
		}
	}
	for at--; at >= 0 && len(out)-begin < n; at-- {
		out = t.take(of, k[at], now, out)
	}
	return out
}

// Has implements Tables.
func (t *Kept) Has(a, b uint32, now time.Duration) bool {
	k := t.tables[a]
	return len(k) > 0 && !t.s.evicted(a, b, now) &&
		slices.ContainsFunc(k[t.bucket(a, t.s.ids[b])], func(c contact) bool { return c.place == b })
}

func (t *Kept) take(of uint32, list []contact, now time.Duration, out []uint32) []uint32 {
	for _, c := range list {
		if !t.s.evicted(of, c.place, now) {
			out = append(out, c.place)
		}
	}
	return out
}

// Size returns how many peers are in the table of a node.
func (t *Kept) Size(a uint32) (n int) {
	for _, b := range t.tables[a] {
		n += len(b)
	}
	return n
}

// Join has a node that knows only one peer find its place, as a new node does: it asks for itself, then for a random
// key of each bucket that it has, and again once its table has changed. draw gives random bits.
func (t *Kept) Join(s *Searcher, a, via uint32, now time.Duration, draw func() uint64) (took time.Duration) {
	t.Add(a, via, true, now)
	id := t.s.ids[a]
	for range 2 { // kad-dht refreshes a new table twice
		took += s.Find(a, id, now+took, nil).Time
		for i := range t.tables[a] {
			key := id ^ 1<<(63-i)
			if i < 63 {
				key ^= draw() >> (i + 1)
			}
			took += s.Find(a, key, now+took, nil).Time
		}
	}
	return took
}

// Growing are tables of which one node's own grows from nothing, as that of a node that has just begun; the others' are as they were.
type Growing struct {
	Tables
	of  uint32
	own *Kept
}

// NewGrowing returns the tables t. Begin is called before they are used.
func NewGrowing(s *Space, t Tables) *Growing { return &Growing{Tables: t, own: NewKept(s)} }

// Begin has the table of a node begin anew, with some that it knows; that of the node before is as it was.
func (g *Growing) Begin(of uint32, knows []uint32, now time.Duration) {
	g.own.tables[g.of] = nil
	g.of = of
	for _, p := range knows {
		g.own.Add(of, p, true, now)
	}
}

// Closest implements Tables.
func (g *Growing) Closest(of uint32, key uint64, n int, now time.Duration, out []uint32) []uint32 {
	if of == g.of {
		return g.own.Closest(of, key, n, now, out)
	}
	return g.Tables.Closest(of, key, n, now, out)
}

// Has implements Tables.
func (g *Growing) Has(a, b uint32, now time.Duration) bool {
	if a == g.of {
		return g.own.Has(a, b, now)
	}
	return g.Tables.Has(a, b, now)
}

// Met implements Tables.
func (g *Growing) Met(a, b uint32, now time.Duration) {
	if a == g.of {
		g.own.Add(a, b, false, now)
		return
	}
	g.Tables.Met(a, b, now)
}

// Lost implements Tables.
func (g *Growing) Lost(a, b uint32, now time.Duration) {
	if a == g.of {
		g.own.Lost(a, b, now)
		return
	}
	g.Tables.Lost(a, b, now)
}

// Size returns how many peers are in the table that grows, and buckets how many buckets it has.
func (g *Growing) Size() (peers, buckets int) { return g.own.Size(g.of), len(g.own.tables[g.of]) }
