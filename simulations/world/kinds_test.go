package world

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// calm is small without most of its load.
func calm(nodes int, asks ...string) *scenario.Scenario {
	s := small(nodes)
	s.Duration, s.Settle = 2*time.Minute, 0
	var load []scenario.Load
	for _, l := range s.Load {
		for _, ask := range asks {
			if l.Ask == ask {
				load = append(load, l)
			}
		}
	}
	s.Load = load
	return s
}

// Tasks on graphics processors find the machines that have them and take their time there, and longer while these are slow.
func TestGPUs(t *testing.T) {
	s := calm(5)
	box := s.Classes[0]
	s.Classes[0].Count = 3
	box.Name, box.Count, box.GPUs = "box", 2, []scenario.GPU{{Vendor: "nvidia", Model: "RTX 3090", Count: 1, Memory: 24 << 30, Rate: 1e11}}
	s.Classes = append(s.Classes, box)
	s.Load = []scenario.Load{
		{Name: "gpu", Ask: scenario.FindGPU, Rate: 0.5},
		{Name: "train", Ask: scenario.Task, Rate: 0.2, Work: scenario.Work{GPU: true, Gas: 1e11, Deadline: 5 * time.Minute}},
	}
	s.Faults = []scenario.Fault{{Kind: scenario.SlowGPU, At: 80 * time.Second, For: 40 * time.Second, Factor: 5}}
	r := simulate(t, s, Options{})
	f := r.Figures
	if len(r.Broken) > 0 || f["tasks"] < 10 || f["task_failed"] > 0 || f["gpu_found"] < 1 || f["availability"] < 1 {
		t.Errorf("%v: %q", f, r.Broken)
	}
	if f["gpu_use"] < 0.1 || f["gpu_use"] > 1 {
		t.Errorf("gpus are in use for %v of the time", f["gpu_use"])
	}
	// A second of work, of which none is done elsewhere; five when slow.
	if f["task_ms_p50"] < 1000 || f["task_ms_p50"] > 4900 || f["task_ms_p99"] < 5000 {
		t.Errorf("tasks took %v and %v ms", f["task_ms_p50"], f["task_ms_p99"])
	}
}

// Nodes behind NAT, which nobody can connect to but through others, take part in everything.
func TestNAT(t *testing.T) {
	s := calm(6, scenario.Lookup, scenario.Find, scenario.Task, scenario.Call, scenario.Read)
	home := s.Classes[0]
	s.Classes[0].Count = 3
	home.Name, home.Count, home.NAT = "home", 3, true
	s.Classes = append(s.Classes, home)
	for i := range s.Load {
		s.Load[i].From = "home"
	}
	s.Data[0].Class = "home" // what they hold, too, is reached
	s.Data[0].Replicas = 1
	s.Load = append(s.Load, scenario.Load{Name: "out", Ask: scenario.Task, From: "pc", Rate: 0.2, Work: s.Load[2].Work})
	r := simulate(t, s, Options{})
	f := r.Figures
	if len(r.Broken) > 0 || f["availability"] < 1 || f["task_failed"] > 0 || f["call_failed"] > 0 || f["find_found"] < 1 ||
		f["lookup_exact"] < 1 { // who is behind NAT is not what lookups look for
		t.Errorf("%v: %q", f, r.Broken)
	}
}

// Links that are slow make calls slow, and no more than that.
func TestSlowLinks(t *testing.T) {
	s := calm(5, scenario.Call)
	s.Faults = []scenario.Fault{{Kind: scenario.SlowLink, At: time.Minute, For: time.Minute, Factor: 20}}
	r := simulate(t, s, Options{})
	f := r.Figures
	// 5 ms one way; 100 ms for half of the time.
	if len(r.Broken) > 0 || f["call_failed"] > 0 || f["call_ms_p99"] < 200 || f["call_ms_p99"] > 3000 {
		t.Errorf("%v: %q", f, r.Broken)
	}
}

// With the member table on, machines that come and go are missed and met again, and nothing is lost by it.
func TestChurnWithTable(t *testing.T) {
	s := calm(8, scenario.Lookup, scenario.Find, scenario.Task, scenario.Call, scenario.Read, scenario.Publish)
	s.Table, s.Duration, s.Settle = true, 4*time.Minute, 5*time.Minute
	s.Data[0].Replicas = 3
	s.Faults = []scenario.Fault{{Kind: scenario.Churn, At: 10 * time.Second, For: 4*time.Minute - 10*time.Second, Session: 3 * time.Minute, Downtime: 40 * time.Second}}
	r := simulate(t, s, Options{})
	f := r.Figures
	if len(r.Broken) > 0 || f["partitions_lost"] > 0 || f["partitions_short"] > 0 || f["availability"] < 0.97 {
		t.Errorf("%v: %q", f, r.Broken)
	}
}
