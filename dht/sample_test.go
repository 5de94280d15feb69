package dht_test

import (
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
)

// TestSample draws from a fabric in which each node was introduced to one other.
func TestSample(t *testing.T) {
	const n = 12
	f := newFabric(t, patient())
	nodes := []*node{f.start(newHost(t))}
	if got := nodes[0].Sample(t.Context(), 5); len(got) != 0 {
		t.Errorf("a node alone met %v", got)
	}
	for i := 1; i < n; i++ {
		nodes = append(nodes, f.start(newHost(t)))
		f.connect(nodes[i], nodes[(i-1)/2])
	}
	member := map[shoal.PeerID]bool{}
	for _, d := range nodes {
		member[d.id] = true
	}
	for _, want := range []int{1, 5, 100} {
		f.until("a sample", func() bool { return len(nodes[n-1].Sample(t.Context(), want)) == min(want, n-1) })
		got := nodes[n-1].Sample(t.Context(), want)
		slices.Sort(got)
		if len(got) != min(want, n-1) || len(slices.Compact(got)) != len(got) || slices.Contains(got, nodes[n-1].id) {
			t.Errorf("a sample of %d: %v", want, got)
		}
		for _, p := range got {
			if !member[p] {
				t.Errorf("%s is no member", p)
			}
		}
	}
}
