package plans

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/plans/graph"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/wire"
)

// flow is a job on its way. One goroutine owns the graph and all fields; tasks that run beside it
// send it functions to call.
type flow struct {
	p       *Plans
	j       Job
	h       *Handle
	ctx     context.Context // of the job; ends when it is canceled
	tracker job.Tracker
	parts   []part
	began   time.Time
	created int64 // Unix milliseconds; the same when the job goes on after a restart

	g       *graph.Graph
	needs   *match.Needs
	msgs    chan func()
	tasks   sync.WaitGroup
	work    context.Context // of the tasks; ends with the job
	stop    context.CancelFunc
	keeping chan struct{} // bounds the outputs fetched at once
	cancels map[flight]context.CancelCauseFunc

	print   *printer
	spools  []*spool       // per task: what it printed, while its result is on its way
	printed []bool         // per task, the reducer last
	why     []cost.Explain // per task, of the first ones

	nodes      map[shoal.PeerID]*seen
	ids        []shoal.PeerID // of nodes, sorted
	refused    map[shoal.PeerID]match.Verdict
	outcomes   []shoal.Outcome // per task; the reducer's, or that of the one task, last
	res        Result
	lookAt     time.Time // the next look at the members
	relocateAt time.Time
	missing    bool // a node went away: holders may have changed
	showAt     time.Time
	noteAt     time.Time
	toSave     []finished
	saveAt     time.Time
	batch      int
}

// flight is one attempt at a map task, on its way.
type flight struct{ task, attempt int }

// seen is what a job knows of a node.
type seen struct {
	up       bool
	distrust time.Time // until then it gets nothing
	asked    time.Time // when its record was last asked for
	asking   bool
}

const (
	beatenWait = 250 * time.Millisecond // for a copy that was beaten to end
	keepAtOnce = 8                      // outputs fetched by the coordinator at the same time
	keepWait   = 2 * time.Minute        // for one output
	askEvery   = 5 * time.Second        // between questions to a peer that the table does not have
	askWait    = 2 * time.Second        // for its answer
	whereWait  = 10 * time.Second       // for a look at the holders
	showEvery  = 40 * time.Millisecond  // between counts for Handle.Progress
	noteEvery  = time.Second            // between counts in the record
)

// prepare checks what can be checked before anything runs.
func (f *flow) prepare(done []finished) error {
	needs, err := match.Compile(match.Requirement(f.j.Module, f.j.Needs), f.j.Limits)
	if err != nil {
		return err
	}
	f.needs = needs
	f.g = graph.New(f.p.graphSpec(f.j, f.parts))
	f.msgs = make(chan func(), 64)
	f.keeping = make(chan struct{}, keepAtOnce)
	f.nodes, f.refused = map[shoal.PeerID]*seen{}, map[shoal.PeerID]match.Verdict{}
	f.cancels = map[flight]context.CancelCauseFunc{}
	f.outcomes = make([]shoal.Outcome, len(f.parts)+1)
	f.work, f.stop = context.WithCancel(f.ctx)
	f.print = newPrinter(f.ctx, f.j.Stdout, f.j.Stderr, f.tracker, f.p.cfg.Scratch)
	f.spools, f.printed = make([]*spool, len(f.parts)), make([]bool, len(f.parts)+1)
	f.why = make([]cost.Explain, min(len(f.parts), MaxExplained))
	f.batch = 0
	for _, d := range done {
		if d.Index < 0 || d.Index >= len(f.parts) || !f.still(d.Outcome.Output) {
			continue
		}
		f.g.Restore(d.Index, d.Outcome.Peer, d.Outcome.Output)
		f.add(d.Index, d.Outcome)
		f.toSave = append(f.toSave, d)
	}
	if len(f.toSave) > 0 { // one batch in place of many
		f.batch = int(time.Now().Unix() & 0x3ffffff)
	}
	return nil
}

// still reports whether an output is wholly here.
func (f *flow) still(output string) bool {
	if output == "" {
		return true
	}
	c, err := shoal.ParseCID(output)
	if err != nil {
		return false
	}
	_, missing, err := f.p.d.Data.Missing(f.ctx, c)
	return err == nil && missing == 0
}

// run is the job from begin to end.
func (f *flow) run() {
	if f.j.Each {
		f.loop()
	} else {
		f.single()
	}
	f.stop()
	go func() {
		f.tasks.Wait()
		close(f.msgs)
	}()
	for m := range f.msgs {
		m()
	}
	for _, s := range f.spools {
		if s != nil {
			s.drop()
		}
	}
	f.print.close()
	f.conclude()
}

// loop drives the graph.
func (f *flow) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		if !now.Before(f.lookAt) {
			f.lookAt = now.Add(f.p.cfg.Look)
			f.look(now)
		}
		if !f.print.full() {
			for _, s := range f.g.Ready(now) {
				f.start(s)
			}
		}
		f.show(now)
		f.save(now, false)
		if f.g.Ended() {
			return
		}
		wake := f.lookAt
		if at := f.g.Wake(now); !at.IsZero() && at.Before(wake) {
			wake = at
		}
		timer.Reset(max(time.Until(wake), 0))
		select {
		case m := <-f.msgs:
			m()
			for more := true; more; { // whatever else has come meanwhile
				select {
				case m := <-f.msgs:
					m()
				default:
					more = false
				}
			}
		case <-timer.C:
		case <-f.ctx.Done():
			f.g.Abort(f.cause())
			return
		}
	}
}

// cause is why the job's context ended.
func (f *flow) cause() error {
	what := "job " + string(f.j.ID)
	cause := context.Cause(f.ctx)
	var e *shoal.Error
	switch {
	case errors.Is(cause, errClosing):
		return shoal.E(shoal.Unavailable, what, "the node stops", "a detached job goes on when it starts again")
	case errors.As(cause, &e):
		return cause
	}
	return shoal.Wrap(shoal.Canceled, what, cause)
}

// send has the loop call m.
func (f *flow) send(m func()) { f.msgs <- m }

// look brings what the graph knows of nodes up to date.
func (f *flow) look(now time.Time) {
	known := map[shoal.PeerID]bool{}
	self := f.p.d.Members.Self()
	self.State = shoal.Alive
	for _, m := range append(f.p.d.Members.Table(), self) {
		known[m.ID] = true
		f.node(m, now)
	}
	for i := range f.parts { // holders that the table does not have
		for _, id := range f.parts[i].Holders {
			if !known[id] {
				known[id] = true
				f.askNode(id, now)
			}
		}
	}
	if f.j.On != "" && !known[f.j.On] {
		f.askNode(f.j.On, now)
	}
	f.hopeless()
	if f.missing && !now.Before(f.relocateAt) && f.j.On == "" {
		f.relocateAt = now.Add(f.p.cfg.Relocate)
		f.relocate()
	}
}

// node takes in what is known of one member.
func (f *flow) node(m shoal.Member, now time.Time) {
	if f.j.On != "" && m.ID != f.j.On {
		return
	}
	v := f.needs.Check(&m, now)
	n := f.nodes[m.ID]
	switch {
	case !v.OK:
		f.refused[m.ID] = v
		if n == nil {
			return
		}
	case n == nil:
		n = f.meet(m.ID)
	}
	if v.OK {
		delete(f.refused, m.ID)
	}
	up := v.OK && !now.Before(n.distrust)
	if n.up && !up {
		f.missing = true
	}
	n.up = up
	f.g.Node(m.ID, slots(m), up)
}

// meet begins to remember a node.
func (f *flow) meet(id shoal.PeerID) *seen {
	n := &seen{}
	f.nodes[id] = n
	i, _ := slices.BinarySearch(f.ids, id)
	f.ids = slices.Insert(f.ids, i, id)
	return n
}

func slots(m shoal.Member) int {
	if m.Load.Slots > 0 {
		return m.Load.Slots
	}
	return max(m.Attributes.CPUs, 1)
}

// askNode asks a peer that the table does not have for its record, now and then.
func (f *flow) askNode(id shoal.PeerID, now time.Time) {
	n := f.nodes[id]
	if n == nil {
		n = f.meet(id)
	}
	if n.asking || now.Sub(n.asked) < askEvery && !n.asked.IsZero() {
		return
	}
	n.asking, n.asked = true, now
	f.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(f.work, askWait)
		defer cancel()
		m, err := f.p.d.Members.Record(ctx, id)
		f.send(func() {
			n.asking = false
			if m.ID, m.State = id, shoal.Alive; err != nil {
				m.State = shoal.Down
			}
			if err == nil || n.up {
				f.node(m, time.Now())
			}
		})
	})
}

// hopeless fails a job that no member will ever fit.
func (f *flow) hopeless() {
	if len(f.nodes) > 0 || len(f.refused) == 0 {
		return
	}
	ids := make([]shoal.PeerID, 0, len(f.refused))
	for id, v := range f.refused {
		if v.Retry {
			return
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var reasons []string
	for _, id := range ids[:min(len(ids), 3)] {
		reasons = append(reasons, id.Short()+": "+f.refused[id].Reason)
	}
	if more := len(ids) - len(reasons); more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	f.g.Abort(shoal.E(shoal.Refused, "job "+string(f.j.ID), "no peer fits ("+strings.Join(reasons, "; ")+")",
		"ask for less, or add a node that fits"))
}

// relocate looks for holders anew, beside the loop.
func (f *flow) relocate() {
	f.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(f.work, whereWait)
		defer cancel()
		parts, err := f.p.partition(ctx, f.j)
		f.send(func() {
			if err != nil || len(parts) != len(f.parts) {
				return // what is known must do
			}
			for i := range parts {
				if len(parts[i].Holders) > 0 && parts[i].CID.Equals(f.parts[i].CID) {
					f.parts[i].Holders = parts[i].Holders
					f.g.Holders(i, parts[i].Holders)
				}
			}
		})
	})
}

// distrust keeps a node that lost a task from getting others for a while.
func (f *flow) distrust(id shoal.PeerID) {
	n := f.nodes[id]
	if n == nil || id == f.p.self {
		return
	}
	n.distrust = time.Now().Add(f.p.cfg.Distrust)
	n.up, f.missing = false, true
	f.g.Node(id, 1, false)
}

// show publishes the counts, not too often.
func (f *flow) show(now time.Time) {
	if now.Before(f.showAt) {
		return
	}
	f.showAt = now.Add(showEvery)
	f.h.progress(f.g.Counts())
	if now.Before(f.noteAt) {
		return
	}
	f.noteAt = now.Add(noteEvery)
	f.count()
	counts := f.res.Counts.Clone()
	f.tracker.Update(func(r *job.Record) { r.Counts = &counts })
}

// save notes the finished tasks of a detached job, not too often.
func (f *flow) save(now time.Time, last bool) {
	if !f.j.Detach || len(f.toSave) == 0 || !last && now.Before(f.saveAt) {
		return
	}
	f.saveAt = now.Add(f.p.cfg.Save)
	if err := saveDone(f.p.d.KV, f.j.ID, f.batch, f.toSave); err != nil {
		f.p.cfg.Log.Error("finished tasks are not noted", "job", f.j.ID, "error", err)
		return
	}
	f.toSave = nil
	f.batch++
}

func (f *flow) roll() float64 { return rand.Float64() }

// conclude ends the job: result, record, events.
func (f *flow) conclude() {
	err := f.g.Err()
	if f.j.Each && err == nil {
		f.collect()
	}
	f.count()
	f.explained(err)
	f.res.Seconds = time.Since(f.began).Seconds()
	interrupted := f.j.Detach && errors.Is(context.Cause(f.ctx), errClosing)
	if interrupted {
		f.save(time.Now(), true)
	} else {
		if e := f.p.d.KV.Set(resultKey+string(f.j.ID), wire.Marshal(savedResult{time.Now().UnixMilli(), f.res})); e != nil {
			f.p.cfg.Log.Error("a job's result is not noted", "job", f.j.ID, "error", e)
		}
		if f.j.Detach {
			if e := forgetJob(f.p.d.KV, f.j.ID); e != nil {
				f.p.cfg.Log.Error("an ended job stays on disk", "job", f.j.ID, "error", e)
			}
		}
	}
	f.h.progress(f.g.Counts())
	f.tracker.Update(func(r *job.Record) { f.finish(r, f.res, err) })
	f.h.end(f.res, err)
}

// finish ends the job's record.
func (f *flow) finish(r *job.Record, res Result, err error) {
	counts := res.Counts.Clone()
	r.Counts = &counts
	r.State, r.Ended = job.EndState(err), time.Now().UnixMilli()
	r.Outcome = &shoal.Outcome{
		Peer: res.Peer, Exit: res.Exit, Output: res.Output, Seconds: res.Seconds, Gas: res.Gas, CodeMoved: res.CodeMoved,
		DataMoved: res.DataMoved, DataRead: res.DataRead, Holder: res.Tasks > 0 && res.OnHolders == res.Tasks,
	}
	if err != nil {
		r.Err = wire.FromError(err)
	}
}
