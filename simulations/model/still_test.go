package model

import (
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestStillAgentsKeepTheirLeaders: an agent that nobody touches for a while has the same leader after it, reads under its lease, and
// has sent as many beats as there were.
func TestStillAgentsKeepTheirLeaders(t *testing.T) {
	s := troupe(10, 1, func(s *scenario.Scenario) {
		s.Load = []scenario.Load{
			{Ask: scenario.Call, Burst: &scenario.Burst{Count: 1}, Begin: time.Second, Bytes: 100},
			{Ask: scenario.Read, Burst: &scenario.Burst{Count: 1}, Begin: 25 * time.Second, Bytes: 16},
		}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.loop.Run(event.At(24*time.Second), 1<<40)
	a := c.agents.troupe.Known(0)
	before, ok := a.Leader()
	events, bytes := c.loop.Events(), *c.links.posts
	c.loop.Run(event.At(27*time.Second), 1<<40)
	after, still := a.Leader()
	if !ok || !still || before != after {
		t.Errorf("%d led, then %d", before, after)
	}
	// Some 45 rounds of two messages of about 80 bytes, answered, are counted when it is touched.
	if more := *c.links.posts - bytes; more < 45*4*60 || more > 60*4*120 {
		t.Errorf("%d bytes", more)
	}
	if n := c.loop.Events() - events; n > 60 {
		t.Errorf("%d events for a read", n)
	}
	r := c.finish()
	if len(r.Broken) > 0 || r.Figures["calls"] != 2 || r.Figures["call_failed"] > 0 {
		t.Errorf("%v %v", r.Figures, r.Broken)
	}
}
