package model

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/dht/patience"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// town is a scenario of n nodes in two regions.
func town(n int, change ...func(*scenario.Scenario)) *scenario.Scenario {
	ms := time.Millisecond
	s := &scenario.Scenario{
		Name: "town", Duration: 20 * time.Minute, Start: "warm", Seeds: []uint64{1},
		Regions: []scenario.Region{{Name: "a", Share: 0.5}, {Name: "b", Share: 0.5}},
		Latency: [][]time.Duration{{2 * ms, 20 * ms}, {20 * ms, 2 * ms}}, Jitter: 0.2,
		Classes: []scenario.Class{{
			Name: "plain", Count: n - n/10, Cores: 4, Gas: 1e9, Memory: 8 << 30, Disk: 100 << 30, DiskRate: 5e8, Sync: time.Millisecond,
			Up: 125e6, Down: 125e6, Downtime: 10 * time.Minute,
		}, {
			Name: "gpu", Count: n / 10, Cores: 8, Gas: 1e9, Memory: 32 << 30, Disk: 100 << 30, DiskRate: 5e8, Sync: time.Millisecond,
			Up: 125e6, Down: 125e6, Downtime: 10 * time.Minute, GPUs: []scenario.GPU{{Vendor: "nvidia", Model: "T4", Count: 1, Memory: 16 << 30, Rate: 1e11}},
		}},
		Load: []scenario.Load{{Ask: scenario.Lookup, Rate: 1}, {Ask: scenario.Provide, Rate: 0.05}, {Ask: scenario.FindGPU, Rate: 0.1}},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func run(t testing.TB, s *scenario.Scenario, seed uint64, o Options) *report.Run {
	t.Helper()
	r, err := Run(context.Background(), s, seed, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLookups(t *testing.T) {
	r := run(t, town(1000), 1, Options{})
	f := r.Figures
	if n := f["lookups"]; math.Abs(n-1200) > 150 {
		t.Errorf("%v lookups", n)
	}
	if f["lookup_exact"] < 0.99 || f["availability"] != 1 || f["gpu_found"] != 1 {
		t.Errorf("exact %v, available %v, GPUs found %v", f["lookup_exact"], f["availability"], f["gpu_found"])
	}
	if h := f["lookup_hops_mean"]; h < 1.5 || h > 2.5 {
		t.Errorf("%v hops", h)
	}
	if f["gpu_ms_p50"] >= f["lookup_ms_p50"] {
		t.Errorf("a GPU is known after %v ms, a lookup takes %v", f["gpu_ms_p50"], f["lookup_ms_p50"])
	}
	if r.Leaves["record"] == 0 || r.Bytes[report.ByDHT] == 0 || r.Bytes[report.ByMembers] == 0 {
		t.Errorf("leaves %v, bytes %v", r.Leaves, r.Bytes)
	}
	t.Logf("%v %v events, %v", f, r.Events, r.Bytes)
}

// TestExactness: nodes behind NAT are not what lookups look for, and are no reason to miss what is. Nodes to which a dial takes
// longer than a step are waited for, once that is known, and passed over if it takes much longer.
func TestExactness(t *testing.T) {
	exact := func(way time.Duration) float64 {
		s := town(300, func(s *scenario.Scenario) {
			s.Latency[0][1], s.Latency[1][0] = way, way
			s.Load = s.Load[:1]
			behind := s.Classes[0]
			behind.Name, behind.Count, behind.NAT = "behind", 150, true
			s.Classes = append(s.Classes, behind)
		})
		return run(t, s, 1, Options{}).Figures["lookup_exact"]
	}
	if x := exact(20 * time.Millisecond); x < 0.99 {
		t.Errorf("with a third behind NAT %v of the lookups found the closest", x)
	}
	const dial = 2 * (handshake + 1) // ways
	if x := exact(kad.Step/dial + time.Millisecond); x < 0.9 {
		t.Errorf("a dial of half of the nodes takes longer than a step: %v of the lookups found the closest", x)
	}
	if x := exact(patience.Most*kad.Step/dial + time.Millisecond); x > 0.8 {
		t.Errorf("%v of the lookups found the closest, though half of the nodes are too far to be dialled in the most that is waited", x)
	}
}

// bare is a run's JSON without what the machine's speed is in.
func bare(t *testing.T, r *report.Run) string {
	t.Helper()
	r.Wall, r.RSS = 0, 0
	delete(r.Figures, "events_per_s")
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheSameSeedGivesTheSameReport(t *testing.T) {
	s := town(400, func(s *scenario.Scenario) {
		s.Faults = []scenario.Fault{{Kind: scenario.Churn, At: time.Minute, For: 10 * time.Minute, Share: 0.5, Session: 5 * time.Minute, Downtime: time.Minute}}
	})
	first := bare(t, run(t, s, 7, Options{}))
	for range 3 {
		if again := bare(t, run(t, s, 7, Options{})); again != first {
			t.Fatalf("the same seed gave\n%s\nand\n%s", first, again)
		}
	}
	if other := run(t, s, 8, Options{}); bare(t, other) == first {
		t.Error("another seed gave the same")
	}
}

// TestTraceHash changes one thing at a time: each makes another trace.
func TestTraceHash(t *testing.T) {
	seen := map[string]string{}
	note := func(what string, r *report.Run) {
		if old, ok := seen[r.Trace]; ok {
			t.Errorf("%s has the trace of %s", what, old)
		}
		seen[r.Trace] = what
	}
	note("the first", run(t, town(200), 1, Options{}))
	note("another seed", run(t, town(200), 2, Options{}))
	note("a node more", run(t, town(201), 1, Options{}))
	note("longer ways", run(t, town(200, func(s *scenario.Scenario) { s.Latency[0][1] += time.Microsecond }), 1, Options{}))
	note("other load", run(t, town(200, func(s *scenario.Scenario) { s.Load[0].Rate = 1.01 }), 1, Options{}))
	// Tasks: a figure that scheduler/cost adds up changes where they go.
	note("tasks", run(t, jobs(1e9), 1, Options{}))
	note("tasks that take a little more", run(t, jobs(1.0001e9), 1, Options{}))
	note("tasks whose data is shipped", run(t, jobs(1e9), 1, Options{Policy: cost.ShipData}))
	note("a fault", run(t, town(200, func(s *scenario.Scenario) {
		s.Faults = []scenario.Fault{{Kind: scenario.Kill, At: time.Minute, Nodes: 1}}
	}), 1, Options{}))
}

func TestBootstrap(t *testing.T) {
	warm := run(t, town(100), 1, Options{})
	cold := run(t, town(100, func(s *scenario.Scenario) { s.Start = "bootstrap" }), 1, Options{})
	if x := cold.Figures["lookup_exact"]; x < 0.97 {
		t.Errorf("after a natural start %v of the lookups found the closest", x)
	}
	for _, k := range []string{"lookup_hops_mean", "lookup_messages_mean", "lookup_ms_p50"} {
		a, b := warm.Figures[k], cold.Figures[k]
		t.Logf("%s: warm %.3f, natural %.3f", k, a, b)
		if math.Abs(a/b-1) > 0.5 {
			t.Errorf("%s: %v after a warm start, %v after a natural one", k, a, b)
		}
	}
}

func TestFaults(t *testing.T) {
	base := run(t, town(500), 3, Options{}).Figures
	for what, c := range map[string]struct {
		fault scenario.Fault
		check func(f map[string]float64) bool
	}{
		"kill": {scenario.Fault{Kind: scenario.Kill, At: time.Minute, Share: 0.2}, func(f map[string]float64) bool {
			return f["lookup_ms_p99"] > base["lookup_ms_p99"]+200 && f["lookups"] < base["lookups"]
		}},
		"churn":    {scenario.Fault{Kind: scenario.Churn, Session: 10 * time.Minute, Downtime: 5 * time.Minute}, func(f map[string]float64) bool { return f["lookup_ms_p50"] > base["lookup_ms_p50"] }},
		"cut":      {scenario.Fault{Kind: scenario.Partition, At: time.Minute, Region: "b"}, func(f map[string]float64) bool { return f["lookup_exact"] < 0.6 }},
		"one way":  {scenario.Fault{Kind: scenario.OneWay, At: time.Minute, Share: 0.3}, func(f map[string]float64) bool { return f["availability"] < 0.8 && f["availability"] > 0.6 }},
		"slow":     {scenario.Fault{Kind: scenario.SlowLink, Factor: 3}, func(f map[string]float64) bool { return f["lookup_ms_p50"] > 1.5*base["lookup_ms_p50"] }},
		"all gone": {scenario.Fault{Kind: scenario.Wipe, At: 10 * time.Minute}, func(f map[string]float64) bool { return f["lookups"] < base["lookups"]*0.6 }},
	} {
		f := run(t, town(500, func(s *scenario.Scenario) { s.Faults = []scenario.Fault{c.fault} }), 3, Options{}).Figures
		if !c.check(f) {
			t.Errorf("%s: %v; without it %v", what, f, base)
		}
	}
}

// TestChurnKeepsItsMean has nodes come and go by their classes' figures, for long.
func TestChurnKeepsItsMean(t *testing.T) {
	s := town(300, func(s *scenario.Scenario) {
		s.Duration, s.Load = 12*time.Hour, nil
		for i := range s.Classes {
			s.Classes[i].Session, s.Classes[i].Downtime = 18*time.Minute, 6*time.Minute
		}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	up, looks := 0, 0
	c.every(7*time.Minute, func() {
		if looks++; looks > 10 {
			for _, yes := range c.up {
				if yes {
					up++
				}
			}
		}
	})
	c.loop.Run(event.At(s.Duration), 1<<24)
	if part := float64(up) / float64(300*(looks-10)); looks < 90 || math.Abs(part-0.75) > 0.02 {
		t.Errorf("%.3f of the nodes were up, in %d looks; 0.75 is their mean", part, looks)
	}
}

// TestLookupsOfTheCutOff: who reaches nobody has an error, which no figure of lookups counts.
func TestLookupsOfTheCutOff(t *testing.T) {
	asked := func(faults ...scenario.Fault) *report.Run {
		return run(t, town(40, func(s *scenario.Scenario) {
			s.Duration, s.Faults = 4*time.Minute, faults
			s.Load = []scenario.Load{{Ask: scenario.Lookup, Rate: 10}}
		}), 1, Options{})
	}
	f, g := asked().Figures, asked(scenario.Fault{Kind: scenario.Partition, For: 4 * time.Minute, Nodes: 1}).Figures
	if part := g["lookups"] / f["lookups"]; part > 0.99 || part < 0.95 || g["availability"] > 0.99 {
		t.Errorf("%v of %v lookups, %v answered", g["lookups"], f["lookups"], g["availability"])
	}
	if f["lookup_exact"] < 1 || g["lookup_exact"] < 0.97 {
		t.Errorf("of the lookups %v found the closest, with one node cut off %v", f["lookup_exact"], g["lookup_exact"])
	}
}
