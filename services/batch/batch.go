// Package batch finds how many calls of a service are handed over together: one more after each full batch that was done
// within the target, and a tenth fewer after one that was not. So the size follows what the code can do, as Clipper's
// does (Crankshaw et al., NSDI 2017), without a model of it. A pure leaf.
package batch

import "time"

// Back is what is left of a size after a batch that took too long.
const Back = 0.9

// Size is the number of calls of the next batch, found by additive increase and multiplicative decrease. The zero Size is
// not ready; see New.
type Size struct {
	target time.Duration
	most   float64
	size   float64
}

// New returns a Size that begins with one call and grows to most, as long as batches are done within target.
func New(target time.Duration, most int) *Size {
	return &Size{target: target, most: float64(max(1, most)), size: 1}
}

// Now is how many calls the next batch may have, 1 at least.
func (s *Size) Now() int { return int(s.size) }

// Done tells how long a batch of n calls took. One that was not full says nothing for larger ones.
func (s *Size) Done(n int, took time.Duration) {
	switch {
	case took > s.target && n > 1:
		s.size = max(1, s.size*Back)
	case took <= s.target && n >= s.Now():
		s.size = min(s.most, s.size+1)
	}
}
