package model

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestReadsCrossLeaves: a part of a dataset costs all leaves that it touches, also those of the next partition, one after the other.
func TestReadsCrossLeaves(t *testing.T) {
	const leaf = 256 << 10
	read := func(bytes scenario.Size) float64 {
		s := town(100, func(s *scenario.Scenario) {
			s.Duration = 3 * time.Minute
			s.Data = []scenario.Dataset{{Name: "photos", Count: 40, Bytes: 8 * leaf, Partition: leaf, Replicas: 2, Zipf: 0}}
			s.Agents = []scenario.Agents{{Name: "house", Count: 200, State: 100, Replicas: 3, Reads: "photos", Read: bytes}}
			s.Load = []scenario.Load{{Ask: scenario.Read, On: "house", Rate: 8}}
		})
		r := run(t, s, 1, Options{})
		return float64(r.Bytes[report.ByData]) / r.Figures["calls"]
	}
	one := read(1)
	for _, c := range []struct {
		bytes scenario.Size
		want  float64 // leaves that are touched on average
	}{{leaf / 4, 1.25}, {leaf / 2, 1.5}, {3 * leaf, 4}} {
		if got := read(c.bytes) / one; math.Abs(got-c.want) > 0.12*c.want {
			t.Errorf("reads of %d bytes move %.2f times what reads of a byte do, not %.2f", c.bytes, got, c.want)
		}
	}
	if one > leaf || one < leaf/2 {
		t.Errorf("reads of a byte move %.0f", one)
	}
}

// TestWhoIsAskedForALeaf: first keepers, then who served last among those that could become one, then who has more; those that could not, as
// they are where the agent is already, come last. Who cannot be reached costs a moment, as there are others; who has the partition in its cache alone
// serves it if it keeps another one.
func TestWhoIsAskedForALeaf(t *testing.T) {
	s := town(90, func(s *scenario.Scenario) {
		zoned(s, 30, "a", "b", "c")
		s.Data = []scenario.Dataset{{Name: "photos", Count: 1, Bytes: 2 << 20, Partition: 1 << 20, Replicas: 2}}
		s.Agents = []scenario.Agents{{Name: "house", Count: 1, State: 100, Replicas: 3, Reads: "photos", Read: 1}}
		s.Load = []scenario.Load{{Ask: scenario.Read, On: "house", Rate: 1}}
	})
	c, err := newCity(s, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.loop.Run(event.At(20*time.Second), 1<<40)
	k, d := c.agents, c.data
	a, set := k.agent(0), &c.data.sets[0]
	at, ok := a.Leader()
	if !ok {
		t.Fatal("nobody leads it")
	}
	like := func(same bool) node { // a stranger of the leader's zone, or of another
		for n := range node(c.len()) {
			if !a.Keeps(n) && (k.Zone(n) == k.Zone(at)) == same && !d.kept(n, set.first) && !d.kept(n, set.first+1) {
				return n
			}
		}
		t.Fatal("there is none")
		return 0
	}
	near, far := like(true), like(false)
	var keeper, other node
	for _, n := range a.Keepers() {
		if n != at {
			keeper = n
		}
	}
	for n := range node(c.len()) {
		if n != far && !a.Keeps(n) && k.Zone(n) == k.Zone(far) {
			other = n
		}
	}
	w := &distant{held: []holding{{near, 2}, {far, 1}, {other, 2}, {keeper, 1}, {at, 2}}}
	for last, want := range map[node][]node{at: {keeper, other, far, near}, far: {keeper, far, other, near}, near: {keeper, other, far, near}} {
		w.last = last
		if got := k.order(a, at, w); !slices.Equal(got, want) {
			t.Errorf("last served %d: %v are asked, not %v", last, got, want)
		}
	}

	// The first partition is kept by a keeper of the agent alone, which is cut off; another has it in its cache, and keeps the second one.
	d.keeps[set.first], d.keeps[set.first+1] = []node{keeper}, []node{other}
	d.use(other, set.first)
	if held, _ := d.survey(at, set); !slices.ContainsFunc(held, func(h holding) bool { return h == holding{other, 2} }) || len(held) != 2 {
		t.Errorf("they said that they have %v", held)
	}
	clear(k.where)
	for away, least := range map[bool]time.Duration{false: 0, true: heldTimeout} {
		k.where[pair(at, set.first)] = &distant{until: c.loop.Now() + event.At(time.Minute), held: []holding{{keeper, 1}, {other, 1}}, last: at}
		c.churn.cuts = nil
		if away {
			in := make([]uint64, 2)
			in[keeper>>6] |= 1 << (keeper & 63)
			c.churn.cuts = []cut{{of: &crowd{in: in}}}
		}
		begun, ended := c.loop.Now(), event.Time(0)
		k.leaf(a, at, set, set.first, 1<<20, func() { ended = c.loop.Now() })
		c.loop.Run(begun+event.At(20*time.Second), 1<<40)
		if took := time.Duration(ended - begun); ended == 0 || took < least || took > least+2*time.Second {
			t.Errorf("away %v: it took %v", away, took)
		}
	}
}
