package scheduler

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

// RunOptions say how to run one task.
type RunOptions = job.Options

// Run places a task, runs it there and returns what came of it. A task without ID gets one; this
// node becomes its owner. When a peer fails, the task runs again elsewhere (see job.Tries). The end
// of ctx cancels the task where it runs. The explanation is that of the last placement.
//
// The error's kind tells: Failed, the program broke or met a limit; Refused, no peer fits;
// Unavailable or Overloaded, no peer could take it now; Canceled, Timeout, the caller's doing. A
// non-zero exit code is no error.
func (s *Scheduler) Run(ctx context.Context, t shoal.Task, o RunOptions) (shoal.Outcome, cost.Explain, error) {
	if t.ID == "" {
		t.ID = s.NewID()
	}
	t.Owner, t.Stdin = s.self, o.Stdin != nil
	if err := checkTask(t); err != nil {
		return shoal.Outcome{}, cost.Explain{Task: t.ID}, err
	}
	what := "task " + string(t.ID)
	if !s.enter() {
		return shoal.Outcome{}, cost.Explain{Task: t.ID}, errStopping(what)
	}
	defer s.tasks.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unlink := context.AfterFunc(s.life, func() { cancel(errStopping(what)) })
	defer unlink()

	r := &run{s: s, t: t, o: o, what: what, stdin: newPump(o.Stdin)}
	rec, end := newRecord(t, "", time.Now()), func() { cancel(shoal.E(shoal.Canceled, what, "canceled", "")) }
	if o.Copy {
		r.e, r.copy = s.book.join(rec, end)
	} else {
		r.e = s.book.put(rec, end)
	}
	defer r.stdin.stop()
	out, explain, err := r.attempts(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = shoal.Wrap(shoal.Canceled, what, cause)
		var own *shoal.Error
		if errors.As(cause, &own) {
			err = cause
		}
	}
	s.book.end(r.e, r.copy, explain, out, err, time.Now())
	if err == nil {
		s.learn(t.Module, out)
	}
	return out, explain, err
}

// Place decides where a task would run now, as Run does, and runs nothing. The error tells why nobody would take it.
func (s *Scheduler) Place(ctx context.Context, t shoal.Task, o RunOptions) (cost.Explain, error) {
	if t.ID == "" {
		t.ID = s.NewID()
	}
	t.Owner = s.self
	if err := checkTask(t); err != nil {
		return cost.Explain{Task: t.ID}, err
	}
	peer, e, err := s.place.choose(ctx, t, o, job.NewTries(s.cfg.Retry), time.Time{})
	if err == nil {
		s.place.left(peer)
	}
	return e, err
}

// run is one task on its way.
type run struct {
	s    *Scheduler
	t    shoal.Task
	o    RunOptions
	e    *entry
	copy int // of the task, in its record
	most int // the peer is to refuse if as many tasks wait before it; 0: never

	begun   atomic.Bool // at the peer, which is no longer only what it offered
	gone    bool        // the peer did not answer for the task
	late    int         // how often a peer did not begin it
	refused time.Time   // when a peer was chosen that was full: what was known before is old
	what    string
	stdin   *pump
	shown   atomic.Bool // output reached the caller
}

// attempts tries peers until one has run the task or the decision is to give up.
func (r *run) attempts(ctx context.Context) (out shoal.Outcome, explain cost.Explain, err error) {
	policy := r.s.cfg.Retry
	if r.o.Attempts > 0 {
		policy.Attempts = r.o.Attempts
		if r.o.Attempts == 1 {
			policy.Waits = 1
		}
	}
	tries := job.NewTries(policy)
	for n := 1; ; n++ {
		var peer shoal.PeerID
		var placed time.Time
		peer, explain, err = r.s.place.choose(ctx, r.t, r.o, tries, r.refused)
		if err == nil {
			if r.o.Placed != nil {
				r.o.Placed(peer)
			}
			r.s.book.copied(r.e, r.copy, peer, shoal.TaskQueued, func(rec *job.Record) {
				rec.Peer, rec.Attempts, rec.State = peer, n, shoal.TaskQueued
				rec.Explained(explain)
			})
			r.most, placed = r.bound(explain, tries), time.Now()
			r.begun.Store(false)
			r.gone = false
			out, err = r.attempt(ctx, peer, r.patience(explain))
			if r.gone && !r.begun.Load() && ctx.Err() == nil {
				r.s.lost(peer)
			}
			r.s.place.left(peer)
		}
		if err == nil || ctx.Err() != nil {
			return out, explain, err
		}
		if tries.Next(peer, err, len(explain.Open())-1) {
			r.s.place.forget(peer)
			r.refused = placed
			continue
		}
		d := tries.Failed(peer, err, r.shown.Load() || r.stdin.used(), r.s.roll())
		if !d.Again {
			return out, explain, err
		}
		if peer != "" {
			r.s.place.forget(peer)
			r.s.cfg.Log.Info("a task is tried again", "task", r.t.ID, "peer", peer.Short(), "after", d.After, "error", err)
		}
		pause := time.NewTimer(d.After)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return out, explain, shoal.Wrap(shoal.Canceled, r.what, ctx.Err())
		}
	}
}

// looks is how often a task looks for a shorter queue before it waits.
const looks = 3

// bound is how many tasks may wait before this one at the chosen peer. What is known of its queue may be old, and
// known to many; of those that come at once the peer takes as many as it said, and the others look again, at what
// is so then. Whoever has looked again a few times waits wherever it is.
func (r *run) bound(e cost.Explain, tries *job.Tries) int {
	if tries.Nexts() >= looks || r.o.Attempts > 0 || len(e.Open()) < 2 {
		return 0
	}
	c, _ := e.Chosen()
	if c.Peer == r.s.self { // of itself it knew what is so
		return 0
	}
	return c.Ahead + 1
}

// patience is how long the chosen peer may take to begin the task; 0: as long as it takes. A queue may grow fairly
// long behind a promise, so it is short only against what was expected, and a task moves on only twice.
func (r *run) patience(e cost.Explain) time.Duration {
	c, _ := e.Chosen()
	if r.late >= 2 || r.o.Attempts > 0 || len(e.Open()) < 2 {
		return 0
	}
	return r.s.cfg.Start + time.Duration(4*min(c.Terms.Wait, 1e6)*float64(time.Second))
}

func (r *run) attempt(ctx context.Context, peer shoal.PeerID, patience time.Duration) (shoal.Outcome, error) {
	if peer == r.s.self {
		return r.here(ctx)
	}
	leave, err := r.s.window(ctx, peer)
	if err != nil {
		return shoal.Outcome{Peer: peer}, err
	}
	defer leave()
	return r.there(ctx, peer, patience)
}

// here runs the task on this node: a function call.
func (r *run) here(ctx context.Context) (shoal.Outcome, error) {
	log := r.s.logs.begin(r.t.ID)
	defer log.end()
	return r.s.exec.run(ctx, order{
		task: r.t, class: r.o.Class, from: r.hints(), stdin: r.stdin.reader(ctx), most: r.most - 1,
		stdout: tee{log, logOut, r.live(r.o.Stdout)}, stderr: tee{log, logErr, r.live(r.o.Stderr)},
		state: r.state,
	})
}

func (r *run) state(st shoal.TaskState) {
	if st == shoal.TaskFetching || st == shoal.TaskRunning {
		r.begun.Store(true)
	}
	r.s.book.copied(r.e, r.copy, "", st, func(rec *job.Record) {
		rec.State = st
		begun(rec, st)
	})
}

// hints are peers that should have what the task needs.
func (r *run) hints() []shoal.PeerID {
	hints := append(append([]shoal.PeerID{}, r.o.From...), r.o.Holders...)
	if r.o.Holders == nil {
		hints = append(hints, r.s.place.holders(r.t)...)
	}
	return hints[:min(len(hints), maxHints-1)]
}

// live is where output goes at once; it notes that something was shown.
func (r *run) live(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return shower{w, &r.shown}
}

type shower struct {
	w     io.Writer
	shown *atomic.Bool
}

func (s shower) Write(p []byte) (int, error) {
	if len(p) > 0 {
		s.shown.Store(true)
	}
	return s.w.Write(p)
}

// there sends the task to a peer.
func (r *run) there(ctx context.Context, peer shoal.PeerID, patience time.Duration) (shoal.Outcome, error) {
	what := r.what + " on " + peer.Short()
	out := shoal.Outcome{Peer: peer}
	request := wire.Marshal(runRequest{Task: r.t, Class: r.o.Class, From: r.hints(), Most: r.most})
	if len(request) > maxTaskBytes {
		return out, shoal.E(shoal.Invalid, what, "its description is too large to be sent", "give it fewer inputs or arguments")
	}
	// The stream outlives ctx for a moment, so that a canceled task can say how it ended.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	slow := time.AfterFunc(r.s.cfg.Silence, end)
	unlink := context.AfterFunc(ctx, end)
	s, err := r.s.d.Peers.Open(life, peer, "task.run", request)
	if opened := slow.Stop(); err == nil && !opened {
		err = shoal.E(shoal.Unavailable, what, "no answer within "+r.s.cfg.Silence.String(), "")
	}
	if !unlink() || err != nil {
		if s != nil {
			s.Reset()
		}
		if ctx.Err() != nil {
			return out, shoal.Wrap(shoal.Canceled, what, ctx.Err())
		}
		r.gone = true
		return out, lost(what, err)
	}
	c := newConn(s)
	var late atomic.Bool
	if patience > 0 {
		t := time.AfterFunc(patience, func() {
			if !r.begun.Load() {
				late.Store(true)
				s.Reset()
			}
		})
		defer t.Stop()
	}
	done := make(chan struct{})
	var side sync.WaitGroup
	defer func() {
		close(done)
		stuck := time.AfterFunc(2*time.Second, s.Reset)
		defer stuck.Stop()
		s.Close()
		side.Wait()
	}()
	side.Go(func() { c.beat(r.s.cfg.Silence, done) })
	side.Go(func() { r.stdin.send(c, done) })
	side.Go(func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		_ = c.send(frame{Kind: frameCancel}) // if that fails the stream is broken anyway
		t := time.NewTimer(min(2*time.Second, r.s.cfg.Silence))
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
			s.Reset()
		}
	})
	got, err := r.receive(c, &out)
	if err != nil && ctx.Err() != nil {
		return out, shoal.Wrap(shoal.Canceled, what, ctx.Err())
	}
	if err != nil {
		s.Reset()
		r.gone = true
		if late.Load() {
			r.late++
			err = shoal.E(shoal.Unavailable, "", "it took the task and did not begin it within "+patience.Round(time.Millisecond).String(), "")
		}
		return out, lost(what, err)
	}
	if shoal.KindOf(got) == shoal.Canceled && ctx.Err() == nil { // not by us: the runner is going down
		return out, lost(what, shoal.E(shoal.Unavailable, "", "the peer gave it up", ""))
	}
	return out, got
}

// receive takes the runner's frames up to the outcome. The first result is what became of the task,
// the second what broke the stream.
func (r *run) receive(c *conn, out *shoal.Outcome) (task, broken error) {
	for {
		f, err := c.watched(r.s.cfg.Silence)
		if err != nil {
			return nil, err
		}
		var w io.Writer
		switch f.Kind {
		case frameState:
			r.state(f.State)
		case frameStdout:
			w = r.live(r.o.Stdout)
		case frameStderr:
			w = r.live(r.o.Stderr)
		case frameTaken:
			r.stdin.took(f.N)
		case frameOutcome:
			peer := out.Peer
			*out = *f.Outcome
			out.Peer = peer
			if f.Err != nil {
				return f.Err.Err(), nil
			}
			return nil, nil
		case frameBeat:
		default:
			return nil, shoal.E(shoal.Invalid, "task frame", "a frame that only a task's home sends", "")
		}
		if w != nil {
			if _, err := w.Write(f.Data); err != nil {
				return nil, shoal.Wrap(shoal.Canceled, "show the output", err)
			}
		}
	}
}
