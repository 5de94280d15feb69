package sandbox

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/hostcall"
	"github.com/shoal-fabric/shoal/sandbox/region"
)

// instance runs the turns of one agent. A turn that stays in its first slice of gas and waits for nothing
// allocates nothing here.
type instance struct {
	b      *behaviour
	known  *known
	broken atomic.Bool

	mu      sync.Mutex // held during a turn
	ctx     turnCtx
	gas     gas
	desk    hostcall.Desk
	memory  region.Memory
	mod     api.Module
	methods map[string]method // those called so far
	stack   [1]uint64
	uptime  time.Duration // of the guest's clock, up to the present turn
	now     time.Time     // of the present turn
}

// method is an exported function, with what the engine keeps for its calls.
type method struct {
	f       api.Function
	returns bool
}

func (in *instance) Broken() bool { return in.broken.Load() }

func (in *instance) Close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.shut()
}

// shut frees everything, once.
func (in *instance) shut() {
	if in.broken.Swap(true) {
		return
	}
	if in.mod != nil {
		_ = in.mod.Close(context.Background())
		in.mod, in.methods = nil, nil
	}
	used := in.memory.Size
	in.memory.Free()
	s := in.b.s
	s.mu.Lock()
	delete(s.open, in)
	s.mu.Unlock()
	s.release(in.known, used)
}

// Turn implements shoal.Instance.
func (in *instance) Turn(ctx context.Context, t *shoal.Turn) ([]byte, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.broken.Load() {
		return nil, shoal.E(shoal.Unavailable, "method "+quoted(t.Method), "the instance is closed", "open another")
	}
	m, err := in.method(t.Method)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "method "+quoted(t.Method), err)
	}
	in.begin(ctx, t)
	err = in.call(m)
	reply, failed, why := in.desk.Finish()
	in.spent()
	if err != nil {
		err = in.verdict("method "+quoted(t.Method), err)
		in.ctx.end()
		in.shut()
		return nil, err
	}
	in.ctx.end()
	if in.gas.deepest > keptStack { // the engine may keep a stack that it made larger, for as long as it keeps the function
		delete(in.methods, t.Method)
	}
	code := int32(0)
	if m.returns {
		code = int32(in.stack[0])
	}
	switch {
	case failed:
		return nil, shoal.E(shoal.Failed, "method "+quoted(t.Method), why, "")
	case code != 0:
		if code > 0 {
			why = "" // not a result of a host call, handed on
		}
		return nil, shoal.E(shoal.Failed, "method "+quoted(t.Method), fmt.Sprintf("it returned %d", code), why)
	}
	return reply, nil
}

func (in *instance) method(name string) (method, error) {
	if m, ok := in.methods[name]; ok {
		return m, nil
	}
	f := in.mod.ExportedFunction(name)
	if f == nil || strings.HasPrefix(name, "_") {
		return method{}, in.b.noMethod(name)
	}
	d := f.Definition()
	results := d.ResultTypes()
	fits := len(d.ParamTypes()) == 0 && len(results) <= 1 && (len(results) == 0 || results[0] == api.ValueTypeI32)
	if !fits || strings.HasPrefix(name, "shoal:") {
		return method{}, in.b.noMethod(name)
	}
	m := method{f, len(results) == 1}
	in.methods[strings.Clone(name)] = m
	return m, nil
}

// begin readies the instance for a turn. The guest's clock goes on as the turn's does, but never back.
func (in *instance) begin(ctx context.Context, t *shoal.Turn) {
	if gap := t.Now.Sub(in.now); gap > 0 && !in.now.IsZero() {
		in.uptime += gap
	}
	in.now = t.Now
	in.ctx.Context = ctx
	limit := in.b.s.cfg.TurnGas
	if t.Gas > 0 {
		limit = min(limit, t.Gas)
	}
	in.memory.Refused = region.NotRefused
	in.gas.renew(limit)
	in.desk.Begin(t)
}

// spent has the guest's clock keep what the turn took of it.
func (in *instance) spent() {
	took := in.gas.clock()
	in.uptime += took
	if !in.now.IsZero() { // there was a turn
		in.now = in.now.Add(took)
	}
}

// call runs the guest.
func (in *instance) call(m method) (err error) {
	defer func() {
		if r := recover(); r != nil { // outside the guest's code, where the engine catches none
			err = &halt{err: shoal.E(shoal.Internal, "", fmt.Sprint("the engine failed: ", r), "")}
		}
	}()
	in.b.s.running.Add(1)
	defer in.b.s.running.Add(-1)
	in.stack[0] = 0
	return in.gas.call(&in.ctx, m.f, in.stack[:])
}

// walltime is the guest's clock: the turn's time, and what the guest has spent since.
func (in *instance) walltime() (sec int64, nsec int32) {
	at := epoch * int64(time.Second)
	if now, ok := in.desk.Now(); ok {
		at = now
	}
	at += int64(in.gas.clock())
	sec, nsec = at/int64(time.Second), int32(at%int64(time.Second))
	if nsec < 0 {
		sec, nsec = sec-1, nsec+int32(time.Second)
	}
	return sec, nsec
}

// Charge, Left, Context and Resumed are what the instance's desk needs.
func (in *instance) Charge(n int64) { in.gas.moves(n) }

func (in *instance) Left() uint64 { return uint64(max(0, in.gas.limit-in.gas.used())) }

func (in *instance) Context() context.Context { return in.ctx.watch() }

func (in *instance) Resumed() { in.gas.began = time.Now() }
