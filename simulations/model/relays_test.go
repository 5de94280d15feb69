package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
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
