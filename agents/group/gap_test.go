package group

import (
	"slices"
	"testing"
	"time"
)

// TestGap measures, in the nodes' own time, how long a group takes no turn after its leader is gone: killed,
// killed and back at once, silent, resigned, or with a stuck disk.
func TestGap(t *testing.T) {
	for _, c := range []struct {
		name  string
		worst time.Duration
		how   func(*node)
	}{
		{"killed", 3 * time.Second, func(n *node) { n.crash(time.Minute) }},
		{"killed and back", 2500 * time.Millisecond, func(n *node) { n.crash(50 * time.Millisecond) }},
		{"silent", 3500 * time.Millisecond, func(n *node) { n.pause(time.Minute) }},
		{"cut off", 3 * time.Second, func(n *node) { n.w.isolate([]*node{n}, time.Minute) }},
		{"stuck disk", 3 * time.Second, func(n *node) { n.slow = n.w.now.Add(time.Minute) }},
		{"resigned", 500 * time.Millisecond, func(n *node) { n.open[0].g.Resign(n.local()); n.open[0].settle() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var gaps []time.Duration
			for seed := range uint64(15) {
				w := newWorld(seed+1, 3, 1, 3)
				for i := range 8 {
					w.client(0, i+1)
				}
				w.run(Instant(2*time.Second) + Instant(seed)*Instant(17*time.Millisecond))
				l := w.leader(0)
				if l == nil {
					t.Fatalf("seed %d: no leader after two seconds", seed)
				}
				from, epoch, acks := w.now, l.epoch, 0
				c.how(l.n)
				for next := w.leader(0); next == nil || next.epoch == epoch || w.check.acks[0] == acks; next = w.leader(0) {
					if w.now > from.Add(20*time.Second) {
						t.Fatalf("seed %d: no turn for 20 s", seed)
					}
					if next == nil || next.epoch == epoch {
						acks = w.check.acks[0]
					}
					w.run(w.now.Add(5 * time.Millisecond))
				}
				if w.check.broken != "" {
					t.Fatalf("seed %d: %s: %s", seed, w.check.broken, w.check.detail)
				}
				gaps = append(gaps, time.Duration(w.now-from))
			}
			slices.Sort(gaps)
			t.Logf("median %v, worst %v", gaps[len(gaps)/2], gaps[len(gaps)-1])
			if worst := gaps[len(gaps)-1]; worst > c.worst {
				t.Errorf("worst gap %v, at most %v", worst, c.worst)
			}
		})
	}
}
