package kad

import "time"

// silences are the peers that are passed over: who asked them in vain a moment ago fails at once.
type silences struct {
	of   map[uint64]silence // by asker and peer
	prev map[uint64]silence
	some []uint64 // by asker: bits of the peers in the two, by their last bits
	turn time.Duration
}

type silence struct{ until, span time.Duration }

// get returns what is remembered of b by a.
func (s *silences) get(a, b uint32) (v silence, ok bool) {
	if int(a) >= len(s.some) || s.some[a]>>(b&63)&1 == 0 {
		return v, false
	}
	k := uint64(a)<<32 | uint64(b)
	if v, ok = s.of[k]; !ok {
		v, ok = s.prev[k]
	}
	return v, ok
}

// passed reports whether b is passed over by a.
func (s *silences) passed(a, b uint32, now time.Duration) bool {
	v, ok := s.get(a, b)
	return ok && now < v.until
}

// failed notes that a, one of n, asked b in vain. What is older than two minutes is forgotten.
func (s *silences) failed(a, b uint32, n int, now time.Duration) {
	if s.some == nil {
		s.some = make([]uint64, n)
	}
	if s.of == nil || now-s.turn > time.Minute {
		s.of, s.prev, s.turn = map[uint64]silence{}, s.of, now
		clear(s.some)
		for k := range s.prev {
			s.some[k>>32] |= 1 << (k & 63)
		}
	}
	v, ok := s.get(a, b)
	switch {
	case !ok:
		v.span = Memory
	case now < v.until:
		return
	default:
		v.span = min(2*v.span, maxMemory)
	}
	v.until = now + v.span
	s.of[uint64(a)<<32|uint64(b)] = v
	s.some[a] |= 1 << (b & 63)
}
