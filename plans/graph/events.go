package graph

import (
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Ran says that an attempt ended well after so many seconds of running. With an output ("" for none) the
// task is Fetching until Kept or Lost; without, it is done. first says whether this is the task's result:
// an attempt that is no longer on its way was beaten, and does not count. The attempts that it beat are
// to be canceled.
func (g *Graph) Ran(i, attempt int, output string, seconds float64, now time.Time) (beaten []int, first bool) {
	f := g.flight(i, attempt)
	if f == nil {
		return nil, false
	}
	t := g.at(i)
	g.land(f)
	t.node, t.output = f.node, output
	if i == len(g.tasks) {
		t.state = Done
		return nil, true
	}
	t.state = Fetching
	g.timing(f, now)
	for len(t.flights) > 0 {
		other := t.flights[0]
		if beaten = append(beaten, other.attempt); other.attempt < attempt {
			g.won++
		}
		if n := g.nodes[other.node]; n != nil {
			n.learn(now.Sub(other.began).Seconds()) // at least
		}
		g.land(other)
	}
	if g.mean == 0 {
		g.mean = seconds
	}
	g.mean += (seconds - g.mean) / 8
	if output == "" {
		g.Kept(i)
	}
	return beaten, true
}

// Kept says that the output of a task is safe at the coordinator.
func (g *Graph) Kept(i int) {
	t := &g.tasks[i]
	if t.state != Fetching {
		return
	}
	t.state = Done
	g.done++
	if n := g.nodes[t.node]; n != nil {
		n.done++
	}
}

// Lost says that the output of a task that ran cannot be had: it runs again.
func (g *Graph) Lost(i int, name string, err error, now time.Time, roll float64) {
	t := &g.tasks[i]
	switch t.state {
	case Done:
		g.done--
		if n := g.nodes[t.node]; n != nil {
			n.done--
		}
	case Fetching:
	default:
		return
	}
	t.output = ""
	g.again(i, t.node, shoal.Wrap(shoal.Unavailable, "output of "+name, err), now, roll)
}

// Failed says that an attempt ended with an error; name is what to call the task. Errors that another
// attempt can mend lead to one, after a pause that roll (in [0, 1)) spreads, unless a second copy is on
// its way; others end the job. It reports whether the attempt counted: one that was beaten does not.
func (g *Graph) Failed(i, attempt int, name string, err error, now time.Time, roll float64) bool {
	f := g.flight(i, attempt)
	if f == nil {
		return false
	}
	g.land(f)
	kind := shoal.KindOf(err)
	switch {
	case kind == shoal.Overloaded: // nothing ran
		g.postpone(i, now, roll, maxPause/8)
		return true
	case kind == shoal.NotFound: // of an input or the code: perhaps its holder comes back
	case !shoal.Retryable(err):
		g.fail(shoal.Wrap(kind, name, err))
		return true
	}
	g.again(i, f.node, shoal.Wrap(kind, name, err), now, roll)
	return true
}

func (g *Graph) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// Abort ends the job with an error.
func (g *Graph) Abort(err error) { g.fail(err) }

// Output returns what a task left, "" for nothing.
func (g *Graph) Output(i int) string { return g.at(i).output }

func (g *Graph) at(i int) *task {
	if i == len(g.tasks) {
		return &g.reduce
	}
	return &g.tasks[i]
}

// again has a task tried again after a failure on a node.
func (g *Graph) again(i int, id shoal.PeerID, err error, now time.Time, roll float64) {
	t := g.at(i)
	t.failed++
	g.retries++
	if i < len(g.tasks) && id != "" {
		if t.bad == nil {
			t.bad = map[shoal.PeerID]bool{}
		}
		t.bad[id] = true
		if !slices.ContainsFunc(g.order, func(n *node) bool { return n.up && !t.bad[n.id] }) {
			clear(t.bad) // everybody gets another chance
		}
	}
	if t.failed >= g.spec.Attempts && len(t.flights) == 0 {
		g.fail(shoal.Wrap(shoal.KindOf(err), fmt.Sprintf("tried %d times", t.failed), err))
	}
	g.postpone(i, now, roll, g.spec.Pause<<min(t.failed-1, 10))
}

// postpone makes a task pending, not before a pause. While another copy is on its way, it is a new second
// copy that has to wait.
func (g *Graph) postpone(i int, now time.Time, roll float64, pause time.Duration) {
	t := g.at(i)
	pause = min(pause, maxPause)
	t.notUntil = now.Add(pause/2 + time.Duration(roll*float64(pause/2)))
	if len(t.flights) > 0 {
		return
	}
	t.state, t.node = Pending, ""
	if i == len(g.tasks) {
		return
	}
	g.paused[i] = true
	g.assign(i)
}

// Ended reports whether nothing is left to do.
func (g *Graph) Ended() bool {
	return g.err != nil || g.done == len(g.tasks) && (!g.spec.Reduce || g.reduce.state == Done)
}

// Err returns why the job failed; nil while it has not.
func (g *Graph) Err() error { return g.err }

// Wake returns when Ready may have more to start though nothing happens; the zero time for never.
func (g *Graph) Wake(now time.Time) (at time.Time) {
	if g.Ended() {
		return at
	}
	sooner := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for i := range g.paused {
		sooner(g.tasks[i].notUntil)
	}
	if g.reduce.state == Pending {
		sooner(g.reduce.notUntil)
	}
	if !g.lonely.IsZero() {
		sooner(g.lonely.Add(g.spec.Patience))
	}
	if g.copying() {
		sooner(g.lookAt)
	}
	return at
}

// NodeCounts is what a node has of the job.
type NodeCounts struct {
	Node    shoal.PeerID `json:"peer_id"`
	Up      bool         `json:"up"`
	Pending int          `json:"pending"` // assigned to it and not started
	Running int          `json:"running"` // given to it: running or in its queue, second copies too
	Done    int          `json:"done"`
}

// Counts is the state of a job.
type Counts struct {
	Tasks    int          `json:"tasks"`
	Pending  int          `json:"pending"`
	Running  int          `json:"running"` // their outputs' journey included
	Done     int          `json:"done"`
	Retries  int          `json:"retries"`
	Copies   int          `json:"copies"`     // second copies started
	Won      int          `json:"copies_won"` // of those, that were first
	Reducing bool         `json:"reducing"`
	Nodes    []NodeCounts `json:"nodes"` // by ID
}

// Counts returns the state of the job.
func (g *Graph) Counts() Counts {
	c := Counts{Tasks: len(g.tasks), Done: g.done, Retries: g.retries, Copies: g.copies, Won: g.won, Reducing: g.reduce.state == Flying}
	c.Nodes = make([]NodeCounts, 0, len(g.order))
	for _, n := range g.order {
		c.Nodes = append(c.Nodes, NodeCounts{n.id, n.up, n.pending, len(n.flights), n.done})
	}
	for i := range g.tasks {
		switch g.tasks[i].state {
		case Pending:
			c.Pending++
		case Flying, Fetching:
			c.Running++
		}
	}
	return c
}

// DoneCount returns how many map tasks have finished.
func (g *Graph) DoneCount() int { return g.done }

// Finished reports whether a map task has finished.
func (g *Graph) Finished(i int) bool { return g.tasks[i].state == Done }

// Room reports whether a node is up and its window not full.
func (g *Graph) Room(id shoal.PeerID) bool {
	n := g.nodes[id]
	return n != nil && n.up && len(n.flights) < n.slots*g.spec.Window
}

// Bad reports whether an attempt at a task failed on a node, and the node was not forgiven since.
func (g *Graph) Bad(i int, id shoal.PeerID) bool { return g.tasks[i].bad[id] }

// Near reports whether an attempt at a task is on its way on a node.
func (g *Graph) Near(i int, id shoal.PeerID) bool {
	return slices.ContainsFunc(g.tasks[i].flights, func(f *flight) bool { return f.node == id })
}
