package kad

import "time"

// silences are the peers that did not answer. Who asked them in vain a moment ago fails at once, and so does who asks while a dial that
// will fail goes on, or so soon after it that libp2p makes none.
type silences struct {
	of   map[uint64]silence // by asker and peer
	prev map[uint64]silence
	some []uint64 // by asker: bits of the peers in the two, by their last bits
	turn time.Duration
}

type silence struct {
	until time.Duration // it is passed over so long
	span  time.Duration // for how long it was passed over last
	lost  time.Duration // when it did not answer first

	dial  time.Duration // when the dial that is under way fails; 0: none is
	quiet time.Duration // libp2p does not dial it before
	dials uint8         // that failed, some hundred at most

	next  time.Duration // when the asker tries it in the background; 0: it does not, or does so now
	end   time.Duration // when that has failed; 0: it does not now
	tries uint8         // that began, 10 at most
}

// What go-libp2p's swarm does about who cannot be dialled, and package dht about who is to be in the table: each waits for longer each time.
const (
	backoffBase = 5 * time.Second
	backoffCoef = time.Second // times the square of the dials that failed before
	backoffMax  = 5 * time.Minute

	retryMin = 250 * time.Millisecond // dht/table.go
	retryMax = 30 * time.Second
	patient  = 8 * Step // dht/reach.go
)

// failed has a request, or a dial, be in vain.
func (v *silence) failed(now time.Duration) {
	switch {
	case v.span == 0:
		v.span, v.lost = Memory, now
	case now < v.until:
		return // steps that began together fail together
	default:
		v.span = min(2*v.span, maxMemory)
	}
	v.until = now + v.span
}

// dialled has a dial begin that will fail, unless one is under way or libp2p makes none, and returns for how long somebody waits for it who
// has so much patience.
func (v *silence) dialled(now, patience time.Duration) time.Duration {
	switch {
	case v.dial == 0 && now < v.quiet:
		return 0
	case v.dial == 0:
		v.dial = now + dialTime
	}
	return max(0, min(v.dial-dialTime+patience, v.dial)-now)
}

// at has happen what happens by itself until now: that a dial fails, and what the asker tries in the background. hangs is until when it has a
// connection that nobody answers on, and dials whether it tries without one, as it does with members that it knows.
func (v *silence) at(now, hangs time.Duration, dials bool) {
	for {
		switch t := first(v.dial, v.end, v.next); {
		case t == 0 || t > now:
			return
		case t == v.dial:
			v.quiet = t + min(backoffBase+backoffCoef*time.Duration(v.dials)*time.Duration(v.dials), backoffMax)
			v.dial, v.dials = 0, min(v.dials+1, 100)
			v.failed(t)
		case t == v.end:
			v.next, v.end = t+min(retryMin<<(v.tries-1), retryMax), 0
			v.failed(t)
		case t < hangs:
			v.next, v.end, v.tries = 0, t+patient, min(v.tries+1, 10)
		case dials:
			v.next, v.end, v.tries = 0, t+max(v.dialled(t, patient), 1), min(v.tries+1, 10)
		default:
			v.next = 0
		}
	}
}

// first returns the least of some times that is not 0; 0: all are.
func first(times ...time.Duration) (least time.Duration) {
	for _, t := range times {
		if t > 0 && (least == 0 || t < least) {
			least = t
		}
	}
	return least
}

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

// put has a, one of n, remember something of b, for more than a minute and less than two.
func (s *silences) put(a, b uint32, n int, now time.Duration, v silence) {
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
	s.of[uint64(a)<<32|uint64(b)] = v
	s.some[a] |= 1 << (b & 63)
}

// forget has a remember nothing of b.
func (s *silences) forget(a, b uint32) {
	if _, ok := s.get(a, b); !ok {
		return
	}
	k := uint64(a)<<32 | uint64(b)
	delete(s.of, k)
	delete(s.prev, k)
}
