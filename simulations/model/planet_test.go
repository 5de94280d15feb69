package model

import (
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

var (
	planet     = flag.Int("planet", 0, "nodes of TestPlanet, such as 1000000; 0: it is skipped")
	planetTime = flag.Duration("planet-time", time.Hour, "simulated time of TestPlanet")
)

// TestPlanet has a million nodes come and go for an hour, and look up ten keys each.
func TestPlanet(t *testing.T) {
	n := *planet
	if n == 0 {
		t.Skip("takes minutes; -planet 1000000 runs it")
	}
	s := town(n, func(s *scenario.Scenario) {
		s.Duration = *planetTime
		for i := range s.Classes {
			s.Classes[i].Session, s.Classes[i].Downtime = 4*time.Hour, 20*time.Minute
		}
		s.Load = []scenario.Load{{Ask: scenario.Lookup, Rate: float64(n) * 10 / 3600}, {Ask: scenario.FindGPU, Rate: 1}}
	})
	begun := time.Now()
	r, err := Run(context.Background(), s, 1, Options{Progress: func(p Progress) {
		if time.Since(begun) > time.Second {
			begun = time.Now()
			t.Logf("%v: %d events, %s", p.Now, p.Events, resident())
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v events in %.1f s, %s, %v", r.Events, r.Wall, resident(), r.Figures)
}

// TestManyComeBack: where only who dials notes a connection, some come back that never had one.
func TestManyComeBack(t *testing.T) {
	s := town(manyNodes, func(s *scenario.Scenario) {
		s.Duration = time.Minute
		for i := range s.Classes {
			s.Classes[i].Session, s.Classes[i].Downtime = 5*time.Minute, 10*time.Second
		}
		s.Load = []scenario.Load{{Ask: scenario.Lookup, Rate: 20}}
	})
	if f := simulate(t, s, 1, cost.Fluid).Figures; f["lookups"] < 1000 || f["lookup_exact"] < 0.8 {
		t.Errorf("%v", f)
	}
}

func resident() string {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, "VmHWM") {
			return line
		}
	}
	return ""
}
