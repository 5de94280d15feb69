package graph

import (
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Map is one task of the map stage.
type Map struct {
	Bytes   uint64
	Holders []shoal.PeerID
}

// Spec is a job. Zero means the default in brackets.
type Spec struct {
	Maps     []Map
	Reduce   bool
	Window   int           // tasks given to a node per slot [2]
	Attempts int           // runs of one task that may fail [8]
	Patience time.Duration // how long a task waits while no node is up [2 min]
	Pause    time.Duration // before a failed task is tried again, doubling [100 ms, up to 5 s]
	Backlog  float64       // seconds of waiting at the holders from which on a task goes elsewhere [10]
	Rate     float64       // bytes/s at which input would travel [50e6]

	// Second copies of tasks that take far longer than others took; see copies.go.
	Copies    int           // at once; less than 0: none [a quarter of the slots, at least one]
	CopyAfter time.Duration // not before a task has been on its way for so long [1 s]
}

const maxPause = 5 * time.Second

// State is where a task is.
type State uint8

// The states of a task.
const (
	Pending  State = iota // waits for a place in a node's window
	Flying                // was given to a node
	Fetching              // ran; its output is on its way to the coordinator
	Done                  // and its output is safe
)

// Start is an effect: run this task there.
type Start struct {
	Task    int // index into Spec.Maps, or len(Spec.Maps) for the reducer
	Reduce  bool
	Node    shoal.PeerID   // "" for the reducer: wherever most of its input lies
	Holders []shoal.PeerID // of its input
	Attempt int            // 1 for the first
	Copy    bool           // a second copy: the task is on its way elsewhere too
	Late    time.Duration  // of a copy: how long the first has been on its way
}

type task struct {
	Map
	state    State
	flights  []*flight    // the attempts on their way: one, or two of a straggler
	node     shoal.PeerID // where it ran
	home     shoal.PeerID // whom it is assigned to
	failed   int
	starts   int
	bad      map[shoal.PeerID]bool
	notUntil time.Time
	output   string
}

// flight is one attempt on its way.
type flight struct {
	task    int
	attempt int
	node    shoal.PeerID
	began   time.Time
}

type node struct {
	id      shoal.PeerID
	slots   int
	up      bool
	flights []*flight // oldest first
	took    float64   // seconds from start to end of its recent tasks, 0 unknown
	pending int       // tasks assigned to it that wait
	done    int       // tasks that finished there
	held    []int     // tasks whose input it has, in order
	own     []int     // tasks assigned to it, in order; some may have started elsewhere
	bytes   uint64
}

// Graph is a job on its way.
type Graph struct {
	spec    Spec
	tasks   []task
	nodes   map[shoal.PeerID]*node
	order   []*node // by ID
	done    int
	retries int
	mean    float64 // seconds of a task
	reduce  task
	lonely  time.Time // since when no node is up
	started bool
	paused  map[int]bool // pending tasks with a pause, perhaps over
	took    []sample     // of tasks that finished lately
	timed   int          // tasks that finished, as far as it was seen how long they took
	lookAt  time.Time    // the next look for stragglers
	copies  int          // second copies started
	won     int          // of those, that were first
	err     error
}

// New begins a job. Nodes are added with Node.
func New(spec Spec) *Graph {
	if spec.Window <= 0 {
		spec.Window = 2
	}
	if spec.Attempts <= 0 {
		spec.Attempts = 8
	}
	if spec.Patience <= 0 {
		spec.Patience = 2 * time.Minute
	}
	if spec.Pause <= 0 {
		spec.Pause = 100 * time.Millisecond
	}
	if spec.Backlog <= 0 {
		spec.Backlog = 10
	}
	if spec.Rate <= 0 {
		spec.Rate = 50e6
	}
	if spec.CopyAfter <= 0 {
		spec.CopyAfter = time.Second
	}
	g := &Graph{spec: spec, nodes: map[shoal.PeerID]*node{}, paused: map[int]bool{}, tasks: make([]task, len(spec.Maps))}
	for i, m := range spec.Maps {
		m.Holders = slices.Clone(m.Holders)
		g.tasks[i] = task{Map: m}
	}
	g.spec.Maps = nil
	return g
}

// Node says that a node may take tasks (up) or not, and how many it runs at once.
func (g *Graph) Node(id shoal.PeerID, slots int, up bool) {
	n := g.nodes[id]
	if n == nil {
		n = &node{id: id}
		g.nodes[id] = n
		i, _ := slices.BinarySearchFunc(g.order, n, func(a, b *node) int {
			if a.id < b.id {
				return -1
			}
			return 1
		})
		g.order = slices.Insert(g.order, i, n)
		for t := range g.tasks {
			if slices.Contains(g.tasks[t].Holders, id) {
				n.held = append(n.held, t)
			}
		}
	}
	was := n.up
	n.slots, n.up = max(slots, 1), up
	if was != up && g.started {
		g.assignAll(func(t *task) bool { return t.home == id || up && slices.Contains(t.Holders, id) })
	}
}

// Holders replaces what is known of the holders of a task's input.
func (g *Graph) Holders(i int, holders []shoal.PeerID) {
	t := &g.tasks[i]
	if slices.Equal(t.Holders, holders) {
		return
	}
	for _, h := range t.Holders {
		if n := g.nodes[h]; n != nil {
			n.held = slices.DeleteFunc(n.held, func(j int) bool { return j == i })
		}
	}
	t.Holders = slices.Clone(holders)
	for _, h := range holders {
		if n := g.nodes[h]; n != nil && !slices.Contains(n.held, i) {
			at, _ := slices.BinarySearch(n.held, i)
			n.held = slices.Insert(n.held, at, i)
		}
	}
	if g.started && t.state == Pending {
		g.unassign(i)
		g.assign(i)
	}
}

// Restore says that a task has finished in an earlier life of the coordinator. Before Ready only.
func (g *Graph) Restore(i int, node shoal.PeerID, output string) {
	t := &g.tasks[i]
	if t.state == Done {
		return
	}
	t.state, t.node, t.output = Done, node, output
	g.done++
	if n := g.nodes[node]; n != nil {
		n.done++
	}
}

// assign gives a pending task a home: the up holder with the fewest bytes assigned, a node on which
// it has failed only if there is no other; without holders, any node.
func (g *Graph) assign(i int) {
	t := &g.tasks[i]
	var best *node
	pick := func(n *node) {
		if n == nil || !n.up {
			return
		}
		if best == nil || t.bad[best.id] && !t.bad[n.id] ||
			t.bad[best.id] == t.bad[n.id] && n.load() < best.load() {
			best = n
		}
	}
	for _, h := range t.Holders {
		pick(g.nodes[h])
	}
	if best == nil {
		for _, n := range g.order {
			pick(n)
		}
	}
	if t.home = ""; best == nil {
		return
	}
	t.home = best.id
	best.pending++
	best.bytes += t.Bytes + 1
	best.own = append(best.own, i)
}

// load is what a node has to do, relative to its slots.
func (n *node) load() float64 { return float64(n.bytes) / float64(n.slots) }

func (g *Graph) unassign(i int) {
	t := &g.tasks[i]
	if n := g.nodes[t.home]; n != nil {
		n.pending--
		n.bytes -= t.Bytes + 1
	}
	t.home = ""
}

// assignAll assigns anew the pending tasks that pass, and those without a home.
func (g *Graph) assignAll(pass func(t *task) bool) {
	var again []int
	for i := range g.tasks {
		if t := &g.tasks[i]; t.state == Pending && (t.home == "" || pass(t)) {
			if t.home != "" {
				g.unassign(i)
			}
			again = append(again, i)
		}
	}
	for _, n := range g.order {
		n.own = slices.DeleteFunc(n.own, func(i int) bool { return g.tasks[i].home != n.id || g.tasks[i].state != Pending })
	}
	for _, i := range again {
		g.assign(i)
	}
	for _, n := range g.order {
		slices.Sort(n.own)
		n.own = slices.Compact(n.own)
	}
}

// Ready returns the tasks to start now; they count as flying.
func (g *Graph) Ready(now time.Time) []Start {
	if g.err != nil || g.Ended() {
		return nil
	}
	if !g.started {
		g.started = true
		g.assignAll(func(*task) bool { return true })
	}
	g.patience(now)
	if g.err != nil {
		return nil
	}
	var out []Start
	for again := true; again; {
		again = false
		for _, n := range g.order { // one each in turn
			if !n.up || len(n.flights) >= n.slots*g.spec.Window {
				continue
			}
			if i, ok := g.next(n, now); ok {
				g.unassign(i)
				delete(g.paused, i)
				out = append(out, g.start(i, n.id, now))
				again = true
			}
		}
	}
	out = append(out, g.seconds(now)...)
	if r := &g.reduce; g.spec.Reduce && g.done == len(g.tasks) && r.state == Pending && !now.Before(r.notUntil) {
		s := g.start(len(g.tasks), "", now)
		s.Reduce = true
		out = append(out, s)
	}
	return out
}

// patience gives up a job that has had no node for too long.
func (g *Graph) patience(now time.Time) {
	if g.done == len(g.tasks) || slices.ContainsFunc(g.order, func(n *node) bool { return n.up }) {
		g.lonely = time.Time{}
		return
	}
	if g.lonely.IsZero() {
		g.lonely = now
	}
	if now.Sub(g.lonely) >= g.spec.Patience {
		g.err = shoal.E(shoal.Unavailable, "job", fmt.Sprintf("no node that may run its tasks was up for %v", g.spec.Patience),
			"see 'shoal peers'; its finished tasks need not run again")
	}
}

// start sends a task on its way to a node.
func (g *Graph) start(i int, id shoal.PeerID, now time.Time) Start {
	t := g.at(i)
	t.state = Flying
	t.starts++
	f := &flight{task: i, attempt: t.starts, node: id, began: now}
	t.flights = append(t.flights, f)
	if n := g.nodes[id]; n != nil {
		n.flights = append(n.flights, f)
	}
	return Start{Task: i, Node: id, Holders: slices.Clone(t.Holders), Attempt: t.starts}
}

// next finds a task for a node with room.
func (g *Graph) next(n *node, now time.Time) (int, bool) {
	open := func(i int) bool {
		t := &g.tasks[i]
		return t.state == Pending && !now.Before(t.notUntil)
	}
	for len(n.own) > 0 && (g.tasks[n.own[0]].state != Pending || g.tasks[n.own[0]].home != n.id) {
		n.own = n.own[1:]
	}
	for _, i := range n.own {
		if g.tasks[i].home == n.id && open(i) {
			return i, true
		}
	}
	// Of what it could do for others, from the one with the longest backlog.
	best := -1
	for _, i := range n.held {
		if t := &g.tasks[i]; open(i) && !t.bad[n.id] && (best < 0 || g.backlog(t) > g.backlog(&g.tasks[best])) {
			best = i
		}
	}
	if best >= 0 {
		return best, true
	}
	// A task that would wait long at its holders is worth the journey of its input.
	var worst *node
	for _, other := range g.order {
		if other != n && other.pending > 0 && (worst == nil || g.wait(other, now) > g.wait(worst, now)) {
			worst = other
		}
	}
	if worst == nil || g.wait(worst, now) < g.spec.Backlog {
		return 0, false
	}
	for _, i := range slices.Backward(worst.own) {
		t := &g.tasks[i]
		if t.home == worst.id && open(i) && !t.bad[n.id] && g.wait(worst, now) > g.spec.Backlog+4*float64(t.Bytes)/g.spec.Rate {
			return i, true
		}
	}
	return 0, false
}

// wait is how long the last of a node's backlog waits, in seconds: by what tasks take anywhere, or by what
// they take there when that is longer. Before any task has ended it is not known.
func (g *Graph) wait(n *node, now time.Time) float64 {
	if g.mean == 0 {
		return 0
	}
	there := n.took
	if len(n.flights) > 0 {
		there = max(there, now.Sub(n.flights[0].began).Seconds())
	}
	each := max(g.mean, there/float64(g.spec.Window)) // up to a window of tasks one after the other
	return float64(n.pending+len(n.flights)) / float64(n.slots) * each
}

func (g *Graph) backlog(t *task) int {
	if n := g.nodes[t.home]; n != nil {
		return n.pending
	}
	return 0
}

// Placed says that an attempt went to another node than Start said.
func (g *Graph) Placed(i, attempt int, id shoal.PeerID) {
	f := g.flight(i, attempt)
	if f == nil || f.node == id {
		return
	}
	g.leave(f)
	f.node = id
	if n := g.nodes[id]; n != nil {
		at, _ := slices.BinarySearchFunc(n.flights, f, func(a, b *flight) int { return a.began.Compare(b.began) })
		n.flights = slices.Insert(n.flights, at, f)
	}
}

// Aloft reports whether an attempt is on its way: not beaten by another copy.
func (g *Graph) Aloft(i, attempt int) bool { return g.flight(i, attempt) != nil }

// flight is an attempt that is on its way; nil: it is not, or no longer.
func (g *Graph) flight(i, attempt int) *flight {
	for _, f := range g.at(i).flights {
		if f.attempt == attempt {
			return f
		}
	}
	return nil
}

// land ends an attempt.
func (g *Graph) land(f *flight) {
	g.leave(f)
	t := g.at(f.task)
	t.flights = slices.DeleteFunc(t.flights, func(o *flight) bool { return o == f })
}

func (g *Graph) leave(f *flight) {
	if n := g.nodes[f.node]; n != nil {
		n.flights = slices.DeleteFunc(n.flights, func(o *flight) bool { return o == f })
	}
}
