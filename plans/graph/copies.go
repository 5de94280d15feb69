package graph

import (
	"cmp"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Second copies. A task that is on its way far longer than others took is given to another node as well;
// whichever copy ends first is the task's result, the other is canceled. (J. Dean and S. Ghemawat,
// "MapReduce: Simplified Data Processing on Large Clusters", OSDI 2004, call them backup tasks; M. Zaharia
// et al., "Improving MapReduce Performance in Heterogeneous Environments", OSDI 2008, say why they must be
// few, late and not on slow nodes.) The rule:
//
//   - A quarter of the tasks have finished, so that it is known what they take.
//   - The task has been on its way, waiting included, for more than CopyAfter and more than three times the
//     median of those that finished; a task with more input than the median is allowed more, in proportion.
//   - Another node has an idle slot: nothing else is left for it to start. It holds the input; to another the
//     input travels only when no other holder will do, now or soon.
//   - The copy pays: it is expected to end (travel, and the median, or what tasks took on that node if that
//     is more) before the first has taken twice as long as it has already.
//   - A task has one copy at a time, and a job few.
const (
	copyFactor = 3.0
	copyShare  = 4                      // one of so many tasks must have finished
	lookEvery  = 100 * time.Millisecond // between looks for stragglers
	samples    = 101                    // of the latest tasks
)

// sample is how long a task took, from its start to its end.
type sample struct {
	seconds float64
	bytes   uint64
}

// timing notes how long an attempt took.
func (g *Graph) timing(f *flight, now time.Time) {
	s := sample{now.Sub(f.began).Seconds(), g.tasks[f.task].Bytes}
	if n := g.nodes[f.node]; n != nil {
		n.learn(s.seconds)
	}
	if len(g.took) < samples {
		g.took = append(g.took, s)
	} else {
		g.took[g.timed%samples] = s
	}
	g.timed++
}

// learn notes how long a task took on a node.
func (n *node) learn(seconds float64) {
	if n.took == 0 {
		n.took = seconds
	}
	n.took += (seconds - n.took) / 4
}

// typical is what a task took and how much input it had, by the medians.
func (g *Graph) typical() (seconds float64, bytes uint64) {
	all := slices.Clone(g.took)
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.seconds, b.seconds) })
	seconds = all[len(all)/2].seconds
	slices.SortFunc(all, func(a, b sample) int { return cmp.Compare(a.bytes, b.bytes) })
	return max(seconds, 1e-3), all[len(all)/2].bytes
}

// copying reports whether second copies may be started, now or later.
func (g *Graph) copying() bool {
	return g.spec.Copies >= 0 && g.timed > 0 && g.timed*copyShare >= len(g.tasks) && g.done < len(g.tasks) &&
		slices.ContainsFunc(g.order, (*node).idle)
}

// idle reports whether a node has a slot and nothing to put there, after Ready has filled the windows.
func (n *node) idle() bool { return n.up && len(n.flights) < n.slots }

// seconds returns the second copies to start now; they count as flying.
func (g *Graph) seconds(now time.Time) (out []Start) {
	if now.Before(g.lookAt) || !g.copying() {
		return nil
	}
	g.lookAt = now.Add(lookEvery)
	typical, bytes := g.typical()
	expected := func(i int) float64 { return typical * max(1, float64(g.tasks[i].Bytes)/float64(max(bytes, 1))) }
	var late []*flight
	room := g.spec.Copies
	slots, twice := 0, 0
	for _, n := range g.order {
		if n.up {
			slots += n.slots
		}
		for _, f := range n.flights {
			t := &g.tasks[f.task]
			if len(t.flights) > 1 {
				twice++
				continue
			}
			age := now.Sub(f.began)
			if age > g.spec.CopyAfter && age.Seconds() > copyFactor*expected(f.task) && !now.Before(t.notUntil) {
				late = append(late, f)
			}
		}
	}
	if room == 0 {
		room = max(slots/4, 1)
	}
	slices.SortFunc(late, func(a, b *flight) int { return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.task, b.task)) })
	for _, f := range late {
		if room <= (twice+1)/2 {
			break
		}
		id, ok := g.spare(f, now, expected(f.task)/typical, typical)
		if !ok {
			continue
		}
		s := g.start(f.task, id, now)
		s.Copy, s.Late = true, now.Sub(f.began)
		out = append(out, s)
		g.copies++
		twice += 2
	}
	return out
}

// spare finds the node on which a second copy is expected to end first, if it pays at all: among the
// holders of the input, and among the others only if no holder is fast enough, be it busy now.
func (g *Graph) spare(f *flight, now time.Time, size, typical float64) (best shoal.PeerID, ok bool) {
	t := &g.tasks[f.task]
	age := now.Sub(f.began).Seconds()
	soon := false
	for _, holders := range []bool{true, false} {
		travel := float64(t.Bytes) / g.spec.Rate
		if holders {
			travel = 0
		}
		least := age
		for _, n := range g.order {
			if !n.up || n.id == f.node || t.bad[n.id] || slices.Contains(t.Holders, n.id) != holders {
				continue
			}
			takes := max(typical, n.took)*size + travel
			switch {
			case n.idle() && takes < least:
				best, least, ok = n.id, takes, true
			case !n.idle() && max(takes, now.Sub(n.flights[0].began).Seconds()) < age:
				soon = true
			}
		}
		if ok || soon {
			break
		}
	}
	return best, ok
}
