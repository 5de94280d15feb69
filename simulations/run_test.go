package simulations_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

const small = `name: small
duration: 30s
latency: [[5ms]]
jitter: 0.2
classes: [{name: machine, count: 20}]
data: [{name: corpus, count: 4, bytes: 1MiB, partition: 256KiB, replicas: 2}]
load:
  - {ask: lookup, rate: 5}
  - {ask: task, rate: 2, task: {gas: 1e8, code: 64KiB}}
seeds: [1, 2, 3]
policies: [fluid, ship-data]
`

func load(t *testing.T, text string, o scenario.Options) *scenario.Scenario {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := simulations.Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func traces(r *report.Result) (list []string) {
	for _, x := range r.Runs {
		list = append(list, report.PolicyName(x.Policy)+" "+x.Trace)
	}
	return list
}

// TestRun: every policy and seed is run; the same seeds give the same traces whether runs go on at once or one after the other, and
// another seed or constant another.
func TestRun(t *testing.T) {
	ctx := context.Background()
	s := load(t, small, scenario.Options{})
	one, err := simulations.Run(ctx, s, simulations.Options{Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	var last simulations.Progress
	two, err := simulations.Run(ctx, s, simulations.Options{Parallel: 4, Progress: func(p simulations.Progress) {
		if p.Part < last.Part || p.Done < last.Done {
			t.Errorf("%+v after %+v", p, last)
		}
		last = p
	}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := strings.Join(traces(one), "\n"), strings.Join(traces(two), "\n")
	if a != b || len(one.Runs) != 6 || one.Cut {
		t.Errorf("one after the other:\n%s\nat once:\n%s", a, b)
	}
	if last.Part != 1 || last.Done != 6 {
		t.Errorf("progress ended at %+v", last)
	}
	seen := map[string]bool{}
	for _, x := range one.Runs {
		if seen[x.Trace] {
			t.Errorf("two runs have the trace %s", x.Trace)
		}
		seen[x.Trace] = true
		if x.Figures["tasks"] == 0 || x.Figures["lookups"] == 0 || x.RSS == 0 || x.Figures["memory_per_node"] == 0 {
			t.Errorf("seed %d: %v", x.Seed, x.Figures)
		}
	}
	other := load(t, strings.Replace(small, "gas: 1e8", "gas: 1.01e8", 1), scenario.Options{})
	three, err := simulations.Run(ctx, other, simulations.Options{})
	if err != nil || traces(three)[0] == traces(one)[0] {
		t.Errorf("another amount of work gives the same trace: %v", err)
	}
}

// TestExpectations: what does not hold is listed, by run and policy; what a run does not have does not hold either.
func TestExpectations(t *testing.T) {
	s := load(t, small+"expect: [tasks > 5, locality > 2, locality of ship-data > 3, gpu_found > 0]\n", scenario.Options{})
	r, err := simulations.Run(context.Background(), s, simulations.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, u := range r.Unmet {
		n[u.Expect]++
		if u.Absent != strings.HasPrefix(u.Expect, "gpu") {
			t.Errorf("%+v", u)
		}
	}
	if n["tasks > 5"] != 0 || n["locality > 2"] != 6 || n["locality of ship-data > 3"] != 3 || n["gpu_found > 0"] != 6 {
		t.Errorf("%v", n)
	}
	if s := r.Suspect(); s != &r.Runs[0] {
		t.Errorf("%+v", s)
	}
}

// TestMemory: what the memory does not hold is refused with the estimate before it starts; less at once is run if less fits.
func TestMemory(t *testing.T) {
	s := load(t, small, scenario.Options{})
	need := simulations.Estimate(s, report.Model)
	_, err := simulations.Run(context.Background(), s, simulations.Options{Memory: need - 1})
	if shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "it takes about 64") || !strings.Contains(err.Error(), "are available: ask for less with --nodes") {
		t.Error(err)
	}
	r, err := simulations.Run(context.Background(), s, simulations.Options{Memory: need, Parallel: 8})
	if err != nil || len(r.Runs) != 6 {
		t.Error(err)
	}
	big := load(t, small, scenario.Options{Nodes: 10_000_000})
	if e := simulations.Estimate(big, report.Model); e < 5<<30 {
		t.Errorf("ten million nodes in %d bytes", e)
	}
}

// TestMemoryOfData: complete nodes keep their data in memory; a scenario with more of it than there is says so before it starts.
func TestMemoryOfData(t *testing.T) {
	s, err := simulations.Load("home-lab-50", scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = simulations.Run(context.Background(), s, simulations.Options{Memory: 20 << 30, Storey: report.World})
	if shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "ask for less data, as with --set data.photos.count=1, or for --storey model") {
		t.Error(err)
	}
}

// TestCut: what is interrupted gives what there is, marked.
func TestCut(t *testing.T) {
	s := load(t, strings.Replace(small, "duration: 30s", "duration: 300d", 1), scenario.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	r, err := simulations.Run(ctx, s, simulations.Options{Parallel: 2})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Cut || len(r.Runs) == 0 || len(r.Runs) > 2 || !r.Runs[0].Cut || r.Runs[0].Simulated <= 0 || r.Runs[0].Simulated >= s.Duration.Seconds() {
		t.Errorf("%d runs, cut %v, %v", len(r.Runs), r.Cut, r.Runs)
	}
	if !strings.Contains(r.Text(), "It was interrupted: this is what there is.") {
		t.Error(r.Text())
	}
}

func TestSweep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(path, []byte(small), 0o600); err != nil {
		t.Fatal(err)
	}
	var axes []report.Axis
	for _, v := range []string{"nodes=20,2e2", "replicas=1, 3", "load.lookup.rate=2"} {
		a, err := simulations.ParseAxis(v)
		if err != nil {
			t.Fatal(err)
		}
		axes = append(axes, a)
	}
	base := scenario.Options{Seeds: []uint64{4}, Policies: nil}
	parts := 0.0
	s, err := simulations.Sweep(context.Background(), path, base, axes, simulations.Options{Progress: func(p simulations.Progress) {
		if p.Part < parts {
			t.Errorf("part %v after %v", p.Part, parts)
		}
		parts = p.Part
	}})
	if err != nil || len(s.Places) != 4 || s.Places[3].Result.Nodes != 200 || strings.Join(s.Places[2].At, " ") != "2e2 1 2" {
		t.Fatalf("%v %+v", err, s)
	}
	if h, err := s.HTML(); err != nil || !strings.Contains(string(h), "Hops of a lookup") {
		t.Error(err)
	}
	a, b := s.Places[0].Result.Runs[0].Figures["lookup_hops_mean"], s.Places[2].Result.Runs[0].Figures["lookup_hops_mean"]
	if a >= b {
		t.Errorf("%v hops among 20, %v among 200", a, b)
	}
	for _, bad := range []string{"nodes=0", "data.other.replicas=3", "replicas=30", "jitter=2"} {
		a, err := simulations.ParseAxis(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := simulations.Sweep(context.Background(), path, base, []report.Axis{a}, simulations.Options{}); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "nodes", "nodes=", "=1"} {
		if _, err := simulations.ParseAxis(bad); err == nil {
			t.Errorf("%q is an axis", bad)
		}
	}
}

// TestReadyRuns: the ready scenarios that are small do as they expect; all of them at a small size give a report.
func TestReadyRuns(t *testing.T) {
	for _, ready := range simulations.List() {
		o := scenario.Options{Seeds: []uint64{1}}
		if ready.Nodes > 1000 {
			o.Nodes, o.Set = 1000, []scenario.Setting{{Path: "duration", Value: "30s"}, {Path: "data.replicas", Value: "2"}, {Path: "data.count", Value: "20"}, {Path: "load.lookup.rate", Value: "10"}}
		}
		if ready.Name == "home-lab-50" || ready.Name == "churn-hour" { // they take seconds
			o.Set = []scenario.Setting{{Path: "duration", Value: "2m"}, {Path: "settle", Value: "0s"}, {Path: "faults", Value: "[]"}}
		}
		s, err := simulations.Load(ready.Name, o)
		if err != nil {
			t.Error(err)
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		r, err := simulations.Run(ctx, s, simulations.Options{Parallel: 1})
		cancel()
		if err != nil {
			t.Errorf("%s: %v", ready.Name, err)
			continue
		}
		if o.Nodes == 0 && !r.Cut {
			for _, line := range append(r.Misses(), r.Broken()...) {
				t.Errorf("%s: %s", ready.Name, line)
			}
		}
		page, err := r.HTML()
		if err != nil {
			t.Errorf("%s: %v", ready.Name, err)
		}
		wants := []string{"Bytes by kind", "Share of local bytes", "Tasks: time, median", "Requests answered"}
		if slices.ContainsFunc(s.Load, func(l scenario.Load) bool { return l.Ask == scenario.Lookup }) {
			wants = append(wants, "Hops of lookups")
		}
		for _, want := range wants {
			if !strings.Contains(string(page), want) {
				t.Errorf("%s: the report lacks %s", ready.Name, want)
			}
		}
	}
}

func TestLine(t *testing.T) {
	for want, p := range map[string]simulations.Progress{
		"30s of 2m0s simulated, 0.1 M events/s, 30s left":      {Runs: 1, Now: 30 * time.Second, End: 2 * time.Minute, Part: 0.25, Events: 1e6},
		"1 of 3 runs, nodes: 12 of 100, then 6m0s to simulate": {Runs: 3, Done: 1, End: 6 * time.Minute, Making: "nodes: 12 of 100"},
	} {
		if got := p.Line(10 * time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
