package scheduler

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// TestABurstDoesNotHerd has 50 callers place 4 tasks each at the same moment on 20 peers of 2 slots, with the same view of
// them, old in different ways. No peer gets more than herdMost times its share, which is 10.
func TestABurstDoesNotHerd(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(f *fabric)
	}{
		{"nobody was asked yet, all are idle", func(*fabric) {}},
		{"the table says that one is idle and the others are busy", func(f *fabric) {
			for _, p := range f.nodes {
				for i, q := range f.nodes[herdCallers:] {
					l := shoal.Load{Slots: 2, Running: 2, Queued: 3, TaskSecs: 1}
					if i == 0 {
						l = shoal.Load{Slots: 2}
					}
					p.stale[q.id] = l
				}
			}
		}},
		{"all were asked a moment ago and said that they are idle", func(f *fabric) {
			f.burst(1)
			time.Sleep(1200 * time.Millisecond) // the tasks have ended
			f.burst(0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			worst := 0
			for seed := range 3 {
				bubble.Test(t, func(t *testing.T) {
					f := newFabric(t, herdCallers+herdPeers, func(i int, c *Config) { c.Seed = uint64(1000*seed + i + 1) })
					defer f.stop()
					mod := f.module("second", (&starts{takes: time.Second}).guest, indexesTo(herdCallers+herdPeers)...)
					f.herd = mod
					for i, p := range f.nodes {
						p.stale = map[shoal.PeerID]shoal.Load{}
						if i >= herdCallers {
							p.labels = map[string]string{"role": "worker"}
						}
						for _, q := range f.nodes {
							f.net.Delay(p.id, q.id, 3*time.Millisecond)
						}
					}
					c.before(f)
					by := f.burst(herdTasks)
					for _, n := range by {
						worst = max(worst, n)
					}
					if len(by) < herdPeers*3/4 {
						t.Errorf("seed %d: only %d peers got any", seed, len(by))
					}
				})
			}
			share := herdCallers * herdTasks / herdPeers
			t.Logf("the worst peer of 3 bursts got %d tasks, its share is %d", worst, share)
			if float64(worst) > herdMost*float64(share) {
				t.Errorf("more than %v times its share", herdMost)
			}
		})
	}
}

const (
	herdCallers = 50
	herdPeers   = 20
	herdTasks   = 4 // of each caller
	herdMost    = 2 // times its share
)

func indexesTo(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// burst has each caller place n tasks at once, and counts where they ran. With none, offers alone are asked for.
func (f *fabric) burst(n int) map[shoal.PeerID]int {
	by := map[shoal.PeerID]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, p := range f.nodes[:herdCallers] {
		for i := range max(n, 1) {
			all.Go(func() {
				task := shoal.Task{Module: f.herd, Args: []string{fmt.Sprint(i)}, Needs: `labels.role == "worker"`}
				if n == 0 {
					if _, err := p.s.Place(f.t.Context(), task, RunOptions{}); err != nil {
						f.t.Error(err)
					}
					return
				}
				out, _, err := p.s.Run(f.t.Context(), task, RunOptions{})
				if err != nil {
					f.t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				by[out.Peer]++
			})
		}
	}
	all.Wait()
	return by
}
