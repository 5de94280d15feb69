package batch

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// curve is what a batch of n calls takes.
type curve func(n int) time.Duration

// curves draws one: so much for a batch and so much for each call, or steps as a device of fixed width makes them.
func curves(t *rapid.T, name string) curve {
	base := time.Duration(rapid.Int64Range(0, 8_000).Draw(t, name+" base")) * time.Microsecond
	each := time.Duration(rapid.Int64Range(10, 15_000).Draw(t, name+" each")) * time.Microsecond
	width := rapid.IntRange(1, 64).Draw(t, name+" width")
	return func(n int) time.Duration { return base + each*time.Duration((n+width-1)/width) }
}

// best is the largest batch within the target, at most most; 1 if none is.
func (c curve) best(target time.Duration, most int) int {
	n := 1
	for n < most && c(n+1) <= target {
		n++
	}
	return n
}

// run has full batches done.
func run(s *Size, c curve, batches int) (late int) {
	for range batches {
		n := s.Now()
		if c(n) > s.target && n > 1 {
			late++
		}
		s.Done(n, c(n))
	}
	return late
}

// settled wants sizes near the best one, and late batches no more often than the way up from a tenth less allows.
func settled(t *rapid.T, s *Size, c curve, most int) {
	best := c.best(s.target, most)
	const batches = 500
	late := 0
	for range batches {
		n := s.Now()
		if n > best+1 || float64(n) < Back*float64(best)-1 {
			t.Fatalf("a batch of %d, and %d is the best", n, best)
		}
		late += run(s, c, 1)
	}
	if most := float64(batches)/(float64(best)*(1-Back)+1) + 1; float64(late) > most {
		t.Fatalf("%d of %d batches are late, with %d the best; at most %.0f", late, batches, best, most)
	}
}

func TestConvergesAndRecovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 300).Draw(t, "most")
		s := New(20*time.Millisecond, most)
		for i := range 3 { // the code, or its machine, becomes another
			c := curves(t, string(rune('a'+i)))
			run(s, c, 400)
			settled(t, s, c, most)
		}
	})
}

func TestSmallBatchesSayNothing(t *testing.T) {
	s := New(20*time.Millisecond, 100)
	run(s, func(int) time.Duration { return time.Millisecond }, 30)
	if s.Now() != 31 {
		t.Fatalf("%d after 30 fast batches", s.Now())
	}
	for range 100 {
		s.Done(3, time.Millisecond)
	}
	if s.Now() != 31 {
		t.Errorf("it grew to %d by batches that were not full", s.Now())
	}
	s.Done(1, time.Second) // one call alone is slow: no batch was
	if s.Now() != 31 {
		t.Errorf("it shrank to %d by one call", s.Now())
	}
}
