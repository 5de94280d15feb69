package absent

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

const mostAbsent = 100

// TestAbsent: who was looked for in vain is not looked for again at once, and less and less often, until it is found.
func TestAbsent(t *testing.T) {
	a := Memory[string]{Most: mostAbsent}
	now, why := time.Unix(1e9, 0), errors.New("it is nowhere")
	if a.Check("p", now) != nil {
		t.Fatal("nobody was looked for yet")
	}
	var waits []time.Duration
	for range 8 {
		a.Lost("p", why, now)
		a.Lost("p", errors.New("the same question, of another"), now.Add(time.Millisecond))
		begin := now
		for a.Check("p", now) != nil {
			if !errors.Is(a.Check("p", now), why) || a.Check("q", now) != nil {
				t.Fatal("that is another's reason, or another")
			}
			now = now.Add(First / 4)
		}
		waits = append(waits, now.Sub(begin))
	}
	want := []time.Duration{First, 2 * First, 4 * First, 8 * First, 16 * First, Last, Last, Last}
	if fmt.Sprint(waits) != fmt.Sprint(want) {
		t.Errorf("it waited %v, not %v", waits, want)
	}
	a.Found("p")
	if a.Check("p", now) != nil {
		t.Error("it was found")
	}
	if a.Lost("p", why, now); a.Check("p", now.Add(First)) != nil {
		t.Error("the waits do not begin anew")
	}
	for i := range 3 * mostAbsent {
		a.Lost(fmt.Sprint(i), why, now)
	}
	if len(a.peers) > mostAbsent {
		t.Errorf("%d are remembered", len(a.peers))
	}
}
