package spread

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

func peers(n int) []Peer {
	out := make([]Peer, n)
	for i := range out {
		out[i] = Peer{ID: shoal.PeerID(fmt.Sprint("peer", i)), Free: Unknown}
	}
	return out
}

func loads(p Problem, out [][]int) []uint64 {
	l := make([]uint64, len(p.Peers))
	for part, at := range out {
		for _, peer := range at {
			l[peer] += p.Parts[part]
		}
	}
	return l
}

func distinct(t *rapid.T, p Problem, out [][]int) {
	if len(out) != len(p.Parts) {
		t.Fatalf("%d partitions placed, want %d", len(out), len(p.Parts))
	}
	for part, at := range out {
		s := slices.Clone(at)
		slices.Sort(s)
		if len(slices.Compact(s)) != len(at) {
			t.Fatalf("partition %d is twice on one peer: %v", part, at)
		}
		for _, peer := range at {
			if peer < 0 || peer >= len(p.Peers) {
				t.Fatalf("no peer %d", peer)
			}
		}
	}
}

func drawParts(t *rapid.T) []uint64 {
	return rapid.SliceOfN(rapid.Uint64Range(0, 1000), 0, 80).Draw(t, "parts")
}

// With equal peers: R distinct holders each, and the fullest peer exceeds the ideal by less than one
// partition.
func TestBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Problem{
			Salt: "root", Parts: drawParts(t), Peers: peers(rapid.IntRange(1, 9).Draw(t, "peers")),
			Replicas: rapid.IntRange(1, 4).Draw(t, "replicas"),
		}
		p.Peers[rapid.IntRange(0, len(p.Peers)-1).Draw(t, "local")].Local = true
		out := Solve(p)
		distinct(t, p, out)
		r := min(p.Replicas, len(p.Peers))
		var total, most uint64
		for part, at := range out {
			if len(at) != r {
				t.Fatalf("partition %d has %d holders, want %d", part, len(at), r)
			}
			total += p.Parts[part]
			most = max(most, p.Parts[part])
		}
		ideal := total * uint64(r) / uint64(len(p.Peers))
		for peer, l := range loads(p, out) {
			if l > ideal+most || l+most < ideal {
				t.Fatalf("peer %d has %d bytes; ideal %d, largest partition %d", peer, l, ideal, most)
			}
		}
		if again := Solve(p); fmt.Sprint(again) != fmt.Sprint(out) {
			t.Fatal("two answers to one question")
		}
	})
}

// What is kept stays, and only what is missing is added.
func TestRepairKeepsWhatIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Problem{
			Salt: "root", Parts: drawParts(t), Peers: peers(rapid.IntRange(1, 7).Draw(t, "peers")),
			Replicas: rapid.IntRange(1, 3).Draw(t, "replicas"),
		}
		p.Have = Solve(p)
		dead := rapid.IntRange(0, len(p.Peers)-1).Draw(t, "dead")
		for part, at := range p.Have {
			p.Have[part] = slices.DeleteFunc(at, func(i int) bool { return i == dead })
		}
		p.Peers[dead].Free = 0
		before := fmt.Sprint(p.Have)
		out := Solve(p)
		distinct(t, p, out)
		if fmt.Sprint(p.Have) != before {
			t.Fatal("Have was changed")
		}
		for part, at := range out {
			if !slices.Equal(at[:len(p.Have[part])], p.Have[part]) {
				t.Fatalf("partition %d was at %v and is at %v", part, p.Have[part], at)
			}
			if want := min(p.Replicas, len(p.Peers)-1); p.Parts[part] > 0 && len(at) != want {
				t.Fatalf("partition %d has %d holders, want %d", part, len(at), want)
			}
		}
	})
}

func TestSpace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Problem{Salt: "root", Parts: drawParts(t), Peers: peers(4), Replicas: 2}
		for i := range p.Peers {
			p.Peers[i].Free = rapid.Uint64Range(0, 50_000).Draw(t, "free")
		}
		out := Solve(p)
		distinct(t, p, out)
		for peer, l := range loads(p, out) {
			if l > p.Peers[peer].Free {
				t.Fatalf("peer %d got %d of %d bytes", peer, l, p.Peers[peer].Free)
			}
		}
	})
	// Plenty of space: differences do not matter. Little: it gets little.
	p := Problem{Salt: "root", Parts: slices.Repeat([]uint64{100}, 50), Peers: peers(5), Replicas: 2}
	for i := range p.Peers {
		p.Peers[i].Free = uint64(1_000_000 * (i + 1))
	}
	for peer, l := range loads(p, Solve(p)) {
		if l != 2000 {
			t.Errorf("with plenty of space peer %d has %d bytes, want 2000", peer, l)
		}
	}
	p.Peers[3].Free = 2500
	if l := loads(p, Solve(p)); l[3] > 1000 || l[3] == 0 {
		t.Errorf("a peer with little space got %d bytes", l[3])
	}
}

func TestZones(t *testing.T) {
	p := Problem{Salt: "root", Parts: slices.Repeat([]uint64{100}, 60), Peers: peers(5), Replicas: 2}
	for i, z := range []string{"a", "a", "a", "b", "b"} {
		p.Peers[i].Zone = z
	}
	zones := func(at []int) int {
		seen := map[string]bool{}
		for _, i := range at {
			seen[p.Peers[i].Zone] = true
		}
		return len(seen)
	}
	for part, at := range Solve(p) {
		if zones(at) != 2 {
			t.Errorf("partition %d lies in one zone: %v", part, at)
		}
	}
	p.Replicas = 3 // more copies than zones: both zones, and three peers
	for part, at := range Solve(p) {
		if zones(at) != 2 || len(at) != 3 {
			t.Errorf("partition %d: %v", part, at)
		}
	}
	p.Replicas = 2 // a zone of one peer takes at most twice its part, not a copy of everything
	p.Peers[3].Zone = "a"
	if l := loads(p, Solve(p)); l[4] < 4000 || l[4] > 5000 {
		t.Errorf("the only peer of its zone has %d bytes of 6000", l[4])
	}
}

func TestSmallDatasetsScatter(t *testing.T) {
	seen := map[int]int{}
	for i := range 400 {
		p := Problem{Salt: fmt.Sprint("root", i), Parts: []uint64{10}, Peers: peers(5), Replicas: 2}
		for _, peer := range Solve(p)[0] {
			seen[peer]++
		}
	}
	for peer := range 5 {
		if n := seen[peer]; n < 100 || n > 220 {
			t.Errorf("peer %d has %d of 400 small datasets, want about 160", peer, n)
		}
	}
	p := Problem{Salt: "x", Parts: []uint64{10}, Peers: peers(5), Replicas: 2}
	p.Peers[2].Local = true
	if at := Solve(p)[0]; at[0] != 2 {
		t.Errorf("the peer that has the bytes was not chosen: %v", at)
	}
}

func TestNobodyThere(t *testing.T) {
	p := Problem{Parts: []uint64{1, 2}, Replicas: 2}
	if out := Solve(p); len(out) != 2 || Short(p, out) != 4 {
		t.Fatalf("got %v", out)
	}
	if out := Solve(Problem{Peers: peers(2), Replicas: 1}); len(out) != 0 {
		t.Fatalf("got %v", out)
	}
}
