package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestThePapersCase: with the data brought to the code an iteration takes what the paper says, and not with the code brought to the data.
func TestThePapersCase(t *testing.T) {
	s, err := scenario.ReadFile("../scenarios/paper-training.yaml", scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Duration = 5 * time.Minute
	for i := range s.Load {
		s.Load[i].End = s.Duration
	}
	runs := map[cost.Policy]*report.Run{}
	for _, p := range s.Policies {
		runs[p] = simulate(t, s, 1, p)
	}
	near(t, "ship-data: an iteration", runs[cost.ShipData].Figures["task_ms_p50"], 3080, 0.02)
	near(t, "ship-code: an iteration", runs[cost.ShipCode].Figures["task_ms_p50"], 590, 0.03)
	near(t, "fluid: an iteration", runs[cost.Fluid].Figures["task_ms_p50"], runs[cost.ShipCode].Figures["task_ms_p50"], 0.02)
	data, fluid := runs[cost.ShipData].Figures["moved_bytes"], runs[cost.Fluid].Figures["moved_bytes"]
	if data < 7e9 || fluid > data/1000 {
		t.Errorf("%v bytes moved with the data, %v of the code", data, fluid)
	}
}

// TestGPUs: a task that takes a GPU waits for one, has it alone, and a card that is slow takes longer.
func TestGPUs(t *testing.T) {
	run := func(change func(*scenario.Scenario)) map[string]float64 {
		s := plain(0, func(s *scenario.Scenario) {
			gpu := class("gpu", 1)
			gpu.Cores = 8
			gpu.GPUs = []scenario.GPU{{Vendor: "nvidia", Model: "A100", Count: 2, Memory: 40 << 30, Rate: 1e11}}
			s.Classes = []scenario.Class{class("desk", 5), gpu}
			s.Load = []scenario.Load{{Ask: scenario.Task, From: "desk", Burst: &scenario.Burst{Count: 4}, Work: chore(mib, 0, 1e12)}}
			s.Load[0].Work.GPU = true
			if change != nil {
				change(s)
			}
		})
		return simulate(t, s, 1, cost.Fluid).Figures
	}
	f := run(nil) // four of ten seconds on two cards
	if f["tasks"] != 4 || f["task_failed"] != 0 || f["makespan_s"] < 20 || f["makespan_s"] > 21 {
		t.Errorf("%v", f)
	}
	near(t, "use of the cards", f["gpu_use"], 40.0/120, 0.01)
	slow := run(func(s *scenario.Scenario) {
		s.Faults = []scenario.Fault{{Kind: scenario.SlowGPU, For: time.Minute, Class: "gpu", Factor: 2}}
	})
	if slow["makespan_s"] < 40 || slow["makespan_s"] > 41 {
		t.Errorf("slow: %v", slow)
	}
	late := run(func(s *scenario.Scenario) { s.Load[0].Work.Deadline = 15 * time.Second })
	if late["task_failed"] != 0.5 {
		t.Errorf("of four tasks two end in time: %v", late)
	}
	if free := run(func(s *scenario.Scenario) { s.Load[0].Work.Needs = "gpus.exists(g, g.free >= gib(30))" }); free["task_failed"] != 0 || free["makespan_s"] > 25 {
		t.Errorf("a card that is free: %v", free)
	}
	if none := run(func(s *scenario.Scenario) { s.Load[0].Work.Needs = "memory > gib(1000)" }); none["task_failed"] != 1 {
		t.Errorf("nobody fits: %v", none)
	}
}
