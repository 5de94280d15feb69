package node

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

// TestPingUnderHostileGuests has a guest that will not end for each processor of a node, and pings the
// node from another: an answer takes less than 50 ms, and each guest is stopped within 100 ms of its limit.
// Both nodes and the guests share one process, which is harder than life. Other tests may run beside it: as
// much more as a process full of Go's own loops takes at that moment is allowed, and 50 ms at most. The plain
// figures are printed.
func TestPingUnderHostileGuests(t *testing.T) {
	if underRace {
		t.Skip("the race detector slows the node, and not the guests: what is timed runs without it")
	}
	const limit, stopWithin, pingAtMost, tries = 500 * time.Millisecond, 100 * time.Millisecond, 50 * time.Millisecond, 5
	guests := runtime.GOMAXPROCS(0)
	list := nodes(t, 2, func(_ int, c *Config) { c.Slots = guests })
	a, b := list[0], list[1]
	for _, g := range hostile.Running() {
		if g.Name != "endless loop" && g.Name != "memory.fill for ever" && g.Name != "memory.grow for ever" {
			continue // the benchmark "hostile" has all
		}
		module, _, err := a.Upload(t.Context(), g.Name, g.Wasm)
		if err != nil {
			t.Fatal(err)
		}
		run := func() error {
			_, _, _, err := a.RunTask(t.Context(), RunSpec{Module: module, On: b.ID(), Limits: shoal.Limits{Time: limit}})
			return err
		}
		if err := run(); err == nil || !strings.Contains(err.Error(), "time limit") { // and it is compiled now
			t.Fatalf("%s: %v", g.Name, err)
		}
		for try := 1; ; try++ {
			worst, late := pinged(t, a, b, guests, func() {
				if err := run(); err == nil || !strings.Contains(err.Error(), "time limit") {
					t.Errorf("got %v", err)
				}
			}, limit)
			noise, _ := pinged(t, a, b, guests, func() {
				for end := time.Now().Add(limit); time.Now().Before(end); {
				}
			}, limit)
			said := fmt.Sprintf("%-32s worst ping %v (%v with Go's own loops), stopped %v after its limit", g.Name,
				worst.Round(100*time.Microsecond), noise.Round(100*time.Microsecond), late.Round(100*time.Microsecond))
			t.Log(said)
			allowed := min(noise, pingAtMost)
			if worst < pingAtMost+allowed && late < stopWithin+allowed {
				break
			}
			if try == tries {
				t.Error(said)
				break
			}
		}
	}
}

// pinged runs so many of f at once, which should take limit each, and pings meanwhile. late is how much
// longer the slowest took; of a guest that includes the way there and back.
func pinged(t *testing.T, a, b *Node, n int, f func(), limit time.Duration) (worst, late time.Duration) {
	t.Helper()
	done := make(chan struct{})
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			began := time.Now()
			f()
			took[i] = time.Since(began)
		})
	}
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return worst, slices.Max(took) - limit
		case <-time.After(5 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		took, err := a.Ping(ctx, b.ID())
		if err != nil {
			t.Errorf("ping: %v", err)
		}
		worst = max(worst, took)
		cancel()
	}
}
