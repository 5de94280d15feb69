package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

func TestTopics(t *testing.T) {
	with := func(subscribers int, durable bool) *report.Run {
		s := plain(0, func(s *scenario.Scenario) { // one who publishes again and again has its connections
			s.Settle = 5 * time.Second
			s.Classes = []scenario.Class{class("says", 1), class("hears", 199)}
			s.Topics = []scenario.Topics{{Name: "t", Count: 2, Subscribers: subscribers, Durable: durable}}
			s.Load = []scenario.Load{{Ask: scenario.Publish, Rate: 5, Bytes: 200, From: "says"}}
		})
		r := simulate(t, s, 3, cost.Fluid)
		if f := r.Figures; f["published"] < 200 || f["delivered"] != 1 || f["availability"] != 1 {
			t.Errorf("%d subscribers, durable %v: %v", subscribers, durable, f)
		}
		return r
	}
	// By streams: one way, and the connection when there is none yet.
	few := with(10, false)
	near(t, "streams: bytes of a message", float64(few.Bytes[report.ByTopics])/few.Figures["published"], 10*224, 0.06)
	if ms := few.Figures["deliver_ms_p50"]; ms < 5 || ms > 6 {
		t.Errorf("streams: %v ms", ms)
	}
	// By gossip: 150 in a mesh of 6 to 12 are three hops away or so, and each gets some copies.
	many := with(150, false)
	if ms := many.Figures["deliver_ms_p50"]; ms < 10 || ms > 25 {
		t.Errorf("gossip: %v ms", ms)
	}
	if each := float64(many.Bytes[report.ByTopics]) / many.Figures["published"] / 150 / 450; each < 4 || each > 12 {
		t.Errorf("gossip: %v copies for each", each)
	}
	// Durable: a call that writes, then one way.
	log := with(3, true)
	if ms := log.Figures["deliver_ms_p50"]; ms < 20 || ms > 40 {
		t.Errorf("durable: %v ms", ms)
	}
	if log.Leaves["turn"] < 1000 {
		t.Errorf("%v", log.Leaves)
	}
}

// TestTopicsUnderFaults: subscribers that are cut off for a while get what was said meanwhile.
func TestTopicsUnderFaults(t *testing.T) {
	for _, subscribers := range []int{8, 60} {
		s := plain(100, func(s *scenario.Scenario) {
			s.Settle = 30 * time.Second
			s.Topics = []scenario.Topics{{Name: "t", Subscribers: subscribers}}
			s.Load = []scenario.Load{{Ask: scenario.Publish, Rate: 5, Bytes: 200, End: 50 * time.Second}}
			s.Faults = []scenario.Fault{{Kind: scenario.Partition, At: 20 * time.Second, For: 20 * time.Second, Share: 0.3}}
		})
		r := simulate(t, s, 3, cost.Fluid)
		// Anybody publishes: most have to ask the directory and the topic's agent first, over 10 ms of round trip, and to call the subscribers.
		if f := r.Figures; f["delivered"] < 0.999 || f["deliver_ms_p50"] > 100 {
			t.Errorf("%v", f)
		}
	}
}
