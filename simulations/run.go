package simulations

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/model"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// Both asks for both storeys.
const Both = "both"

// Storeys lists what Options.Storey may be.
func Storeys() []string {
	if hasWorld {
		return []string{report.Model, report.World, Both}
	}
	return []string{report.Model}
}

// Options say how to run a scenario.
type Options struct {
	Storey   string // report.Model (also ""), report.World or Both
	Parallel int    // runs of the model at once; 0: as many as there are processors
	Memory   uint64 // bytes that runs may take; 0: nobody knows, so that nothing is refused
	Version  string // of the program, for the result
	World    Helper // starts processes of worlds; required for them
	// Progress is told now and then how far all runs are; nil: nobody is. It is called by one goroutine at a time.
	Progress func(Progress)
}

// Progress is how far the runs are.
type Progress struct {
	Runs, Done int           // in all, ended
	Now, End   time.Duration // simulated, of all runs together
	Events     uint64
	Part       float64 // of all that is to do, 0 to 1
	Making     string  // what is being set up before time begins, as "nodes 321 of 1000"; empty: nothing is
}

// job is one run to do.
type job struct {
	storey string
	policy cost.Policy
	seed   uint64
}

// Run runs every policy and seed of s: models on all processors, then worlds one after the other, as the memory holds them. If ctx
// ends, it returns what there is until then, marked as cut. Refused: the memory does not hold it.
func Run(ctx context.Context, s *scenario.Scenario, o Options) (*report.Result, error) {
	var storeys []string
	switch o.Storey {
	case "", report.Model:
		storeys = []string{report.Model}
	case report.World:
		storeys = []string{report.World}
	case Both:
		storeys = []string{report.Model, report.World}
	default:
		return nil, shoal.E(shoal.Invalid, "storey "+o.Storey, "there is none of this name", "there are "+strings.Join(Storeys(), ", "))
	}
	r := &report.Result{Scenario: s.Name, Sum: s.Sum, About: s.About, Version: o.Version, Nodes: s.Nodes(), File: s.File, Duration: s.Duration.Seconds()}
	for _, e := range s.Expect {
		r.Expect = append(r.Expect, e.Text)
	}
	for _, f := range s.Faults {
		r.Faults = append(r.Faults, report.Shade{From: f.At.Seconds(), To: (f.At + f.For).Seconds(), What: f.Kind})
	}
	for _, l := range s.Load {
		r.Skipped += l.Skipped
	}
	at := map[string]int{}
	for _, storey := range storeys { // refuse before anything runs
		want := 1
		if storey == report.Model {
			if want = o.Parallel; want < 1 {
				want = runtime.GOMAXPROCS(0)
			}
		} else if !hasWorld {
			return nil, shoal.E(shoal.Invalid, "storey world", "this version has only the model", "leave --storey out")
		}
		n, err := fits(s, storey, min(want, len(s.Seeds)*len(s.Policies)), o.Memory)
		if err != nil {
			return nil, err
		}
		at[storey] = n
	}
	m := &meter{o: o, total: len(storeys) * len(s.Seeds) * len(s.Policies), each: s.Duration + s.Settle}
	for _, storey := range storeys {
		var jobs []job
		for _, p := range s.Policies {
			for _, seed := range s.Seeds {
				jobs = append(jobs, job{storey, p, seed})
			}
		}
		runs, err := all(ctx, s, jobs, at[storey], m)
		if err != nil {
			return nil, err
		}
		r.Runs = append(r.Runs, runs...)
	}
	r.Cut = len(r.Runs) < m.total || slices.ContainsFunc(r.Runs, func(x report.Run) bool { return x.Cut })
	r.Unmet = unmet(s, r.Runs)
	return r, nil
}

// all does jobs, so many at once, and returns what came of those that began before ctx ended, in their order.
func all(ctx context.Context, s *scenario.Scenario, jobs []job, at int, m *meter) (runs []report.Run, err error) {
	type outcome struct {
		run *report.Run
		err error
	}
	out := make([]outcome, len(jobs))
	var next atomic.Int64
	var wg sync.WaitGroup
	if jobs[0].storey == report.Model {
		defer keepTo(s, at)()
	}
	for range min(at, len(jobs)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(jobs) || ctx.Err() != nil {
					return
				}
				stop := watch()
				out[i].run, out[i].err = one(ctx, s, jobs[i], m.o.World, m.of())
				most := stop()
				if r := out[i].run; r != nil {
					if r.RSS == 0 { // a world has a process of its own, and tells
						r.RSS = most
						r.Figures["memory_per_node"] = float64(most) / float64(r.Nodes*at)
					}
					m.end()
				}
			}
		})
	}
	wg.Wait()
	for _, o := range out {
		if o.err != nil {
			if ctx.Err() != nil && shoal.KindOf(o.err) == shoal.Canceled {
				continue // it was not yet begun in earnest; what others found is kept
			}
			return nil, o.err
		}
		if o.run != nil {
			runs = append(runs, *o.run)
		}
	}
	return runs, nil
}

func one(ctx context.Context, s *scenario.Scenario, j job, h Helper, tell func(now time.Duration, events uint64, making string)) (*report.Run, error) {
	if j.storey == report.World {
		return runWorld(ctx, h, s, j.seed, j.policy, tell)
	}
	return model.Run(ctx, s, j.seed, model.Options{Policy: j.policy, Progress: func(p model.Progress) { tell(p.Now, p.Events, "") }})
}

// unmet lists which expectations which runs do not fulfil. Those that were cut short are not asked.
func unmet(s *scenario.Scenario, runs []report.Run) (list []report.Unmet) {
	for _, e := range s.Expect {
		name, policy, named := strings.Cut(e.Figure, " of ")
		for _, r := range runs {
			if r.Cut || named && report.PolicyName(r.Policy) != policy {
				continue
			}
			if x, ok := r.Figures[name]; !ok || !e.Holds(x) {
				list = append(list, report.Unmet{Expect: e.Text, Storey: r.Storey, Policy: r.Policy, Seed: r.Seed, Value: x, Absent: !ok})
			}
		}
	}
	return list
}

// meter adds up the progress of runs that go on at once.
type meter struct {
	o     Options
	total int
	each  time.Duration

	mu     sync.Mutex
	done   int
	now    time.Duration // of all
	events uint64
	making string
}

// of returns what one run calls to tell how far it is.
func (m *meter) of() func(now time.Duration, events uint64, making string) {
	var now time.Duration
	var events uint64
	return func(n time.Duration, e uint64, making string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.now += n - now
		m.events += e - events
		now, events, m.making = n, e, making
		m.tell()
	}
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	m.now = max(m.now, time.Duration(m.done)*m.each)
	m.tell()
}

func (m *meter) tell() {
	if m.o.Progress != nil {
		end := time.Duration(m.total) * m.each
		m.o.Progress(Progress{Runs: m.total, Done: m.done, Now: m.now, End: end, Events: m.events, Part: float64(m.now) / float64(end), Making: m.making})
	}
}

// Line tells progress in a line: how many runs have ended, simulated time, events a second, time left.
func (p Progress) Line(elapsed time.Duration) string {
	left := "?"
	if p.Part > 0.001 {
		left = time.Duration(float64(elapsed) * (1/p.Part - 1)).Round(time.Second).String()
	}
	line := fmt.Sprintf("%v of %v simulated, %.2g M events/s, %s left", p.Now.Round(time.Second), p.End.Round(time.Second), float64(p.Events)/1e6/max(elapsed.Seconds(), 1e-3), left)
	if p.Making != "" {
		line = p.Making + ", then " + p.End.Round(time.Second).String() + " to simulate"
	}
	if p.Runs > 1 {
		line = fmt.Sprintf("%d of %d runs, ", p.Done, p.Runs) + line
	}
	return line
}
