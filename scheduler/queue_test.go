package scheduler

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/fair"
)

func TestAFullQueueRefuses(t *testing.T) {
	f := newFabric(t, 2, func(i int, c *Config) {
		if c.Slots = 1; i == 1 {
			c.Queue = 1
		}
	})
	b := newBlocker()
	mod := f.module("block", b.guest, 0)
	ctx := within(t, 20*time.Second)
	done := make(chan error, 10)
	run := func(o RunOptions) {
		o.On = f.nodes[1].id
		_, _, err := f.nodes[0].s.Run(ctx, shoal.Task{Module: mod}, o)
		done <- err
	}
	go run(RunOptions{})
	<-b.started
	go run(RunOptions{})
	eventually(t, "one waits", func() bool { return f.nodes[1].s.Load().Queued == 1 })
	_, explain, err := f.nodes[0].s.Run(ctx, shoal.Task{Module: mod}, RunOptions{On: f.nodes[1].id, Attempts: 1})
	if shoal.KindOf(err) != shoal.Overloaded {
		t.Errorf("%v (%v)\n%s", err, shoal.KindOf(err), explain)
	}
	go run(RunOptions{}) // this one comes back until there is room
	close(b.release)
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestAnOfferKeepsAPlace: whoever was offered the last place gets it, another does not; and a task that is to wait behind
// fewer than do is refused, to look elsewhere.
func TestAnOfferKeepsAPlace(t *testing.T) {
	f := newFabric(t, 3, func(_ int, c *Config) { c.Slots, c.Queue, c.OwnerQueue = 1, 1, 1 })
	x, a, b := f.nodes[2].s.exec, f.nodes[0].id, f.nodes[1].id
	ctx := within(t, 10*time.Second)
	busy, err := x.enter(ctx, a, -1, "the first")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.enter(ctx, b, 0, "b, who must not wait"); shoal.KindOf(err) != shoal.Overloaded {
		t.Errorf("%v", err)
	}
	x.hold(a, 1)
	if q := x.loadFor(b).Queued; q != 1 {
		t.Errorf("%d are ahead of b, and one is expected", q)
	}
	if q := x.loadFor(a).Queued; q != 0 {
		t.Errorf("%d are ahead of a", q)
	}
	if _, err := x.enter(ctx, b, -1, "b, without an offer"); shoal.KindOf(err) != shoal.Overloaded {
		t.Errorf("b took the place that is kept: %v", err)
	}
	got := make(chan error, 1)
	go func() {
		turn, err := x.enter(ctx, a, -1, "a, with its offer")
		if err == nil {
			x.leave(turn, 1)
		}
		got <- err
	}()
	eventually(t, "a waits", func() bool { return x.load().Queued == 1 })
	x.leave(busy, 1)
	if err := <-got; err != nil {
		t.Error(err)
	}
	x.hold(a, 1)
	time.Sleep(fair.HoldFor + 50*time.Millisecond)
	if q := x.loadFor(b).Queued; q != 0 {
		t.Errorf("a place is kept for good")
	}
}

func TestTheQueueIsFair(t *testing.T) {
	f := newFabric(t, 1, func(_ int, c *Config) { c.Slots = 1 })
	b := newBlocker()
	mod := f.module("block", b.guest, 0)
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			if _, _, err := f.nodes[0].s.Run(within(t, 20*time.Second), shoal.Task{Module: mod, Args: []string{fmt.Sprint(i)}}, RunOptions{}); err != nil {
				t.Error(err)
			}
		})
		eventually(t, "it queues", func() bool { l := f.nodes[0].s.Load(); return l.Running+l.Queued == i+1 })
	}
	close(b.release)
	wg.Wait()
	close(b.started)
	var order []string
	for s := range b.started {
		order = append(order, s)
	}
	if strings.Join(order, "") != "01234" {
		t.Errorf("order %v", order)
	}
}
