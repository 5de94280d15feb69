package graph

import (
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// play runs a job without faults in virtual time: a node runs slots tasks at once, the others wait there
// in order; a task takes a second, times the node's slowness. It returns how long the job took.
func play(t *testing.T, spec Spec, nodes []shoal.PeerID, slots int, slow map[shoal.PeerID]float64) (time.Duration, Counts) {
	g := New(spec)
	for _, id := range nodes {
		g.Node(id, slots, true)
	}
	type running struct {
		Start
		left time.Duration
	}
	const tick = 10 * time.Millisecond
	at := map[shoal.PeerID][]*running{}
	for now := epoch; ; now = now.Add(tick) {
		if now.Sub(epoch) > 10*time.Minute {
			t.Fatalf("no end: %+v", g.Counts())
		}
		for _, s := range g.Ready(now) {
			takes := time.Duration(max(slow[s.Node], 1) * float64(time.Second))
			at[s.Node] = append(at[s.Node], &running{s, takes})
		}
		if g.Ended() {
			return now.Sub(epoch), g.Counts()
		}
		for _, id := range nodes {
			for _, r := range at[id][:min(len(at[id]), slots)] {
				r.left -= tick
			}
			var left []*running
			for _, r := range at[id] {
				switch {
				case g.flight(r.Task, r.Attempt) == nil: // beaten
				case r.left > 0:
					left = append(left, r)
				default:
					g.Ran(r.Task, r.Attempt, "", 1, now)
				}
			}
			at[id] = left
		}
	}
}

// TestOneSlowNode slows one of five nodes twenty times.
func TestOneSlowNode(t *testing.T) {
	slow := map[shoal.PeerID]float64{"n2": 20}
	spec, nodes := ring(5, 60)
	spec.Reduce = false
	even, c := play(t, spec, nodes, 2, nil)
	if c.Copies != 0 {
		t.Errorf("%d copies though no node is slow", c.Copies)
	}
	with, c := play(t, spec, nodes, 2, slow)
	spec.Copies = -1
	without, none := play(t, spec, nodes, 2, slow)
	t.Logf("60 tasks of 1 s on 5 nodes of 2 slots: %v; with one node slowed 20 times: %v without second copies, %v with (%d copies, %d of them first)",
		even, without, with, c.Copies, c.Won)
	if none.Copies != 0 || c.Won == 0 || without < 20*time.Second || with > without/2 {
		t.Errorf("%v without, %v with: %+v", without, with, c)
	}
}

// TestTheOnlyHolderIsSlow has all input on a slow node and on no other: it travels when that pays.
func TestTheOnlyHolderIsSlow(t *testing.T) {
	for _, c := range []struct {
		bytes uint64
		pays  bool
	}{{1000, true}, {1 << 40, false}} {
		spec := Spec{}
		for i := range 12 {
			m := Map{Bytes: c.bytes, Holders: []shoal.PeerID{"fast", "other"}}
			if i >= 10 {
				m.Holders = []shoal.PeerID{"slow"}
			}
			spec.Maps = append(spec.Maps, m)
		}
		took, n := play(t, spec, []shoal.PeerID{"fast", "other", "slow"}, 1, map[shoal.PeerID]float64{"slow": 20})
		if (n.Won > 0) != c.pays || c.pays != (took < 20*time.Second) {
			t.Errorf("%d bytes: %v, %+v", c.bytes, took, n)
		}
	}
}

// TestMoreInputMayTakeLonger has one task with twenty times the input of the others: it is no straggler.
func TestMoreInputMayTakeLonger(t *testing.T) {
	spec, ids := ring(2, 8)
	spec.Reduce = false
	spec.Maps[0].Bytes *= 20
	g := New(spec)
	for _, id := range ids {
		g.Node(id, 8, true)
	}
	starts := g.Ready(epoch)
	for _, s := range starts {
		if s.Task != 0 {
			g.Ran(s.Task, s.Attempt, "", 1, epoch.Add(time.Second))
		}
	}
	for now, end := epoch.Add(time.Second), epoch.Add(60*time.Second); now.Before(end); now = now.Add(time.Second) {
		if s := g.Ready(now); len(s) > 0 {
			t.Fatalf("%+v after %v", s, now.Sub(epoch))
		}
	}
	if s := g.Ready(epoch.Add(61 * time.Second)); len(s) != 1 || !s[0].Copy || s[0].Late != 61*time.Second {
		t.Fatalf("%+v", s)
	}
}

// TestACopyThatFails leaves the first on its way, and the other way round.
func TestACopyThatFails(t *testing.T) {
	for _, loser := range []int{1, 2} {
		spec, ids := ring(3, 3)
		spec.Reduce = false
		g := New(spec)
		for _, id := range ids {
			g.Node(id, 1, true)
		}
		g.Ready(epoch)
		now := epoch.Add(time.Second)
		g.Ran(1, 1, "", 1, now)
		g.Ran(2, 1, "", 1, now)
		now = now.Add(3 * time.Second)
		if s := g.Ready(now); len(s) != 1 || s[0].Task != 0 || s[0].Attempt != 2 || !s[0].Copy || !slices.Contains(s[0].Holders, s[0].Node) {
			t.Fatalf("%+v", s)
		}
		if !g.Failed(0, loser, "t/0", unavailable(), now, 0.5) || g.Err() != nil {
			t.Fatal(g.Err())
		}
		if s := g.Ready(now); len(s) > 0 || g.Counts().Pending != 0 || g.Counts().Running != 1 {
			t.Fatalf("%+v %+v", s, g.Counts())
		}
		if beaten, first := g.Ran(0, 3-loser, "", 1, now); !first || len(beaten) != 0 || !g.Ended() {
			t.Fatal(beaten, first)
		}
		if beaten, first := g.Ran(0, loser, "x", 1, now); first || beaten != nil || g.Output(0) != "" {
			t.Fatal("what had failed counts")
		}
	}
}
