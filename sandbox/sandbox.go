package sandbox

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/module"
	"github.com/shoal-fabric/shoal/sandbox/region"
)

// Config says what a sandbox may use. The zero Config is good for tests: nothing is kept on disk.
type Config struct {
	// CacheDir holds compiled modules, up to CacheBytes (default 4 GiB): the least recently used are
	// dropped beyond that. "": they are kept in memory only. One sandbox at a time may use a directory.
	CacheDir   string
	CacheBytes uint64
	// Modules is how many compiled modules stay in memory (default 32).
	Modules int

	// Compiler makes the command of a process that calls CompileMain with these arguments: compiling has
	// no bound of its own, and a process can be killed. CompileTime (default 10 s, of a processor) and CompileMemory
	// (default 1 GiB) bound it. nil: modules are compiled in this process, without bounds.
	Compiler      func(ctx context.Context, args ...string) *exec.Cmd
	CompileTime   time.Duration
	CompileMemory uint64

	// Memory is what a run may use, by default and at most, in bytes (default 1 GiB); NodeMemory
	// bounds all runs together (default 4 times Memory). A run that finds it used up waits for others
	// to end, up to Patience (default 10 s), and fails with Overloaded then.
	Memory     uint64
	NodeMemory uint64
	Patience   time.Duration

	// Time and Output bound runs that bring no limit of their own: wall time (default 1 h) and bytes
	// under /out (default 1 GiB). Files bounds the files and folders under /out (default 100,000).
	Time   time.Duration
	Output uint64
	Files  int

	// AgentMemory is what an instance of an agent may use, in bytes (default 256 MiB, at most Memory), and
	// TurnGas the work of a turn that brings no limit, and of any (default 5e9, some seconds). Making an instance may
	// take as much.
	AgentMemory uint64
	TurnGas     uint64

	Log *slog.Logger // nil: nothing is logged
}

func (c Config) validate() (Config, error) {
	fill(&c.CacheBytes, 4<<30)
	fill(&c.Modules, 32)
	fill(&c.CompileTime, 10*time.Second)
	fill(&c.CompileMemory, 1<<30)
	fill(&c.Memory, 1<<30)
	c.Memory = min((c.Memory+1<<16-1)&^(1<<16-1), 4<<30-1<<16) // meter cannot split a range that ends at 4 GiB
	fill(&c.NodeMemory, 4*c.Memory)
	fill(&c.AgentMemory, 256<<20)
	c.AgentMemory = min(c.AgentMemory, c.Memory) &^ (1<<16 - 1)
	fill(&c.TurnGas, 5_000_000_000)
	fill(&c.Patience, 10*time.Second)
	fill(&c.Time, time.Hour)
	fill(&c.Output, 1<<30)
	fill(&c.Files, 100_000)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Modules < 0 || c.CompileTime < 0 || c.Patience < 0 || c.Time < 0 || c.Files < 0 {
		return c, shoal.E(shoal.Invalid, "sandbox", "a bound is negative", "leave it zero for the default")
	}
	c.NodeMemory = max(c.NodeMemory, c.Memory)
	return c, nil
}

func fill[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Sandbox runs modules. It implements shoal.Runner; its methods may be called from many goroutines.
type Sandbox struct {
	cfg    Config
	ledger *region.Ledger
	spare  region.Spare
	stacks region.Stacks
	shelf  shelf
	slots  chan struct{} // bounds the compilations at work
	failed failures

	alive context.Context // ends with Close
	close context.CancelFunc
	work  sync.WaitGroup // runs and flights

	mu      sync.Mutex
	known   map[cid.Cid]*known
	flights map[cid.Cid]*flight
	clock   uint64 // counts uses, for the least recent
	warm    int    // modules with code in memory
	disk    uint64 // bytes of known modules on disk
	open    map[*instance]struct{}

	processors int64
	running    atomic.Int64 // guests
}

var _ shoal.Runner = (*Sandbox)(nil)

// New returns a sandbox. It starts nothing and reads nothing until the first module is asked for.
func New(cfg Config) (*Sandbox, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{
		cfg:     cfg,
		ledger:  &region.Ledger{Total: cfg.NodeMemory, Patience: cfg.Patience},
		shelf:   shelf{dir: cfg.CacheDir, log: cfg.Log},
		slots:   make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		flights: map[cid.Cid]*flight{},
		open:    map[*instance]struct{}{},

		processors: int64(runtime.GOMAXPROCS(0)),
	}
	s.alive, s.close = context.WithCancel(context.Background())
	s.shelf.alive = s.alive
	if cfg.Compiler != nil {
		s.shelf.child = &engine.Child{Command: cfg.Compiler, Time: cfg.CompileTime, Memory: cfg.CompileMemory}
	}
	return s, nil
}

// CompileMain is the whole of a process that Config.Compiler starts: it returns the exit code.
func CompileMain(args []string) int { return engine.Main(args, os.Stdout) }

// Inspect says what a module is without running it; the error, of kind Invalid, names what is wrong.
func Inspect(wasm []byte) (shoal.ModuleInfo, error) { return module.Inspect(wasm) }

// Close stops all runs and turns and waits for their end, and for compilations under way, and closes all
// instances. What is on disk stays.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.close()
	s.mu.Unlock()
	s.work.Wait()
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, in := range open {
		in.Close()
	}
	s.spare.Close()
	s.stacks.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.known {
		if k.code != nil {
			k.code.Close()
			k.code = nil
		}
	}
	return nil
}

// crowded reports whether there is a guest for every processor.
func (s *Sandbox) crowded() bool { return s.running.Load() >= s.processors }

// begin registers work that Close waits for; false after Close.
func (s *Sandbox) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alive.Err() != nil {
		return false
	}
	s.work.Add(1)
	return true
}

func closed(what string) error {
	return shoal.E(shoal.Unavailable, what, "this node is stopping", "try another node")
}
