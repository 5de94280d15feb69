package view

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func TestChoose(t *testing.T) {
	v, r := table(9), rand.New(rand.NewPCG(2, 2))
	for n := range 6 {
		offer(t, v, record(n, 1, 1))
	}
	connected := []shoal.PeerID{id(0), id(1), id(2), id(9), id(77)}
	if got := v.Targets(connected, 10, r); len(got) != 3 {
		t.Errorf("targets %v", got)
	}
	v.Contact(id(0), noon)
	first := v.Probes(connected, 2, time.Second, noon.Add(500*time.Millisecond))
	if len(first) != 2 || slices.Contains(first, id(0)) {
		t.Errorf("probes %v", first)
	}
	if got := v.Probes(connected, 2, time.Second, noon.Add(700*time.Millisecond)); len(got) != 0 {
		t.Errorf("asked again: %v", got)
	}
	calls := v.Calls(connected, 10, r, noon)
	if len(calls) != 3 || len(v.Calls(connected, 10, r, noon)) != 0 {
		t.Errorf("calls %v", calls)
	}
	// Failing calls come ever more rarely; a broken connection or a new address is tried at once.
	wait := time.Duration(0)
	now := noon
	for range 12 {
		v.Failed(id(4), r, now)
		wait = v.rows[id(4)].next.Sub(now)
		now = now.Add(wait)
	}
	if wait < 45*time.Second || wait > 75*time.Second {
		t.Errorf("at last it waits %v", wait)
	}
	offer(t, v, record(4, 1, 2, func(r *Record) { r.Addresses = []string{"/ip4/1.2.3.4/tcp/1"} }))
	if got := v.Calls(connected, 10, r, now); !slices.Contains(got, id(4)) {
		t.Errorf("calls %v", got)
	}
	if a, ok := v.Broke(id(0), now); !ok || len(a) != 1 {
		t.Errorf("broken: %v, %v", a, ok)
	}
	if got := v.Calls([]shoal.PeerID{id(1), id(2)}, 10, r, now); slices.Contains(got, id(0)) {
		t.Errorf("picked twice: %v", got)
	}
	if _, ok := v.Broke(id(77), now); ok {
		t.Error("a stranger's connection is nobody's business")
	}
	v.Contact(id(1), now)
	v.Failed(id(1), r, now.Add(time.Second))
	if got := v.Late(connected, now.Add(20*time.Second)); len(got) != 0 {
		t.Errorf("late %v", got)
	}
	if got := v.Late(connected, now.Add(31*time.Second)); !slices.Equal(got, []shoal.PeerID{id(1)}) {
		t.Errorf("late %v", got)
	}
}

// TestGossipConverges runs N views over a lossy network by the rules that members follows, with
// records changing, departures and a partition, and wants all to agree soon after the last change.
func TestGossipConverges(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		converge(t, uint64(seed)+1)
	}
}

func converge(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	n := 4 + r.IntN(40)
	views, seqs := make([]*View, n), make([]uint64, n)
	ids := make([]shoal.PeerID, n)
	now := noon
	own := func(i int) {
		seqs[i]++
		it := record(i, 1, seqs[i], func(rec *Record) { rec.Load.Running = int(seqs[i]) })
		rec, _ := readRecord(it.Fact, fabric)
		views[i].SetSelf(rec, it.Fact, now)
	}
	for i := range views {
		views[i], ids[i] = table(i), id(i)
		own(i)
		if i > 0 { // it joined through another
			for _, it := range views[r.IntN(i)].all() {
				if _, err := views[i].Offer(it, false, now); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	index := map[shoal.PeerID]int{}
	for i, p := range ids {
		index[p] = i
	}
	loss, cut := 0.2*r.Float64(), false
	lost := func(a, b int) bool { return r.Float64() < loss || cut && (a < n/2) != (b < n/2) }
	sent := 0
	step := func() {
		now = now.Add(time.Second)
		for i, v := range views {
			items := v.News(4096, now)
			if len(items) > 0 {
				for _, p := range v.Targets(ids, 3, r) {
					j := index[p]
					if lost(i, j) {
						continue
					}
					sent += len(items)
					known := make([]byte, len(items)/8+1)
					for k, it := range items {
						news, err := views[j].Offer(it, false, now)
						if err != nil {
							t.Fatal(err)
						}
						if !news {
							known[k/8] |= 1 << (k % 8)
						}
					}
					if !lost(j, i) {
						v.Settle(items, known)
					}
				}
			}
			if r.IntN(15) > 0 {
				continue
			}
			j := r.IntN(n)
			if j == i || lost(i, j) || v.Sum() == views[j].Sum() {
				continue
			}
			marks, to := v.Digest(0, 4096)
			got, want, _ := views[j].Compare(0, to, marks, 1<<20, now)
			if lost(j, i) {
				continue
			}
			for _, it := range got {
				if _, err := v.Offer(it, false, now); err != nil {
					t.Fatal(err)
				}
			}
			for _, it := range v.Rows(want, 1<<20, now) {
				if _, err := views[j].Offer(it, false, now); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	changes := 0
	for s := range 60 {
		cut = s >= 20 && s < 50
		for range r.IntN(4) {
			own(r.IntN(n))
			changes++
		}
		if s == 30 { // forgotten on one side of the partition, busy on the other
			offer(t, views[0], departed(n-1, 1, 0))
		}
		step()
	}
	cut = false
	agree := func() bool {
		for _, v := range views[1 : n-1] { // the last one still signs records of its old life
			if v.Sum() != views[0].Sum() {
				return false
			}
		}
		return true
	}
	rounds := 0
	for ; !agree(); rounds++ {
		if rounds > 200 {
			t.Fatalf("seed %d: %d views do not agree 200 s after the last change", seed, n)
		}
		step()
	}
	for i, v := range views[:n-1] {
		if m, _ := v.Lookup(ids[n-1], now); m.State != shoal.Forgotten {
			t.Fatalf("seed %d: view %d has the forgotten one as %s", seed, i, m.State)
		}
		if len(v.Members(now)) != n-1 || !reflect.DeepEqual(v.facts(), views[0].facts()) {
			t.Fatalf("seed %d: view %d differs", seed, i)
		}
	}
	t.Logf("seed %d: %d views, loss %.0f %%: agreed %d s after %d changes; %.1f items sent per change and view",
		seed, n, 100*loss, rounds, changes, float64(sent)/float64(changes)/float64(n))
}
