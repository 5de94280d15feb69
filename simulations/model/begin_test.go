package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestSmallClustersAreAcquainted: where nobody hangs up, who made and announced what exists is still connected to those who were told of it, as
// in package world; in a larger cluster, whose nodes have had a rest, it is as if nobody had.
func TestSmallClustersAreAcquainted(t *testing.T) {
	stocked := func(n int) *city {
		t.Helper()
		c, err := newCity(town(n, func(s *scenario.Scenario) {
			s.Data = []scenario.Dataset{{Name: "d", Count: 2, Bytes: 4 << 20, Partition: 1 << 20, Replicas: 2}}
			s.Agents = []scenario.Agents{{Name: "a", Count: 3, State: 64, Replicas: 3}}
			s.Topics = []scenario.Topics{{Name: "t", Count: 1, Subscribers: 5}}
		}), 1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := stocked(120)
	open := func(a, b node) bool {
		p, q := c.dht.place(a), c.dht.place(b)
		return p == q || c.dht.links.Open(p, q) || c.dht.links.Open(q, p)
	}
	for part, holders := range c.data.keeps {
		near := c.dht.space.Nearest(place(uint64(part)), kad.K, nil, nil)
		for _, n := range holders {
			met := 0
			for _, p := range near {
				if open(n, c.dht.nodeAt[p]) {
					met++
				}
			}
			if met < kad.K*9/10 {
				t.Errorf("a holder of partition %d is connected to %d of the %d it told", part, met, kad.K)
			}
		}
	}
	for id := range uint32(3) {
		keepers := c.agents.keepersOf(id)
		for i, a := range keepers {
			for _, b := range keepers[:i] {
				if !open(a, b) {
					t.Errorf("keepers of agent %d are not connected", id)
				}
			}
		}
	}
	leader := c.agents.keepersOf(c.agents.topics)[0]
	for _, n := range c.topics.topic(0, 0).subs {
		if !open(n, leader) {
			t.Error("a subscriber is not connected to the topic's agent")
		}
	}

	large := stocked(300)
	before := large.dht.links.Opened
	if err := large.acquaint(); err != nil || large.dht.links.Opened != before {
		t.Errorf("%d connections more among 300: %v", large.dht.links.Opened-before, err)
	}
}

// TestManyThingsAreNotMadeOneByOne: once all are connected, what else exists is not made, be it millions.
func TestManyThingsAreNotMadeOneByOne(t *testing.T) {
	begun := time.Now()
	_, err := newCity(town(40, func(s *scenario.Scenario) {
		s.Agents = []scenario.Agents{{Name: "a", Count: 3_000_000, State: 64, Replicas: 3}}
	}), 1, Options{})
	if took := time.Since(begun); err != nil || took > 20*time.Second { // it would be minutes
		t.Errorf("%v, %v", took, err)
	}
}
