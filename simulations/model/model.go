// Package model simulates a cluster without running its nodes: a discrete-event simulation, deterministic by seed, that calls
// the leaves which production calls (costs, matching, gravity, Raft groups, turns) over compact models of Kademlia, of links
// and of machines. A node is a few numbers in arrays, so that a million fit into a laptop's memory.
package model

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// Options say how to run a model.
type Options struct {
	Policy cost.Policy
	// Progress is told now and then how far the run is, from the goroutine that runs it; nil: nobody is.
	Progress func(Progress)

	wrong  func(c *city)                                    // sets something of the model otherwise than it is, for tests
	called func(agent uint32, read bool) func(turns uint64) // is told of a call of a load, and what it returns of the reply, for tests
}

// Progress is how far a run is.
type Progress struct {
	Now, End time.Duration // simulated
	Events   uint64
}

// Run simulates s with a seed. If ctx ends, it returns what there is until then, with Cut set. The error says that the scenario
// cannot be run. Many runs may go on at once: nothing is shared but s.
func Run(ctx context.Context, s *scenario.Scenario, seed uint64, o Options) (*report.Run, error) {
	c, err := newCity(s, seed, o)
	if err != nil {
		return nil, err
	}
	if o.wrong != nil {
		o.wrong(c)
	}
	begun := time.Now()
	end := event.At(s.Duration + s.Settle)
	cut := false
	for c.loop.Run(end, 1<<14) {
		if o.Progress != nil {
			o.Progress(Progress{Now: time.Duration(c.loop.Now()), End: time.Duration(end), Events: c.loop.Events()})
		}
		if ctx.Err() != nil {
			cut = true
			break
		}
	}
	r := c.finish()
	r.Storey, r.Policy, r.Seed, r.Nodes, r.Cut = report.Model, o.Policy, seed, c.len(), cut
	r.Mix = map[string]uint64{}
	for k, n := range c.loop.Counts() {
		r.Mix[c.kinds[k]] += n
	}
	r.Trace = fmt.Sprintf("%016x", c.loop.Hash())
	r.Simulated, r.Wall, r.Events = c.loop.Now().Seconds(), time.Since(begun).Seconds(), c.loop.Events()
	r.Figures["events_per_s"] = float64(r.Events) / max(r.Wall, 1e-9)
	return r, nil
}

// node is an index into the city's arrays.
type node = uint32

// body is what is looked at when a node goes or comes: side by side, as with a million nodes each look is a miss of the cache.
type body struct {
	since   event.Time // when it last went or came
	place   uint32     // in the DHT's space
	life    uint16     // how often it lost its power
	session uint16     // churn's: turns that were drawn in an older one are void
	spell   uint16     // churn's: the number of the next session or downtime
	held    uint8      // churn's: faults that keep it down
	class   uint8      // index into s.Classes
	away    bool       // churn's: its session is over
}

// city is one simulated cluster. One goroutine owns it. Its districts, one file each, keep their own state and name their
// events when they are built; they meet here.
type city struct {
	s    *scenario.Scenario
	o    Options
	seed uint64
	loop *event.Loop
	dice *rand.Rand // of links: jitter, loss
	tell *teller

	up     []bool  // by node
	bodies []body  // by node
	region []uint8 // by node: index into s.Regions
	downs  int     // nodes that are down

	links    *links
	churn    *churn
	dht      *dht
	machines *machines
	data     *data
	tasks    *tasks
	agents   *agents
	topics   *topics
	members  *members

	// What other districts ask of the one that knows the DHT: after what time a look-up of a key hears of a holder, when it ends, and
	// whether it found one; and to have a key announced.
	find    func(from node, key uint64, sharers int) (heard, whole time.Duration, ok bool)
	provide func(n node, key uint64)
	reach   func(from, to node) bool // what is sent arrives

	onUp, onDown []func(node)        // districts that want to know
	onWipe       []func(node)        // the disk is gone, as well
	onCut        []func()            // what lies between nodes is about to change
	kinds        []string            // by kind of event: the district
	leaves       map[string]*uint64  // calls of production's leaves
	finishers    []func(*report.Run) // of districts: write their figures
	bytes        map[string]*uint64  // that crossed links, by kind
	said         map[string]*said    // the same by protocol or call, of those that are told apart
}

func newCity(s *scenario.Scenario, seed uint64, o Options) (*city, error) {
	c := &city{s: s, o: o, seed: seed, loop: event.New(seed), leaves: map[string]*uint64{}, bytes: map[string]*uint64{}, said: map[string]*said{}}
	c.dice = c.loop.Rand("links")
	for _, name := range []string{"cost", "match", "gravity", "group", "turn", "names", "record"} {
		c.leaves[name] = new(uint64)
	}
	for _, k := range report.Kinds {
		c.bytes[k] = new(uint64)
	}
	c.tell = newTeller(s.Duration + s.Settle)
	c.settle()
	for _, d := range []struct { // in this order: kinds of events are numbered by it
		name  string
		build func() error
	}{
		{"links", c.buildLinks},
		{"churn", c.buildChurn},
		{"dht", c.buildDHT},
		{"data", c.buildData},
		{"tasks", c.buildTasks},
		{"machines", c.buildMachines},
		{"agents", c.buildAgents},
		{"topics", c.buildTopics},
		{"begin", c.acquaint},
		{"members", c.buildMembers},
	} {
		if err := d.build(); err != nil {
			return nil, err
		}
		for len(c.kinds) < len(c.loop.Counts()) {
			if c.kinds = append(c.kinds, d.name); len(c.kinds) == 1 {
				c.kinds[0] = "later" // of all districts: what is called by Loop.After
			}
		}
	}
	return c, nil
}

// settle puts nodes into classes and regions.
func (c *city) settle() {
	n := c.s.Nodes()
	c.up, c.bodies, c.region = make([]bool, 0, n), make([]body, 0, n), make([]uint8, 0, n)
	r := scenario.Dice(c.seed, "regions") // those of package world: the same nodes are in the same places
	for i, cl := range c.s.Classes {
		var here []uint8
		for j, g := range c.s.Regions {
			for _, name := range cl.Regions {
				if name == g.Name {
					here = append(here, uint8(j))
				}
			}
		}
		for k := range cl.Count {
			g := uint8(0)
			if len(here) > 0 {
				g = here[k%len(here)]
			} else {
				x := r.Float64()
				for int(g) < len(c.s.Regions)-1 && x >= c.s.Regions[g].Share {
					x -= c.s.Regions[g].Share
					g++
				}
			}
			c.up, c.bodies, c.region = append(c.up, true), append(c.bodies, body{class: uint8(i)}), append(c.region, g)
		}
	}
}

func (c *city) len() int { return len(c.up) }

func (c *city) of(n node) *scenario.Class { return &c.s.Classes[c.bodies[n].class] }

// way returns how long a packet takes from a to b now.
func (c *city) way(a, b node) time.Duration { return c.ways(a, b, 1) }

// ways returns how long n packets take from a to b, one after the other.
func (c *city) ways(a, b node, n int) time.Duration {
	if a == b {
		return 0
	}
	if r, relayed := c.links.via(a, b); relayed {
		return c.ways(a, r, n) + c.ways(r, b, n)
	}
	x, y := c.region[a], c.region[b]
	one := c.s.Latency[x][y]
	if len(c.churn.slow) > 0 {
		one = time.Duration(float64(one) * c.churn.delay(a, b))
	}
	return c.between(x, y, one, n)
}

// between returns how long n packets take, one after the other, from a region to another where one takes so long.
func (c *city) between(x, y uint8, one time.Duration, n int) time.Duration {
	d := time.Duration(n) * one
	if c.s.Jitter > 0 {
		late := 0.0
		for range n {
			late += c.dice.Float64()
		}
		d += time.Duration(late * c.s.Jitter * float64(one))
	}
	if len(c.s.Loss) > 0 && c.s.Loss[x][y] > 0 {
		for range n {
			for c.dice.Float64() < c.s.Loss[x][y] {
				d += max(200*time.Millisecond, 2*(one+c.s.Latency[y][x])) // sent again, as package memnet does
			}
		}
	}
	return d
}

// set takes a node down or brings it up, and tells the districts.
func (c *city) set(n node, up bool) {
	if c.up[n] == up {
		return
	}
	b := &c.bodies[n]
	c.up[n], b.since = up, c.loop.Now()
	list := c.onDown
	if up {
		list = c.onUp
		c.downs--
	} else {
		b.life++
		c.downs++
	}
	c.dht.went(b.place, up)
	for _, f := range list {
		f(n)
	}
}

// gone returns since when a node has been down, and whether it is.
func (c *city) gone(n node) (since event.Time, down bool) { return c.bodies[n].since, !c.up[n] }

// lives tells one stay of a node from another: what was begun in an earlier one is gone.
func (c *city) lives(n node) uint16 { return c.bodies[n].life }

// wipe takes a node's disk away.
func (c *city) wipe(n node) {
	for _, f := range c.onWipe {
		f(n)
	}
}

// finish gathers what the districts found.
func (c *city) finish() *report.Run {
	r := &report.Run{Figures: map[string]float64{}, Bytes: map[string]uint64{}, Leaves: map[string]uint64{}, Said: map[string]uint64{}}
	for _, f := range c.finishers { // some count the last bytes
		f(r)
	}
	for name, n := range c.leaves {
		r.Leaves[name] = *n
	}
	var all uint64
	for k, n := range c.bytes {
		r.Bytes[k] = *n
		all += *n
	}
	for name, w := range c.said {
		r.Said[name] = w.bytes
		r.Bytes[w.kind] += w.bytes
		all += w.bytes
	}
	r.Figures["bytes_per_node_hour"] = float64(all) / float64(c.len()) / max(c.loop.Now().Seconds()/3600, 1e-9)
	c.tell.into(r)
	return r
}
