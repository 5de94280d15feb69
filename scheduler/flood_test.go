package scheduler

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// starts is a guest that notes whose tasks start, in order: the first argument says whose.
type starts struct {
	mu    sync.Mutex
	order []string
	takes time.Duration
}

func (s *starts) guest(ctx context.Context, r shoal.Run) (int, error) {
	s.mu.Lock()
	s.order = append(s.order, r.Args[0])
	s.mu.Unlock()
	t := time.NewTimer(s.takes)
	defer t.Stop()
	select {
	case <-t.C:
		return 0, nil
	case <-ctx.Done():
		return 1, ctx.Err()
	}
}

// TestAFloodDoesNotDelayOthers has node 0 send a thousand tasks to node 2 at once, and measures what node
// 1's tasks have to wait there: one after the other, then a hundred at once. The executors are real, the
// time is virtual, so that the figures are those of the queue and not of a busy machine.
func TestAFloodDoesNotDelayOthers(t *testing.T) {
	for _, weight := range []float64{1, 3, 0.5} {
		bubble.Test(t, func(t *testing.T) { flood(t, weight) })
	}
}

func flood(t *testing.T, weight float64) {
	f := newFabric(t, 3, func(_ int, c *Config) {
		c.Streams, c.Weights = 2000, map[shoal.PeerID]float64{"12D3KooWtestpeer00000001": weight}
	})
	const flood, few, many, takes = 1000, 20, 100, 0.005
	s := &starts{takes: 5 * time.Millisecond}
	mod := f.module("note", s.guest, 0, 1, 2)
	run := func(from int, who string) float64 {
		res, _, err := f.nodes[from].s.Run(t.Context(), shoal.Task{Module: mod, Args: []string{who}}, RunOptions{On: f.nodes[2].id})
		if err != nil {
			t.Error(err)
		}
		return res.Wait
	}
	began := time.Now()
	var tasks sync.WaitGroup
	for range flood {
		tasks.Go(func() { run(0, "flood") })
	}
	eventually(t, "the flood waits", func() bool { return f.nodes[2].s.Load().Queued > flood*3/4 })
	var one []float64
	for range few {
		one = append(one, run(1, "one"))
	}
	var burst sync.WaitGroup
	waits := make([]float64, many)
	for i := range many {
		burst.Go(func() { waits[i] = run(1, "many") })
	}
	burst.Wait()
	tasks.Wait()
	took := time.Since(began).Seconds()
	first, last := slices.Index(s.order, "many"), 0
	for i, who := range s.order {
		if who == "many" {
			last = i
		}
	}
	between := last - first + 1 - many
	slices.Sort(one)
	slices.Sort(waits)
	t.Logf("weight %v: %d tasks of 5 ms flood 2 slots for %.2f s; another's tasks, one at a time, wait %.1f ms (median), %.1f ms (most); "+
		"%d at once wait %.0f ms (median), %.0f ms (most), and %d of the flood start among them",
		weight, flood, took, one[few/2]*1e3, one[few-1]*1e3, many, waits[many/2]*1e3, waits[many-1]*1e3, between)
	// A lone task waits for a slot, not for the flood. Its slower owner's share may make it wait for a few of the flood's.
	if most := takes * max(1, 1/weight) * 1.01; one[few-1] > most {
		t.Errorf("weight %v: a lone task waited %.1f ms", weight, one[few-1]*1e3)
	}
	// So many of the flood's start among a hundred, give or take the bound: (slots + 1) tasks of each per weight.
	if want, bound := many/weight, 3*(1+1/weight); float64(between) < want-bound || float64(between) > want+bound {
		t.Errorf("weight %v: %d tasks of the flood started among %d, not %.0f within %.0f", weight, between, many, want, bound)
	}
	if share := takes / 2 * many * (1 + 1/weight); waits[many-1] > share*1.1 {
		t.Errorf("weight %v: the last of %d waited %.0f ms, its share is %.0f ms", weight, many, waits[many-1]*1e3, share*1e3)
	}
}

// TestAFullQueueNamesTheOwner fills a queue: its owner is refused by name, another gets in, and the last of
// the first one's makes way, to come back later.
func TestAFullQueueNamesTheOwner(t *testing.T) {
	f := newFabric(t, 3, func(_ int, c *Config) { c.Slots, c.Queue, c.OwnerQueue = 1, 4, 4 })
	b := newBlocker()
	mod := f.module("block", b.guest, 0, 1, 2)
	ctx := within(t, 20*time.Second)
	done := make(chan error, 10)
	run := func(from, attempts int) {
		_, _, err := f.nodes[from].s.Run(ctx, shoal.Task{Module: mod}, RunOptions{On: f.nodes[2].id, Attempts: attempts})
		done <- err
	}
	for i := range 5 {
		go run(0, 0)
		eventually(t, "it queues", func() bool { l := f.nodes[2].s.Load(); return l.Running+l.Queued == i+1 })
	}
	if n := f.nodes[2].s.exec.loadFor(f.nodes[1].id).Queued; n > 1 {
		t.Errorf("%d tasks are said to be ahead of a newcomer", n)
	}
	if n := f.nodes[2].s.exec.loadFor(f.nodes[0].id).Queued; n != 4 {
		t.Errorf("%d tasks are said to be ahead of the flood's next", n)
	}
	x := f.nodes[2].s.exec
	_, err := x.enter(ctx, f.nodes[0].id, -1, "task t")
	if e, ok := err.(*shoal.Error); !ok || e.Kind != shoal.Overloaded || e.RetryAfter <= 0 || !strings.Contains(err.Error(), f.nodes[0].id.Short()) {
		t.Errorf("%v", err)
	}
	go run(1, 0) // the last of the four makes way, and comes back
	eventually(t, "it gets in", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.queue.Waiting(f.nodes[1].id) == 1
	})
	if l := f.nodes[2].s.Load(); l.Queued > 4 {
		t.Errorf("%d wait", l.Queued)
	}
	close(b.release)
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "nothing is left", func() bool { l := f.nodes[2].s.Load(); return l.Running+l.Queued == 0 })
}

func TestWeightsAreChecked(t *testing.T) {
	for _, w := range []float64{0, -1, 1e9} {
		c := Config{Dir: t.TempDir(), Weights: map[shoal.PeerID]float64{"x": w}}
		if err := c.validate(); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%v: %v", w, err)
		}
	}
}
