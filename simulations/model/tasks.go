package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// tasks is the district of what is run: asked for, placed, carried out, tried again.
type tasks struct {
	c       *city
	dice    *rand.Rand
	kinds   map[int]*work // by load
	mods    uint32
	askers  map[node]*asker
	pools   []*pool
	classes []shoal.Member
	peers   []cost.Peer        // of the decision at hand
	errands map[node][]*errand // on a machine, or on their way to it
	rates   map[node]map[node]measure

	took                *values
	count, failed       uint64
	read, moved, wanted float64 // bytes: by tasks that were done; of those, of what they lacked; all that moved for tasks
	local               ratio
	first, last         event.Time
}

// work is what the tasks of a load are.
type work struct {
	w      *scenario.Work
	family int // of datasets; -1: they read nothing
	mod    uint32
	needs  string
	limits shoal.Limits
	code   cid.Cid
}

func (k *work) name(mod uint32) string { return "m" + strconv.Itoa(int(mod)) }

const (
	streams   = 128              // scheduler.Config.Streams
	silence   = 10 * time.Second // scheduler.Config.Silence
	startWait = 10 * time.Second // scheduler.Config.Start
	looks     = 3                // scheduler/run.go

	uploadAgain = 10 * time.Minute // package world: renewCode

	// Bytes of scheduler's messages, encoded: a runRequest with one input and three hints, the two frames that tell a state,
	// the one with the outcome.
	runAsk, runStates, runOutcome = 408, 2 * 15, 265
)

func (c *city) buildTasks() error {
	t := &tasks{
		c: c, dice: c.loop.Rand("tasks"), kinds: map[int]*work{}, askers: map[node]*asker{},
		errands: map[node][]*errand{}, rates: map[node]map[node]measure{}, took: c.tell.of("task_ms"), first: -1,
	}
	c.tasks = t
	t.attributes()
	for i := range c.s.Load {
		l := &c.s.Load[i]
		if l.Ask != scenario.Task {
			continue
		}
		k := &work{w: &l.Work, family: c.s.Family(l), mod: t.mods, needs: l.Work.Needs}
		if l.Work.GPU {
			k.code = shoal.ExecCID(gpuExecutor)
		}
		k.needs = match.Requirement(k.code, k.needs)
		if _, err := match.Compile(k.needs, k.limits); err != nil {
			return shoal.Wrap(shoal.Invalid, "load "+l.Name+": needs", err)
		}
		t.mods += uint32(max(l.Work.Modules, 1))
		t.kinds[i] = k
	}
	c.onDown = append(c.onDown, t.down)
	c.finishers = append(c.finishers, t.finish)
	c.loads(t.ask, scenario.Task)
	return nil
}

// task is one that was asked for.
type task struct {
	d     *tasks
	a     *asker
	k     *work
	load  int
	id    shoal.TaskID
	at    event.Time
	part  uint32
	mod   uint32
	bytes uint64 // of its input

	tries   *job.Tries
	refused event.Time // when a peer was chosen that was full: what was known before is old
	late    int
	over    bool
	errand  *errand // the attempt under way

	list     []candidate // of the decision at hand
	asked    int
	refusals int
	retry    bool
}

// ask begins a task.
func (d *tasks) ask(load int, q scenario.Request) {
	k := d.kinds[load]
	t := &task{
		d: d, a: d.asker(node(q.Node)), k: k, load: load, id: shoal.TaskID(fmt.Sprintf("t%d", d.count)), at: d.c.loop.Now(),
		mod: k.mod + uint32(q.Work), tries: job.NewTries(job.DefaultPolicy()), refused: -event.At(time.Hour),
	}
	d.count++
	if d.first < 0 {
		d.first = t.at
	}
	if t.input() {
		t.part = d.c.data.part(k.family, q.Item, q.Part)
		t.bytes = d.c.data.bytes(t.part)
	}
	t.a.tasks = append(t.a.tasks, t)
	upload := time.Duration(0)
	if !k.w.GPU {
		upload = t.a.upload(d.c, t.mod)
	}
	if k.w.Deadline > 0 {
		d.c.loop.After(k.w.Deadline, func() {
			if !t.over {
				t.drop()
				t.end(false)
			}
		})
	}
	d.c.loop.After(upload, func() {
		if !t.over {
			t.choose()
		}
	})
}

// upload has the module lie on the node that asks, which announces it, and says how long that takes.
func (a *asker) upload(c *city, mod uint32) time.Duration {
	at, was := a.uploaded[mod]
	now := c.loop.Now()
	if was && now-at < event.At(uploadAgain) {
		return 0
	}
	a.uploaded[mod] = now
	c.dht.records.announce(a.n, c.hashed("module", uint64(mod)))
	if was {
		return 0
	}
	if x := c.machines.of(a.n); x.has(mod) == nil { // others may count on it
		x.mods = append(x.mods, module{id: mod})
	}
	return c.synced(a.n)
}

// needs returns the requirements, as those who know the asker's members share them.
func (t *task) needs() *match.Needs {
	p := t.d.pool(t.a.n)
	n := p.needs[t.k]
	if n == nil {
		n, _ = match.Compile(t.k.needs, t.k.limits) // it was compiled before
		p.needs[t.k] = n
	}
	return n
}

// send has a peer run the task: scheduler's run.attempt.
func (t *task) send(n node, chosen cost.Choice, open int) {
	a, c := t.a, t.d.c
	e := &errand{t: t, n: n, most: -1}
	t.errand = e
	a.flight[n]++
	if t.tries.Nexts() < looks && open >= 2 && n != a.n {
		e.most = chosen.Ahead
	}
	patience := time.Duration(0)
	if t.late < 2 && open >= 2 {
		patience = startWait + time.Duration(4*min(chosen.Terms.Wait, 1e6)*float64(time.Second))
	}
	if n == a.n {
		t.d.errands[n] = append(t.d.errands[n], e)
		e.arrive()
		return
	}
	l := a.lines[n]
	if l == nil {
		l = &line{}
		a.lines[n] = l
	}
	e.line = l
	leave := func() {
		*c.links.runs += runAsk + stream("task.run")
		t.d.errands[n] = append(t.d.errands[n], e)
		c.loop.After(c.dial(a.n, n)+c.way(a.n, n), e.arrive)
		if patience > 0 {
			c.loop.After(patience, func() {
				if !e.over && !e.begunH && e.taken {
					t.late++
					e.giveUp(shoal.E(shoal.Unavailable, "task", "it was not begun", ""))
				}
			})
		}
	}
	if l.n++; l.n > streams {
		l.wait = append(l.wait, leave)
		return
	}
	leave()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// gas is what a task spends.
func (t *task) gas() float64 { return t.k.w.Gas + t.k.w.PerByte*float64(t.bytes) }

// failed decides what follows.
func (t *task) failed(n *node, err error) {
	id := shoal.PeerID("")
	others := 0
	if n != nil {
		id, others = peerID(*n), len(t.list)-1
		for k := range t.a.offers {
			if k.peer == *n {
				delete(t.a.offers, k)
			}
		}
	}
	c := t.d.c
	if t.tries.Next(id, err, others) {
		t.refused = c.loop.Now()
		t.choose()
		return
	}
	d := t.tries.Failed(id, err, false, t.d.dice.Float64())
	if !d.Again {
		t.end(false)
		return
	}
	c.loop.After(d.After, func() {
		if !t.over {
			t.choose()
		}
	})
}

// done is when the result is there.
func (t *task) done(e *errand) {
	d := t.d
	now := d.c.loop.Now()
	d.took.add(now, float64(now-t.at)/1e6)
	if t.input() {
		moved := min(e.data, t.bytes)
		d.read, d.moved = d.read+float64(t.bytes), d.moved+float64(moved)
		d.local.add(d.c, now, float64(t.bytes-moved), float64(t.bytes))
	}
	if t.k.w.Result > 0 { // it is pinned, and so announced
		d.c.dht.records.announce(t.a.n, d.c.hashed("result", d.count, uint64(t.at)))
	}
	t.end(true)
}

func (t *task) end(ok bool) {
	t.over = true
	d := t.d
	d.last = max(d.last, d.c.loop.Now())
	if !ok {
		d.failed++
	}
	d.c.links.ended(t.at, ok)
	a := t.a
	a.tasks = slices.DeleteFunc(a.tasks, func(x *task) bool { return x == t })
	t.list = nil           // the deadline may hold on to the task for a while
	if len(a.tasks) == 0 { // what it remembers of offers and places is old by the next task, unless that comes soon
		d.c.loop.After(whereAge, func() {
			if len(a.tasks) == 0 {
				a.offers, a.where = map[offerKey]noted{}, map[uint32]located{}
			}
		})
	}
}

// drop takes away an attempt that is under way.
func (t *task) drop() {
	if e := t.errand; e != nil {
		t.d.c.machines.leave(e)
		e.finish()
	}
}

// down: a node has lost its power. What it asked for is nobody's any more; those who have something there miss it in time.
func (d *tasks) down(n node) {
	delete(d.rates, n) // it forgets what it measured
	for _, e := range slices.Clone(d.errands[n]) {
		if e.t.a.n != n {
			// The last sign of life, of which there are three in that time, came a while ago.
			e.silent(silence - time.Duration(d.dice.Float64()*float64(silence)/3))
		}
	}
	a := d.askers[n]
	if a == nil {
		return
	}
	for _, t := range slices.Clone(a.tasks) {
		t.over = true
		if e := t.errand; e != nil {
			e.finish()
			if e.n != n {
				d.c.loop.After(silence, func() { d.c.machines.leave(e) })
			}
		}
	}
	a.tasks = nil
}

func (d *tasks) finish(r *report.Run) {
	ended := d.took.all.n + d.failed
	if ended == 0 {
		return
	}
	f := r.Figures
	f["tasks"], f["task_failed"] = float64(ended), float64(d.failed)/float64(ended)
	if d.took.all.n > 0 {
		f["task_ms_p50"], f["task_ms_p99"] = d.took.all.quantile(0.5), d.took.all.quantile(0.99)
	}
	f["makespan_s"] = (d.last - d.first).Seconds()
	f["moved_bytes"] = d.wanted
	if d.read > 0 {
		f["locality"] = 1 - d.moved/d.read
		d.local.into(d.c, r, "locality")
	}
}
