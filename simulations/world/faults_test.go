package world

import (
	"flag"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

var long = flag.Bool("long", false, "run the tests that take minutes: go test ./simulations/world -long")

// Machines lose their power and come back, one with an empty disk: no partition is lost, replicas are made anew, and no history shows
// what cannot be.
func TestPowerAndDisksLost(t *testing.T) {
	s := small(12)
	s.Duration, s.Settle = 2*time.Minute, 5*time.Minute
	s.Faults = []scenario.Fault{
		// The two may be keepers of the same agent: they come back within the time of a call.
		{Kind: scenario.Kill, At: 20 * time.Second, For: 20 * time.Second, Nodes: 2},
		{Kind: scenario.Wipe, At: 80 * time.Second, For: 20 * time.Second, Nodes: 1},
	}
	r := simulate(t, s, Options{})
	f := r.Figures
	if len(r.Broken) > 0 || f["partitions_lost"] > 0 || f["partitions_short"] > 0 || f["availability"] < 1 {
		t.Errorf("%v: %q", f, r.Broken)
	}
}

// A cut network, a slow disk and a wrong clock end, and all is well after.
func TestLinksDisksClocks(t *testing.T) {
	s := small(6)
	s.Duration = 90 * time.Second
	s.Faults = []scenario.Fault{
		{Kind: scenario.Partition, At: 10 * time.Second, For: 15 * time.Second, Nodes: 2},
		{Kind: scenario.OneWay, At: 35 * time.Second, For: 10 * time.Second, Nodes: 1},
		{Kind: scenario.SlowDisk, At: 50 * time.Second, For: 10 * time.Second},
		{Kind: scenario.SlowCPU, At: 50 * time.Second, For: 10 * time.Second},
		{Kind: scenario.ClockStep, At: 65 * time.Second, For: 10 * time.Second, Nodes: 1, Step: -time.Minute},
	}
	r := simulate(t, s, Options{})
	f := r.Figures
	if len(r.Broken) > 0 || f["partitions_lost"] > 0 || f["availability"] < 0.7 || f["availability"] == 1 {
		t.Errorf("%v: %q", f, r.Broken)
	}
}

// Nodes that join by invites find the whole fabric.
func TestBootstrap(t *testing.T) {
	if !*long {
		t.Skip("takes a minute: -long")
	}
	s := small(30)
	s.Start, s.Data, s.Agents, s.Topics = "bootstrap", nil, nil, nil
	s.Load = []scenario.Load{{Name: "lookup", Ask: scenario.Lookup, Rate: 2}}
	r := simulate(t, s, Options{})
	if f := r.Figures; f["lookup_exact"] < 0.95 || f["availability"] < 1 {
		t.Error(f)
	}
}
