package node

import (
	"context"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/plans"
)

// paced is a runner whose every run takes a while longer: how much a task has to do, and how slow the
// machine is, are for the test to say.
type paced struct {
	shoal.Runner
	takes time.Duration
}

func (p paced) Run(ctx context.Context, r shoal.Run) (shoal.Ran, error) {
	ran, err := p.Runner.Run(ctx, r)
	if err != nil {
		return ran, err
	}
	t := time.NewTimer(p.takes)
	defer t.Stop()
	select {
	case <-t.C:
		ran.Seconds += p.takes.Seconds()
		return ran, nil
	case <-ctx.Done():
		return ran, shoal.Wrap(shoal.Canceled, "run", ctx.Err())
	}
}

// TestOneMachineSlowedTwentyTimes counts words on three complete nodes, real sockets and real guests, of
// which one takes twenty times as long for everything: without second copies, and with them.
func TestOneMachineSlowedTwentyTimes(t *testing.T) {
	const work, slow = 300 * time.Millisecond, 2
	play := func(copies int) (plans.Result, string) {
		ns := nodes(t, 3, func(i int, c *Config) {
			takes := work
			if i == slow {
				takes *= 20
			}
			c.runner = func(r shoal.Runner) shoal.Runner { return paced{r, takes} }
			c.copies = copies
		})
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		dir, _ := corpus(t, 24, 400)
		put := put(t, ns[0], dir, data.PutOptions{Replicas: 2, PartitionBytes: 16 << 10})
		mapper, err := ns[0].Module(ctx, "example:wordcount")
		if err != nil {
			t.Fatal(err)
		}
		reducer, err := ns[0].Module(ctx, "example:wordsum")
		if err != nil {
			t.Fatal(err)
		}
		h, err := ns[0].StartJob(ctx, RunSpec{Module: mapper, Reduce: &reducer, Each: true, Inputs: []shoal.Input{{CID: put.Manifest.Root}}})
		if err != nil {
			t.Fatal(err)
		}
		done := map[int]int{}
		for e := range h.Events() {
			if e.State == "done" {
				done[e.Index]++
			}
		}
		res, err := h.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		tasks := 0
		for _, n := range res.ByNode {
			tasks += n
		}
		for i := range res.Tasks + 1 {
			if done[i] != 1 {
				t.Errorf("task %d was done %d times", i, done[i])
			}
		}
		if res.Done != res.Tasks || tasks != res.Tasks || res.DataRead != put.Manifest.Bytes {
			t.Errorf("%+v; %d bytes to be read", res.Counts, put.Manifest.Bytes)
		}
		ended := time.Now()
		eventually(t, 10*time.Second, "the slow machine's slot is free", func() bool {
			l := ns[slow].rooms.sched.Load()
			return l.Running+l.Queued == 0
		})
		if freed := time.Since(ended); freed > 2*time.Second {
			t.Errorf("the slow machine went on for %v", freed)
		}
		r, err := ns[1].Task(ctx, h.ID())
		if err != nil || r.Counts == nil || r.Counts.Copies != res.Copies {
			t.Errorf("%+v %v", r, err)
		}
		return res, res.Output
	}
	without, want := play(-1)
	with, got := play(0)
	t.Logf("%d tasks on 3 nodes, one slowed 20 times: %.1f s without second copies, %.1f s with (%d, of which %d were first); by node %v, then %v",
		with.Tasks, without.Seconds, with.Seconds, with.Copies, with.CopiesWon, without.ByNode, with.ByNode)
	if got != want {
		t.Errorf("the outputs differ: %s and %s", got, want)
	}
	if without.Copies != 0 || with.CopiesWon == 0 || with.Seconds > without.Seconds*3/4 {
		t.Errorf("%.1f s without, %.1f s with: %+v", without.Seconds, with.Seconds, with.Counts)
	}
}
