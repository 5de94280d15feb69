package spread

import (
	"cmp"
	"hash/fnv"
	"slices"

	"github.com/shoal-fabric/shoal"
)

// Peer is one that may keep partitions.
type Peer struct {
	ID    shoal.PeerID
	Zone  string // peers with the same zone fail together; "": unknown, told apart from every other
	Free  uint64 // bytes it may take, on top of what it has; Unknown if nobody knows
	Local bool   // has all the bytes already, so that a copy there costs nothing
}

// Unknown is free space that nobody knows.
const Unknown = ^uint64(0)

// Problem is what is to be spread.
type Problem struct {
	Salt     string   // breaks ties differently for each dataset
	Parts    []uint64 // bytes of each partition
	Peers    []Peer
	Replicas int
	// Have lists, for each partition, the peers (indexes into Peers) that keep it already; they stay.
	// Nil: nothing is kept yet.
	Have [][]int
}

// Solve returns, for each partition, the peers that shall keep it: those in Have and as many more as
// Replicas asks for and the peers' number and space allow. The order within a partition is that of
// choice.
func Solve(p Problem) [][]int {
	s := newState(p)
	order := make([]int, len(p.Parts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.Parts[b], p.Parts[a]) })
	for _, part := range order {
		for len(s.out[part]) < p.Replicas {
			peer := s.pick(part)
			if peer < 0 {
				break
			}
			s.place(part, peer)
		}
	}
	return s.out
}

// Short returns how many copies out lacks of what p asks for.
func Short(p Problem, out [][]int) (n int) {
	for _, peers := range out {
		n += max(0, p.Replicas-len(peers))
	}
	return n
}

type state struct {
	p      Problem
	out    [][]int
	load   []uint64  // bytes each peer keeps of this dataset
	room   []uint64  // bytes each peer may still take
	weight []float64 // share of each peer, 1 for one with plenty of space
	rank   []uint64  // breaks ties
	share  float64   // bytes for a peer of weight 1
	most   uint64    // the largest partition
}

func newState(p Problem) *state {
	n := len(p.Peers)
	s := &state{
		p: p, out: make([][]int, len(p.Parts)), load: make([]uint64, n), room: make([]uint64, n),
		weight: make([]float64, n), rank: make([]uint64, n),
	}
	var total float64
	for _, b := range p.Parts {
		total += float64(b)
		s.most = max(s.most, b)
	}
	equal := total * float64(p.Replicas) / float64(max(n, 1))
	var sum float64
	for i, peer := range p.Peers {
		s.room[i], s.weight[i], s.rank[i] = peer.Free, 1, rank(p.Salt, peer.ID)
		if peer.Local {
			s.room[i] = Unknown
		} else if peer.Free != Unknown && equal > 0 {
			s.weight[i] = min(1, max(float64(peer.Free)/(4*equal), 1e-9))
		}
		sum += s.weight[i]
	}
	s.share = total * float64(p.Replicas) / max(sum, 1e-9)
	for part, peers := range p.Have {
		for _, peer := range peers {
			s.out[part] = append(s.out[part], peer)
			s.load[peer] += p.Parts[part]
		}
	}
	return s
}

// pick returns the best peer for one more copy of part, -1 if there is none.
func (s *state) pick(part int) int {
	best := -1
	for i := range s.p.Peers {
		if slices.Contains(s.out[part], i) || s.room[i] < max(s.p.Parts[part], 1) {
			continue
		}
		if best < 0 || s.before(part, i, best) {
			best = i
		}
	}
	return best
}

// before reports whether peer a is a better place for part than peer b.
func (s *state) before(part, a, b int) bool {
	if na, nb := s.newZone(part, a), s.newZone(part, b); na != nb {
		return na
	}
	if la, lb := s.after(part, a), s.after(part, b); la != lb {
		return la < lb
	}
	if la, lb := s.p.Peers[a].Local, s.p.Peers[b].Local; la != lb {
		return la
	}
	if s.rank[a] != s.rank[b] {
		return s.rank[a] < s.rank[b]
	}
	return s.p.Peers[a].ID < s.p.Peers[b].ID
}

// after is the share that peer would have with part on it.
func (s *state) after(part, peer int) float64 {
	return float64(s.load[peer]+s.p.Parts[part]) / s.weight[peer]
}

// newZone reports whether a copy on peer would survive the loss of any zone that has one already,
// and peer has not had more than its part for that.
func (s *state) newZone(part, peer int) bool {
	if s.after(part, peer) > 2*s.share+float64(s.most)/s.weight[peer] {
		return false
	}
	zone := s.p.Peers[peer].Zone
	if zone == "" {
		return true
	}
	for _, other := range s.out[part] {
		if s.p.Peers[other].Zone == zone {
			return false
		}
	}
	return true
}

func (s *state) place(part, peer int) {
	s.out[part] = append(s.out[part], peer)
	s.load[peer] += s.p.Parts[part]
	if s.room[peer] != Unknown {
		s.room[peer] -= s.p.Parts[part]
	}
}

func rank(salt string, id shoal.PeerID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(salt))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(id))
	x := h.Sum64() // FNV's low bits follow the last byte: mix (the finalizer of MurmurHash3)
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
