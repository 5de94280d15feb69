package place

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/scheduler"
)

const (
	peers     = 1000
	changed   = 10 // 1 %
	decisions = 200
	colds     = 30
	// needs is a full requirement: each kind of attribute is in it.
	needs = `os == "linux" && arch == "amd64" && cpus >= 8 && memory >= gib(16) && labels.zone in ["a", "b"] && gpus.exists(g, g.vendor == "nvidia" && g.memory >= gib(16))`
)

// decider is the worker: a scheduler on a table of peers.
func decider(_ context.Context, seed uint64) (*rig.Worker, error) {
	dir, err := os.MkdirTemp("", "shoal-place-")
	if err != nil {
		return nil, err
	}
	w, err := newWorld(dir, seed)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &rig.Worker{
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"decide": rig.Verb(w.decide),
		},
		Close: func() { w.close(); os.RemoveAll(dir) },
	}, nil
}

// decide is one round.
func (w *world) decide(ctx context.Context, round int) (map[string]float64, error) {
	rng := rand.New(rand.NewPCG(w.seed, uint64(round)))
	out := map[string]float64{}
	task := shoal.Task{Module: w.module, Inputs: []shoal.Input{{Name: "d", CID: w.dataset(0)}}, Needs: needs}
	// One decision so that everything is known.
	if err := w.place(ctx, w.sched, task); err != nil {
		return nil, err
	}
	measure := func(name string, n, change int, each func(i int) error) error {
		times := make([]time.Duration, n)
		var before, after runtime.MemStats
		var mallocs, bytes uint64
		for i := range n {
			if err := w.change(rng, change); err != nil {
				return err
			}
			runtime.ReadMemStats(&before)
			begun := time.Now()
			err := each(i)
			times[i] = time.Since(begun)
			runtime.ReadMemStats(&after)
			mallocs += after.Mallocs - before.Mallocs
			bytes += after.TotalAlloc - before.TotalAlloc
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		slices.Sort(times)
		out[name+"us"] = float64(times[n/2].Nanoseconds()) / 1e3
		out[name+"p90_us"] = float64(times[n*9/10].Nanoseconds()) / 1e3
		out[name+"allocs"] = float64(mallocs) / float64(n)
		out[name+"kib"] = float64(bytes) / float64(n) / 1024
		return nil
	}
	warm := func(int) error { return w.place(ctx, w.sched, task) }
	for _, m := range []struct {
		name      string
		n, change int
		each      func(i int) error
	}{
		{"decision_", decisions, changed, warm},
		{"still_", decisions, 0, warm},
		{"more_", decisions / 4, changed + 100, warm},
		{"asked_", decisions / 4, changed, func(i int) error {
			t := task
			t.Inputs = []shoal.Input{{Name: "d", CID: w.dataset(1 + round*decisions + i)}}
			return w.place(ctx, w.sched, t)
		}},
		{"cold_", colds, changed, func(i int) error {
			t := task
			t.Needs = coldNeeds(round, i)
			return w.place(ctx, w.sched, t)
		}},
	} {
		if m.name == "cold_" { // peers that answer compile it too, on their own machines
			for i := range colds {
				t := task
				t.Needs = coldNeeds(round, i)
				if err := w.place(ctx, w.other, t); err != nil {
					return nil, err
				}
			}
		}
		if err := measure(m.name, m.n, m.change, m.each); err != nil {
			return nil, err
		}
	}
	fresh := make([]*scheduler.Scheduler, colds/3)
	for i := range fresh {
		s, err := w.scheduler(w.seed + uint64(round*colds+i))
		if err != nil {
			return nil, err
		}
		defer s.Close()
		fresh[i] = s
	}
	if err := measure("unknown_", len(fresh), 0, func(i int) error { return w.place(ctx, fresh[i], task) }); err != nil {
		return nil, err
	}
	out["allocs_per_change"] = (out["more_allocs"] - out["decision_allocs"]) / 100
	return out, nil
}

// coldNeeds is a requirement that was never seen.
func coldNeeds(round, i int) string { return fmt.Sprintf("%s && disk > %d", needs, 1000+round*colds+i) }

// place has a scheduler decide, and looks at what came of it.
func (w *world) place(ctx context.Context, s *scheduler.Scheduler, t shoal.Task) error {
	e, err := s.Place(ctx, t, scheduler.RunOptions{})
	if err != nil {
		return err
	}
	c, ok := e.Chosen()
	if !ok || !w.fits[c.Peer] || !c.Holder || len(e.Open()) < 5 {
		return fmt.Errorf("a wrong decision:\n%s", e)
	}
	return nil
}
