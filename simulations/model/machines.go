package model

import (
	"math"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/fair"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// machines is the district of what nodes run tasks on. A machine is made when a node is first given something to do.
type machines struct {
	c  *city
	at map[node]*machine

	slow   [3]map[node]float64 // by what of it is slow: the factor
	queues ratio               // tasks that wait, by nodes
	use    ratio               // GPUs that are taken, by GPUs
	wait   int                 // tasks that wait now
	taken  int                 // GPUs that are taken now
	since  event.Time          // up to which both go
	gpus   int
}

// What of a node can be slow.
const (
	slowCPU = iota
	slowGPU
	slowDisk
)

// machine is a node's executor: slots, a queue before them that is fair to owners, and what is ready.
type machine struct {
	n       node
	life    uint16 // counts losses of power
	running int
	queue   *fair.Queue[*errand]
	holds   fair.Holds
	mods    []module
	gpus    *reserve.Ledger
	queued  []*errand // wait for a GPU, in order
}

// module is what a machine has of a module.
type module struct {
	id    uint32
	ready bool
	wait  []func() // for who compiles it now; nil: nobody does
	busy  bool
}

const (
	queueTotal = 4096           // scheduler.Config.Queue
	queueOwner = queueTotal / 2 // scheduler.Config.OwnerQueue
)

func (c *city) buildMachines() error {
	m := &machines{c: c, at: map[node]*machine{}}
	c.machines = m
	for _, cl := range c.s.Classes {
		for _, g := range cl.GPUs {
			m.gpus += cl.Count * max(g.Count, 1)
		}
	}
	for i, kind := range []string{scenario.SlowCPU, scenario.SlowGPU, scenario.SlowDisk} {
		m.slow[i] = map[node]float64{}
		for j, f := range c.s.Faults {
			if f.Kind == kind {
				m.slows(m.slow[i], j)
			}
		}
	}
	c.onDown = append(c.onDown, m.down)
	c.finishers = append(c.finishers, m.finish)
	return nil
}

// slows has a fault come and go.
func (m *machines) slows(of map[node]float64, fault int) {
	f := &m.c.s.Faults[fault]
	factor := f.Factor
	if factor <= 0 {
		factor = 10
	}
	begin := m.c.loop.Handle(func(event.Event) {
		struck := m.c.victims(fault)
		for _, n := range struck {
			of[n] = max(of[n], factor)
		}
		if f.For > 0 {
			m.c.loop.After(f.For, func() {
				for _, n := range struck {
					delete(of, n)
				}
			})
		}
	})
	m.c.loop.Add(f.At, begin, 0, 0)
}

// victims draws the nodes that a fault concerns.
func (c *city) victims(fault int) (out []node) {
	f := &c.s.Faults[fault]
	for i := range c.len() {
		n := node(i)
		if (f.Class == "" || c.of(n).Name == f.Class) && (f.Region == "" || c.s.Regions[c.region[n]].Name == f.Region) {
			out = append(out, n)
		}
	}
	k := len(out)
	switch {
	case f.Nodes > 0:
		k = min(f.Nodes, k)
	case f.Share > 0:
		k = int(math.Round(f.Share * float64(k)))
	}
	r := scenario.Dice(c.seed, "fault "+string(rune('0'+fault)))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	out = out[:k]
	slices.Sort(out)
	return out
}

// factor is how many times longer something takes on a node now.
func (m *machines) factor(what int, n node) float64 { return max(m.slow[what][n], 1) }

// of returns a node's machine.
func (m *machines) of(n node) *machine {
	x := m.at[n]
	if x == nil {
		x = &machine{n: n}
		m.reset(x)
		m.at[n] = x
	}
	return x
}

func (m *machines) reset(x *machine) {
	cl := m.c.of(x.n)
	x.queue = fair.New[*errand](fair.Config{Total: queueTotal, PerOwner: queueOwner, Slots: max(cl.Cores, 1)})
	x.running, x.holds, x.queued, x.gpus = 0, fair.Holds{}, nil, nil
	for i := range x.mods {
		x.mods[i].wait, x.mods[i].busy = nil, false
	}
	if len(cl.GPUs) == 0 {
		return
	}
	x.gpus = &reserve.Ledger{}
	var list []reserve.Device
	for _, g := range cl.GPUs {
		for range max(g.Count, 1) {
			list = append(list, reserve.Device{ID: string(rune('a' + len(list))), Vendor: g.Vendor, Index: len(list), Memory: uint64(g.Memory)})
		}
	}
	x.gpus.Set(list)
}

// down: what a machine was about is gone with its power; what it has on its disk is not.
func (m *machines) down(n node) {
	x := m.at[n]
	if x == nil {
		return
	}
	m.tick()
	m.wait -= x.queue.Len()
	if x.gpus != nil {
		for _, s := range x.gpus.States() {
			m.taken -= s.Tasks
		}
	}
	x.life++
	m.reset(x)
}

// tick brings what is summed over time up to now.
func (m *machines) tick() {
	now := m.c.loop.Now()
	if now > m.since {
		m.queues.spread(m.c, m.since, now, float64(m.wait), float64(m.c.len()))
		m.use.spread(m.c, m.since, now, float64(m.taken), float64(m.gpus))
		m.since = now
	}
}

// has returns what a machine has of a module, nil if nothing.
func (x *machine) has(id uint32) *module {
	for i := range x.mods {
		if x.mods[i].id == id {
			return &x.mods[i]
		}
	}
	return nil
}

// load is what a machine tells an owner of its queue: scheduler's executor.loadFor.
func (m *machines) load(x *machine, owner shoal.PeerID) (l shoal.Load) {
	ahead, seconds := x.queue.Ahead(owner)
	l = shoal.Load{Slots: max(m.c.of(x.n).Cores, 1), Running: x.running, Queued: ahead, TaskSecs: x.queue.Mean()}
	if serving, more := x.queue.Serving(); l.TaskSecs > 0 && serving+ahead > 0 {
		l.TaskSecs = (seconds + more) / float64(serving+ahead)
	}
	l.Queued += int(math.Round(x.holds.Others(owner, m.c.clock())))
	return l
}

// enter has an errand wait for a slot, unless more than most wait before it (negative: however many), or there is no room:
// then it says for how long its asker should stay away.
func (m *machines) enter(x *machine, e *errand, most int) *shoal.Error {
	owner := peerID(e.t.a.n)
	kept := x.holds.Take(owner, m.c.clock())
	others := x.holds.Others(owner, m.c.clock())
	full := func() *shoal.Error {
		return &shoal.Error{Kind: shoal.Overloaded, Why: "the queue is full", RetryAfter: x.queue.RetryAfter(owner)}
	}
	if !kept && others >= 1 && x.queue.Len()+int(others) >= queueTotal {
		return full()
	}
	if ahead, _ := x.queue.Ahead(owner); most >= 0 && (ahead > most || ahead == most && most == 0 && x.running >= max(m.c.of(x.n).Cores, 1)) {
		return &shoal.Error{Kind: shoal.Overloaded, Why: "more tasks came first"}
	}
	item, pushed := x.queue.Push(owner, e)
	if item == nil {
		return full()
	}
	m.tick()
	m.wait++
	m.c.members.changed(x.n)
	e.item, e.at, e.life = item, x, x.life
	if pushed != nil {
		m.wait--
		out := pushed.Value
		m.c.loop.After(m.c.way(x.n, out.t.a.n), func() { out.end(&shoal.Error{Kind: shoal.Overloaded, Why: "it made way for others"}) })
	}
	m.fill(x)
	return nil
}

// fill gives free slots to those that are next.
func (m *machines) fill(x *machine) {
	for x.running < max(m.c.of(x.n).Cores, 1) {
		item := x.queue.Pop()
		if item == nil {
			return
		}
		m.tick()
		m.wait--
		x.running++
		m.c.members.changed(x.n)
		item.Value.begin()
	}
}

// leave frees an errand's slot, or its place in the queue.
func (m *machines) leave(e *errand) {
	x := e.at
	if x == nil || e.life != x.life || e.left {
		return
	}
	e.left = true
	if x.queue.Remove(e.item) {
		m.tick()
		m.wait--
		return
	}
	if e.device {
		m.tick()
		m.taken--
		x.gpus.Give(e.grant)
		e.device = false
	}
	x.queued = slices.DeleteFunc(x.queued, func(o *errand) bool { return o == e })
	x.queue.Done(e.item, (m.c.loop.Now() - e.begun).Seconds())
	x.running--
	m.c.members.changed(x.n)
	m.fill(x)
	m.grant(x)
}

// grant gives free GPUs to those that wait for one: native's queue.
func (m *machines) grant(x *machine) {
	for len(x.queued) > 0 {
		e := x.queued[0]
		g, err := x.gpus.Take(reserve.Want{Whole: 1})
		if err != nil {
			return
		}
		x.queued = x.queued[1:]
		m.tick()
		m.taken++
		e.grant, e.device = g, true
		e.run()
	}
}

// room says why a task that takes a GPU could not come to a machine; nothing if it could, perhaps after waiting for another's
// end, which its load then tells: native's Room, and scheduler's use of it.
func (m *machines) room(x *machine, l *shoal.Load) (refusal string, retry bool) {
	if x.gpus == nil {
		return "it has no such executor", false
	}
	err := x.gpus.Could(reserve.Want{Whole: 1})
	switch {
	case err == nil && len(x.queued) == 0:
	case len(x.queued) < max(1, len(x.gpus.States())):
		l.Running, l.Queued = max(l.Running, l.Slots), max(l.Queued, 1)
	default:
		return "tasks wait for its devices", true
	}
	return "", false
}

func (m *machines) finish(r *report.Run) {
	m.tick()
	if m.c.tasks.count == 0 {
		return
	}
	r.Figures["queue_mean"] = m.queues.part / max(m.queues.of, 1e-9)
	m.queues.into(m.c, r, "queue_mean")
	if m.gpus > 0 {
		r.Figures["gpu_use"] = m.use.part / max(m.use.of, 1e-9)
		m.use.into(m.c, r, "gpu_use")
	}
}
