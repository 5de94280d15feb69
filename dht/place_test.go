package dht

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	mh "github.com/multiformats/go-multihash"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestPlacer: whomever the sweeper names, the copies of a key go to those closest to it, round for round.
func TestPlacer(t *testing.T) {
	const copies = 20
	var all []peer.ID
	for i := range 60 {
		h, err := mh.Sum([]byte(fmt.Sprint("peer ", i)), mh.SHA2_256, -1)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, peer.ID(h))
	}
	p, now := newPlacer(nil, "myself", copies), time.Now()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{copies, copies, 7, copies, 7, 7, 1, copies} { // the sweeper may know of few peers, and give up early
		now = now.Add(roundTime)
		p.meet(now, all)
		type copy struct {
			key   string
			named peer.ID
		}
		var round []copy
		for k := range 30 {
			for _, i := range r.Perm(copies)[:n] {
				round = append(round, copy{fmt.Sprint("key ", k), all[i]})
			}
		}
		r.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] }) // each peer is sent all its keys at once
		told := map[string][]peer.ID{}
		for _, c := range round {
			told[c.key] = append(told[c.key], p.next(now, c.named, []byte(c.key)))
		}
		for key, got := range told {
			at := sha256.Sum256([]byte(key))
			dist := func(id peer.ID) []byte {
				d := sha256.Sum256([]byte(id))
				for i := range d {
					d[i] ^= at[i]
				}
				return d[:]
			}
			want := slices.SortedFunc(slices.Values(all), func(a, b peer.ID) int { return slices.Compare(dist(a), dist(b)) })[:n]
			if !slices.Equal(got, want) {
				t.Fatalf("%d copies of %s did not go to the peers closest to it", n, key)
			}
		}
	}
	if len(p.rounds) != 0 {
		t.Errorf("%d rounds are kept after all copies were sent", len(p.rounds))
	}
}

// TestPlacerOfAFew: who was alone, and announced to itself, tells all others soon after, and remembers nothing of it.
func TestPlacerOfAFew(t *testing.T) {
	p, now := newPlacer(nil, "myself", 20), time.Now()
	p.meet(now, []peer.ID{"myself"})
	if got := p.next(now, "myself", []byte("key")); got != "myself" {
		t.Errorf("alone told %q", got)
	}
	few := []peer.ID{"a", "b", "c"}
	p.meet(now, few)
	got := map[peer.ID]bool{}
	for _, named := range few {
		got[p.next(now, named, []byte("key"))] = true
	}
	if len(got) != 3 || got["myself"] {
		t.Errorf("told %v", got)
	}
	if len(p.rounds) != 0 {
		t.Errorf("%d rounds are kept", len(p.rounds))
	}
}
