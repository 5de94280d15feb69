package graph

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func unavailable() error { return shoal.E(shoal.Unavailable, "run", "the peer is gone", "") }

var epoch = time.Unix(1000, 0)

// ring has n nodes and a task per i held by nodes i and i+1.
func ring(nodes, tasks int) (Spec, []shoal.PeerID) {
	ids := make([]shoal.PeerID, nodes)
	for i := range ids {
		ids[i] = shoal.PeerID(fmt.Sprintf("n%d", i))
	}
	s := Spec{Reduce: true}
	for i := range tasks {
		s.Maps = append(s.Maps, Map{Bytes: 1000, Holders: []shoal.PeerID{ids[i%nodes], ids[(i+1)%nodes]}})
	}
	return s, ids
}

func TestAJobFromBeginToEnd(t *testing.T) {
	spec, ids := ring(2, 5)
	g := New(spec)
	for _, id := range ids {
		g.Node(id, 1, true)
	}
	starts := g.Ready(epoch)
	if len(starts) != 4 { // two nodes, one slot, a window of two
		t.Fatalf("%d tasks started at once", len(starts))
	}
	if c := g.Counts(); c.Pending != 1 || c.Running != 4 || c.Nodes[0].Running != 2 || c.Nodes[0].Pending+c.Nodes[1].Pending != 1 {
		t.Fatalf("%+v", c)
	}
	for len(starts) > 0 {
		s := starts[0]
		starts = starts[1:]
		if s.Reduce {
			t.Fatal("the reducer starts before all maps are done")
		}
		g.Ran(s.Task, s.Attempt, fmt.Sprint("out", s.Task), 1, epoch)
		for _, more := range g.Ready(epoch) {
			if more.Reduce {
				t.Fatal("the reducer starts before the last output is safe")
			}
			starts = append(starts, more)
		}
		g.Kept(s.Task)
		starts = append(starts, g.Ready(epoch)...)
		if len(starts) == 1 && starts[0].Reduce {
			break
		}
	}
	if len(starts) != 1 || !starts[0].Reduce || starts[0].Task != 5 || g.Ended() {
		t.Fatalf("%+v", starts)
	}
	for i := range 5 {
		if g.Output(i) != fmt.Sprint("out", i) {
			t.Fatalf("output %d is %q", i, g.Output(i))
		}
	}
	// The reducer finds that an output is gone: that task runs again, then the reducer.
	g.Lost(3, "t/3", unavailable(), epoch, 0.5)
	g.Failed(5, 1, "t/5", unavailable(), epoch, 0.5)
	again := g.Ready(epoch.Add(time.Second))
	if len(again) != 1 || again[0].Task != 3 || again[0].Attempt != 2 {
		t.Fatalf("%+v", again)
	}
	g.Ran(3, again[0].Attempt, "out3", 1, epoch.Add(time.Second))
	g.Kept(3)
	last := g.Ready(epoch.Add(time.Second))
	if len(last) != 1 || !last[0].Reduce || last[0].Attempt != 2 {
		t.Fatalf("%+v", last)
	}
	g.Ran(5, last[0].Attempt, "sum", 1, epoch.Add(time.Second))
	if !g.Ended() || g.Err() != nil || g.Output(5) != "sum" || g.Counts().Retries != 2 {
		t.Fatalf("%v %v %+v", g.Ended(), g.Err(), g.Counts())
	}
}

func TestErrorsDecide(t *testing.T) {
	for _, c := range []struct {
		kind  shoal.Kind
		again bool
	}{
		{shoal.Unavailable, true},
		{shoal.Timeout, true},
		{shoal.Overloaded, true},
		{shoal.NotFound, true},
		{shoal.Full, true},
		{shoal.Internal, true},
		{shoal.Corrupt, true},
		{shoal.Failed, false},
		{shoal.Invalid, false},
		{shoal.Refused, false},
		{shoal.Canceled, false},
	} {
		spec, ids := ring(2, 1)
		g := New(spec)
		for _, id := range ids {
			g.Node(id, 1, true)
		}
		s := g.Ready(epoch)[0]
		g.Failed(0, 1, "t/0", shoal.E(c.kind, "run", "why", ""), epoch, 0.9)
		if (g.Err() == nil) != c.again {
			t.Errorf("%v: %v", c.kind, g.Err())
			continue
		}
		if !c.again {
			if shoal.KindOf(g.Err()) != c.kind || !g.Ended() {
				t.Errorf("%v became %v", c.kind, g.Err())
			}
			continue
		}
		if g.Wake(epoch).IsZero() {
			t.Errorf("%v: never wakes", c.kind)
		}
		next := g.Ready(g.Wake(epoch))
		if len(next) != 1 || c.kind != shoal.Overloaded && next[0].Node == s.Node {
			t.Errorf("%v: %+v after %s", c.kind, next, s.Node)
		}
	}
}

func TestPatienceEnds(t *testing.T) {
	spec, ids := ring(2, 3)
	spec.Patience = time.Minute
	g := New(spec)
	if s := g.Ready(epoch); len(s) > 0 || g.Err() != nil {
		t.Fatal(s, g.Err())
	}
	if w := g.Wake(epoch); !w.Equal(epoch.Add(time.Minute)) {
		t.Fatal(w)
	}
	g.Node(ids[0], 1, true)
	if s := g.Ready(epoch.Add(time.Hour)); len(s) == 0 || g.Err() != nil {
		t.Fatal("a node came, too late?")
	}
	g.Node(ids[0], 1, false)
	g.Ready(epoch.Add(2 * time.Hour))
	if g.Ready(epoch.Add(3 * time.Hour)); shoal.KindOf(g.Err()) != shoal.Unavailable {
		t.Fatal(g.Err())
	}
}

func TestLongBacklogTravels(t *testing.T) {
	spec := Spec{Maps: make([]Map, 40)}
	for i := range spec.Maps {
		spec.Maps[i] = Map{Bytes: 1000, Holders: []shoal.PeerID{"holder"}}
	}
	g := New(spec)
	g.Node("holder", 1, true)
	g.Node("idle", 1, true)
	first := g.Ready(epoch)
	if slices.ContainsFunc(first, func(s Start) bool { return s.Node != "holder" }) {
		t.Fatal("data travels before anything is known of how long tasks take")
	}
	g.Ran(first[0].Task, 1, "", 5, epoch) // so the backlog is minutes
	if next := g.Ready(epoch); !slices.ContainsFunc(next, func(s Start) bool { return s.Node == "idle" }) {
		t.Fatalf("an idle node watches: %+v", next)
	}
}
