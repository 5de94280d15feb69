package node

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestAbsent: who was looked for in vain is not looked for again at once, and less and less often, until it is found.
func TestAbsent(t *testing.T) {
	var a absent
	now, why := time.Unix(1e9, 0), errors.New("it is nowhere")
	if a.check("p", now) != nil {
		t.Fatal("nobody was looked for yet")
	}
	var waits []time.Duration
	for range 8 {
		a.lost("p", why, now)
		a.lost("p", errors.New("the same question, of another"), now.Add(time.Millisecond))
		begin := now
		for a.check("p", now) != nil {
			if !errors.Is(a.check("p", now), why) || a.check("q", now) != nil {
				t.Fatal("that is another's reason, or another")
			}
			now = now.Add(absentFirst / 4)
		}
		waits = append(waits, now.Sub(begin))
	}
	want := []time.Duration{absentFirst, 2 * absentFirst, 4 * absentFirst, 8 * absentFirst, 16 * absentFirst, absentLast, absentLast, absentLast}
	if fmt.Sprint(waits) != fmt.Sprint(want) {
		t.Errorf("it waited %v, not %v", waits, want)
	}
	a.found("p")
	if a.check("p", now) != nil {
		t.Error("it was found")
	}
	if a.lost("p", why, now); a.check("p", now.Add(absentFirst)) != nil {
		t.Error("the waits do not begin anew")
	}
	for i := range 3 * mostAbsent {
		a.lost(shoal.PeerID(fmt.Sprint(i)), why, now)
	}
	if len(a.peers) > mostAbsent {
		t.Errorf("%d are remembered", len(a.peers))
	}
}
