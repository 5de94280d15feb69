// Package scale decides how many instances of a service a host has: whether to open more here, to send callers on, or to
// close some. The time is an argument, and so is what other hosts are known to have. A pure leaf.
//
// A host opens when the last of the calls that wait would do so for longer than the target, and closes what it has had no use for
// throughout the idle time. So under a constant load it does neither: the instances that a load needs at its worst moment
// are in use again before the idle time is over.
package scale

import (
	"math"
	"time"
)

// Policy is what the service's owner wants.
type Policy struct {
	Target time.Duration // that a call may wait
	Idle   time.Duration // after which what is not needed goes
	Min    int           // instances in the fabric
	Max    int           // in the fabric; 0: no limit
}

// Here is the part of a service on this host, now.
type Here struct {
	Open    int           // instances
	Opening int           // that are being made
	Busy    int           // of Open
	Waiting int           // calls that no instance has begun
	Oldest  time.Duration // how long the first of them waits
	Each    time.Duration // what an instance takes for a call, on average, also in batches; 0: unknown
	Room    int           // further instances that the host can have
}

// Elsewhere is what is known of other hosts, which may be old.
type Elsewhere struct {
	Instances int
	Before    int // of these, on hosts that keep theirs when there are more than the most
}

// Step is what to do.
type Step struct {
	Open  int  // so many more
	Close int  // so many, of those without work first; those with work only if there are more than the most in the fabric
	Full  bool // a call that comes now waits longer than the target, and nothing is done about it here
}

// margin: of so many instances that were needed, one more is kept, as the worst moment of a steady load is now a little better
// and now a little worse.
const margin = 4

// parts is how many pieces the idle time has: a need is forgotten piece by piece.
const parts = 8

// Scale remembers what a host needed. The zero Scale is ready. Times are since any one moment.
type Scale struct {
	need   [parts + 1]int // the most in use at once, in each piece of time; a ring
	piece  int64          // the present one
	used   time.Duration  // last in use
	opened time.Duration
	begun  bool
}

// Wait is how long the last of the calls that wait will have to, beyond what is free.
func Wait(h Here) time.Duration {
	all := h.Open + h.Opening
	ahead := h.Waiting - (h.Open - h.Busy)
	switch {
	case all == 0 || ahead <= 0:
		return 0
	case h.Each <= 0:
		return h.Oldest
	}
	return max(h.Oldest, time.Duration(float64(h.Each)*float64(ahead)/float64(all)))
}

// Next decides. It is asked when a call comes, and from time to time.
func (s *Scale) Next(p Policy, now time.Duration, h Here, e Elsewhere) Step {
	s.note(p, now, h)
	all := h.Open + h.Opening
	left := math.MaxInt // that the most leaves
	if p.Max > 0 {
		left = max(0, p.Max-e.Instances-all)
	}
	room := min(max(0, h.Room), left)
	wait := Wait(h)
	if over := e.Before + all - p.Max; p.Max > 0 && over > 0 {
		return Step{Close: min(over, h.Open), Full: true}
	}
	switch {
	case all == 0 && h.Waiting > 0:
		s.Opened(now, min(1, room))
		return Step{Open: min(1, room), Full: room == 0}
	case h.Waiting > 0 && wait > p.Target:
		if room == 0 {
			return Step{Full: h.Opening == 0}
		}
		if h.Opening > 0 || now-s.opened < p.Target { // what was opened must show first
			return Step{}
		}
		want := math.Ceil(float64(all) * (float64(wait)/float64(max(1, p.Target)) - 1))
		more := max(1, int(min(want, float64(all), float64(room), float64(h.Waiting))))
		s.Opened(now, all+more)
		return Step{Open: more}
	}
	free := h.Open - h.Busy
	keep := s.most(p, now)
	keep += (keep + margin - 1) / margin
	spare := all - max(keep, p.Min-e.Instances)
	return Step{Close: max(0, min(spare, free))}
}

// Opened tells that there are all instances from now on: they count as in use at this moment.
func (s *Scale) Opened(now time.Duration, all int) {
	s.opened, s.used = now, now
	at := &s.need[s.piece%(parts+1)]
	*at = max(*at, all)
}

// note remembers what is in use now.
func (s *Scale) note(p Policy, now time.Duration, h Here) {
	piece := int64(now / max(1, p.Idle/parts))
	if !s.begun {
		s.begun, s.piece, s.used = true, piece, now
	}
	for ; s.piece < piece; s.piece++ {
		if piece-s.piece > parts+1 {
			s.need, s.piece = [parts + 1]int{}, piece
			break
		}
		s.need[(s.piece+1)%(parts+1)] = 0
	}
	use := h.Busy + h.Waiting
	if use > 0 {
		s.used = now
	}
	at := &s.need[s.piece%(parts+1)]
	*at = max(*at, use)
}

// most is how many were in use at once within the idle time.
func (s *Scale) most(p Policy, now time.Duration) (n int) {
	if now-s.used >= p.Idle {
		return 0
	}
	for _, k := range s.need {
		n = max(n, k)
	}
	return max(n, 1)
}
