package scheduler

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/fair"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/mount"
	"github.com/shoal-fabric/shoal/wire"
)

// executor runs tasks on this node: a few slots, and before them a bounded queue that is fair to
// owners. A task's slot is its own from fetching to the end.
type executor struct {
	cfg     Config
	d       Deps
	scratch string
	runs    atomic.Uint64

	mu        sync.Mutex
	running   int
	holds     fair.Holds              // places that offers keep
	queue     *fair.Queue[chan error] // told once: nil when it is that task's turn, or why it will not be
	draining  bool
	quiet     chan struct{} // closed when nothing runs or waits; nil: nobody asks
	preparing map[cid.Cid]chan struct{}
}

// turn is a task's right to a slot.
type turn = fair.Item[chan error]

func newExecutor(cfg Config, d Deps, scratch string) *executor {
	return &executor{
		cfg: cfg, d: d, scratch: scratch, preparing: map[cid.Cid]chan struct{}{},
		queue: fair.New[chan error](fair.Config{Total: cfg.Queue, PerOwner: cfg.OwnerQueue, Slots: cfg.Slots, Weights: cfg.Weights}),
	}
}

func (x *executor) load() shoal.Load {
	x.mu.Lock()
	defer x.mu.Unlock()
	return shoal.Load{Slots: x.cfg.Slots, Running: x.running, Queued: x.queue.Len(), TaskSecs: x.queue.Mean()}
}

// loadFor is the load as one owner meets it: only what would go before that owner's next task is
// queued, and the mean is that of what runs and goes before.
func (x *executor) loadFor(owner shoal.PeerID) shoal.Load {
	x.mu.Lock()
	defer x.mu.Unlock()
	ahead, seconds := x.queue.Ahead(owner)
	l := shoal.Load{Slots: x.cfg.Slots, Running: x.running, Queued: ahead, TaskSecs: x.queue.Mean()}
	if serving, more := x.queue.Serving(); l.TaskSecs > 0 && serving+ahead > 0 {
		l.TaskSecs = (seconds + more) / float64(serving+ahead)
	}
	// Those that were offered a place and have not come yet are ahead, too.
	l.Queued += int(math.Round(x.holds.Others(owner, time.Now())))
	return l
}

// enter waits for a slot, behind at most so many tasks (negative: any number). The caller calls leave.
func (x *executor) enter(ctx context.Context, owner shoal.PeerID, most int, what string) (*turn, error) {
	x.mu.Lock()
	if x.draining {
		x.mu.Unlock()
		return nil, errDraining(what)
	}
	if err := x.room(owner, most, what); err != nil {
		x.mu.Unlock()
		return nil, err
	}
	t, pushed := x.queue.Push(owner, make(chan error, 1))
	if t == nil {
		defer x.mu.Unlock()
		return nil, x.full(owner, what)
	}
	if pushed != nil {
		pushed.Value <- x.full(pushed.Owner, "")
	}
	x.fill()
	x.mu.Unlock()
	var err error
	select {
	case err = <-t.Value:
		if err != nil {
			return nil, shoal.Wrap(shoal.Overloaded, what, err)
		}
		return t, nil
	case <-ctx.Done():
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.queue.Remove(t) {
		x.rest()
	} else if err := <-t.Value; err == nil { // both at once: hand the slot on
		x.free(t, 0)
	}
	return nil, shoal.Wrap(shoal.Canceled, what, ctx.Err())
}

func errDraining(what string) error {
	return shoal.E(shoal.Unavailable, what, "the node takes no new tasks: it is about to stop", "another node takes it")
}

// full is the refusal of a task that may not wait. The lock is held.
func (x *executor) full(owner shoal.PeerID, what string) *shoal.Error {
	mine, all := x.queue.Waiting(owner), x.queue.Len()
	why := fmt.Sprintf("%d tasks of %s wait, all that one owner may have in this queue", mine, owner.Short())
	if mine < x.cfg.OwnerQueue {
		why = fmt.Sprintf("%d tasks wait, which is all the queue holds, and %d of them are of %s, no less than its share",
			all, mine, owner.Short())
	}
	e := shoal.E(shoal.Overloaded, what, why, "run it later, or add nodes")
	e.RetryAfter = x.queue.RetryAfter(owner)
	return e
}

// leave frees a slot that was held for so long.
func (x *executor) leave(t *turn, seconds float64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.free(t, seconds)
}

// free ends a turn. The lock is held.
func (x *executor) free(t *turn, seconds float64) {
	x.queue.Done(t, seconds)
	x.running--
	x.fill()
	x.rest()
}

// fill gives free slots to the tasks that are next. The lock is held.
func (x *executor) fill() {
	for x.running < x.cfg.Slots {
		t := x.queue.Pop()
		if t == nil {
			return
		}
		x.running++
		t.Value <- nil
	}
}

// rest tells who waits for the end of all tasks. The lock is held.
func (x *executor) rest() {
	if x.quiet != nil && x.running == 0 && x.queue.Len() == 0 {
		close(x.quiet)
		x.quiet = nil
	}
}

// drain refuses new tasks from now on.
func (x *executor) drain() {
	x.mu.Lock()
	x.draining = true
	x.mu.Unlock()
}

// idle waits until nothing runs or waits.
func (x *executor) idle(ctx context.Context) error {
	x.mu.Lock()
	if x.running == 0 && x.queue.Len() == 0 {
		x.mu.Unlock()
		return nil
	}
	if x.quiet == nil {
		x.quiet = make(chan struct{})
	}
	quiet := x.quiet
	x.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return shoal.Wrap(shoal.Timeout, "wait for running tasks", ctx.Err())
	}
}

// order is a task as it reaches the executor.
type order struct {
	task           shoal.Task
	most           int            // tasks that may wait before it; negative: any number
	class          string         // of its inputs' bytes
	from           []shoal.PeerID // who has what it needs
	stdin          io.Reader
	stdout, stderr io.Writer
	state          func(shoal.TaskState) // told of each change
}

// run takes a task through its life on this node. The outcome tells how far it came also when it
// failed.
func (x *executor) run(ctx context.Context, o order) (out shoal.Outcome, err error) {
	what := "task " + string(o.task.ID)
	out.Peer = x.d.Peers.Self()
	arrived := time.Now()
	o.state(shoal.TaskQueued)
	turn, err := x.enter(ctx, o.task.Owner, o.most, what)
	if err != nil {
		return out, err
	}
	began := time.Now()
	out.Wait = began.Sub(arrived).Seconds()
	defer func() {
		x.leave(turn, time.Since(began).Seconds())
		if ctx.Err() != nil && err != nil { // whatever broke, this is why
			err = shoal.Wrap(shoal.Canceled, what, ctx.Err())
		}
	}()

	o.state(shoal.TaskFetching)
	if err := x.fetch(ctx, o, &out); err != nil {
		return out, err
	}
	out.Fetch = time.Since(began).Seconds()
	if err := x.compile(ctx, o.task.Module, &out); err != nil {
		return out, err
	}
	data, err := x.mount(ctx, o.task.Inputs)
	if err != nil {
		return out, err
	}
	dir := filepath.Join(x.scratch, fmt.Sprintf("%s.%d", job.FileName(o.task.ID), x.runs.Add(1)))
	if err := os.MkdirAll(filepath.Join(dir, "out"), 0o700); err != nil {
		return out, shoal.Wrap(shoal.Internal, what+": make its folder", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil {
			x.cfg.Log.Warn("a task's folder stays", "folder", dir, "error", e)
		}
	}()

	o.state(shoal.TaskRunning)
	seed := seedOf(o.task)
	run := shoal.Run{
		Module: o.task.Module, Args: o.task.Args, Stdin: o.stdin, Stdout: o.stdout, Stderr: o.stderr,
		Out: filepath.Join(dir, "out"), Limits: o.task.Limits, Seed: seed[:],
	}
	if data != nil {
		run.Data = data
	}
	if x.d.Agents != nil {
		run.Call = x.caller(o.task)
	}
	var shared shoal.Draft
	if x.d.Shared != nil {
		shared = x.d.Shared.Draft(false)
		run.Shared = shared
	}
	ran, err := x.d.Runner.Run(ctx, run)
	out.Exit, out.Seconds, out.Gas, out.Over = ran.Exit, ran.Seconds, ran.Gas, ran.Over
	out.Devices, out.Bounds = ran.Devices, ran.Bounds
	if data != nil {
		out.DataRead = data.BytesRead()
	}
	if err != nil {
		return out, shoal.Wrap(shoal.Internal, what, err)
	}
	if err := x.adopt(ctx, run.Out, &out); err != nil || out.Exit != 0 || shared == nil {
		return out, err
	}
	return out, shoal.Wrap(shoal.Internal, what, shared.Commit(ctx))
}

// caller has a task call agents. The names of its requests come from its own: another try or copy of it that calls the
// same gets the recorded replies, so that each call happens once.
func (x *executor) caller(t shoal.Task) func(context.Context, int, string, string, []byte) ([]byte, error) {
	return func(ctx context.Context, n int, agent, method string, payload []byte) ([]byte, error) {
		r := shoal.CallRequest{Method: method, Payload: payload, Begun: t.Created}
		if t.Created > 0 {
			r.Request = fmt.Sprintf("%s.%d", t.ID, n)
		}
		return x.d.Agents.Call(ctx, agent, r)
	}
}

// seedOf is what a task's randomness grows from: the same program with the same input draws the same on
// every node, and so costs the same gas.
func seedOf(t shoal.Task) [sha256.Size]byte {
	return sha256.Sum256(append([]byte("shoal task seed\x00"), wire.Marshal(shoal.Task{
		Module: t.Module, Args: t.Args, Inputs: t.Inputs,
	})...))
}

// fetch brings what is missing of code and inputs here.
func (x *executor) fetch(ctx context.Context, o order, out *shoal.Outcome) error {
	if !x.d.Runner.Ready(o.task.Module) {
		if here, _ := x.present(ctx, o.task.Module); !here {
			moved, err := x.d.Data.Ensure(ctx, o.task.Module, "code", o.from)
			out.CodeMoved += moved
			if err != nil {
				return shoal.Wrap(shoal.Unavailable, "fetch module "+o.task.Module.String(), err)
			}
		}
	}
	class := o.class
	if class == "" {
		class = "data"
	}
	out.Holder = len(o.task.Inputs) > 0
	used := func(c cid.Cid, took time.Duration) {
		if x.d.Used != nil && class == "data" {
			x.d.Used(c, took)
		}
	}
	for _, in := range o.task.Inputs {
		if here, _ := x.present(ctx, in.CID); here {
			used(in.CID, 0)
			continue
		}
		out.Holder = false
		began := time.Now()
		moved, err := x.d.Data.Ensure(ctx, in.CID, class, o.from)
		out.DataMoved += moved
		if err != nil {
			return shoal.Wrap(shoal.Unavailable, "fetch input "+in.Name+" ("+in.CID.String()+")", err)
		}
		used(in.CID, time.Since(began))
	}
	return nil
}

// present reports whether all of a graph is here, and how many bytes are known to be missing.
func (x *executor) present(ctx context.Context, c cid.Cid) (bool, uint64) {
	_, missing, err := x.d.Data.Missing(ctx, c)
	return err == nil && missing == 0, missing
}

// compile makes the module ready, once for all tasks that need it at the same time.
func (x *executor) compile(ctx context.Context, module cid.Cid, out *shoal.Outcome) error {
	what := "compile module " + module.String()
	for !x.d.Runner.Ready(module) {
		x.mu.Lock()
		wait := x.preparing[module]
		if wait == nil {
			x.preparing[module] = make(chan struct{})
		}
		x.mu.Unlock()
		if wait != nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return shoal.Wrap(shoal.Canceled, what, ctx.Err())
			}
		}
		began := time.Now()
		err := x.compileNow(ctx, module)
		out.Compile = time.Since(began).Seconds()
		var limit interface{ Over() time.Duration } // what a compilation that met its limit says
		if errors.As(err, &limit) {
			out.Over = limit.Over().Seconds()
		}
		x.mu.Lock()
		close(x.preparing[module])
		delete(x.preparing, module)
		x.mu.Unlock()
		return shoal.Wrap(shoal.Internal, what, err)
	}
	return nil
}

func (x *executor) compileNow(ctx context.Context, module cid.Cid) error {
	if here, _ := x.present(ctx, module); !here { // ready when fetch looked, and no longer
		if _, err := x.d.Data.Ensure(ctx, module, "code", nil); err != nil {
			return err
		}
	}
	tree, err := x.d.Data.Open(ctx, module)
	if err != nil {
		return err
	}
	wasm, err := readModule(tree)
	if err != nil {
		return err
	}
	_, err = x.d.Runner.Compile(ctx, module, wasm)
	return err
}

// mount opens the inputs as one folder; nil when there are none.
func (x *executor) mount(ctx context.Context, ins []shoal.Input) (*mount.Inputs, error) {
	if len(ins) == 0 {
		return nil, nil
	}
	trees := make([]Tree, len(ins))
	for i, in := range ins {
		t, err := x.d.Data.Open(ctx, in.CID)
		if err != nil {
			return nil, shoal.Wrap(shoal.Internal, "open input "+in.Name, err)
		}
		trees[i] = t
	}
	return mount.New(ins, trees)
}

// adopt keeps what the task left in /out.
func (x *executor) adopt(ctx context.Context, dir string, out *shoal.Outcome) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return shoal.Wrap(shoal.Internal, "read /out", err)
	}
	if len(entries) == 0 {
		return nil
	}
	c, bytes, err := x.d.Data.Adopt(ctx, dir)
	if err != nil {
		return shoal.Wrap(shoal.Internal, "keep /out", err)
	}
	out.Output, out.OutBytes = c.String(), bytes
	return nil
}
