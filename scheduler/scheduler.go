package scheduler

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/fair"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/mount"
	"github.com/shoal-fabric/shoal/scheduler/rates"
)

// Config is a scheduler's settings. Zero means the default in brackets.
type Config struct {
	Slots int    // tasks run at once [GOMAXPROCS]
	Queue int    // tasks that may wait [4096]
	Dir   string // logs and scratch folders; required

	OwnerQueue int                      // tasks of one owner that may wait [half of Queue]
	Weights    map[shoal.PeerID]float64 // of owners whose tasks wait at the same time, 0.001 to a million [1]

	OfferWait time.Duration // how long a peer may take to answer an offer [300 ms]
	OfferAge  time.Duration // how long its answer is fresh [250 ms]
	WhereAge  time.Duration // how long the holders of a dataset are remembered [5 s]
	Start     time.Duration // how much later than it said a peer may begin a task, besides four times as late [10 s]
	Silence   time.Duration // a connection that says nothing for so long is lost [10 s]
	Streams   int           // tasks sent to one peer at once; more wait here [128]

	Retry   job.Policy // [job.DefaultPolicy]
	Records int        // ended tasks remembered [20000]

	LogBytes int64         // kept of one task's output, half from its begin, half from its end [1 MiB]
	LogTotal int64         // kept of all tasks' output [256 MiB]
	LogAge   time.Duration // [7 days]

	Policy cost.Policy  // where tasks go, for comparisons [cost.Fluid]
	Seed   uint64       // of choices among equals [random]
	Log    *slog.Logger // [none]
}

func (c *Config) validate() error {
	if c.Dir == "" {
		return shoal.E(shoal.Invalid, "scheduler", "no folder for logs and scratch files", "set Dir")
	}
	for id, w := range c.Weights {
		if !fair.ValidWeight(w) {
			return shoal.E(shoal.Invalid, "scheduler", fmt.Sprintf("%v is no weight for the tasks of %s", w, id.Short()),
				"give a number from 0.001 to a million")
		}
	}
	def(&c.Slots, runtime.GOMAXPROCS(0))
	def(&c.Queue, 4096)
	def(&c.OwnerQueue, max(c.Queue/2, 1))
	c.OwnerQueue = min(c.OwnerQueue, c.Queue)
	def(&c.OfferWait, 300*time.Millisecond)
	def(&c.OfferAge, 250*time.Millisecond)
	def(&c.WhereAge, 5*time.Second)
	def(&c.Start, 10*time.Second)
	def(&c.Silence, 10*time.Second)
	def(&c.Streams, 128)
	def(&c.Records, 20000)
	def(&c.LogBytes, 1<<20)
	def(&c.LogTotal, 256<<20)
	def(&c.LogAge, 7*24*time.Hour)
	if c.Retry.Attempts == 0 {
		c.Retry = job.DefaultPolicy()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Seed == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return shoal.Wrap(shoal.Internal, "scheduler: draw a seed", err)
		}
		c.Seed = binary.LittleEndian.Uint64(b[:])
	}
	return nil
}

func def[T int | int64 | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Scheduler places and runs tasks. All methods may be called from many goroutines at once.
type Scheduler struct {
	cfg   Config
	d     Deps
	self  shoal.PeerID
	book  *book
	logs  *logs
	exec  *executor
	place *placer
	life  context.Context // ends with Close
	end   context.CancelFunc
	tasks sync.WaitGroup // runs and background work

	mu      sync.Mutex
	closed  bool
	dice    *mathrand.Rand
	windows map[shoal.PeerID]chan struct{} // tasks sent to a peer
	homes   map[string]shoal.PeerID        // by tag
	rates   *rates.Book                    // what was learnt of peers and modules
	learnt  bool                           // since it was kept
}

// New opens the records in d.KV and the logs in cfg.Dir, registers the methods with d.Peers, and
// starts. The caller calls Close.
func New(cfg Config, d Deps) (*Scheduler, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	scratch := filepath.Join(cfg.Dir, "scratch")
	if err := os.RemoveAll(scratch); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "clear "+scratch, err)
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "make "+scratch, err)
	}
	logs, err := openLogs(filepath.Join(cfg.Dir, "logs"), cfg)
	if err != nil {
		return nil, err
	}
	s := &Scheduler{
		cfg: cfg, d: d, self: d.Peers.Self(), logs: logs,
		dice:    mathrand.New(mathrand.NewPCG(cfg.Seed, 1)),
		windows: map[shoal.PeerID]chan struct{}{}, homes: map[string]shoal.PeerID{}, rates: openRates(d.KV, cfg),
	}
	s.life, s.end = context.WithCancel(context.Background())
	if s.book, err = openBook(d.KV, cfg, time.Now()); err != nil {
		s.end()
		return nil, err
	}
	s.exec = newExecutor(cfg, d, scratch)
	s.place = newPlacer(s)
	s.serve()
	s.tasks.Go(func() { s.book.flushLoop(s.life) })
	s.tasks.Go(func() { s.logs.sweepLoop(s.life) })
	s.tasks.Go(s.keepRates)
	if d.Directory != nil {
		s.tasks.Go(s.announce)
	}
	return s, nil
}

// announce says that this node is the home of the tasks that carry its tag.
func (s *Scheduler) announce() {
	if err := s.d.Directory.Provide(s.life, homeKey(job.HomeTag(s.self))); err != nil && s.life.Err() == nil {
		s.cfg.Log.Warn("this node's tasks cannot be found through the directory", "error", err)
	}
}

func homeKey(tag string) shoal.Key { return shoal.NameKey("task", tag) }

// Close cancels the tasks that run here or were sent from here, waits for them, and writes the
// records. No method may be called afterwards.
func (s *Scheduler) Close() error {
	s.exec.drain()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.tasks.Wait()
	return errors.Join(s.book.flush(), s.saveRates())
}

// enter counts a run that Close waits for; false when Close has begun.
func (s *Scheduler) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.tasks.Add(1)
	return true
}

// Drain has the executor refuse new tasks, and waits until those it took have ended.
func (s *Scheduler) Drain(ctx context.Context) error {
	s.exec.drain()
	return s.exec.idle(ctx)
}

// Prepare makes a module ready on this node, fetching and compiling it unless that was done before.
func (s *Scheduler) Prepare(ctx context.Context, module cid.Cid) error {
	var out shoal.Outcome
	return s.exec.compile(ctx, module, &out)
}

// Load is what this node tells others of its queue. DiskFree and HeldBytes are for others to fill in.
func (s *Scheduler) Load() shoal.Load { return s.exec.load() }

// NewID names a task whose home is this node.
func (s *Scheduler) NewID() shoal.TaskID {
	var b [10]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic("the system has no randomness: " + err.Error())
	}
	return job.NewID(b, s.self)
}

// roll returns a number in [0, 1).
func (s *Scheduler) roll() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dice.Float64()
}

// fork makes dice for one decision, to be drawn from without a lock.
func (s *Scheduler) fork() *mathrand.Rand {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mathrand.New(mathrand.NewPCG(s.dice.Uint64(), s.dice.Uint64()))
}

// window admits a task to the streams towards a peer.
func (s *Scheduler) window(ctx context.Context, p shoal.PeerID) (leave func(), err error) {
	s.mu.Lock()
	w := s.windows[p]
	if w == nil {
		w = make(chan struct{}, s.cfg.Streams)
		s.windows[p] = w
	}
	s.mu.Unlock()
	select {
	case w <- struct{}{}:
		return func() { <-w }, nil
	case <-ctx.Done():
		return nil, shoal.Wrap(shoal.Canceled, "run on "+p.Short(), ctx.Err())
	}
}

// Limits of what a task may carry.
const (
	maxInputs    = 1 << 16
	maxArgs      = 4096
	maxArgBytes  = 1 << 20
	maxNeeds     = 4 << 10
	maxTaskBytes = 3 << 20 // of the request in all
)

// checkTask says what is wrong with a task, also one from a peer.
func checkTask(t shoal.Task) error {
	bad := func(why string) error {
		return shoal.E(shoal.Invalid, "task "+string(t.ID), why, "correct the task")
	}
	if err := job.Check(t.ID); err != nil {
		return err
	}
	size := 0
	for _, a := range t.Args {
		size += len(a)
	}
	switch {
	case !t.Module.Defined():
		return bad("it names no module")
	case len(t.Inputs) > maxInputs:
		return bad(fmt.Sprintf("%d inputs, more than the limit of %d", len(t.Inputs), maxInputs))
	case len(t.Args) > maxArgs || size > maxArgBytes:
		return bad(fmt.Sprintf("%d arguments with %d bytes, more than the limit of %d with %d",
			len(t.Args), size, maxArgs, maxArgBytes))
	case len(t.Needs) > maxNeeds:
		return bad(fmt.Sprintf("requirements of %d bytes, more than the limit of %d", len(t.Needs), maxNeeds))
	case t.Limits.Time < 0:
		return bad("a negative time limit")
	}
	if name, native := shoal.ExecName(t.Module); native && t.Limits.Gas > 0 {
		return shoal.E(shoal.Invalid, "task "+string(t.ID), "a limit on gas, which is not counted of native programs such as exec:"+name,
			"limit its time instead")
	}
	seen := make(map[string]bool, len(t.Inputs))
	for _, in := range t.Inputs {
		switch {
		case !in.CID.Defined():
			return bad("input '" + in.Name + "' has no CID")
		case !mount.ValidName(in.Name):
			return bad(fmt.Sprintf("%.80q is no name of an input", in.Name))
		case seen[in.Name]:
			return bad("two inputs are called '" + in.Name + "'")
		}
		seen[in.Name] = true
	}
	return nil
}

// nothing is the input of a task without input.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, io.EOF }
