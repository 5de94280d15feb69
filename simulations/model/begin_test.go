package model

import (
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
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
	leader := slices.MinFunc(c.agents.keepersOf(c.agents.topics), byName)
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

// TestPartedNodesHangUp: connections that a partition parts end once they count as dead, and members call again when it is over; those of a
// partition that is short stay.
func TestPartedNodesHangUp(t *testing.T) {
	for _, lasts := range []time.Duration{20 * time.Second, time.Minute} {
		s := plain(40, func(s *scenario.Scenario) {
			s.Table, s.Duration = true, 10*time.Minute
			s.Faults = []scenario.Fault{{Kind: scenario.Partition, At: time.Minute, For: lasts, Share: 0.25}}
		})
		c, err := newCity(s, 1, Options{})
		if err != nil {
			t.Fatal(err)
		}
		some := c.churn.crowd(0)
		across := func() (n int) {
			for a := range node(40) {
				for b := range a {
					if p, q := c.dht.place(a), c.dht.place(b); some.has(a) != some.has(b) && c.dht.links.Open(p, q) {
						n++
					}
				}
			}
			return n
		}
		c.loop.Run(event.At(time.Minute), 1<<40)
		if n := across(); n != 10*30 {
			t.Fatalf("%d connections before", n)
		}
		opened := c.dht.links.Opened
		c.loop.Run(event.At(time.Minute+lasts-1), 1<<40)
		if n, want := across(), map[bool]int{true: 0, false: 300}[lasts > downAfter]; n != want {
			t.Errorf("after %v: %d connections, want %d", lasts, n, want)
		}
		c.loop.Run(event.At(2*time.Minute+recall), 1<<40)
		if n := across(); n != 10*30 {
			t.Errorf("after %v, and then some: %d connections", lasts, n)
		}
		if n, want := c.dht.links.Opened-opened, map[bool]uint64{true: 300, false: 0}[lasts > downAfter]; n != want {
			t.Errorf("after %v, and then some: %d were opened, want %d", lasts, n, want)
		}
	}
}
