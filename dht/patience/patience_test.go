package patience

import (
	"math/rand/v2"
	"testing"
	"time"
)

const step = 400 * time.Millisecond

// among returns what somebody has learnt whose dials take from least to most.
func among(least, most time.Duration) (s Strangers) {
	dice := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		s.Took(least+time.Duration(dice.Int64N(int64(most-least)+1)), step)
	}
	return s
}

// TestPatience: where all are near a step is enough, and elsewhere it is as long as nearly all dials take, but not without an end.
func TestPatience(t *testing.T) {
	var none Strangers
	if w := none.Wait(step); w != step {
		t.Errorf("who knows nothing waits %v", w)
	}
	for _, c := range []struct{ least, most, from, to time.Duration }{
		{0, 20 * time.Millisecond, step, step},
		{20 * time.Millisecond, 120 * time.Millisecond, step, step},
		{100 * time.Millisecond, 900 * time.Millisecond, 900 * time.Millisecond, Most * step},
		{800 * time.Millisecond, 800 * time.Millisecond, 800 * time.Millisecond, 900 * time.Millisecond},
		{5 * time.Second, 9 * time.Second, step, step}, // nobody waits for these
		{0, Most * step, 1200 * time.Millisecond, Most * step},
	} {
		s := among(c.least, c.most)
		if w := s.Wait(step); w < c.from || w > c.to {
			t.Errorf("dials of %v to %v: it waits %v, not %v to %v", c.least, c.most, w, c.from, c.to)
		}
	}
}

// TestPatienceMoves: it is learnt anew when a node has moved.
func TestPatienceMoves(t *testing.T) {
	s := among(time.Millisecond, 5*time.Millisecond)
	for i := 1; s.Wait(step) < 900*time.Millisecond; i++ {
		if i > 4 {
			t.Fatalf("after %d slow dials it waits %v", i, s.Wait(step))
		}
		s.Took(900*time.Millisecond, step)
	}
	for i := 1; s.Wait(step) > step; i++ {
		if i > 30 {
			t.Fatalf("after %d fast dials it waits %v", i, s.Wait(step))
		}
		s.Took(3*time.Millisecond, step)
	}
}

// TestLateDial: a machine that comes up while it is dialled does not make all others be waited for.
func TestLateDial(t *testing.T) {
	s := among(20*time.Millisecond, 90*time.Millisecond)
	s.Took(5*time.Second, step)
	if w := s.Wait(step); w != step {
		t.Errorf("it waits %v", w)
	}
}

// TestKnown: who is far has more time, but twice a step at most.
func TestKnown(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{
		0: step, 50 * time.Millisecond: step, 150 * time.Millisecond: 600 * time.Millisecond, time.Second: 2 * step,
	} {
		if got := Known(step, rtt); got != want {
			t.Errorf("%v away: %v, not %v", rtt, got, want)
		}
	}
}
