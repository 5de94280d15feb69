package gravity

import (
	"fmt"
	"time"
)

// Stock is what a bought copy is still worth: ski rental the other way round. Keeping it costs the price of a copy in each
// term; once as much was spent on it since it last saved something, it goes. It costs at most twice what the best plan in
// hindsight does, and the price once more. It is not safe for concurrent use.
type Stock struct {
	Worth float64   `json:"worth_s"` // seconds, at the time of At; the price at most
	Price float64   `json:"price_s"`
	At    time.Time `json:"-"`
}

// Bought starts the stock of a copy that was bought for a price, in seconds.
func Bought(price float64, now time.Time) Stock {
	return Stock{Worth: price, Price: price, At: now}
}

// Saved notes that a read took nothing that would have taken so many seconds from afar.
func (s *Stock) Saved(seconds float64, term time.Duration, now time.Time) {
	if positive(seconds) {
		s.Worth, s.At = min(s.Left(term, now)+seconds, s.Price), now
	}
}

// Left is what the copy is worth now, if keeping it costs its price in each term; none is left of one that does not pay.
func (s *Stock) Left(term time.Duration, now time.Time) float64 {
	if term <= 0 {
		return 0
	}
	return max(0, s.Worth-s.Price*max(0, now.Sub(s.At).Seconds())/term.Seconds())
}

// Why says what is left, and for how long without further use.
func (s *Stock) Why(term time.Duration, now time.Time) string {
	left := s.Left(term, now)
	if left <= 0 || !positive(s.Price) {
		return "it does not pay any more"
	}
	return fmt.Sprintf("worth %.3g s of %.3g s; unused, it goes in %s", left, s.Price,
		(time.Duration(left / s.Price * float64(term))).Round(time.Second))
}
