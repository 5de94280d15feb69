package kad

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/dht/patience"
)

// continents is a network of two halves, by the number of a place, in which packets to the other half take long.
type continents struct {
	flat
	far time.Duration
}

func (c continents) Trips(a, b uint32, n int) (time.Duration, bool) {
	way, ok := c.flat.Trips(a, b, n)
	if a%2 != b%2 {
		way = 2 * time.Duration(n) * c.far
	}
	return way, ok
}

// TestOtherContinent: lookups find the closest although half of all peers take longer to dial than a step, once the asker has learnt
// how long dials take; as package dht does, see its test of this name.
func TestOtherContinent(t *testing.T) {
	const n, far = 2000, 150 * time.Millisecond
	s := NewSpace(n, 0, 7)
	sr := searcher(s, NewImplied(s))
	sr.Net, sr.Handshake = continents{flat{s, 10 * time.Millisecond}, far}, 3
	r := rand.New(rand.NewPCG(1, 2))
	hits := func(lookups int, before func()) (n int) {
		for i := range lookups {
			before()
			from, key := uint32(r.IntN(20)), r.Uint64()
			res := sr.Find(from, key, time.Duration(i)*time.Minute, nil)
			if len(res.Found) > 0 && res.Found[0] == exact(s, from, key) {
				n++
			}
		}
		return n
	}
	unlearnt := hits(400, sr.Unlearn)
	if w := sr.stranger(0).Wait(Step); w > patience.Most*Step {
		t.Errorf("it waits %v for strangers", w)
	}
	hits(200, func() {}) // twenty learn
	learnt := hits(400, func() {})
	t.Logf("of 400 lookups %d found the closest before anything was learnt, %d after", unlearnt, learnt)
	if unlearnt > 350 || learnt < 390 {
		t.Errorf("of 400 lookups %d found the closest before anything was learnt, %d after", unlearnt, learnt)
	}
}

// TestMetBefore: who meets again is not asked for credentials, unless it is long ago, or one of them has been down.
func TestMetBefore(t *testing.T) {
	s := NewSpace(100, 0, 7)
	sr := searcher(s, NewImplied(s))
	var now time.Duration
	sr.Links.Keep(time.Second, time.Second, func() time.Duration { return now })
	sr.Greet = 1
	ask := func(a, b uint32) time.Duration {
		sr.from = a
		f := sr.send(b, 0, 1, 0)
		return f.answer - f.linked
	}
	const trip = 20 * time.Millisecond
	if got := ask(1, 2); got != 2*trip {
		t.Errorf("the first time: %v", got)
	}
	if got := ask(1, 2); got != trip {
		t.Errorf("on the same connection: %v", got)
	}
	part := func() { sr.Links.Part(1, func(uint32) bool { return true }) }
	part()
	if got := ask(2, 1); got != trip {
		t.Errorf("when they meet again: %v", got)
	}
	part()
	if now = trust; ask(1, 2) != 2*trip {
		t.Error("credentials are believed for too long")
	}
	part()
	if now += time.Second; ask(1, 2) != trip {
		t.Error("they met a second ago")
	}
	sr.Links.Down(2)
	if got := ask(1, 2); got != 2*trip {
		t.Errorf("one of them has forgotten: %v", got)
	}
}

// TestMostMet: of the pairs that met no more are remembered than there is room for, and the last is.
func TestMostMet(t *testing.T) {
	const n = 1500
	l := NewLinks(n, 4, 6, false)
	l.Keep(time.Second, time.Second, func() time.Duration { return 0 })
	for a := range uint32(n) {
		for b := range a {
			if l.meet(a, b); len(l.met) > mostMet {
				t.Fatalf("%d pairs are remembered", len(l.met))
			}
		}
	}
	if n*(n-1)/2 <= mostMet || !l.Met(n-2, n-1) || l.Met(0, 1) {
		t.Errorf("%d pairs met, %d are remembered", n*(n-1)/2, len(l.met))
	}
}
