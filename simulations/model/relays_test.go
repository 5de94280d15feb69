package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestRelays: what two nodes behind NAT say to one another goes by way of a third, and crosses links twice.
func TestRelays(t *testing.T) {
	s := plain(0, func(s *scenario.Scenario) {
		hidden, open := class("hidden", 6), class("open", 14)
		hidden.NAT = true
		s.Classes = []scenario.Class{open, hidden}
		s.Duration = time.Hour
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const a, b, far = node(14), node(15), node(3)
	c.dht.connect(a, b)
	c.dht.connect(a, far)
	if x, y := c.trip(a, far), c.trip(a, b); y < 2*x*9/10 || y > 2*x*11/10 {
		t.Errorf("a call takes %v to who can be reached, %v to who is behind NAT as well", x, y)
	}
	if c.rtt(a, b) != c.rtt(a, c.links.relay[b])+c.rtt(c.links.relay[b], b) {
		t.Errorf("a round trip of %v", c.rtt(a, b))
	}
	said := func(f func()) (kind, relayed uint64) {
		kind, relayed = *c.links.held, *c.links.circuits
		f()
		return *c.links.held - kind, *c.links.circuits - relayed
	}
	if kind, relayed := said(func() { c.ask(a, b, c.links.held, 100, 200) }); kind != 300+askHead || relayed != kind {
		t.Errorf("a call between two behind NAT: %d bytes, and %d by a relay", kind, relayed)
	}
	if kind, relayed := said(func() { c.ask(far, b, c.links.held, 100, 200) }); kind != 300+askHead || relayed != 0 {
		t.Errorf("a call to one behind NAT: %d bytes, and %d by a relay", kind, relayed)
	}
	c.churn.cuts = []cut{{of: &crowd{in: []uint64{1 << c.links.relay[b]}}}}
	if c.reach(a, b) || !c.reach(far, b) {
		t.Error("with their relay cut off they do not meet, others do")
	}
	c.churn.cuts = nil
	was := *c.links.circuits
	c.links.send(a, b, 1<<20, 0, 0, func(moved uint64, all bool) {
		if moved != 1<<20 || !all {
			t.Errorf("%d bytes moved, all: %v", moved, all)
		}
	})
	c.loop.Run(event.At(10*time.Minute), 1<<40)
	if n := *c.links.circuits - was; n < 1<<20 {
		t.Errorf("a transfer of a MiB: %d bytes by a relay", n)
	}
}

// TestHoldersAreNamed: who has what is sought names all its holders, beside the closest peers.
func TestHoldersAreNamed(t *testing.T) {
	c, err := newCity(plain(60, nil), 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d, key := c.dht, c.hashed("agent", 7)
	took := func(sharers int) uint64 {
		was := *d.bytes
		if _, _, ok := d.records.find(3, key, sharers); !ok {
			t.Fatal("it is not found")
		}
		return *d.bytes - was
	}
	took(1) // connections are made
	one, eleven := took(1), took(11)
	if each := uint64(10 * d.sizePeer); eleven <= one || (eleven-one)%each != 0 || (eleven-one)/each > 2*kad.K {
		t.Errorf("a search takes %d bytes with one holder, %d with eleven", one, eleven)
	}
}

// TestKeepersAreApart: an agent's keepers are in zones of their own, as long as there are zones.
func TestKeepersAreApart(t *testing.T) {
	s := plain(0, func(s *scenario.Scenario) {
		s.Classes = nil
		for _, zone := range []string{"a", "b", "c"} {
			k := class(zone, 20)
			k.Labels = map[string]string{"zone": zone}
			s.Classes = append(s.Classes, k)
		}
		s.Classes[0].Count = 60 // most draws
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint32(50) {
		zones := map[string]bool{}
		for _, n := range c.agents.keepers(id, 5) {
			zones[c.agents.Zone(n)] = true
		}
		if len(zones) != 3 {
			t.Errorf("the keepers of agent %d are in zones %v", id, zones)
		}
		clear(zones)
		for _, n := range c.agents.keepers(id, 3) {
			zones[c.agents.Zone(n)] = true
		}
		if len(zones) != 3 {
			t.Errorf("three keepers of agent %d are in zones %v", id, zones)
		}
	}
}
