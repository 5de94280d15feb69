package scenario

import (
	"math"
	"time"
)

// Spells are how long nodes stay and how long they are away, the same in both storeys: which nodes are away, and when, decides so much
// that one run tells little of another where others are. Nothing is kept between draws.
type Spells uint64

// Spells returns those of a run: of the classes' sessions and downtimes, or, in their place, of the fault of an index.
func (s *Scenario) Spells(seed uint64, fault int) Spells {
	purpose := "sessions"
	if fault >= 0 {
		purpose = "churn " + string(rune('0'+fault))
	}
	return Spells(Dice(seed, purpose).Uint64())
}

// Of returns how long the nth spell of a node lasts, from 0: sessions are even, downtimes odd, of which the mean is ten minutes if it
// is 0. Spells are exponentially distributed.
func (s Spells) Of(node, nth int, mean time.Duration) time.Duration {
	if mean <= 0 && nth%2 == 1 {
		mean = 10 * time.Minute
	}
	x := uint64(s) + uint64(node)*0x9e3779b97f4a7c15 + uint64(nth)*0xd1342543de82ef95
	for range 2 { // the steps of splitmix64
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	u := (float64(x>>11) + 0.5) / (1 << 53)
	return time.Duration(min(-math.Log(u)*float64(mean), math.MaxInt64/4))
}
