package model

import (
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

func troupe(nodes, agents int, change func(*scenario.Scenario)) *scenario.Scenario {
	return plain(nodes, func(s *scenario.Scenario) {
		s.Agents = []scenario.Agents{{Name: "a", Count: agents, State: 1024, Replicas: 3}}
		s.Load = []scenario.Load{
			{Name: "writes", Ask: scenario.Call, Rate: 20, Bytes: 256},
			{Name: "reads", Ask: scenario.Read, Rate: 20, Bytes: 16},
		}
		if change != nil {
			change(s)
		}
	})
}

func TestCallsOfAgents(t *testing.T) {
	s := troupe(20, 10, nil)
	r := simulate(t, s, 1, cost.Fluid)
	f := r.Figures
	// A write is a round trip of the caller and one of the keepers, 10 ms each, and an fsync on each; a read is the caller's alone; either
	// takes less where caller and keeper are one.
	if f["calls"] < 2200 || f["call_failed"] > 0 || f["call_ms_p50"] < 9 || f["call_ms_p50"] > 25 || f["call_ms_p99"] > 400 {
		t.Errorf("%v", f)
	}
	if r.Leaves["group"] < 10000 || r.Leaves["turn"] < 2000 || r.Bytes[report.ByAgents] == 0 {
		t.Errorf("%v %v", r.Leaves, r.Bytes)
	}
	if again := simulate(t, s, 1, cost.Fluid); again.Trace != r.Trace {
		t.Errorf("%s, then %s", r.Trace, again.Trace)
	}
}

func TestAgentsSleep(t *testing.T) {
	s := troupe(20, 50, func(s *scenario.Scenario) {
		s.Duration = 5 * time.Minute
		s.Load = []scenario.Load{
			{Ask: scenario.Call, Rate: 50, End: 10 * time.Second, Bytes: 100},
			{Ask: scenario.Call, Rate: 50, Begin: 2 * time.Minute, End: 130 * time.Second, Bytes: 100},
		}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.loop.Run(event.At(9*time.Second), 1<<40)
	if n := c.agents.troupe.Awake(); n < 100 {
		t.Errorf("%d groups in memory while they are called", n)
	}
	c.loop.Run(event.At(100*time.Second), 1<<40)
	if n := c.agents.troupe.Awake(); n > 0 {
		t.Errorf("%d groups in memory a minute after the last call", n)
	}
	c.loop.Run(event.At(s.Duration), 1<<40)
	r := c.finish()
	if f := r.Figures; f["calls"] < 900 || f["call_failed"] > 0 || len(r.Broken) > 0 {
		t.Errorf("%v %v", f, r.Broken)
	}
}

// TestAgentsOutliveTheirNodes: nodes lose their power, come back, some without their disk, others never do. Nothing that was
// acknowledged is lost, and the agents go on.
func TestAgentsOutliveTheirNodes(t *testing.T) {
	for seed := range uint64(3) {
		s := troupe(15, 20, func(s *scenario.Scenario) {
			s.Duration, s.Settle = 4*time.Minute, 10*time.Second
			s.Jitter = 0.3
			s.Agents[0].Replicas = 3
			s.Faults = []scenario.Fault{
				{Kind: scenario.Kill, At: 20 * time.Second, For: 5 * time.Second, Nodes: 2},
				{Kind: scenario.Kill, At: 40 * time.Second, For: 30 * time.Second, Nodes: 1},
				{Kind: scenario.Partition, At: 80 * time.Second, For: 10 * time.Second, Nodes: 3},
				{Kind: scenario.Kill, At: 100 * time.Second, Nodes: 1},
				{Kind: scenario.OneWay, At: 105 * time.Second, For: 5 * time.Second, Nodes: 1},
				{Kind: scenario.SlowDisk, At: 110 * time.Second, For: 20 * time.Second, Nodes: 3, Factor: 100},
				{Kind: scenario.Wipe, At: 180 * time.Second, For: 20 * time.Second, Nodes: 1},
			}
		})
		c, err := newCity(s, seed, Options{})
		if err != nil {
			t.Fatal(err)
		}
		c.loop.Run(event.At(s.Duration+s.Settle), 1<<40)
		r := c.finish()
		f := r.Figures
		if len(r.Broken) > 0 || f["calls"] < 7000 || f["call_failed"] > 0.02 {
			t.Errorf("seed %d: %v %v", seed, f, r.Broken)
		}
		lacking := 0
		for id := range c.agents.topics {
			a := c.agents.troupe.Known(id)
			up := 0
			for _, n := range a.Keepers() {
				if c.up[n] {
					up++
				}
			}
			if up < 3 {
				lacking++
			}
		}
		if lacking > 0 {
			t.Errorf("seed %d: %d agents have lost keepers for good", seed, lacking)
		}
	}
}

// TestFailover: the time for which an agent is away when its leader's node goes is what liveness and an election take.
func TestFailover(t *testing.T) {
	s := troupe(10, 1, func(s *scenario.Scenario) {
		s.Load = []scenario.Load{{Ask: scenario.Call, Rate: 50, Bytes: 100}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.loop.After(20*time.Second, func() {
		n, ok := c.agents.troupe.Known(0).Leader()
		if !ok {
			t.Error("nobody leads")
		}
		c.set(n, false)
	})
	c.loop.Run(event.At(s.Duration), 1<<40)
	r := c.finish()
	if worst := c.agents.took.all.quantile(1); r.Figures["call_failed"] > 0 || worst < 1500 || worst > 4000 {
		t.Errorf("the longest call took %v ms: %v", worst, r.Figures)
	}
}

// TestAgentsMoveToWhatTheyRead: an agent that reads again and again what lies elsewhere goes there.
func TestAgentsMoveToWhatTheyRead(t *testing.T) {
	s := troupe(10, 4, func(s *scenario.Scenario) {
		s.Data = []scenario.Dataset{{Name: "d", Count: 4, Bytes: 64 * mib, Partition: 64 * mib, Replicas: 1}}
		s.Agents[0].Reads, s.Agents[0].Read = "d", 4*mib
		s.Load = []scenario.Load{{Ask: scenario.Read, Rate: 8, Bytes: 16}}
	})
	r := simulate(t, s, 1, cost.Fluid)
	f := r.Figures
	if f["agent_moves"] < 1 || f["agent_moves"] > 4 || f["call_failed"] > 0 || r.Leaves["gravity"] == 0 {
		t.Errorf("%v %v", f, r.Leaves)
	}
	late := r.Series["call_ms_p50"]
	if first, last := late[0].Value, late[len(late)-1].Value; last > first/2 {
		t.Errorf("a call took %v ms at first, %v at last", first, last)
	}
}

// TestSignsOfLifeAreOfNodes: three nodes that keep twenty agents give one another as many signs of life as if they kept one.
func TestSignsOfLifeAreOfNodes(t *testing.T) {
	c, err := newCity(troupe(3, 20, func(s *scenario.Scenario) { s.Load = nil }), 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	k := c.agents
	beats := func(agents int) uint64 {
		for range agents {
			k.Use(0, 1)
		}
		end := c.loop.Now() + event.At(time.Minute)
		c.loop.After(time.Minute, func() {})
		c.loop.Run(end, 1<<40)
		before := *c.links.posts
		for range agents {
			k.Release(0, 1)
		}
		return *c.links.posts - before
	}
	one, many := beats(1), beats(20)
	if one != uint64(time.Minute/actors.Beat)*beatBytes || many != one {
		t.Errorf("%d bytes for one agent in a minute, %d for twenty", one, many)
	}
}

// zoned has so many machines of the first class stand in each of some zones, and no others.
func zoned(s *scenario.Scenario, each int, zones ...string) {
	first := s.Classes[0]
	s.Classes = nil
	for _, zone := range zones {
		c := first
		c.Name, c.Count, c.Labels = zone, each, map[string]string{"zone": zone}
		s.Classes = append(s.Classes, c)
	}
}

// TestSpare: who is to keep an agent besides is of a zone in which nobody keeps it, as far as there is one.
func TestSpare(t *testing.T) {
	s := town(30, func(s *scenario.Scenario) {
		zoned(s, 10, "a", "b", "c")
		s.Agents = []scenario.Agents{{Name: "house", Count: 1, State: 100, Replicas: 3}}
		s.Load = []scenario.Load{{Ask: scenario.Call, On: "house", Rate: 1}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		zones []string
		want  string // any of these
	}{{[]string{"a", "c"}, "b"}, {[]string{"b"}, "ac"}, {[]string{"a", "b", "c"}, "abc"}, {nil, "abc"}} {
		got := map[string]bool{}
		for range 200 {
			n, ok := c.agents.Spare(0, []node{1, 2}, x.zones)
			if !ok || n == 1 || n == 2 || !strings.Contains(x.want, c.agents.Zone(n)) {
				t.Fatalf("beside %v: %d in %q, %v", x.zones, n, c.agents.Zone(n), ok)
			}
			got[c.agents.Zone(n)] = true
		}
		if len(got) != len(x.want) {
			t.Errorf("beside %v: all in %v", x.zones, got)
		}
	}
}
