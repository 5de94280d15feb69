package kad

import "time"

// hangTime is after how long without a word a connection ends: members counts the peer as down, or yamux asks and hears nothing.
const hangTime = 30 * time.Second

// silence returns what the asker remembers of a peer, as it is by now, and until when it has a connection to it that nobody answers on.
func (s *Searcher) silence(place uint32, now time.Duration) (v silence, hangs time.Duration) {
	v, known := s.silent.get(s.from, place)
	up := s.Space.Up(place)
	if up && !known {
		return v, 0
	}
	went, _ := s.Space.Since(place)
	if !up && s.Links.Hangs(s.from, place) {
		hangs = went + hangTime
	}
	if !known {
		return v, hangs
	}
	_, ok := s.Net.Trips(s.from, place, 1)
	if s.Members && went > v.lost || ok && v.tries > 0 { // it came back, and may have gone once more
		s.silent.forget(s.from, place)
		return silence{}, hangs
	}
	v.at(now, hangs, s.Members)
	return v, hangs
}

// vain has the asker note that it asked a peer in vain.
func (s *Searcher) vain(place uint32, now time.Duration, v silence) {
	first := v.span == 0
	if v.failed(now); first && s.Space.roomy(s.from, place) {
		v.next = now // whom one loses from a table in which there is room it tries again by itself
	}
	s.silent.put(s.from, place, s.Space.Len(), now, v)
}
