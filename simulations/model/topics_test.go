package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/kad"
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

// TestFollowersAreNotHungUp: where nodes keep few connections, those between a publisher and its subscribers stay.
func TestFollowersAreNotHungUp(t *testing.T) {
	c, err := newCity(plain(300, nil), 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := c.dht
	c.loop.Run(event.At(time.Minute), 1<<40)
	const me = node(7)
	var list []node // of no worth to the routing table
	for i := range node(300) {
		if i != me && d.links.Worth(d.place(me), d.place(i)) == kad.Passing && !d.links.Open(d.place(me), d.place(i)) {
			list = append(list, i)
		}
	}
	subscriber, other := list[0], list[1]
	c.meet(me, subscriber)
	c.meet(me, other)
	d.hold(me, subscriber)
	peers := c.s.Peers()
	for _, i := range list[2:] { // each older than the grace when the next comes, so that the oldest go
		c.loop.Run(c.loop.Now()+event.At(peers.Grace), 1<<40)
		c.meet(me, i)
	}
	if open := d.links.Count(d.place(me)); !d.links.Open(d.place(me), d.place(subscriber)) || open > 2*peers.High {
		t.Errorf("open: %v, %d connections", d.links.Open(d.place(me), d.place(subscriber)), open)
	}
	if d.links.Open(d.place(me), d.place(other)) {
		t.Error("others stay as well")
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
		if f := r.Figures; f["delivered"] < 0.999 || f["deliver_ms_p50"] > 100 || r.Leaves["names"] == 0 {
			t.Errorf("%v %v", f, r.Leaves)
		}
	}
}
