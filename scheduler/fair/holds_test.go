package fair

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// TestHolds compares with a plain list of what was added.
func TestHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type one struct {
			owner shoal.PeerID
			part  float64
			until time.Time
		}
		var h Holds
		var twin []one
		now := time.Unix(1000, 0)
		for range 200 {
			now = now.Add(time.Duration(rapid.IntRange(0, 60).Draw(t, "ms")) * time.Millisecond)
			var live []one
			mine := map[shoal.PeerID]int{}
			for _, x := range twin {
				if x.until.After(now) {
					live = append(live, x)
					mine[x.owner]++
				}
			}
			twin = live
			owner := shoal.PeerID(fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "owner")))
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				if got := h.Take(owner, now); got != (mine[owner] > 0) {
					t.Fatalf("took %v of %d", got, mine[owner])
				}
				for i, x := range twin {
					if x.owner == owner {
						twin = append(twin[:i:i], twin[i+1:]...)
						break
					}
				}
			default:
				asked := rapid.IntRange(0, 8).Draw(t, "asked")
				if h.Add(owner, asked, now); mine[owner] < maxHolds {
					twin = append(twin, one{owner, 1 / float64(max(asked, 1)), now.Add(HoldFor)})
				}
			}
			for o := range 4 {
				id, want := shoal.PeerID(fmt.Sprint(o)), 0.0
				for _, x := range twin {
					if x.owner != id {
						want += x.part
					}
				}
				if got := h.Others(id, now); math.Abs(got-want) > 1e-9 {
					t.Fatalf("others of %s: %v, want %v", id, got, want)
				}
			}
		}
		now = now.Add(time.Hour)
		if h.Others("x", now) != 0 || h.n != 0 || len(h.by) != 0 {
			t.Fatalf("%+v", h)
		}
	})
	var h Holds
	for i := range 3 * allHolds {
		h.Add(shoal.PeerID(fmt.Sprint(i)), 1, time.Unix(0, 0))
	}
	if h.n != allHolds {
		t.Fatalf("%d holds", h.n)
	}
}
