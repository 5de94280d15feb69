package model

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

const (
	mib = 1 << 20
	gb  = 1e9
)

// plain is a cluster of one class in one region, as scenario.Parse would fill it in.
func plain(nodes int, change func(*scenario.Scenario)) *scenario.Scenario {
	s := &scenario.Scenario{
		Name: "test", Duration: time.Minute, Seeds: []uint64{1}, Start: "warm", Table: true,
		Regions: []scenario.Region{{Name: "here", Share: 1}},
		Latency: [][]time.Duration{{5 * time.Millisecond}},
		Classes: []scenario.Class{class("node", nodes)},
	}
	if change != nil {
		change(s)
	}
	return s
}

func class(name string, count int) scenario.Class {
	return scenario.Class{
		Name: name, Count: count, Cores: 4, Gas: 1e9, Memory: 8 << 30, Disk: 100 << 30, DiskRate: 500e6, Sync: time.Millisecond,
		Up: 125e6, Down: 125e6, Downtime: 10 * time.Minute,
	}
}

func chore(code, result scenario.Size, gas float64) scenario.Work {
	return scenario.Work{Code: code, Modules: 1, Gas: gas, Result: result, Deadline: 10 * time.Minute}
}

func simulate(t *testing.T, s *scenario.Scenario, seed uint64, p cost.Policy) *report.Run {
	t.Helper()
	r, err := Run(context.Background(), s, seed, Options{Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Broken) > 0 {
		t.Fatal(r.Broken)
	}
	return r
}

func near(t *testing.T, what string, got, want, part float64) {
	t.Helper()
	if math.Abs(got-want) > part*math.Abs(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestOneTaskToTheMillisecond adds up by hand what a task takes whose data lies on the other of two nodes.
func TestOneTaskToTheMillisecond(t *testing.T) {
	s := plain(0, func(s *scenario.Scenario) {
		s.Classes = []scenario.Class{class("asks", 1), class("keeps", 1)}
		s.Data = []scenario.Dataset{{Name: "d", Count: 1, Bytes: 64 * mib, Partition: 64 * mib, Replicas: 1, Class: "keeps"}}
		s.Load = []scenario.Load{{Name: "task", Ask: scenario.Task, From: "asks", Burst: &scenario.Burst{Count: 1}, Work: chore(mib, 1024, 2e9)}}
	})
	const rtt = 10.0
	// The asker, one of the closest to any key, knows who holds the data; members are connected already. The survey waits for the
	// look-up all the same, a round trip. Then the holder is asked for an offer.
	placed := rtt + rtt
	compiled := mib / cost.CompileRate * 1000
	run, synced := 2000.0, 1.0 // one fsync for what was fetched, or made

	r := simulate(t, s, 1, cost.ShipCode)
	// The request goes there, the module comes in one piece, a MiB at 125 MB/s; the outcome comes back, the result is fetched, and pinned.
	near(t, "code to data", r.Figures["makespan_s"]*1e3, synced+placed+rtt/2+rtt+mib/125e6*1e3+synced+compiled+run+synced+rtt/2+2*rtt+1024/125e6*1e3+synced+rtt, 1e-6)
	if r.Bytes[report.ByData] != 0 || r.Bytes[report.ByCode] != mib+stream("data.fetch") || r.Figures["locality"] != 1 || r.Bytes[report.ByResults] != 1024+2*stream("data.fetch") {
		t.Errorf("%v %v", r.Bytes, r.Figures)
	}

	r = simulate(t, s, 1, cost.ShipData)
	// Inner nodes, then 64 MiB; nothing comes back.
	near(t, "data to code", r.Figures["makespan_s"]*1e3, synced+placed+2*rtt+64*mib/125e6*1e3+synced+compiled+run+synced, 1e-6)
	if r.Bytes[report.ByData] != 64*mib+2*stream("data.fetch") || r.Bytes[report.ByCode] != 0 || r.Figures["locality"] != 0 || r.Figures["moved_bytes"] != 64*mib {
		t.Errorf("%v %v", r.Bytes, r.Figures)
	}

	if r = simulate(t, s, 1, cost.Fluid); r.Figures["locality"] != 1 {
		t.Errorf("what costs least is to send the module: %v", r.Figures)
	}
}

// busy is a cluster with a bit of everything for tasks.
func busy(nodes int) *scenario.Scenario {
	return plain(0, func(s *scenario.Scenario) {
		gpu := class("gpu", nodes/5)
		gpu.GPUs = []scenario.GPU{{Vendor: "nvidia", Model: "A100", Count: 2, Memory: 40 << 30, Rate: 1e11}}
		s.Classes = []scenario.Class{class("plain", nodes-nodes/5), gpu}
		s.Regions = []scenario.Region{{Name: "east", Share: 0.5}, {Name: "west", Share: 0.5}}
		s.Latency = [][]time.Duration{{2 * time.Millisecond, 40 * time.Millisecond}, {40 * time.Millisecond, 2 * time.Millisecond}}
		s.Jitter = 0.2
		s.Data = []scenario.Dataset{{Name: "d", Count: 40, Bytes: 40 * mib, Sigma: 0.8, Partition: 16 * mib, Replicas: 2, Zipf: 1}}
		s.Load = []scenario.Load{
			{Name: "many", Ask: scenario.Task, Rate: 20, Work: chore(256<<10, 1024, 3e8)},
			{Name: "deep", Ask: scenario.Task, Rate: 2, Work: chore(256<<10, 1024, 2e11)},
			{Name: "burst", Ask: scenario.Task, Burst: &scenario.Burst{Every: 20 * time.Second, Count: 100}, Work: chore(mib, 1024, 1e9)},
		}
		s.Load[1].Work.GPU = true
		s.Load[2].Work.Needs = `memory >= gib(4) && os == "linux"`
	})
}

func TestTasksAreDoneAndRepeatable(t *testing.T) {
	s := busy(40)
	encode := func(r *report.Run) string {
		r.Wall, r.RSS = 0, 0
		delete(r.Figures, "events_per_s")
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := simulate(t, s, 7, cost.Fluid)
	f := first.Figures
	if f["tasks"] < 1300 || f["task_failed"] > 0 || f["availability"] != 1 || f["locality"] < 0.7 || f["gpu_use"] <= 0 || f["queue_mean"] < 0 {
		t.Errorf("%v", f)
	}
	if first.Leaves["cost"] < 1300 || first.Leaves["match"] < 1300 {
		t.Errorf("%v", first.Leaves)
	}
	a := encode(first)
	for range 3 {
		if b := encode(simulate(t, s, 7, cost.Fluid)); a != b {
			i := 0
			for a[i] == b[i] {
				i++
			}
			t.Fatalf("another report, from %q, %q", a[max(0, i-80):min(i+60, len(a))], b[max(0, i-80):min(i+60, len(b))])
		}
	}
	if bytes.Equal([]byte(a), []byte(encode(simulate(t, s, 8, cost.Fluid)))) {
		t.Error("another seed gives the same")
	}
}

// TestTasksOutliveNodes: nodes go while tasks run there; these run elsewhere, after the silence that tells.
func TestTasksOutliveNodes(t *testing.T) {
	s := plain(20, func(s *scenario.Scenario) {
		s.Duration = 3 * time.Minute
		s.Data = []scenario.Dataset{{Name: "d", Count: 20, Bytes: 16 * mib, Partition: 16 * mib, Replicas: 3}}
		s.Load = []scenario.Load{{Ask: scenario.Task, Rate: 2, End: 2 * time.Minute, Work: chore(mib, 1024, 5e9)}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.loop.After(30*time.Second, func() {
		for n := range node(5) {
			c.set(n, false)
		}
	})
	c.loop.Run(event.At(s.Duration), 1<<40)
	r := c.finish()
	f := r.Figures
	if f["tasks"] < 150 || f["task_failed"] > 0.02 || c.tasks.took.all.quantile(1) < 11e3 || f["partitions_short"] > 0 || f["repair_bytes"] < 16*mib {
		t.Errorf("%v", f)
	}
	if len(c.tasks.errands) > 0 {
		t.Errorf("%d machines still have tasks", len(c.tasks.errands))
	}
}
