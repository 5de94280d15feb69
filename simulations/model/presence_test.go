package model

import (
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestPresence: who subscribes tells the topic's agent every half a minute, who publishes as well, until it has not for five minutes; each time is a
// turn, and what the agent answers, which is as long as there are nodes that take part, goes to its other keepers too.
func TestPresence(t *testing.T) {
	s := plain(40, func(s *scenario.Scenario) {
		s.Table, s.Duration = true, time.Hour
		s.Topics = []scenario.Topics{{Name: "t", Subscribers: 4}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	until := func(at time.Duration) (calls, posts uint64) {
		calls, posts = *c.links.calls, *c.links.posts
		c.loop.Run(event.At(at), 1<<40)
		return *c.links.calls - calls, *c.links.posts - posts
	}
	until(time.Minute)
	x := c.topics.topic(0, 0)
	agent := c.agents.agent(c.agents.topics)
	count := func(from, to time.Duration) uint64 {
		until(from)
		was := agent.Turns()
		until(to)
		return agent.Turns() - was
	}
	if n := count(time.Minute, 6*time.Minute); n != 4*10 {
		t.Errorf("four subscribers told %d times in five minutes", n)
	}
	var from node
	for from = 0; ; from++ { // somebody who is no keeper and no subscriber
		if !slices.Contains(x.subs, from) && !slices.Contains(agent.Keepers(), from) {
			break
		}
	}
	c.topics.takesPart(x, 0, from)
	if n := count(6*time.Minute, 9*time.Minute); n != 4*6+6 && n != 4*6+7 {
		t.Errorf("four subscribers and a publisher told %d times in three minutes", n)
	}
	if x.view() != viewBytes+5*presenceBytes {
		t.Errorf("a view of %d bytes", x.view())
	}
	calls, posts := until(10 * time.Minute)
	one := uint64(x.view() + presenceBytes)
	if told := uint64(10); calls < told*one || calls > told*(one+300) {
		t.Errorf("ten calls of %d bytes at least took %d", one, calls)
	}
	if told := uint64(10); posts < told*2*one {
		t.Errorf("%d bytes went to the other keepers, %d at least should", posts, told*2*one)
	}
	if n := count(15*time.Minute, 16*time.Minute); n != 4*2 || len(x.pubs) != 0 {
		t.Errorf("long after it published last: told %d times in a minute, %d publish", n, len(x.pubs))
	}
}
