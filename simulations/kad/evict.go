package kad

import (
	"math"
	"math/bits"
	"time"
)

// lastWord is how long kad-dht leaves a contact in peace that it has not asked: as long as it takes until lookups of refreshes,
// which ask Alpha of K, have met it with a probability of 1 - 1/K. Then it is pinged at the next refresh.
var lastWord = time.Duration(math.Log(1.0/K) / math.Log(1-float64(Alpha)/K) * float64(Refresh))

// evicted reports whether a dead node is known as dead to an owner of a table that had it, by the table's refreshes alone. They
// come every ten minutes, at times of the owner's own. Each looks for the owner's id, and so asks its neighbours, those in the last
// bucket; every other one looks for a random key of each bucket (that of the one before was not yet ten minutes ago), and
// asks Alpha of the K in it.
func (s *Space) evicted(owner, v uint32, now time.Duration) bool {
	if s.Up(v) {
		return false
	}
	h := mix(s.ids[owner] ^ s.seed)
	phase := time.Duration(h % uint64(Refresh))
	since, _ := s.Since(v)
	first := (since-phase)/Refresh + 1 // of the refreshes since
	if since < phase {
		first = 0
	}
	if now < phase+first*Refresh {
		return false
	}
	every := time.Duration(2)
	if bits.LeadingZeros64(s.ids[owner]^s.ids[v]) >= s.last(owner) {
		every = 1
	}
	coin := mix(h ^ s.ids[v] ^ uint64(since))
	pinged := since + lastWord - 2*Refresh*time.Duration(coin>>56)/256 // an answer from before is up to two refreshes old
	for i := first; phase+i*Refresh <= now; i++ {
		if phase+i*Refresh >= pinged {
			return true
		}
		if (uint64(i)+h>>32)%uint64(every) == 0 && scale(mix(coin+uint64(i)), K) < Alpha {
			return true
		}
	}
	return false
}
