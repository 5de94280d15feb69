package sandbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/hostcall"
	"github.com/shoal-fabric/shoal/sandbox/meter"
	"github.com/shoal-fabric/shoal/sandbox/region"
)

// Run implements shoal.Runner. The exit code is what the program gave to exit, as a signed 32-bit
// number. A stream of r whose Read or Write does not return within 250 ms of the run's end does not hold it
// up: that one call is left behind, and what it reads is lost.
func (s *Sandbox) Run(ctx context.Context, r shoal.Run) (shoal.Ran, error) { return s.run(ctx, r, 0) }

// run is Run with slices of the size given; 0: as the clock says.
func (s *Sandbox) run(ctx context.Context, r shoal.Run, slice int64) (ran shoal.Ran, err error) {
	what := "module " + r.Module.String()
	if !s.begin() {
		return shoal.Ran{}, closed(what)
	}
	defer s.work.Done()
	k, code, peak, err := s.acquire(ctx, r.Module, what)
	if err != nil {
		return shoal.Ran{}, err
	}
	g := &guest{s: s, what: what, run: r, slice: slice, parent: ctx, memory: &region.Memory{Spare: &s.spare, Pages: s.spare.Get()}}
	defer func() {
		g.free()
		if !g.met.IsZero() {
			ran.Over = time.Since(g.met).Seconds()
		}
	}()
	defer func() { s.release(k, g.memory.Size) }()
	if err := g.admit(k.info, peak); err != nil {
		return shoal.Ran{}, err
	}
	return g.execute(code, k.meter)
}

// guest is one run.
type guest struct {
	s      *Sandbox
	what   string
	run    shoal.Run
	limits shoal.Limits
	slice  int64           // fixed; 0: by the clock
	parent context.Context // the caller's
	ctx    context.Context // ends at the time limit too
	cancel []func()
	gas    *gas
	memory *region.Memory
	open   handles
	root   *os.Root
	met    time.Time // when it was last within the limit that ended it; zero: none did
}

// admit holds what the run asks for against what there is, and takes memory: what it starts with, and
// peak if it may have that.
func (g *guest) admit(info shoal.ModuleInfo, peak uint64) error {
	cfg := g.s.cfg
	l := g.run.Limits
	fill(&l.Memory, cfg.Memory)
	fill(&l.Time, cfg.Time)
	fill(&l.Output, cfg.Output)
	g.limits = l
	need := max(info.Memory, 64<<10)
	switch {
	case len(info.Methods) > 0:
		return shoal.E(shoal.Invalid, g.what, fmt.Sprintf("it has no _start: it is the code of agents, with methods (%s)",
			list(info.Methods)), "create an agent of it, or build it as a command, with a main function")
	case info.Kind != "command":
		return shoal.E(shoal.Invalid, g.what, fmt.Sprintf("it has no _start: it is a %s, a set of functions (%s)",
			info.Kind, list(info.Exports)), "build it as a command, with a main function")
	case l.Memory > cfg.Memory:
		return shoal.E(shoal.Refused, g.what, fmt.Sprintf("it asks for %s of memory, this node gives %s at most",
			shoal.Size(l.Memory), shoal.Size(cfg.Memory)), "ask for less, or run it on another node")
	case need > l.Memory:
		return shoal.E(shoal.Failed, g.what, fmt.Sprintf("memory limit of %s: it needs %s to start",
			shoal.Size(l.Memory), shoal.Size(need)), "raise the limit")
	}
	var cancel context.CancelFunc
	g.ctx, cancel = context.WithTimeout(g.parent, l.Time)
	stop := context.AfterFunc(g.s.alive, cancel)
	g.cancel = append(g.cancel, cancel, func() { stop() })
	g.gas = newGas(g.ctx, l.Gas, g.slice)
	g.gas.crowded, g.gas.stacks = g.s.crowded, &g.s.stacks
	g.memory.Ctx, g.memory.Account = g.ctx, &region.Account{L: g.s.ledger}
	g.memory.Limit, g.memory.Reserve = l.Memory&^(64<<10-1), cfg.Memory
	if !g.memory.Account.Reach(g.ctx, min(peak, g.memory.Limit)) || g.memory.Reallocate(need) == nil {
		if g.ctx.Err() != nil {
			return g.ended()
		}
		return g.s.full(g.what)
	}
	return nil
}

// free gives back everything, whatever way the run ended.
func (g *guest) free() {
	for _, f := range g.cancel {
		f()
	}
	g.open.closeAll()
	if g.root != nil {
		_ = g.root.Close()
	}
	if g.gas != nil {
		g.gas.way.Close()
	}
	g.memory.Free()
}

func (g *guest) execute(c *engine.Code, m meter.Info) (ran shoal.Ran, err error) {
	cfg, err := g.config()
	if err != nil {
		return ran, err
	}
	g.s.running.Add(1)
	defer g.s.running.Add(-1)
	began := time.Now()
	defer func() {
		if r := recover(); r != nil { // outside the guest's code, where the engine catches none
			err = shoal.E(shoal.Internal, g.what, fmt.Sprint("the engine failed: ", r), "")
		}
		ran.Seconds, ran.Gas = time.Since(began).Seconds(), uint64(g.gas.used())
	}()
	ran.Exit, err = g.verdict(g.call(c, m, cfg))
	return ran, err
}

// call makes an instance and runs it.
func (g *guest) call(c *engine.Code, m meter.Info, cfg wazero.ModuleConfig) error {
	ctx, end := g.calling(context.WithValue(g.ctx, gasKey{}, g.gas))
	defer end()
	if g.gas.charge(int64(m.Instance)); g.gas.used() >= g.gas.limit {
		return g.gas.empty()
	}
	instance, err := c.Runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(
		func(_, limit uint64) experimental.LinearMemory {
			return g.memory
		})), c.Compiled, cfg)
	if err != nil {
		return err
	}
	defer instance.Close(context.Background())
	g.gas.fuel = instance.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
	if m.Start {
		if err := g.gas.call(ctx, instance.ExportedFunction(meter.Start), nil); err != nil {
			return err
		}
	}
	return g.gas.call(ctx, instance.ExportedFunction("_start"), nil)
}

// config is all that the guest gets.
func (g *guest) config() (wazero.ModuleConfig, error) {
	r := g.run
	g.open = handles{}
	mounts := wazero.NewFSConfig().(sysfs.FSConfig)
	if r.Data != nil {
		mounts = mounts.WithSysFSMount(&dataFS{fsys: r.Data, open: g.open, gas: g.gas}, "/data").(sysfs.FSConfig)
	}
	if r.Out != "" {
		root, err := os.OpenRoot(r.Out)
		if err != nil {
			return nil, shoal.Wrap(shoal.Internal, g.what+": /out", err)
		}
		g.root = root
		mounts = mounts.WithSysFSMount(&outFS{
			root: root, open: g.open, gas: g.gas,
			maxBytes: g.limits.Output, maxFiles: g.s.cfg.Files,
		}, "/out").(sysfs.FSConfig)
	}
	const resolution = sys.ClockResolution(time.Nanosecond)
	cfg := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithArgs(r.Args...).
		WithStdin(&pipe{ctx: g.ctx, gas: g.gas, what: "standard input", r: r.Stdin}).
		WithStdout(&pipe{ctx: g.ctx, gas: g.gas, what: "standard output", w: r.Stdout}).
		WithStderr(&pipe{ctx: g.ctx, gas: g.gas, what: "standard error", w: r.Stderr}).
		WithFSConfig(mounts.(wazero.FSConfig)).
		WithRandSource(&dice{gas: g.gas, src: rand.NewChaCha8(sha256.Sum256(r.Seed))}).
		WithWalltime(g.gas.walltime, resolution).
		WithNanotime(func() int64 { return int64(g.gas.clock()) }, resolution).
		WithNanosleep(g.gas.sleep).
		WithOsyield(runtime.Gosched)
	for _, a := range r.Args {
		if strings.ContainsRune(a, 0) {
			return nil, shoal.E(shoal.Invalid, g.what, fmt.Sprintf("the argument %q contains a NUL", a), "leave it out")
		}
	}
	for _, kv := range r.Env {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" || strings.ContainsRune(kv, 0) {
			return nil, shoal.E(shoal.Invalid, g.what,
				fmt.Sprintf("the environment entry %q is not NAME=VALUE", kv), "write it so")
		}
		cfg = cfg.WithEnv(key, value)
	}
	return cfg, nil
}

// dice is a guest's randomness.
type dice struct {
	gas *gas
	src *rand.ChaCha8
}

func (d *dice) Read(b []byte) (int, error) {
	for at := 0; at < len(b); at += pipeBytes {
		part := b[at:min(len(b), at+pipeBytes)]
		_, _ = d.src.Read(part)
		d.gas.moved(gasIO * len(part))
	}
	return len(b), nil
}

// verdict turns the engine's error into the exit code or ours.
func (g *guest) verdict(err error) (int, error) {
	exit, trapped := 0, false
	var ex *sys.ExitError
	var h *halt
	var end *hostcall.End
	switch {
	case err == nil:
	case errors.As(err, &end):
		if g.ctx.Err() != nil {
			return 0, g.ended()
		}
		return 0, shoal.Wrap(shoal.Internal, g.what, end.Err)
	case errors.As(err, &h) && (h.err == errEnded || g.ctx.Err() != nil):
		return 0, g.ended()
	case errors.As(err, &h):
		g.met = h.at
		var e *shoal.Error
		if errors.As(h.err, &e) && e.What == "" {
			return 0, name(g.what, e)
		}
		return 0, shoal.Wrap(shoal.Unavailable, g.what, h.err)
	case errors.As(err, &ex):
		exit = int(int32(ex.ExitCode()))
	default:
		trapped = true
	}
	switch {
	case exit == 0 && !trapped:
		return 0, nil
	case g.ctx.Err() != nil:
		return 0, g.ended()
	case g.memory.Refused == region.NodeFull:
		return 0, g.s.full(g.what)
	case g.memory.Refused == region.OverLimit:
		g.met = g.memory.RefusedAt
		return 0, shoal.E(shoal.Failed, g.what, fmt.Sprintf("memory limit of %s reached", shoal.Size(g.limits.Memory)),
			"raise the limit, or give it less to do")
	case trapped:
		return 0, g.trap(err)
	}
	return exit, nil
}

// ended says why the run's context is over.
func (g *guest) ended() error {
	switch {
	case g.parent.Err() != nil:
		return shoal.Wrap(shoal.Internal, g.what, g.parent.Err())
	case g.s.alive.Err() != nil:
		return closed(g.what)
	}
	g.met, _ = g.ctx.Deadline()
	return shoal.E(shoal.Failed, g.what, fmt.Sprintf("time limit of %s reached", g.limits.Time),
		"raise the limit, or give it less to do")
}

func (s *Sandbox) full(what string) error {
	e := shoal.E(shoal.Overloaded, what, fmt.Sprintf("the memory for guests on this node is used up (%s)",
		shoal.Size(s.cfg.NodeMemory)), "try again later, or on another node")
	e.RetryAfter = time.Second
	return e
}

// trap names what the guest did wrong, and shows its stack on its standard error.
func (g *guest) trap(err error) error {
	why := firstLine(err.Error())
	if strings.HasPrefix(why, "runtime error:") { // the engine's own: not the guest's doing
		g.s.cfg.Log.Warn("the engine failed in a guest", "module", g.run.Module, "error", err)
	}
	_, stack, _ := strings.Cut(err.Error(), "wasm stack trace:\n")
	stack, _, _ = strings.Cut(stack, "\n\n")
	if g.run.Stderr != nil {
		p := &pipe{ctx: g.ctx, what: "standard error", w: g.run.Stderr}
		func() {
			defer func() { _ = recover() }() // a broken stream changes nothing here
			_, _ = p.Write([]byte("trap: " + why + "\n" + stack + "\n"))
		}()
	}
	try := "mend the program; its stack is on standard error"
	if why == errDeep.Error() {
		g.met = g.gas.began
		try = whyDeep
	}
	return shoal.E(shoal.Failed, g.what, "trap: "+why, try)
}

// list names the first few of names.
func list(names []string) string {
	if len(names) > 5 {
		names = append(append([]string(nil), names[:5]...), "...")
	}
	return strings.Join(names, ", ")
}
