package scenario

import (
	"math"
	"testing"
	"time"
)

// TestSpells: they are exponential, each node and each number has its own, and another seed or fault gives others.
func TestSpells(t *testing.T) {
	s := &Scenario{}
	a, again, seed, fault := s.Spells(1, -1), s.Spells(1, -1), s.Spells(2, -1), s.Spells(1, 0)
	const n, mean = 100_000, time.Hour
	var sum, squares, products float64
	longer, last := 0, 0.0
	for i := range n {
		node, nth := i%1000, i/1000*2
		d := a.Of(node, nth, mean)
		if d != again.Of(node, nth, mean) || d == seed.Of(node, nth, mean) || d == fault.Of(node, nth, mean) {
			t.Fatalf("spell %d of node %d: %v, of the same seed %v, of another %v, of a fault %v", nth, node, d, again.Of(node, nth, mean), seed.Of(node, nth, mean), fault.Of(node, nth, mean))
		}
		x := float64(d) / float64(mean)
		sum, squares, products = sum+x, squares+x*x, products+(x-1)*(last-1)
		last = x
		if x > 3 {
			longer++
		}
	}
	// The deviation of a mean of n is a 316th; of the other three it is less than two hundredths.
	if m := sum / n; math.Abs(m-1) > 0.02 {
		t.Errorf("the mean is %.3f of what it should be", m)
	}
	if v := squares/n - 1; math.Abs(v-1) > 0.05 {
		t.Errorf("the variance is %.3f, that of an exponential is 1", v)
	}
	if c := products / n; math.Abs(c) > 0.03 {
		t.Errorf("one spell tells of the next: %.3f", c)
	}
	if p, want := float64(longer)/n, math.Exp(-3); math.Abs(p-want) > 0.005 {
		t.Errorf("%.4f are three times as long as the mean, of an exponential are %.4f", p, want)
	}
	if d, ten := a.Of(7, 1, 0), a.Of(7, 1, 10*time.Minute); d != ten || d == 0 {
		t.Errorf("a downtime without a mean takes %v, that of ten minutes %v", d, ten)
	}
	if d := a.Of(7, 0, math.MaxInt64); d < 0 {
		t.Errorf("a long session takes %v", d)
	}
}
