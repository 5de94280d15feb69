package kad

import (
	"math/bits"
	"time"
)

// Tables are the routing tables of all nodes.
type Tables interface {
	// Closest appends the n nodes closest to a key in the table of the node at a place, as kbucket's NearestPeers finds them:
	// those of the key's bucket, and of others as far as these are not enough. They come in no order.
	Closest(of uint32, key uint64, n int, now time.Duration, out []uint32) []uint32
	// Has reports whether b is in the table of the node at a.
	Has(a, b uint32, now time.Duration) bool
	// Met says that a asked b and had an answer.
	Met(a, b uint32, now time.Duration)
	// Lost says that a asked b in vain.
	Lost(a, b uint32, now time.Duration)
}

// Implied tables are those of nodes that have been there for long: each bucket's contacts are drawn uniformly among the nodes of
// its range, by a hash of the owner, the bucket and a number. A dead contact stays until its owner has asked it in vain, for a
// lookup or when it refreshed its table; then the next number of the bucket takes its place. A node that comes back is in
// the tables in which it was.
type Implied struct {
	s    *Space
	lost losses        // asked in vain lately or the while before
	turn time.Duration // when lost was last turned
}

// Advise has f told of large arrays, as Links.Advise is.
func (t *Implied) Advise(f func(array any)) { t.lost.advise = f }

// NewImplied returns the implied tables of a space.
func NewImplied(s *Space) *Implied {
	return &Implied{s: s, lost: newLosses(s.Len())}
}

// Met implements Tables: the tables are full.
func (t *Implied) Met(_, _ uint32, _ time.Duration) {}

const (
	// lostFor is how long it is remembered, at least, that a contact was asked in vain: until refreshes have most likely found out as well.
	lostFor   = 2 * Refresh
	lostTurns = 4 // parts of it, of which one more is remembered
)

// Lost implements Tables.
func (t *Implied) Lost(a, b uint32, now time.Duration) {
	if now-t.turn >= lostFor/lostTurns {
		t.lost.forget()
		t.turn = now
	}
	t.lost.add(a, b)
}

// shows reports whether v, if its owner ever had it, is still in the table of owner.
func (t *Implied) shows(owner, v uint32, now time.Duration) bool {
	if t.s.Up(v) {
		return true
	}
	return !t.lost.has(owner, v) && !t.s.evicted(owner, v, now)
}

// Closest implements Tables.
func (t *Implied) Closest(of uint32, key uint64, n int, now time.Duration, out []uint32) []uint32 {
	s := t.s
	id, begin := s.ids[of], len(out)
	bucket := min(bits.LeadingZeros64(id^key), 63)
	low, high := s.sharing(id^1<<(63-bucket), bucket+1)
	if int(high-low) > K { // a bucket before the last: more than K nodes share its prefix
		if out = t.draw(of, bucket, low, high, now, out); len(out)-begin >= n {
			return out
		}
		return t.all(of, bucket+1, s.last(of), now, out)
	}
	last := s.last(of)
	if bucket = min(bucket, last); bucket == last {
		out = t.all(of, last, last, now, out)
	} else {
		out = t.take(of, low, high, now, out)
		if len(out)-begin < n {
			out = t.all(of, bucket+1, last, now, out)
		}
	}
	for bucket--; bucket >= 0 && len(out)-begin < n; bucket-- {
		low, high := s.sharing(id^1<<(63-bucket), bucket+1)
		out = t.draw(of, bucket, low, high, now, out)
	}
	return out
}

// all appends what is in the buckets from one to the last.
func (t *Implied) all(of uint32, from, last int, now time.Duration, out []uint32) []uint32 {
	id := t.s.ids[of]
	for ; from < last; from++ {
		low, high := t.s.sharing(id^1<<(63-from), from+1)
		out = t.draw(of, from, low, high, now, out)
	}
	low, high := t.s.sharing(id, last)
	out = t.take(of, low, min(of, high), now, out)
	return t.take(of, max(of+1, low), high, now, out)
}

// take appends all of a range.
func (t *Implied) take(of, low, high uint32, now time.Duration, out []uint32) []uint32 {
	for v := low; v < high; v++ {
		if t.shows(of, v, now) {
			out = append(out, v)
		}
	}
	return out
}

// draw appends up to K different nodes of a range.
func (t *Implied) draw(of uint32, bucket int, low, high uint32, now time.Duration, out []uint32) []uint32 {
	n := uint64(high - low)
	if n <= K {
		return t.take(of, low, high, now, out)
	}
	h := mix(t.s.ids[of] ^ t.s.seed ^ uint64(bucket)<<56)
	if n <= 4*K { // shuffle: drawing again and again would meet the same ones
		var deck [4 * K]uint32
		for i := range n {
			deck[i] = low + uint32(i)
		}
		got := 0
		for i := uint64(0); i < n && got < K; i++ {
			j := i + scale(mix(h+i*0x9e3779b97f4a7c15), n-i)
			deck[i], deck[j] = deck[j], deck[i]
			if t.shows(of, deck[i], now) {
				out, got = append(out, deck[i]), got+1
			}
		}
		return out
	}
	begin := len(out)
	var seen uint64 // by the last bits of a place: whether it may have been drawn
	for i := uint64(0); i < 8*K && len(out)-begin < K; i++ {
		v := low + uint32(scale(mix(h+i*0x9e3779b97f4a7c15), n))
		if bit := uint64(1) << (v & 63); seen&bit == 0 {
			seen |= bit
		} else if contains(out[begin:], v) {
			continue
		}
		if t.shows(of, v, now) {
			out = append(out, v)
		}
	}
	return out
}

// scale maps 64 random bits to [0, n).
func scale(x, n uint64) uint64 {
	high, _ := bits.Mul64(x, n)
	return high
}

func contains(list []uint32, v uint32) bool {
	for _, w := range list {
		if w == v {
			return true
		}
	}
	return false
}

// Has implements Tables.
func (t *Implied) Has(a, b uint32, now time.Duration) bool {
	s := t.s
	id := s.ids[a]
	bucket := bits.LeadingZeros64(id ^ s.ids[b])
	if bucket >= s.last(a) {
		return a != b && t.shows(a, b, now)
	}
	low, high := s.sharing(s.ids[b], bucket+1)
	var list [K]uint32
	return contains(t.draw(a, bucket, low, high, now, list[:0]), b)
}
