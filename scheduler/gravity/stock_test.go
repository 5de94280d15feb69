package gravity

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestStockBound holds a copy that is bought, kept and dropped against the best plan in hindsight, which for each time between
// two reads either keeps the copy or reads from afar again.
func TestStockBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const price, term = 1.0, time.Hour
		now := time.Unix(0, 0)
		var paid, best float64
		s := Stock{}
		has := false
		for i := range rapid.IntRange(1, 60).Draw(t, "n") {
			gap := time.Duration(rapid.Int64Range(0, int64(4*term)).Draw(t, "gap"))
			if rapid.Bool().Draw(t, "close") {
				gap /= 50
			}
			now = now.Add(gap)
			if i > 0 {
				best += min(price, price*gap.Seconds()/term.Seconds())
			} else {
				best += price
			}
			if has {
				kept := min(gap.Seconds()/term.Seconds(), s.Worth/price)
				paid += kept * price
				has = s.Left(term, now) > 0
			}
			if has {
				s.Saved(price, term, now)
			} else {
				paid += price // it is read from afar, and kept
				s, has = Bought(price, now), true
			}
			if w := s.Left(term, now); w < 0 || w > price {
				t.Fatalf("worth %v", w)
			}
		}
		if paid > 2*best+price+1e-9 {
			t.Fatalf("paid %v, the best plan %v", paid, best)
		}
	})
}

func TestStockOfNothing(t *testing.T) {
	now := time.Unix(0, 0)
	s := Bought(2, now)
	s.Saved(-1, time.Hour, now.Add(time.Minute))
	if s.At != now {
		t.Error("nothing was saved")
	}
	if s.Left(0, now) != 0 || s.Left(time.Hour, now.Add(time.Hour)) != 0 || s.Left(time.Hour, now.Add(-time.Hour)) != 2 {
		t.Error("worth at the ends")
	}
}
