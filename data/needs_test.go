package data

import (
	"slices"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
)

// TestNeedsOfCopies: copies go only where the requirement lets them, when they are put and when they are made again.
func TestNeedsOfCopies(t *testing.T) {
	w := newWorld(t, 6)
	inside := []shoal.PeerID{"peer-01", "peer-02", "peer-03"}
	for _, id := range inside {
		w.zones[id] = "clinic"
	}
	const needs = `has(labels.zone) && labels.zone == "clinic"`
	src := folder(t, 9, 30, 10_000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 20_000, Needs: needs})
	must(t, err)
	m := res.Manifest
	if res.Short != 0 || len(res.Warnings) > 0 || m.Replicas != 2 || m.Needs != needs {
		t.Fatalf("got %+v", res)
	}
	for _, h := range res.Holders {
		if !slices.Contains(inside, h.Peer) {
			t.Errorf("%s got copies", h.Peer)
		}
	}
	for _, n := range w.nodes {
		n.run()
	}
	w.nodes[1].kill()
	w.dirs.Expire("peer-01")
	rest := []*peer{w.nodes[2], w.nodes[3]}
	eventually(t, "the copies of the dead are made again, inside", func() bool {
		for _, n := range rest {
			if len(n.mine(bg, m.Root).kept) != len(m.Partitions) {
				return false
			}
		}
		return true
	})
	w.nodes[2].kill()
	w.dirs.Expire("peer-02")
	eventually(t, "what cannot be made again is counted", func() bool { return w.nodes[3].Stats().Below == len(m.Partitions) })
	for _, i := range []int{0, 4, 5} {
		if held := w.nodes[i].mine(bg, m.Root).kept; len(held) > 0 {
			t.Errorf("peer-0%d keeps %v", i, held)
		}
	}
}

// TestNeedsThatFew: more copies than members that fit, none that fits, and nonsense.
func TestNeedsThatFew(t *testing.T) {
	w := newWorld(t, 4)
	w.zones["peer-02"] = "a"
	const needs = `has(labels.zone) && labels.zone == "a"`
	src := folder(t, 9, 3, 4000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{Needs: needs})
	must(t, err)
	if len(res.Holders) != 1 || res.Holders[0].Peer != "peer-02" || res.Short != 0 {
		t.Errorf("one member fits, and the default is as many copies: %+v", res)
	}
	res, err = w.nodes[0].Put(bg, src, PutOptions{Replicas: 3})
	must(t, err)
	if res.Manifest.Needs != needs || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "the requirement leaves out") {
		t.Errorf("three copies where one member fits: %+v", res)
	}
	kept := 0
	for _, h := range res.Holders {
		if h.Peer != "peer-02" && h.Peer != "peer-00" { // the node that put it keeps what found no place
			t.Errorf("%s got copies", h.Peer)
		}
		kept += len(h.Partitions)
	}
	if kept != 2*len(res.Manifest.Partitions) {
		t.Errorf("%d copies of %d partitions", kept, len(res.Manifest.Partitions))
	}
	_, err = w.nodes[0].Put(bg, src, PutOptions{Needs: `has(labels.zone) && labels.zone == "b"`})
	wantKind(t, err, shoal.Refused)
	if !strings.Contains(err.Error(), "no member fulfils") {
		t.Error(err)
	}
	for bad, says := range map[string]string{`zone == "a"`: "zone", `labels.zone == 1`: "column 13", strings.Repeat(" ", maxNeeds+1): "limit"} {
		_, err = w.nodes[0].Put(bg, src, PutOptions{Needs: bad})
		wantKind(t, err, shoal.Invalid)
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

// TestNeedsAreTheKeepersToo: a peer whose own attributes say otherwise than what others believe takes no copy.
func TestNeedsAreTheKeepersToo(t *testing.T) {
	w := newWorld(t, 3)
	w.zones["peer-01"], w.zones["peer-02"] = "a", "a"
	stale := w.nodes[0].Members()
	w.nodes[0].Members = func() []shoal.Member { return stale }
	delete(w.zones, "peer-01")
	res, err := w.nodes[0].Put(bg, folder(t, 9, 3, 4000), PutOptions{Replicas: 1, Needs: `has(labels.zone) && labels.zone == "a"`})
	must(t, err)
	if len(res.Holders) != 1 || res.Holders[0].Peer != "peer-02" {
		t.Errorf("got %+v", res)
	}
}
