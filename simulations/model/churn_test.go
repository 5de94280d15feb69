package model

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/internal/nemesis"
	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestChurnHour: an hour in which each of a hundred machines comes and goes, by the scenario and the checker that package world's TestChurn has:
// no partition is lost, agents' calls are linearizable, and what a durable topic took is delivered.
func TestChurnHour(t *testing.T) {
	s, err := scenario.ReadFile("../scenarios/churn-hour.yaml", scenario.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var history nemesis.History
	client := 0
	o := Options{Policy: s.Policies[0], called: func(agent uint32, read bool) func(uint64) {
		client++
		op := nemesis.Op{Client: client, Agent: fmt.Sprint("ledger-", agent), Model: "counter", Method: map[bool]string{true: "get", false: "add"}[read]}
		done := history.Begin(op)
		return func(turns uint64) { done(fmt.Sprint(turns), "") }
	}}
	r, err := Run(context.Background(), s, 1, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range r.Broken {
		t.Error(b)
	}
	if err := history.Check(10 * time.Second); err != nil {
		t.Error(err)
	}
	if n := history.Tally(); n.Definite < 1500 {
		t.Errorf("%d calls were answered, %d were not", n.Definite, n.Open)
	}
	o.called(0, true)(0) // a read that missed all that was written
	if history.Check(10*time.Second) == nil {
		t.Error("a stale read was not found")
	}
	f := r.Figures
	if s.Nodes() != 100 || r.Simulated < 3600 || f["partitions_lost"] > 0 || f["partitions_short"] > 0 || f["delivered"] < 1 || f["call_failed"] > 0.01 || f["task_failed"] > 0.01 {
		t.Errorf("%v", f)
	}
}

// TestSilence: who is parted counts as gone once the last sign of life that had an answer is old enough, and until the next one that has.
func TestSilence(t *testing.T) {
	const lasts = 2 * time.Minute
	s := town(40, func(s *scenario.Scenario) {
		s.Faults = []scenario.Fault{{Kind: scenario.OneWay, At: time.Minute, For: lasts, Nodes: 1}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	some := c.churn.crowd(0)
	in, out := some.list[0], node(0)
	for some.has(out) {
		out++
	}
	begin := time.Minute
	for _, x := range []struct {
		at          time.Duration
		hears, gone bool
	}{
		{begin - time.Second, true, false},
		{begin + time.Second, false, false},
		{begin + actors.Missing - time.Second, false, false},
		{begin + actors.Missing + time.Second, false, true},
		{begin + lasts + actors.Beat/2, true, true},
		{begin + lasts + 2*actors.Beat, true, false},
	} {
		c.loop.Run(event.At(x.at), 1<<40)
		for _, p := range [][2]node{{in, out}, {out, in}} { // a sign of life has to be answered
			if hears, gone := c.agents.Hears(p[0], p[1]), c.agents.Gone(p[0], p[1]); hears != x.hears || gone != x.gone {
				t.Errorf("at %v: hears %v, gone %v, want %v, %v", x.at, hears, gone, x.hears, x.gone)
			}
		}
		if c.agents.Gone(out, out+1) {
			t.Errorf("at %v: who is on the same side is gone", x.at)
		}
	}
}
