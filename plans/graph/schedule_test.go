package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// TestSchedules runs jobs through random failures, losses, deaths of nodes and slow nodes, beside a model
// that remembers only what was started and what ended. Each task's output counts once, the rules of
// placement and of second copies hold at each step, and the job ends.
func TestSchedules(t *testing.T) {
	copies := 0
	rapid.Check(t, func(t *rapid.T) {
		copies += schedule(t, rapid.Uint64().Draw(t, "seed"))
	})
	if copies == 0 {
		t.Error("no schedule started a second copy")
	}
	t.Logf("%d second copies", copies)
}

type fatal interface{ Fatalf(string, ...any) }

// attempt is one that the model has on its way.
type attempt struct {
	Start
	began, ends time.Time
}

// model is what a schedule knows of a job besides the graph.
type model struct {
	t        fatal
	seed     uint64
	spec     Spec
	ids      []shoal.PeerID
	slots    map[shoal.PeerID]int
	up       map[shoal.PeerID]bool
	slow     map[shoal.PeerID]float64
	now      time.Time
	flying   []attempt // in order of their start
	fetching []int
	counted  []int // results, per task; outputs lost taken off
	failed   map[int]map[shoal.PeerID]bool
	took     []float64 // seconds of the tasks that finished
	copies   int
}

func (m *model) bad(format string, args ...any) {
	m.t.Fatalf("seed %d at %v: %s", m.seed, m.now.Sub(epoch), fmt.Sprintf(format, args...))
}

// of are the attempts of a task on their way.
func (m *model) of(task int) (out []attempt) {
	for _, a := range m.flying {
		if a.Task == task {
			out = append(out, a)
		}
	}
	return out
}

func (m *model) drop(a attempt) {
	m.flying = slices.DeleteFunc(m.flying, func(o attempt) bool { return o.Task == a.Task && o.Attempt == a.Attempt })
}

func (m *model) mark(i int, id shoal.PeerID) {
	if m.failed[i] == nil {
		m.failed[i] = map[shoal.PeerID]bool{}
	}
	m.failed[i][id] = true
}

// started checks a start and notes it.
func (m *model) started(g *Graph, r *rand.Rand, s Start) {
	before := m.of(s.Task)
	takes := time.Duration((0.1 + r.Float64()) * float64(time.Second))
	if s.Reduce {
		if g.Counts().Done != len(m.spec.Maps) || len(before) > 0 {
			m.bad("the reducer starts at %+v", g.Counts())
		}
		m.flying = append(m.flying, attempt{s, m.now, m.now.Add(takes)})
		return
	}
	takes = time.Duration(float64(takes) * m.slow[s.Node])
	switch {
	case slices.Contains(m.fetching, s.Task) || m.counted[s.Task] > 0:
		m.bad("task %d starts again", s.Task)
	case !m.up[s.Node]:
		m.bad("task %d starts on %s, which is down", s.Task, s.Node)
	case s.Copy != (len(before) == 1) || len(before) > 1:
		m.bad("task %d starts, copy %v, beside %+v", s.Task, s.Copy, before)
	case s.Copy:
		m.copied(g, s, before[0])
	default:
		m.placed(g, s)
	}
	m.flying = append(m.flying, attempt{s, m.now, m.now.Add(takes)})
}

// placed checks that a task does not go to a node without its input for nothing.
func (m *model) placed(g *Graph, s Start) {
	holders := m.spec.Maps[s.Task].Holders
	if slices.Contains(holders, s.Node) || len(m.failed[s.Task]) > 0 || !slices.ContainsFunc(holders, func(h shoal.PeerID) bool { return m.up[h] }) {
		return
	}
	for _, h := range holders { // only a long backlog sends it travelling: what waits there, for the slowest there was
		longest := 0.0
		for _, a := range m.flying {
			if a.Node == h {
				longest = max(longest, m.now.Sub(a.began).Seconds())
			}
		}
		for _, n := range g.Counts().Nodes {
			if n.Node == h && m.up[h] && float64(n.Pending+n.Running+1)/float64(m.slots[h])*max(longest, 2*m.slow[h], g.mean) >= g.spec.Backlog {
				return
			}
		}
	}
	m.bad("task %d starts on %s, though a holder of %v is up", s.Task, s.Node, holders)
}

// copied checks the rule of second copies.
func (m *model) copied(g *Graph, s Start, first attempt) {
	sorted := slices.Sorted(slices.Values(m.took))
	age := m.now.Sub(first.began)
	here, twice, room := 0, 0, 0
	for _, a := range m.flying {
		if a.Node == s.Node {
			here++
		}
		if len(m.of(a.Task)) > 1 {
			twice++
		}
	}
	for id, up := range m.up {
		if up {
			room += m.slots[id]
		}
	}
	switch {
	case m.spec.Copies < 0:
		m.bad("a copy of task %d, though none were wanted", s.Task)
	case s.Node == first.Node:
		m.bad("task %d twice on %s", s.Task, s.Node)
	case here >= m.slots[s.Node]:
		m.bad("a copy of task %d on %s, which has no idle slot", s.Task, s.Node)
	case 4*len(sorted) < len(m.spec.Maps):
		m.bad("a copy of task %d when %d of %d had finished", s.Task, len(sorted), len(m.spec.Maps))
	case age <= time.Second || s.Late != age:
		m.bad("a copy of task %d after %v (%v)", s.Task, age, s.Late)
	case len(sorted) < samples && age.Seconds() <= 3*sorted[len(sorted)/2]:
		m.bad("a copy of task %d after %v, others took %v", s.Task, age, sorted)
	case twice/2 >= max(room/4, 1):
		m.bad("a copy of task %d beside %d others, of %d slots", s.Task, twice/2, room)
	}
	for _, h := range m.spec.Maps[s.Task].Holders { // a fast holder with an idle slot would have been better
		busy := 0
		for _, a := range m.flying {
			if a.Node == h {
				busy++
			}
		}
		if !slices.Contains(m.spec.Maps[s.Task].Holders, s.Node) && m.up[h] && h != first.Node && m.slow[h] == 1 &&
			len(m.failed[s.Task]) == 0 && busy < m.slots[h] && age > 10*time.Second {
			m.bad("a copy of task %d on %s, though holder %s is idle", s.Task, s.Node, h)
		}
	}
	m.copies++
}

// ran ends an attempt well, and with it those it beat.
func (m *model) ran(g *Graph, r *rand.Rand, a attempt) (reduced bool) {
	m.drop(a)
	output := "o"
	if r.IntN(5) == 0 {
		output = ""
	}
	beaten, first := g.Ran(a.Task, a.Attempt, output, m.now.Sub(a.began).Seconds(), m.now)
	if !first {
		m.bad("task %d: the result of an attempt on its way does not count", a.Task)
	}
	if a.Reduce {
		return true
	}
	m.took = append(m.took, m.now.Sub(a.began).Seconds())
	others := m.of(a.Task)
	if len(beaten) != len(others) || len(others) == 1 && others[0].Attempt != beaten[0] {
		m.bad("task %d beat %v of %+v", a.Task, beaten, others)
	}
	for _, o := range others { // it may have ended at the same moment: that counts nothing
		m.drop(o)
		if again, first := g.Ran(o.Task, o.Attempt, "other", 1, m.now); first || again != nil {
			m.bad("task %d counts twice", a.Task)
		}
		if g.Failed(o.Task, o.Attempt, "x", shoal.E(shoal.Canceled, "run", "canceled", ""), m.now, 0) || g.Err() != nil {
			m.bad("task %d: what was beaten fails it: %v", a.Task, g.Err())
		}
	}
	if m.counted[a.Task]++; output != "" {
		m.fetching = append(m.fetching, a.Task)
	}
	if g.Output(a.Task) != output {
		m.bad("task %d left %q, not %q", a.Task, g.Output(a.Task), output)
	}
	return false
}

func (m *model) fail(g *Graph, r *rand.Rand, a attempt) {
	m.drop(a)
	m.mark(a.Task, a.Node)
	if !g.Failed(a.Task, a.Attempt, "x", unavailable(), m.now, r.Float64()) {
		m.bad("task %d: a failure of an attempt on its way does not count", a.Task)
	}
}

// check compares the counts.
func (m *model) check(g *Graph) {
	c := g.Counts()
	on, busy := map[shoal.PeerID]int{}, map[int]bool{}
	for _, a := range m.flying {
		on[a.Node]++
		if busy[a.Task] = true; a.Reduce {
			delete(busy, a.Task)
		}
	}
	for _, n := range c.Nodes {
		if n.Running != on[n.Node] || n.Running > m.slots[n.Node]*2 || n.Pending < 0 || n.Done < 0 {
			m.bad("%+v, with %d of %d slots", n, on[n.Node], m.slots[n.Node])
		}
	}
	if c.Pending+c.Running+c.Done != c.Tasks || c.Running != len(busy)+len(m.fetching) || c.Copies != m.copies || c.Won > c.Copies {
		m.bad("%+v, with %d tasks and %d outputs on their way, %d copies", c, len(busy), len(m.fetching), m.copies)
	}
}

func schedule(t fatal, seed uint64) (copies int) {
	r := rand.New(rand.NewPCG(seed, 0))
	m := &model{
		t: t, seed: seed, now: epoch, slots: map[shoal.PeerID]int{}, up: map[shoal.PeerID]bool{}, slow: map[shoal.PeerID]float64{},
		failed: map[int]map[shoal.PeerID]bool{},
	}
	m.spec, m.ids = ring(2+r.IntN(5), r.IntN(60))
	m.spec.Reduce, m.spec.Attempts = r.IntN(2) == 0, 1000
	m.spec.Copies = -r.IntN(5) / 4
	m.counted = make([]int, len(m.spec.Maps))
	g := New(m.spec)
	for _, id := range m.ids {
		m.slots[id], m.up[id], m.slow[id] = 1+r.IntN(3), true, 1
		if r.IntN(4) == 0 {
			m.slow[id] = 20
		}
		g.Node(id, m.slots[id], true)
	}
	faults := r.IntN(3) > 0
	reduced := false
	for step := 0; ; step++ {
		if step > 100_000 {
			m.bad("no end: %+v", g.Counts())
		}
		for _, s := range g.Ready(m.now) {
			m.started(g, r, s)
		}
		m.check(g)
		if g.Ended() {
			break
		}
		if !slices.ContainsFunc(m.ids, func(id shoal.PeerID) bool { return m.up[id] }) {
			m.up[m.ids[0]] = true
			g.Node(m.ids[0], m.slots[m.ids[0]], true)
			continue
		}
		// The next thing that happens: an attempt ends, an output arrives, or time passes.
		next := m.now.Add(time.Hour)
		if w := g.Wake(m.now); !w.IsZero() {
			next = w
		}
		var ended *attempt
		for i := range m.flying {
			if a := &m.flying[i]; !a.ends.After(next) {
				next, ended = a.ends, a
			}
		}
		switch k := r.IntN(20); {
		case len(m.fetching) > 0 && k < 12:
			i := r.IntN(len(m.fetching))
			task := m.fetching[i]
			m.fetching = slices.Delete(m.fetching, i, i+1)
			if k == 0 && faults {
				m.mark(task, "?")
				m.counted[task]--
				g.Lost(task, "x", unavailable(), m.now, r.Float64())
			} else {
				g.Kept(task)
			}
		case k == 12 && faults && step < 2000:
			id := m.ids[r.IntN(len(m.ids))]
			m.up[id] = !m.up[id]
			g.Node(id, m.slots[id], m.up[id])
			for _, a := range slices.Clone(m.flying) {
				if a.Node == id && !m.up[id] {
					m.fail(g, r, a)
				}
			}
		case k == 13 && faults && step < 2000 && len(m.flying) > 0:
			m.fail(g, r, m.flying[r.IntN(len(m.flying))])
		case ended != nil:
			m.now = maxTime(m.now, ended.ends)
			reduced = m.ran(g, r, *ended) || reduced
		default:
			m.now = next
		}
	}
	if g.Err() != nil || g.Counts().Done != len(m.spec.Maps) || reduced != m.spec.Reduce {
		m.bad("%v %+v", g.Err(), g.Counts())
	}
	for i, n := range m.counted {
		if n != 1 {
			m.bad("task %d counted %d times", i, n)
		}
	}
	for _, n := range g.Counts().Nodes {
		if n.Running != 0 || n.Pending != 0 {
			m.bad("at the end %+v", n)
		}
	}
	return m.copies
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
