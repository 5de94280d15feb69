package sandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/hostcall"
	"github.com/shoal-fabric/shoal/sandbox/meter"
	"github.com/shoal-fabric/shoal/sandbox/module"
	"github.com/shoal-fabric/shoal/sandbox/region"
)

// behaviour is a module that was compiled here, as the code of agents.
type behaviour struct {
	s       *Sandbox
	module  cid.Cid
	what    string
	info    shoal.ModuleInfo
	methods []string
}

// Behaviour makes a compiled module the code of agents: a reactor, whose methods docs/abi.md sets out. Like a
// run, an instance finds its module only as long as it is kept here; NotFound says that it must be
// compiled again. Instances run Migrate if the module has it, though it is none of the methods: who
// takes calls from outside holds them against Methods.
func (s *Sandbox) Behaviour(ctx context.Context, c cid.Cid) (shoal.Behaviour, error) {
	what := "module " + c.String()
	k, _, _, err := s.acquire(ctx, c, what)
	if err != nil {
		return nil, err
	}
	defer s.release(k, 0)
	info, _ := s.info(c)
	switch {
	case info.Kind == "command":
		return nil, shoal.E(shoal.Invalid, what, "it is a command, a program that runs once and ends, and no agent's code",
			"run it with 'shoal run'; or build it as a reactor: -mexec-model=reactor (C), -buildmode=c-shared (Go)")
	case len(info.Methods) == 0:
		return nil, shoal.E(shoal.Invalid, what, "it has no methods: it exports no function without parameters",
			"export some: SHOAL_METHOD(name) in C, //go:wasmexport name in Go")
	}
	return &behaviour{s: s, module: c, what: what, info: info, methods: info.Methods}, nil
}

func (b *behaviour) Methods() []string { return slices.Clone(b.methods) }

// Open implements shoal.Behaviour. Its time is bounded by ctx alone, its work by Config.TurnGas.
func (b *behaviour) Open(ctx context.Context) (_ shoal.Instance, err error) {
	s := b.s
	if !s.begin() {
		return nil, closed(b.what)
	}
	defer s.work.Done()
	k, code, _, err := s.acquire(ctx, b.module, b.what)
	if err != nil {
		return nil, err
	}
	in := &instance{b: b, known: k, methods: map[string]method{}}
	in.ctx = turnCtx{Context: ctx, alive: s.alive, gas: &in.gas, desk: &in.desk}
	in.gas = *newGas(&in.ctx, s.cfg.TurnGas, 0)
	in.gas.crowded, in.gas.stacks = s.crowded, &s.stacks
	in.desk.Host = in
	in.memory = region.Memory{
		Ctx: &in.ctx, Spare: &s.spare, Pages: s.spare.Get(), Account: &region.Account{L: s.ledger},
		Limit: s.cfg.AgentMemory, Reserve: s.cfg.Memory,
	}
	defer func() {
		if r := recover(); r != nil { // outside the guest's code, where the engine catches none
			err = shoal.E(shoal.Internal, b.what, fmt.Sprint("the engine failed: ", r), "")
		}
		in.ctx.end()
		if err != nil {
			in.shut()
		}
	}()
	if need := max(b.info.Memory, 64<<10); need > in.memory.Limit {
		return nil, shoal.E(shoal.Failed, b.what, fmt.Sprintf("memory limit of %s: it needs %s to start",
			shoal.Size(in.memory.Limit), shoal.Size(need)), "build it with less")
	} else if in.memory.Reallocate(need) == nil {
		return nil, in.verdict(b.what, errNoMemory)
	}
	if err := in.start(code, k.meter); err != nil {
		return nil, in.verdict(b.what, err)
	}
	in.spent()
	s.mu.Lock()
	s.open[in] = struct{}{}
	s.mu.Unlock()
	return in, nil
}

var errNoMemory = errors.New("there is no memory for it")

// start makes the instance and runs the module's constructors.
func (in *instance) start(c *engine.Code, m meter.Info) error {
	if in.gas.charge(int64(m.Instance)); in.gas.used() >= in.gas.limit {
		return in.gas.empty()
	}
	const resolution = sys.ClockResolution(time.Nanosecond)
	cfg := wazero.NewModuleConfig().
		WithName("").
		WithStartFunctions().
		WithStdout(in.desk.Stream()).
		WithStderr(in.desk.Stream()).
		WithRandSource(guestDice{in}).
		WithWalltime(in.walltime, resolution).
		WithNanotime(func() int64 { return int64(in.uptime + in.gas.clock()) }, resolution).
		WithNanosleep(in.gas.sleep).
		WithOsyield(runtime.Gosched)
	allocate := experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory { return &in.memory })
	var err error
	in.mod, err = c.Runtime.InstantiateModule(experimental.WithMemoryAllocator(&in.ctx, allocate), c.Compiled, cfg)
	if err != nil {
		return err
	}
	in.gas.fuel = in.mod.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
	for _, name := range []string{meter.Start, "_initialize"} {
		if f := in.mod.ExportedFunction(name); f != nil {
			if d := f.Definition(); len(d.ParamTypes())+len(d.ResultTypes()) > 0 {
				return &halt{err: shoal.E(shoal.Invalid, "", "its "+name+" takes parameters or returns results", "build it again")}
			}
			if err := in.gas.call(&in.ctx, f, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// guestDice is an instance's randomness: the turn's, and real dice outside turns.
type guestDice struct{ in *instance }

func (d guestDice) Read(b []byte) (int, error) {
	for at := 0; at < len(b); at += pipeBytes {
		part := b[at:min(len(b), at+pipeBytes)]
		d.in.gas.moved(gasIO * len(part))
		if !d.in.desk.Random(part) {
			_, _ = rand.Read(part)
		}
	}
	return len(b), nil
}

// turnCtx is the context of all calls into an instance. It ends with the turn's context and with the
// sandbox, and is made for turns that take less than a microsecond: it looks when it is asked, and watches
// only once something waits.
type turnCtx struct {
	context.Context // the turn's
	alive           context.Context
	gas             *gas
	desk            *hostcall.Desk

	watching context.Context
	stop     func()
}

func (c *turnCtx) Err() error {
	if err := c.alive.Err(); err != nil {
		return err
	}
	return c.Context.Err()
}

func (c *turnCtx) Value(key any) any {
	switch key.(type) {
	case gasKey:
		return c.gas
	case hostcall.Key:
		return c.desk
	}
	return nil
}

func (c *turnCtx) Done() <-chan struct{} { return c.watch().Done() }

// watch returns a context like this one that anybody may keep until the end of the turn.
func (c *turnCtx) watch() context.Context {
	if c.watching == nil {
		ctx, cancel := context.WithCancel(c.Context)
		stop := context.AfterFunc(c.alive, cancel)
		c.watching, c.stop = ctx, func() { stop(); cancel() }
	}
	return c.watching
}

// end is the end of the turn.
func (c *turnCtx) end() {
	if c.stop != nil {
		c.stop()
	}
	c.watching, c.stop = nil, nil
}

// verdict turns the engine's error into ours.
func (in *instance) verdict(what string, err error) error {
	var end *hostcall.End
	var h *halt
	var exit *sys.ExitError
	ours := func(err error) error {
		var e *shoal.Error
		if errors.As(err, &e) && e.What == "" {
			return name(what, e)
		}
		return shoal.Wrap(shoal.Internal, what, err)
	}
	last := in.desk.Last()
	if last != "" {
		last = ": " + last
	}
	switch {
	case err == nil:
		return nil
	case in.ctx.alive.Err() != nil:
		return closed(what)
	case in.ctx.Context.Err() != nil:
		return shoal.Wrap(shoal.Internal, what, in.ctx.Context.Err())
	case errors.As(err, &end):
		return ours(end.Err)
	case errors.As(err, &h):
		return ours(h.err)
	case in.memory.Refused == region.NodeFull:
		return in.b.s.full(what)
	case in.memory.Refused == region.OverLimit:
		return shoal.E(shoal.Failed, what, fmt.Sprintf("memory limit of %s reached", shoal.Size(in.memory.Limit)),
			"give it less to do at once, or keep less in memory")
	case errors.As(err, &exit):
		return shoal.E(shoal.Failed, what, fmt.Sprintf("it ended with exit code %d%s", int32(exit.ExitCode()), last),
			"mend the program: a method returns")
	}
	why := firstLine(err.Error())
	if strings.HasPrefix(why, "runtime error:") { // the engine's own: not the guest's doing
		in.b.s.cfg.Log.Warn("the engine failed in a guest", "module", in.b.module, "error", err)
	}
	try := "mend the program"
	if why == errDeep.Error() {
		try = whyDeep
	}
	return shoal.E(shoal.Failed, what, "trap: "+why+last, try)
}

// noMethod says what there is instead.
func (b *behaviour) noMethod(name string) error {
	if strings.HasPrefix(name, "_") || name == module.Migrate {
		return shoal.E(shoal.NotFound, "method "+quoted(name), "the module does not have it", "")
	}
	has := strings.Join(b.methods, ", ")
	if len(has) > 1000 {
		has = has[:1000] + "..."
	}
	return shoal.E(shoal.NotFound, "method "+quoted(name), "the module has no such method", "it has: "+has)
}

func quoted(s string) string {
	if len(s) > 72 {
		s = s[:69] + "..."
	}
	return "'" + strings.ToValidUTF8(s, "\uFFFD") + "'"
}
