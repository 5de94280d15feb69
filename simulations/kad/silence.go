package kad

import "time"

// silences are the peers that are passed over: who asked them in vain a moment ago fails at once.
type silences struct {
	of   map[uint64]silence // by asker and peer
	prev map[uint64]silence
	turn time.Duration
}

type silence struct {
	until time.Duration
	span  time.Duration
}

// passed reports whether b is passed over by a.
func (s *silences) passed(a, b uint32, now time.Duration) bool {
	if len(s.of)+len(s.prev) == 0 {
		return false
	}
	k := uint64(a)<<32 | uint64(b)
	v, ok := s.of[k]
	if !ok {
		v, ok = s.prev[k]
	}
	return ok && now < v.until
}

// failed notes that a asked b in vain. What is older than two minutes is forgotten.
func (s *silences) failed(a, b uint32, now time.Duration) {
	if s.of == nil || now-s.turn > time.Minute {
		s.of, s.prev, s.turn = map[uint64]silence{}, s.of, now
	}
	k := uint64(a)<<32 | uint64(b)
	v, ok := s.of[k]
	if !ok {
		v, ok = s.prev[k]
	}
	switch {
	case !ok:
		v.span = Memory
	case now < v.until:
		return
	default:
		v.span = min(2*v.span, maxMemory)
	}
	v.until = now + v.span
	s.of[k] = v
}
