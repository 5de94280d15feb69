package dht_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestAnnouncedBeforeAnybodyWasThere: what a node announces as it starts, before it has met anybody, comes to be with the peers that are
// closest to it, also in a fabric that its table does not hold.
func TestAnnouncedBeforeAnybodyWasThere(t *testing.T) {
	const n = 60
	f := newFabric(t, patient())
	r := rand.New(rand.NewPCG(1, 1))
	var nodes []*node
	for range n {
		nodes = append(nodes, f.start(newHost(t)))
	}
	for i, a := range nodes {
		for range 6 {
			if b := nodes[r.IntN(n)]; b != a && i > 0 {
				f.connect(a, b)
			}
		}
	}
	for _, a := range nodes {
		f.until("a table", func() bool { return len(a.Peers()) >= 20 })
	}
	announceLate(t, f, nodes, 16) // one by one
	if !underRace {               // it takes more than the minute that it is given
		announceLate(t, f, nodes, 80) // by the sweeper
	}
}

func announceLate(t *testing.T, f *fabric, nodes []*node, keys int) {
	late := f.start(newHost(t))
	var list []shoal.Key
	for i := range keys {
		list = append(list, testKey(fmt.Sprint(keys, " ", i)))
	}
	if err := late.Provide(t.Context(), list...); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	for _, a := range nodes[:3] {
		f.connect(late, a)
	}
	f.until("a table of its own", func() bool { return len(late.Peers()) >= 20 })
	closest := func() (have int) {
		for _, k := range list {
			at := sha256.Sum256([]byte(k))
			near := slices.Clone(nodes)
			slices.SortFunc(near, func(a, b *node) int { return slices.Compare(distance(at, a), distance(at, b)) })
			for _, a := range near[:20] {
				if a.Heard(k) {
					have++
				}
			}
		}
		return have
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		have := closest()
		if have >= 20*keys*95/100 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("of %d pairs of a key and one of the peers closest to it, %d; %d peers are in the table", 20*keys, have, len(late.Peers()))
		}
	}
}

func distance(at [32]byte, n *node) []byte {
	id := sha256.Sum256([]byte(n.host.ID()))
	for i := range id {
		id[i] ^= at[i]
	}
	return id[:]
}
