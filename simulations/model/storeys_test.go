package model

import (
	"context"
	"math"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
	"github.com/shoal-fabric/shoal/simulations/world"
)

// TestMain is also the child that a world runs in.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == world.Verb {
		world.Main()
	}
	os.Exit(m.Run())
}

// both is a cluster that complete nodes carry in a minute: lookups, searches and tasks, and no table of all members.
func both() *scenario.Scenario {
	ms := time.Millisecond
	return &scenario.Scenario{
		Name: "both", Duration: 50 * time.Second, Start: "warm", Seeds: []uint64{1, 2, 3, 4}, Policies: []cost.Policy{cost.Fluid},
		Regions: []scenario.Region{{Name: "here", Share: 0.5}, {Name: "there", Share: 0.5}},
		Latency: [][]time.Duration{{4 * ms, 6 * ms}, {6 * ms, 4 * ms}}, Jitter: 0.3,
		Classes: []scenario.Class{{
			Name: "pc", Count: 26, Cores: 4, Gas: 1e9, Memory: 8 << 30, Disk: 100 << 30, DiskRate: 500e6, Sync: 2 * ms, Up: 25e6, Down: 25e6,
		}},
		Data: []scenario.Dataset{{Name: "corpus", Count: 8, Bytes: 2 << 20, Partition: 512 << 10, Replicas: 3}},
		Load: []scenario.Load{
			{Name: "lookup", Ask: scenario.Lookup, Rate: 8},
			{Name: "find", Ask: scenario.Find, Rate: 4},
			{Name: "task", Ask: scenario.Task, Rate: 3, Work: scenario.Work{
				Code: 64 << 10, Modules: 1, Gas: 1e8, PerByte: 100, Result: 4 << 10, Deadline: time.Minute,
			}},
		},
	}
}

// complete runs a scenario with complete nodes.
func complete(t *testing.T, s *scenario.Scenario, seed uint64) *report.Run {
	r, err := world.Start(t.Context(), func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, os.Args[0], append([]string{world.Verb}, args...)...)
	}, s, seed, cost.Fluid, nil)
	if err != nil {
		t.Error(err)
	}
	return r
}

// TestSizesOfConnections holds what a new connection costs against complete nodes: enough of them for a lookup to need some.
func TestSizesOfConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("worlds take a while")
	}
	s := both()
	s.Classes[0].Count, s.Duration, s.Data, s.Load = 80, 12*time.Second, nil, []scenario.Load{{Name: "lookup", Ask: scenario.Lookup, Rate: 10}}
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := complete(t, s, 1)
	if t.Failed() {
		return
	}
	opened := r.Figures["connections_per_node_hour"] * float64(r.Nodes) * r.Simulated / 3600
	if opened < 200 {
		t.Fatalf("%.0f connections", opened)
	}
	for what, want := range map[string]uint64{"hello": 2 * (helloBytes + c.members.item), "ipfs/id": 2 * identifyBytes} {
		got := float64(r.Said[what]) / opened
		t.Logf("%s: %.0f bytes each of %.0f connections, the model has %d", what, got, opened, want)
		if math.Abs(got/float64(want)-1) > 0.06 {
			t.Errorf("%s: %.0f bytes a connection, not %d", what, got, want)
		}
	}
}

// TestStoreys holds the model against complete nodes, in the bands that 'shoal sim run --storey both' has. Then the control: the same
// with one thing of the model set wrong on purpose has to be seen.
func TestStoreys(t *testing.T) {
	if testing.Short() {
		t.Skip("worlds take a minute")
	}
	s := both()
	worlds := make([]*report.Run, len(s.Seeds))
	var wg sync.WaitGroup
	room := make(chan struct{}, max(1, min(2, runtime.GOMAXPROCS(0))))
	for i, seed := range s.Seeds {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			worlds[i] = complete(t, s, seed)
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	against := func(wrong func(*city)) map[string]report.Check {
		r := &report.Result{Scenario: s.Name, Nodes: s.Nodes()}
		for i, seed := range s.Seeds {
			m, err := Run(t.Context(), s, seed, Options{wrong: wrong})
			if err != nil {
				t.Fatal(err)
			}
			r.Runs = append(r.Runs, *m, *worlds[i])
		}
		checks := map[string]report.Check{}
		for _, c := range report.Storeys(r, report.Bands) {
			checks[c.Figure] = c
		}
		return checks
	}
	checks := against(nil)
	for _, figure := range []string{"lookup_hops_mean", "lookup_ms_p50", "locality", "bytes_per_node_hour", "task_ms_p50"} {
		c, ok := checks[figure]
		t.Logf("%s: model %.4g, world %.4g: %+.1f %% ± %.1f %%, band %.0f %%", figure, c.Model.Mean, c.World.Mean, 100*c.Diff, 100*c.Half, 100*c.Band)
		if !ok || !c.Inside {
			t.Errorf("%s is outside: %+v", figure, c)
		}
	}
	for _, w := range []struct {
		what, figure string
		wrong        func(*city)
	}{
		{"kad-dht's alpha", "lookup_ms_p50", func(c *city) { c.dht.s.Alpha = 1 }},
		{"kad-dht's beta", "lookup_ms_p50", func(c *city) { c.dht.s.Beta = 20 }},
		{"the size of a peer in an answer", "bytes_per_node_hour", func(c *city) { c.dht.sizePeer /= 2 }},
	} {
		c := against(w.wrong)[w.figure]
		t.Logf("%s is wrong: %s: model %.4g, world %.4g: %+.1f %% ± %.1f %%", w.what, w.figure, c.Model.Mean, c.World.Mean, 100*c.Diff, 100*c.Half)
		if c.Inside {
			t.Errorf("%s is wrong, and %s is inside: %+v", w.what, w.figure, c)
		}
	}
}
