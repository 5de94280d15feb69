package plans

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/plans/graph"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// start runs a task beside the loop.
func (f *flow) start(s graph.Start) {
	if s.Copy {
		why := fmt.Sprintf("it has been on its way for %.1f s, far longer than others took", s.Late.Seconds())
		f.event(s.Task, "copied", s.Node, why, s.Late.Seconds())
		f.tracker.Log(true, fmt.Appendf(nil, "task %d runs on %s as well: %s\n", s.Task, s.Node.Short(), why))
	} else {
		f.event(s.Task, "started", s.Node, "", 0)
	}
	if s.Reduce {
		f.tasks.Go(func() { f.reduce(s) })
		return
	}
	q := f.parts[s.Task]
	holders := []shoal.PeerID{} // not nil: they are known, even if there are none
	for _, id := range q.Holders {
		if n := f.nodes[id]; n == nil || n.up {
			holders = append(holders, id)
		}
	}
	o := job.Options{
		Among: []shoal.PeerID{s.Node}, Holders: holders, Bytes: max(q.Bytes, 1), From: f.sources(holders), Attempts: 1,
		Copy: s.Copy,
	}
	if !s.Copy && slices.Contains(holders, s.Node) { // any holder with room will do: the cost decides
		for _, id := range holders {
			if id != s.Node && f.g.Room(id) && f.j.On == "" {
				o.Among = append(o.Among, id)
			}
		}
	}
	o.Passed = f.passedOver(s, o.Among)
	out := f.print.spool()
	o.Stdout, o.Stderr = out.writer(stdout), out.writer(stderr)
	t := shoal.Task{
		Created: f.created, ID: job.Sub(f.j.ID, s.Task), Job: f.j.ID, Module: f.j.Module, Args: f.j.Args,
		Inputs: []shoal.Input{{Name: q.Name, CID: q.CID}}, Needs: f.j.Needs, Limits: f.j.Limits,
	}
	ctx, cancel := context.WithCancelCause(f.work)
	me := flight{s.Task, s.Attempt}
	f.cancels[me] = cancel
	f.tasks.Go(func() {
		at, got, explain, err := f.attempt(ctx, t, o, func(id shoal.PeerID) {
			f.send(func() { f.g.Placed(s.Task, s.Attempt, id) })
		})
		f.send(func() {
			cancel(nil)
			delete(f.cancels, me)
			if f.g.Aloft(me.task, me.attempt) { // else another copy was faster
				f.explain(me.task, explain)
				f.ran(me, at, t.ID, got, out, err)
				return
			}
			out.drop()
			f.res.CopyMoved += got.CodeMoved + got.DataMoved
		})
	})
}

// errBeaten tells an attempt why it ends.
var errBeaten = errors.New("another copy of it was faster")

// attempt runs a task where o says first, or where placed is told. One that was beaten is given a moment to
// end; a node that is so slow that it does not even cancel in time does not hold up the job.
func (f *flow) attempt(
	ctx context.Context, t shoal.Task, o job.Options, placed func(shoal.PeerID),
) (at shoal.PeerID, out shoal.Outcome, explain cost.Explain, err error) {
	type ended struct {
		out     shoal.Outcome
		explain cost.Explain
		err     error
	}
	where, done := make(chan shoal.PeerID, 1), make(chan ended, 1)
	at, o.Placed = o.Among[0], func(id shoal.PeerID) {
		select {
		case where <- id: // of one attempt there is one
		default:
		}
	}
	f.p.wait.Go(func() {
		out, explain, err := f.p.d.Tasks.Run(ctx, t, o)
		close(where)
		done <- ended{out, explain, err}
	})
	over, grace := ctx.Done(), (<-chan time.Time)(nil)
	for {
		select {
		case id, ok := <-where:
			if !ok {
				e := <-done
				return at, e.out, e.explain, e.err
			}
			if at != id {
				at = id
				placed(id)
			}
		case <-over:
			if over = nil; errors.Is(context.Cause(ctx), errBeaten) {
				t := time.NewTimer(beatenWait)
				defer t.Stop()
				grace = t.C
			}
		case <-grace:
			return at, out, explain, shoal.Wrap(shoal.Canceled, "task "+string(t.ID), errBeaten)
		}
	}
}

// sources are the peers that have code and data for sure.
func (f *flow) sources(holders []shoal.PeerID) []shoal.PeerID {
	return slices.Concat([]shoal.PeerID{f.p.self}, f.j.From, holders)
}

// ran takes in what came of an attempt at a map task. The loop calls it.
func (f *flow) ran(me flight, at shoal.PeerID, id shoal.TaskID, out shoal.Outcome, said *spool, err error) {
	i := me.task
	if err == nil && out.Exit != 0 && f.j.Reduce != nil {
		err = shoal.E(shoal.Failed, "run", fmt.Sprintf("it ended with exit code %d", out.Exit),
			"see 'shoal task logs "+string(id)+"'")
	}
	if err != nil {
		f.failed(me, at, id, said, err)
		return
	}
	if f.work.Err() != nil { // the job has ended without it
		said.drop()
		return
	}
	f.spools[i] = said
	f.add(i, out)
	beaten, _ := f.g.Ran(i, me.attempt, out.Output, out.Seconds, time.Now())
	for _, attempt := range beaten {
		if cancel := f.cancels[flight{i, attempt}]; cancel != nil {
			cancel(errBeaten)
		}
	}
	if out.Output == "" {
		f.kept(i)
		return
	}
	f.tasks.Go(func() {
		moved, err := f.keep(out.Output, at)
		f.send(func() {
			f.res.ResultMoved += moved
			if err != nil {
				f.g.Lost(i, "task "+string(id), err, time.Now(), f.roll())
				said.drop()
				f.event(i, "retried", at, "its output was lost: "+err.Error(), 0)
				return
			}
			f.g.Kept(i)
			f.kept(i)
		})
	})
}

// kept notes that a task is done for good.
func (f *flow) kept(i int) {
	out := f.outcomes[i]
	if f.j.Detach {
		f.toSave = append(f.toSave, finished{i, out})
	}
	f.say(i, f.spools[i])
	f.spools[i] = nil
	f.event(i, "done", out.Peer, "", out.Seconds)
}

// failed takes in that a task could not be run. The loop calls it.
func (f *flow) failed(me flight, at shoal.PeerID, id shoal.TaskID, said *spool, err error) {
	i := me.task
	if f.work.Err() != nil { // all of them end; the cause is known
		said.drop()
		return
	}
	switch shoal.KindOf(err) {
	case shoal.Unavailable, shoal.Timeout:
		if at != "" {
			f.distrust(at)
		}
	}
	f.g.Failed(i, me.attempt, "task "+string(id), err, time.Now(), f.roll())
	state := "retried"
	if f.g.Err() != nil {
		state = "failed"
		f.say(i, said)
	} else {
		said.drop()
		f.tracker.Log(true, fmt.Appendf(nil, "task %d on %s: %v; it is tried again\n", i, at.Short(), err))
	}
	f.event(i, state, at, err.Error(), 0)
}

// keep fetches an output to the coordinator.
func (f *flow) keep(output string, from shoal.PeerID) (uint64, error) {
	c, err := shoal.ParseCID(output)
	if err != nil {
		return 0, err
	}
	select {
	case f.keeping <- struct{}{}:
		defer func() { <-f.keeping }()
	case <-f.work.Done():
		return 0, f.work.Err()
	}
	ctx, cancel := context.WithTimeout(f.work, keepWait)
	defer cancel()
	return f.p.d.Data.Ensure(ctx, c, "result", []shoal.PeerID{from})
}

// reduce runs the reducer over all outputs.
func (f *flow) reduce(s graph.Start) {
	t := shoal.Task{
		Created: f.created, ID: job.Sub(f.j.ID, s.Task), Job: f.j.ID, Module: *f.j.Reduce, Args: f.j.ReduceArgs, Needs: f.j.Needs, Limits: f.j.Limits,
	}
	said := f.print.spool()
	outs := make(chan []shoal.Input, 1)
	var bytes uint64
	f.send(func() { // the graph belongs to the loop
		var ins []shoal.Input
		for i := range f.parts {
			if c, err := shoal.ParseCID(f.g.Output(i)); err == nil {
				ins = append(ins, shoal.Input{Name: outName(i), CID: c})
				bytes += f.outcomes[i].OutBytes
			}
		}
		outs <- ins
	})
	t.Inputs = <-outs
	var at shoal.PeerID
	o := job.Options{
		On: f.j.On, Holders: []shoal.PeerID{f.p.self}, Bytes: max(bytes, 1), From: f.sources(nil), Class: "result",
		Attempts: 1,
		Stdout:   said.writer(stdout), Stderr: said.writer(stderr),
		Placed: func(id shoal.PeerID) {
			at = id
			f.send(func() { f.g.Placed(s.Task, s.Attempt, id) })
		},
	}
	out, explain, err := f.p.d.Tasks.Run(f.work, t, o)
	var lost []int
	if err != nil && shoal.Retryable(err) || shoal.KindOf(err) == shoal.NotFound {
		lost = f.missingOutputs(t.Inputs)
	}
	var moved uint64
	if err == nil && out.Output != "" && at != f.p.self {
		if moved, err = f.keep(out.Output, at); err != nil {
			err = shoal.Wrap(shoal.Unavailable, "fetch its output", err)
		}
	}
	f.send(func() {
		if len(explain.Choices) > 0 {
			f.res.Reduced = explain.Brief(job.Explained)
		}
		for _, i := range lost {
			f.g.Lost(i, "task "+string(job.Sub(f.j.ID, i)), err, time.Now(), f.roll())
			f.event(i, "retried", "", "its output was lost", 0)
		}
		f.res.ResultMoved += out.DataMoved + moved
		f.res.CodeMoved += out.CodeMoved
		if err != nil {
			f.failed(flight{s.Task, s.Attempt}, at, t.ID, said, err)
			return
		}
		f.outcomes[len(f.parts)] = out
		f.say(s.Task, said)
		f.g.Ran(s.Task, s.Attempt, out.Output, out.Seconds, time.Now())
		f.event(s.Task, "done", at, "", out.Seconds)
	})
}

// missingOutputs returns the map tasks whose outputs cannot be had any more.
func (f *flow) missingOutputs(ins []shoal.Input) (lost []int) {
	for _, in := range ins {
		if f.still(in.CID.String()) {
			continue
		}
		ctx, cancel := context.WithTimeout(f.work, keepWait)
		_, err := f.p.d.Data.Ensure(ctx, in.CID, "result", nil)
		cancel()
		var i int
		if _, e := fmt.Sscanf(in.Name, "%d", &i); err != nil && e == nil && f.work.Err() == nil {
			lost = append(lost, i)
		}
	}
	return lost
}

// output copies what a task prints into the job's log.
func (f *flow) output(live io.Writer, stderr bool) io.Writer {
	return logged{live, f.tracker, stderr}
}

type logged struct {
	live    io.Writer
	tracker job.Tracker
	stderr  bool
}

func (l logged) Write(p []byte) (int, error) {
	l.tracker.Log(l.stderr, p)
	if l.live == nil {
		return len(p), nil
	}
	return l.live.Write(p)
}

// single runs a job of one task; the scheduler tries again by itself.
func (f *flow) single() {
	t := shoal.Task{
		Created: f.created, ID: job.Sub(f.j.ID, 0), Job: f.j.ID, Module: f.j.Module, Args: f.j.Args, Inputs: f.j.Data, Needs: f.j.Needs,
		Limits: f.j.Limits,
	}
	o := job.Options{
		On: f.j.On, From: f.sources(nil), Stdout: f.output(f.j.Stdout, false), Stderr: f.output(f.j.Stderr, true),
		Placed: func(id shoal.PeerID) { f.h.event(Event{State: "started", Peer: id, Total: 1}) },
	}
	out, explain, err := f.p.d.Tasks.Run(f.ctx, t, o)
	f.res.Exit, f.res.Output, f.res.Peer = out.Exit, out.Output, out.Peer
	if len(explain.Choices) > 0 {
		f.res.Explain = []cost.Explain{explain}
	}
	f.outcomes[0] = out
	e := Event{State: "done", Peer: out.Peer, Done: 1, Total: 1, Seconds: out.Seconds}
	if err == nil {
		f.res.CodeMoved, f.res.DataMoved = out.CodeMoved, out.DataMoved
		if c, e := shoal.ParseCID(out.Output); e == nil {
			var moved uint64
			if moved, err = f.p.d.Data.Ensure(f.ctx, c, "result", []shoal.PeerID{out.Peer}); err == nil {
				f.pin(c)
			}
			f.res.ResultMoved = moved
		}
	}
	if err != nil {
		if f.ctx.Err() != nil {
			err = f.cause()
		}
		f.g.Abort(err)
		e.State, e.Why, e.Done = "failed", err.Error(), 0
	}
	f.h.event(e)
}

// add counts what a task moved.
func (f *flow) add(i int, out shoal.Outcome) {
	f.outcomes[i] = out
	f.res.CodeMoved += out.CodeMoved
	f.res.DataMoved += out.DataMoved
}

// count sums the tasks that have finished.
func (f *flow) count() {
	c := &f.res.Counts
	c.Tasks, c.Done, c.OnHolders, c.DataRead, c.Gas, c.ByNode = max(len(f.parts), 1), 0, 0, 0, 0, map[string]int{}
	for i, out := range f.outcomes[:c.Tasks] {
		if f.j.Each && !f.g.Finished(i) || !f.j.Each && (f.g.Err() != nil || out.Peer == "") {
			continue
		}
		c.Done++
		c.ByNode[string(out.Peer)]++
		c.DataRead += out.DataRead
		c.Gas += out.Gas
		if out.Holder {
			c.OnHolders++
		}
	}
	if f.j.Reduce != nil {
		c.Gas += f.outcomes[len(f.parts)].Gas
	}
	g := f.g.Counts()
	c.Retries, c.Copies, c.CopiesWon = g.Retries, g.Copies, g.Won
}

// collect fills in the outputs of a job that has ended well.
func (f *flow) collect() {
	if f.j.Reduce != nil {
		out := f.outcomes[len(f.parts)]
		f.res.Exit, f.res.Output, f.res.Peer = out.Exit, out.Output, out.Peer
		if c, err := shoal.ParseCID(out.Output); err == nil {
			f.pin(c)
		}
		return
	}
	f.res.Peer = f.p.self
	var entries []Entry
	for i := range f.parts {
		output := f.g.Output(i)
		f.res.Outputs = append(f.res.Outputs, output)
		if f.res.Exit == 0 {
			f.res.Exit = f.outcomes[i].Exit
		}
		if c, err := shoal.ParseCID(output); err == nil {
			entries = append(entries, Entry{outName(i), c})
		}
	}
	if f.p.d.Combine == nil || len(entries) == 0 {
		return
	}
	c, err := f.p.d.Combine(f.ctx, entries)
	if err != nil {
		f.p.cfg.Log.Warn("the outputs of a job stay apart", "job", f.j.ID, "error", err)
		return
	}
	f.res.Output = c.String()
	f.pin(c)
}

// pin has this node keep an output.
func (f *flow) pin(c cid.Cid) {
	if f.p.d.Keep == nil {
		return
	}
	if err := f.p.d.Keep(f.ctx, c); err != nil {
		f.p.cfg.Log.Warn("a job's output is not kept for good", "job", f.j.ID, "error", err)
	}
}

// event tells of a task. The loop calls it.
func (f *flow) event(i int, state string, at shoal.PeerID, why string, seconds float64) {
	f.h.event(Event{Index: i, State: state, Peer: at, Why: why, Done: f.g.DoneCount(), Total: len(f.parts), Seconds: seconds})
}
