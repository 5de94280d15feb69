package kad

import (
	"math/bits"
	"slices"
	"time"
)

// Space is where nodes are, and which of them are up. Places are the ranks of ids; after those of the nodes that take part come those of
// clients, which ask and are not asked: nodes that nobody can connect to. One goroutine owns it.
type Space struct {
	ids   []uint64 // by place, ascending up to the clients
	n     int      // how many take part
	first []uint32 // by the first bits of an id: the first place whose id does not lie below
	shift uint     // an id's bits that first does not look at
	seed  uint64

	down  []uint64 // a bit by place
	since []uint32 // by place: when it last went or came, in ticks after the begin; 0: it never did

	near []ranked // scratch
}

type ranked struct {
	dist  uint64
	place uint32
}

// tick is how exactly a Space remembers when a node went or came.
const tick = 100 * time.Millisecond

// NewSpace returns a space of n nodes that take part and some clients, with ids drawn from seed, all of them up.
func NewSpace(n, clients int, seed uint64) *Space {
	ids := make([]uint64, n+clients)
	for i := range ids {
		ids[i] = mix(mix(seed^0x6b61) + uint64(i)*0x9e3779b97f4a7c15)
	}
	slices.Sort(ids[:n])
	return NewSpaceOf(ids, n, seed)
}

// NewSpaceOf returns a space of nodes with these ids, which it keeps: the first n, ascending, take part.
func NewSpaceOf(ids []uint64, n int, seed uint64) *Space {
	s := &Space{ids: ids, n: n, down: make([]uint64, (len(ids)+63)/64), since: make([]uint32, len(ids)), seed: mix(seed ^ 0x746162)}
	depth := max(1, bits.Len(uint(n))) // about a node to an entry
	s.shift = uint(64 - depth)
	s.first = make([]uint32, 1<<depth+1)
	at := 0
	for i := range s.first {
		for at < n && s.ids[at]>>s.shift < uint64(i) {
			at++
		}
		s.first[i] = uint32(at)
	}
	return s
}

// Len returns how many nodes there are, with the clients.
func (s *Space) Len() int { return len(s.ids) }

// ID returns the id of the node at a place.
func (s *Space) ID(place uint32) uint64 { return s.ids[place] }

// Up reports whether the node at a place is up.
func (s *Space) Up(place uint32) bool { return s.down[place>>6]>>(place&63)&1 == 0 }

// Set says that a node goes or comes.
func (s *Space) Set(place uint32, up bool, now time.Duration) {
	if up == s.Up(place) {
		return
	}
	s.down[place>>6] ^= 1 << (place & 63)
	s.since[place] = uint32(now/tick) + 1
}

// roomy reports whether there is room in the table of a for all who would be in the bucket of b, but b.
func (s *Space) roomy(a, b uint32) bool {
	bucket := bits.LeadingZeros64(s.ids[a] ^ s.ids[b])
	if bucket >= s.last(a) {
		return true
	}
	low, high := s.sharing(s.ids[b], bucket+1)
	return int(high-low) <= K
}

// Since returns when the node at a place last went or came, and whether it ever did.
func (s *Space) Since(place uint32) (time.Duration, bool) {
	t := s.since[place]
	return time.Duration(t-min(t, 1)) * tick, t > 0
}

// below returns the first place whose id is not below id.
func (s *Space) below(id uint64) uint32 {
	i := id >> s.shift
	at := s.first[i]
	if id<<(64-s.shift) == 0 {
		return at
	}
	for end := s.first[i+1]; at < end && s.ids[at] < id; at++ {
	}
	return at
}

// sharing returns the range of places whose ids have the first n bits of id.
func (s *Space) sharing(id uint64, n int) (low, high uint32) {
	if n <= 0 {
		return 0, uint32(s.n)
	}
	if n >= 64 {
		low = s.below(id)
		if high = low; int(low) < s.n && s.ids[low] == id {
			high++
		}
		return low, high
	}
	mask := ^uint64(0) << (64 - n)
	low, high = s.below(id&mask), uint32(s.n)
	if next := id&mask + 1<<(64-n); next != 0 {
		high = s.below(next)
	}
	return low, high
}

// last returns the number of the last bucket in the table of a node, when it has met all its neighbours: it has everybody who
// shares so many bits, K at most, and is split when another comes.
func (s *Space) last(of uint32) int {
	// Counts fall by half with each bit, so the depth at which K are left is near this one.
	n := max(0, bits.Len(uint(s.n/K))-2)
	for n > 0 && s.others(of, n) <= K {
		n--
	}
	for s.others(of, n) > K {
		n++
	}
	return n
}

// others returns how many nodes share n bits with that at a place, without itself.
func (s *Space) others(of uint32, n int) int {
	low, high := s.sharing(s.ids[of], n)
	if int(of) < s.n {
		high--
	}
	return int(high) - int(low)
}

// Nearest appends the n places nearest to a key that pass, nearest first. pass nil: whoever is up.
func (s *Space) Nearest(key uint64, n int, pass func(place uint32) bool, out []uint32) []uint32 {
	if pass == nil {
		pass = s.Up
	}
	// All who share a longer prefix with the key are nearer than all others: take the longest that enough share.
	depth := max(0, bits.Len(uint(s.n/max(1, n)))-1)
	for ; ; depth-- {
		s.near = s.near[:0]
		low, high := s.sharing(key, depth)
		for p := low; p < high; p++ {
			if pass(p) {
				s.near = append(s.near, ranked{s.ids[p] ^ key, p})
			}
		}
		if len(s.near) >= n || depth <= 0 {
			break
		}
	}
	slices.SortFunc(s.near, func(a, b ranked) int {
		if a.dist < b.dist {
			return -1
		}
		return 1
	})
	for _, r := range s.near[:min(n, len(s.near))] {
		out = append(out, r.place)
	}
	return out
}
