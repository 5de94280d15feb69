package scheduler

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/rpc/pipe"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

// offerRequest asks a peer what a task would cost there.
type offerRequest struct {
	Module cid.Cid      `cbor:"module"`
	Inputs []cid.Cid    `cbor:"inputs,omitempty"`
	Needs  string       `cbor:"needs,omitempty"`
	Limits shoal.Limits `cbor:"limits"`
	Asked  int          `cbor:"asked,omitempty"` // peers that are asked at the same time; 0: only for the explanation
}

// offer is a peer's answer, about this moment.
type offer struct {
	Slots    int      `cbor:"slots"`
	Running  int      `cbor:"running"`
	Queued   int      `cbor:"queued"` // what goes before the asker's next task
	TaskSecs float64  `cbor:"task_s"` // mean of those and of what runs
	HashMBs  float64  `cbor:"hash"`
	Compiled bool     `cbor:"compiled"`
	Code     bool     `cbor:"code"`                 // it has the module
	Lacks    []uint64 `cbor:"lacks,omitempty"`      // per input: bytes known to be missing
	Has      []bool   `cbor:"has,omitempty"`        // per input: all of it is there
	Refusal  string   `cbor:"refusal,omitempty"`    // why the peer would not take it
	Retry    bool     `cbor:"retry,omitempty"`      // whether it may later
	After    int64    `cbor:"retry_ms,omitempty"`   // when, in milliseconds
	Left     int      `cbor:"queue_left,omitempty"` // free places in its queue, for the asker
}

// runRequest sends a task to a runner.
type runRequest struct {
	Task  shoal.Task     `cbor:"task"`
	Class string         `cbor:"class,omitempty"`
	From  []shoal.PeerID `cbor:"from,omitempty"`
	Most  int            `cbor:"most,omitempty"` // refuse if as many wait before it; 0: never
}

const (
	maxHints       = 256 // peers in one request
	maxOfferInputs = 4096
)

// serve registers the methods.
func (s *Scheduler) serve() {
	s.d.Peers.Handle("task.offer", s.handleOffer)
	s.d.Peers.HandleStream("task.run", s.handleRun)
	s.d.Peers.Handle("task.show", s.handleShow)
	s.d.Peers.Handle("task.wait", s.handleWait)
	s.d.Peers.Handle("task.list", s.handleList)
	s.d.Peers.Handle("task.cancel", s.handleCancel)
	s.d.Peers.HandleStream("task.logs", s.handleLogs)
}

func (s *Scheduler) handleOffer(ctx context.Context, from shoal.PeerID, request []byte) ([]byte, error) {
	var q offerRequest
	if err := wire.Unmarshal("offer request", request, &q); err != nil {
		return nil, err
	}
	bad := func(why string) error { return shoal.E(shoal.Invalid, "offer request", why, "") }
	switch {
	case !q.Module.Defined():
		return nil, bad("it names no module")
	case len(q.Inputs) > maxOfferInputs:
		return nil, bad("too many inputs")
	case len(q.Needs) > maxNeeds:
		return nil, bad("requirements too long")
	case q.Asked < 0:
		return nil, bad("nobody was asked")
	}
	for _, c := range q.Inputs {
		if !c.Defined() {
			return nil, bad("an input without CID")
		}
	}
	o, err := s.offer(ctx, from, q)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(o), nil
}

// offer is what this node says of a task of some owner. It keeps a place for it for a moment.
func (s *Scheduler) offer(ctx context.Context, owner shoal.PeerID, q offerRequest) (offer, error) {
	load, queue := s.exec.load(), s.exec.loadFor(owner)
	self := s.d.Members.Self()
	o := offer{
		Slots: load.Slots, Running: queue.Running, Queued: queue.Queued, TaskSecs: queue.TaskSecs,
		HashMBs: self.Attributes.HashMBs, Compiled: s.d.Runner.Ready(q.Module),
	}
	o.Code = o.Compiled
	if !o.Code {
		o.Code, _ = s.exec.present(ctx, q.Module)
	}
	for _, c := range q.Inputs {
		here, missing := s.exec.present(ctx, c)
		o.Has, o.Lacks = append(o.Has, here), append(o.Lacks, missing)
	}
	needs, err := s.place.needs(q.Module, q.Needs, q.Limits)
	if err != nil {
		return offer{}, err
	}
	self.State, self.Load = shoal.Alive, load
	if v := needs.Check(&self, time.Now()); !v.OK {
		o.Refusal, o.Retry = v.Reason, v.Retry
		return o, nil
	}
	left, why := s.exec.closed(owner)
	if why == nil && s.d.Room != nil {
		wait, err := s.d.Room(q.Module, q.Limits)
		if errors.As(err, &why); wait {
			o.Running, o.Queued = max(o.Running, o.Slots), max(o.Queued, 1)
		}
	}
	if o.Left = left; why != nil {
		o.Refusal, o.Retry, o.After = why.Why, shoal.Retryable(why), why.RetryAfter.Milliseconds()
	} else if q.Asked > 0 && owner != s.self {
		s.exec.hold(owner, q.Asked)
	}
	return o, nil
}

// closed says how many tasks of an owner the executor would let wait now, and if none, why.
func (x *executor) closed(owner shoal.PeerID) (left int, why *shoal.Error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	left = x.queue.Left(owner)
	switch {
	case x.draining:
		return 0, shoal.E(shoal.Unavailable, "", "it is about to stop", "")
	case left == 0:
		return 0, x.full(owner, "")
	}
	return left, nil
}

// hold keeps a place for an owner that asked so many peers for an offer.
func (x *executor) hold(owner shoal.PeerID, asked int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.holds.Add(owner, asked, time.Now())
}

// room is a refusal if more than most tasks wait before an owner's next, or if the last places are kept for others. The
// lock is held.
func (x *executor) room(owner shoal.PeerID, most int, what string) error {
	kept := x.holds.Take(owner, time.Now())
	if others := x.holds.Others(owner, time.Now()); !kept && others >= 1 && x.queue.Len()+int(others) >= x.cfg.Queue {
		return x.full(owner, what)
	}
	if most < 0 {
		return nil
	}
	if ahead, _ := x.queue.Ahead(owner); ahead > most || ahead == most && most == 0 && x.running >= x.cfg.Slots {
		return shoal.E(shoal.Overloaded, what, "more tasks came first than were there when it was asked", "it is placed anew")
	}
	return nil
}

// handleRun runs one task for its home. It lives as long as the stream: when that breaks, so does
// the task.
func (s *Scheduler) handleRun(ctx context.Context, from shoal.PeerID, request []byte, stream shoal.Stream) error {
	var q runRequest
	if err := wire.Unmarshal("task", request, &q); err != nil {
		return err
	}
	if err := checkTask(q.Task); err != nil {
		return err
	}
	if len(q.From) > maxHints {
		return shoal.E(shoal.Invalid, "task", "too many hints", "")
	}
	q.Task.Owner = from
	what := "task " + string(q.Task.ID)
	if !s.enter() {
		return errStopping(what)
	}
	defer s.tasks.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unlink := context.AfterFunc(s.life, func() { cancel(errStopping(what)) })
	defer unlink()

	c := newConn(stream)
	stdin := pipe.New(stdinWindow)
	defer stdin.CloseRead(io.ErrClosedPipe)
	if !q.Task.Stdin {
		stdin.CloseWrite(nil)
	}
	read := make(chan struct{}) // closes when nothing more is read from the stream
	go func() {
		defer close(read)
		cancel(s.listen(c, stdin, what, cancel))
	}()
	done := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() { c.beat(s.cfg.Silence, done) })

	e := s.book.put(newRecord(q.Task, s.self, time.Now()), func() { cancel(shoal.E(shoal.Canceled, what, "canceled", "")) })
	log := s.logs.begin(q.Task.ID)
	out, err := s.exec.run(ctx, order{
		task: q.Task, class: q.Class, from: append(q.From, from), most: q.Most - 1,
		stdin:  &counted{r: stdin, c: c},
		stdout: tee{log, logOut, writer{c, frameStdout}}, stderr: tee{log, logErr, writer{c, frameStderr}},
		state: func(st shoal.TaskState) {
			s.book.update(e, func(r *job.Record) { r.State = st; begun(r, st) })
			_ = c.send(frame{Kind: frameState, State: st}) // a broken stream cancels by itself
		},
	})
	stdin.CloseRead(io.ErrClosedPipe)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		if err = cause; errors.Is(cause, context.Canceled) { // by nobody who said so: the node or the stream ends
			err = errStopping(what)
		}
	}
	log.end()
	s.book.update(e, func(r *job.Record) { finish(r, out, err, time.Now()) })
	sendErr := c.send(frame{Kind: frameOutcome, Outcome: &out, Err: wireError(err)})
	close(done)
	beats.Wait()
	if sendErr != nil {
		return shoal.Wrap(shoal.Unavailable, what+": tell the outcome", sendErr)
	}
	// The home closes once it has the outcome; until then the stream stays, so that nothing is cut off.
	t := time.NewTimer(s.cfg.Silence)
	defer t.Stop()
	select {
	case <-read:
	case <-t.C:
	case <-s.life.Done():
	}
	return nil
}

func errStopping(what string) error {
	return shoal.E(shoal.Unavailable, what, "the node stops", "it runs again elsewhere if it can")
}

// listen takes the frames of a task's home until the stream ends, and says why that ends the task.
func (s *Scheduler) listen(c *conn, stdin *pipe.Pipe, what string, cancel context.CancelCauseFunc) error {
	for {
		f, err := c.watched(s.cfg.Silence)
		if err != nil {
			stdin.Break(err)
			return shoal.E(shoal.Unavailable, what, "the node that asked for it is gone", "")
		}
		switch f.Kind {
		case frameStdin:
			if _, err := stdin.Write(f.Data); err != nil { // the task reads no more
				continue
			}
		case frameEOF:
			stdin.CloseWrite(nil)
		case frameCancel:
			cancel(shoal.E(shoal.Canceled, what, "canceled", ""))
		case frameBeat:
		default:
			c.s.Reset()
			return shoal.E(shoal.Invalid, what, "a frame that only a runner sends", "")
		}
	}
}

// counted is the input of a task; from time to time it tells the home how much was read, so that more
// may come.
type counted struct {
	r io.Reader
	c *conn
	n uint32 // read and not told
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), stdinWindow/2)])
	if r.n += uint32(n); r.n >= chunkBytes {
		if e := r.c.send(frame{Kind: frameTaken, N: r.n}); e != nil && err == nil {
			err = e
		}
		r.n = 0
	}
	return n, err
}

// tee keeps what a task prints and passes it on.
type tee struct {
	log    *taskLog
	stream byte
	live   io.Writer // nil: nobody watches
}

func (t tee) Write(p []byte) (int, error) {
	t.log.write(t.stream, p)
	if t.live == nil {
		return len(p), nil
	}
	return t.live.Write(p)
}

// newRecord is the record of a task that begins.
func newRecord(t shoal.Task, peer shoal.PeerID, now time.Time) job.Record {
	return job.Record{
		ID: t.ID, Kind: job.KindTask, Home: t.Owner, Peer: peer, Module: shoal.CodeName(t.Module), Args: t.Args,
		State: shoal.TaskQueued, Created: now.UnixMilli(),
	}
}

// begun notes the time at which a slot took the task.
func begun(r *job.Record, st shoal.TaskState) {
	if r.Started == 0 && (st == shoal.TaskFetching || st == shoal.TaskRunning) {
		r.Started = time.Now().UnixMilli()
	}
}

// finish ends a record.
func finish(r *job.Record, out shoal.Outcome, err error, now time.Time) {
	r.State, r.Ended, r.Outcome, r.Err = job.EndState(err), now.UnixMilli(), &out, wireError(err)
}
