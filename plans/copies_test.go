package plans

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// aSecond is a mapper that takes a second.
func aSecond(ctx context.Context, r shoal.Run) (int, error) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-t.C:
		return countWords(ctx, r)
	case <-ctx.Done():
		return 1, ctx.Err()
	}
}

// each runs a job over all partitions to its end, and returns what was told of it.
func (f *fabric) each(ctx context.Context, mod cid.Cid, reduce *cid.Cid, root cid.Cid) (Result, []Event, error) {
	h, err := f.nodes[0].p.Start(ctx, Job{Module: mod, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: reduce})
	if err != nil {
		return Result{}, nil, err
	}
	var events []Event
	for e := range h.Events() {
		events = append(events, e)
	}
	res, err := h.Wait(ctx)
	return res, events, err
}

// TestOneNodeSlowedTwentyTimes runs 60 tasks of a second each on five nodes of two slots, in virtual time:
// with all nodes alike, with one slowed and no second copies, with second copies.
func TestOneNodeSlowedTwentyTimes(t *testing.T) {
	play := func(slow float64, copies int) (seconds float64, res Result) {
		bubble.Test(t, func(t *testing.T) {
			f := newFabricWith(t, 5, nil, Config{Copies: copies})
			late := f.nodes[3]
			late.slow = slow
			root, words := f.data(60, 0, 1, 2, 3, 4)
			wc, sum := f.module("wc", aSecond, 0), f.module("sum", sumWords, 0)
			var events []Event
			var err error
			res, events, err = f.each(t.Context(), wc, &sum, root)
			if err != nil {
				t.Fatal(err)
			}
			ended := time.Now()
			seconds = res.Seconds
			if got := f.output(t, res); got != render(words) {
				t.Errorf("got\n%s\nwant\n%s", got, render(words))
			}
			// Nothing is doubled.
			var read uint64
			for _, c := range f.split[root] {
				_, n := f.files(c)
				read += n
			}
			sum60 := 0
			for _, n := range res.ByNode {
				sum60 += n
			}
			done, copied := map[int]int{}, map[int]shoal.PeerID{}
			for _, e := range events {
				switch e.State {
				case "done":
					done[e.Index]++
				case "copied":
					copied[e.Index] = e.Peer
				case "retried", "failed":
					t.Errorf("%+v", e)
				}
			}
			for i := range 61 {
				if done[i] != 1 {
					t.Errorf("task %d was done %d times", i, done[i])
				}
			}
			if res.Done != 60 || sum60 != 60 || res.DataRead != read || res.Retries != 0 || res.Copies != len(copied) {
				t.Errorf("%+v, %d copied; %d bytes to be read", res.Counts, len(copied), read)
			}
			// The beaten copies are canceled at once, and their slots free.
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
			for _, p := range f.nodes {
				if l := p.s.Load(); l.Running+l.Queued > 0 {
					t.Errorf("%v after the end %s still has %+v", time.Since(ended), p.id.Short(), l)
				}
			}
			for i, at := range copied {
				r, err := f.nodes[1].s.Show(t.Context(), job.Sub(events0(res), i))
				if err != nil || r.State != shoal.TaskDone || len(r.Copies) < 2 || r.Outcome == nil || r.Outcome.Peer != r.Peer {
					t.Errorf("task %d: %+v %v", i, r, err)
					continue
				}
				won, beaten := 0, 0
				for _, c := range r.Copies {
					switch {
					case c.State == shoal.TaskDone && c.Peer == r.Peer:
						won++
					case c.State == shoal.TaskCanceled && c.Ended > 0:
						beaten++
					}
				}
				if won != 1 || beaten != 1 || !slices.ContainsFunc(r.Copies, func(c job.Copy) bool { return c.Peer == at }) {
					t.Errorf("task %d: %+v", i, r.Copies)
				}
			}
		})
		return seconds, res
	}
	even, c := play(1, 0)
	if c.Copies != 0 {
		t.Errorf("no node is slow, and there were %d copies", c.Copies)
	}
	without, _ := play(20, -1)
	with, c := play(20, 0)
	t.Logf("60 tasks of 1 s on 5 nodes of 2 slots: %.1f s; with one node slowed 20 times: %.1f s without second copies, %.1f s with (%d, of which %d were first)",
		even, without, with, c.Copies, c.CopiesWon)
	if c.Copies == 0 || c.CopiesWon == 0 || with > without/2 || with > 2.5*even {
		t.Errorf("%.1f s even, %.1f s without, %.1f s with: %+v", even, without, with, c.Counts)
	}
}

func events0(r Result) shoal.TaskID { return job.Top(r.Explain[0].Task) }

// TestCopiesThatGoWrong loses the node of a late task, of its copy, or cancels the job, while both are on
// their way.
func TestCopiesThatGoWrong(t *testing.T) {
	for _, how := range []string{"the first's node dies", "the copy's node dies", "the job is canceled", "the task traps"} {
		bubble.Test(t, func(t *testing.T) {
			f := newFabricWith(t, 4, nil, Config{})
			root, words := f.data(8, 1, 2, 3) // so that the coordinator, which is not lost, has no task
			var runs atomic.Int32
			trap := make(chan struct{})
			wc := f.module("wc", func(ctx context.Context, r shoal.Run) (int, error) {
				if _, err := r.Data.Open("d/f3.txt"); err != nil {
					return aSecond(ctx, r)
				}
				select { // the first two copies take a minute or two
				case <-time.After(time.Minute * time.Duration(max(0, 3-int(runs.Add(1))))):
					return countWords(ctx, r)
				case <-trap:
					return 0, context.DeadlineExceeded
				case <-ctx.Done():
					return 1, ctx.Err()
				}
			}, 0)
			sum := f.module("sum", sumWords, 0)
			h, err := f.nodes[0].p.Start(t.Context(), Job{Module: wc, Data: []shoal.Input{{Name: "d", CID: root}}, Each: true, Reduce: &sum})
			if err != nil {
				t.Fatal(err)
			}
			var at shoal.PeerID
			for e := range h.Events() {
				if e.State != "copied" || at != "" { // the first time only
					continue
				}
				at = e.Peer
				time.Sleep(2 * time.Second)
				r, err := f.nodes[1].s.Show(t.Context(), job.Sub(h.ID(), 3))
				if err != nil || r.State != shoal.TaskRunning || len(r.Copies) != 2 || r.Copies[1].State != shoal.TaskRunning {
					t.Fatalf("%+v %v", r, err)
				}
				switch how {
				case "the job is canceled":
					h.Cancel()
				case "the task traps":
					close(trap)
				default:
					victim := r.Copies[0].Peer
					if how == "the copy's node dies" {
						victim = at
					}
					for _, p := range f.nodes[1:] {
						if p.id == victim {
							p.kill()
						}
					}
				}
			}
			if at == "" {
				t.Fatalf("%s: no copy", how)
			}
			res, err := h.Wait(t.Context())
			switch how {
			case "the job is canceled":
				if shoal.KindOf(err) != shoal.Canceled {
					t.Errorf("%s: %v", how, err)
				}
			case "the task traps":
				if shoal.KindOf(err) != shoal.Failed {
					t.Errorf("%s: %v", how, err)
				}
			default:
				if err != nil || f.output(t, res) != render(words) || res.Done != 8 || res.Retries < 1 {
					t.Errorf("%s: %+v %v", how, res.Counts, err)
				}
				r, err := f.nodes[0].s.Show(t.Context(), job.Sub(h.ID(), 3))
				if err != nil || r.State != shoal.TaskDone {
					t.Errorf("%s: %+v %v", how, r, err)
				}
			}
			time.Sleep(time.Second)
			for _, p := range f.nodes {
				if l := p.s.Load(); l.Running+l.Queued > 0 && !p.isDead() {
					t.Errorf("%s: %s still has %+v", how, p.id.Short(), l)
				}
			}
		})
	}
}

// TestABeatenCopyDoesNotHoldUpTheJob has a machine that is too slow even to cancel.
func TestABeatenCopyDoesNotHoldUpTheJob(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		f := newFabricWith(t, 3, nil, Config{})
		root, _ := f.data(6, 1, 2)
		var stuck atomic.Bool
		mod := f.module("stuck", func(ctx context.Context, r shoal.Run) (int, error) {
			if stuck.CompareAndSwap(false, true) {
				time.Sleep(time.Minute)
			}
			return aSecond(ctx, r)
		}, 0)
		res, events, err := f.each(t.Context(), mod, nil, root)
		if err != nil || res.Done != 6 || res.CopiesWon != 1 {
			t.Fatalf("%+v %v", res.Counts, err)
		}
		var late time.Duration
		for _, e := range events {
			if e.State == "copied" {
				late = time.Duration(e.Seconds * float64(time.Second))
			}
		}
		if res.Seconds > late.Seconds()+1.5 {
			t.Errorf("the job took %.2f s, its last copy was started after %v", res.Seconds, late)
		}
		time.Sleep(2 * time.Minute)
		for _, p := range f.nodes {
			if l := p.s.Load(); l.Running+l.Queued > 0 {
				t.Errorf("%s still has %+v", p.id.Short(), l)
			}
		}
	})
}
