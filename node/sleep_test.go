package node

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal/agents"
)

// TestSleepingAgentsAreLight: agents that nobody uses cost disk, not memory, on those that keep them and on the one
// that made them. Here caches that are bounded weigh more than the agents, so the bound is wide: it was 1300 when keys lay in memory;
// `bench agent-sleep` has the figure. It is not parallel: nothing else may grow meanwhile.
func TestSleepingAgentsAreLight(t *testing.T) {
	if underRace || testing.Short() {
		t.Skip("it weighs, and makes many agents")
	}
	const many, bound = 2000, 600 // bytes, on each of the nodes
	ns := nodes(t, 3, func(_ int, c *Config) { c.Agents.Idle = 200 * time.Millisecond })
	made := 0
	create := func(n int) {
		code, err := ns[0].Module(t.Context(), "example:counter")
		if err != nil {
			t.Fatal(err)
		}
		var next atomic.Int64
		var done sync.WaitGroup
		for range 32 {
			done.Go(func() {
				for i := next.Add(1); i <= int64(n) && !t.Failed(); i = next.Add(1) {
					o := agents.CreateOptions{Name: fmt.Sprint("a", made+int(i))}
					if _, err := ns[0].CreateAgent(t.Context(), code.String(), cid.Undef, o); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done.Wait()
		made += n
		for _, nd := range ns {
			eventually(t, 30*time.Second, "all sleep", func() bool { _, awake := nd.rooms.agents.Kept(); return awake == 0 })
		}
	}
	create(200) // what is needed once is there then
	before := settled()
	create(many)
	each := (settled() - before) / many / int64(len(ns))
	t.Logf("%d bytes for an agent, on each of its nodes", each)
	if each > bound {
		t.Errorf("a sleeping agent weighs %d bytes on each of its nodes, more than %d", each, bound)
	}
	for _, nd := range ns {
		if kept, _ := nd.rooms.agents.Kept(); kept < made*9/10 { // on a busy machine a few begin without one that is late
			t.Errorf("a node keeps %d of %d agents: too little was weighed", kept, made)
		}
	}
}

// settled is the least that is in use after collections during some seconds, in bytes: compilers end, announcements
// arrive.
func settled() (least int64) {
	for i := range 10 {
		runtime.GC()
		runtime.GC() // what has a finalizer
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if i == 0 || int64(m.HeapAlloc) < least {
			least = int64(m.HeapAlloc)
		}
		time.Sleep(500 * time.Millisecond)
	}
	return least
}
