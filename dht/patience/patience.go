// Package patience decides how long a step of a lookup waits for a peer. Too short, and peers on other continents count as dead: lookups
// end among the near ones, and what was announced on one continent is not found on another. Too long, and each dead peer holds a
// lookup up. So it is learnt, as TCP learns when to send again (Jacobson, "Congestion avoidance and control", SIGCOMM 1988), which served
// best among the ways that Rhea et al. tried in "Handling churn in a DHT" (USENIX 2004). It is a pure leaf.
package patience

import "time"

// Most is the most, in steps, that a stranger is waited for.
const Most = 4

// Strangers is what a node learnt of how long dials take that succeed, also of those nobody waited for. The zero value has learnt
// nothing. It is not safe for concurrent use. It is small, for a model has a million of them.
type Strangers struct {
	mean, off int32 // microseconds; off: how far dials are from the mean, on average
}

// Took notes a dial that succeeded. One that took longer than anybody is waited for tells of a machine that was down and came up
// meanwhile, or of packets that were lost, not of distances; it is left out.
func (s *Strangers) Took(d, step time.Duration) {
	if d > Most*step {
		return
	}
	us := int32(d.Microseconds())
	if s.mean == 0 {
		s.mean, s.off = max(us, 1), us/2
		return
	}
	off := us - s.mean
	s.mean += off / 8
	s.off += (max(off, -off) - s.off) / 4
}

// Wait is how long to wait for a peer of which it is not known how far it is, to be connected or to answer first: a step, and longer
// if dials were seen to take longer.
func (s *Strangers) Wait(step time.Duration) time.Duration {
	return min(max(step, (time.Duration(s.mean)+4*time.Duration(s.off))*time.Microsecond), Most*step)
}

// Known is how long to wait for the answer of a peer that is rtt away on average.
func Known(step, rtt time.Duration) time.Duration { return min(max(step, 4*rtt), 2*step) }
