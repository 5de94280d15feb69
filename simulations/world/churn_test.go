package world

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// An hour in which everybody comes and goes: no partition is lost, agents' calls are linearizable, what a durable topic took is
// delivered; and once all is calm replicas are as many as they should be and every agent answers. It is a dozen nodes, as many as two
// processors carry in a minute and a half; -long: the hundred of the scenario; -nodes: as many as that.
func TestChurn(t *testing.T) {
	nodes := 12
	if *long {
		nodes = 100
	}
	if *many > 0 {
		nodes = *many
	}
	s, err := scenario.ReadFile("../scenarios/churn-hour.yaml", scenario.Options{Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	if *span > 0 {
		s.Duration = *span
		for i := range s.Load {
			s.Load[i].End = *span
		}
		for i := range s.Faults {
			s.Faults[i].For = *span - s.Faults[i].At
		}
	}
	last := time.Duration(-1)
	r := simulate(t, s, Options{Progress: func(p Progress) {
		if p.Phase == "load" && p.At-last >= 5*time.Minute {
			last = p.At
			t.Logf("%s: %v, %s", uptime(), p.At, resident())
		}
	}})
	f := r.Figures
	for _, b := range r.Broken {
		t.Error(b)
	}
	if f["partitions_lost"] > 0 || f["partitions_short"] > 0 || f["delivered"] < 1 || f["call_failed"] > 0.01 || f["task_failed"] > 0.01 {
		t.Errorf("%v", f)
	}
}
