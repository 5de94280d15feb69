package scheduler

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// TestUseIsTold: data hears of each input that a task reads, and whether that had to be fetched.
func TestUseIsTold(t *testing.T) {
	f := newFabric(t, 2, nil)
	var mu sync.Mutex
	var took []bool
	p := f.nodes[1]
	if err := p.s.Close(); err != nil {
		t.Fatal(err)
	}
	p.node, p.used = f.net.Node("again"), func(_ cid.Cid, d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		took = append(took, d > 0)
	}
	p.id = p.node.Self()
	p.start()
	mod, in := f.module("hello", hello, 0), f.data("text", 0)
	ctx := within(t, 20*time.Second)
	for _, o := range []RunOptions{{On: p.id}, {On: p.id}, {On: p.id, Class: "result"}} {
		if _, _, err := p.s.Run(ctx, shoal.Task{Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}}, o); err != nil {
			t.Fatal(err)
		}
	}
	if len(took) != 2 || !took[0] || took[1] {
		t.Errorf("told of %v, want a fetch and a use of what was here", took)
	}
}

// TestADecisionHasUnknownLinksProbed: those over which much would have to move, and of which nothing is known.
func TestADecisionHasUnknownLinksProbed(t *testing.T) {
	f := newFabric(t, 3, nil)
	p := f.nodes[0]
	asked := map[shoal.PeerID]int{}
	p.s.d.Probe = func(id shoal.PeerID) { asked[id]++ } // decisions run on this goroutine
	mod := f.module("hello", hello, 0)
	small, large := f.data("text", 1), f.data(strings.Repeat("text", 1e6), 1)
	ctx := within(t, 20*time.Second)
	place := func(in cid.Cid) {
		peer, _, err := p.s.place.choose(ctx, shoal.Task{ID: p.s.NewID(), Module: mod, Inputs: []shoal.Input{{Name: "d", CID: in}}},
			RunOptions{}, job.NewTries(job.DefaultPolicy()), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		p.s.place.left(peer)
	}
	place(small)
	if len(asked) != 0 {
		t.Errorf("probed %v for some bytes", asked)
	}
	place(large)
	if len(asked) != 1 || asked[f.nodes[2].id] != 1 {
		t.Errorf("probed %v, want the peer that lacks the data, once", asked)
	}
	p.stale = map[shoal.PeerID]shoal.Load{} // from now on the links are known
	place(large)
	if asked[f.nodes[2].id] != 1 {
		t.Errorf("a known link is probed: %v", asked)
	}
}
