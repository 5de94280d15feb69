package dht_test

import (
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// TestSparse has 30 nodes that were each introduced to one other node only, and know no member table.
func TestSparse(t *testing.T) {
	const n = 30
	f := newFabric(t, patient())
	nodes := []*node{f.start(newHost(t))}
	for i := 1; i < n; i++ {
		nodes = append(nodes, f.start(newHost(t)))
		f.connect(nodes[i], nodes[(i-1)/2])
	}
	for _, d := range nodes {
		if err := d.Provide(t.Context(), testKey(d.id), testKey("all")); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	var lookups []time.Duration
	for i, d := range nodes {
		other := nodes[(i*7+11)%n]
		f.until("a provider", func() bool {
			begun := time.Now()
			got, err := shoaltest.Found(t.Context(), d, testKey(other.id), 0)
			lookups = append(lookups, time.Since(begun))
			return err == nil && slices.Equal(got, []shoal.PeerID{other.id})
		})
	}
	f.until("all providers", func() bool {
		got, err := shoaltest.Found(t.Context(), nodes[n-1], testKey("all"), 0)
		return err == nil && len(got) == n
	})
	slices.Sort(lookups)
	t.Logf("all found after %v; lookups took %v in the median, %v at most; node 29 has %d in its table",
		time.Since(start).Round(time.Millisecond), lookups[len(lookups)/2], lookups[len(lookups)-1], len(nodes[n-1].Peers()))
}
