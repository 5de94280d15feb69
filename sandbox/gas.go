package sandbox

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/meter"
	"github.com/shoal-fabric/shoal/sandbox/module"
	"github.com/shoal-fabric/shoal/sandbox/region"
	"github.com/shoal-fabric/shoal/sandbox/yield"
)

// A guest runs in slices of about this long. Between two of them the collector and other goroutines get
// the processor, and the guest learns that its time is over. Each step of a collection waits for a slice of every
// guest that runs, one step after another; when no processor is left for others they wait with it, so slices are
// shorter then.
const (
	sliceTime   = time.Millisecond
	crowdedTime = sliceTime / 2
)

// The bounds of a slice in gas. How long gas takes differs by a factor of a hundred between programs and
// between parts of one; the upper bound is what the slow ones do in some tens of milliseconds.
const (
	minSlice = 10_000
	maxSlice = 10_000_000
	newSlice = 100_000
)

// What the work of the sandbox costs, in gas.
const (
	gasIO    = 4   // bytes to or from a stream or file for 1
	gasEntry = 100 // an entry of a folder that is read
	noLimit  = math.MaxInt64
)

// gas is a guest's account of work. The guest counts down in a global what it has of the slice; the total
// does not depend on how it was sliced.
type gas struct {
	ctx   context.Context // ends when the run must
	limit int64
	fuel  api.MutableGlobal // nil until there is an instance
	given int64             // all slices, and what was charged before there was an instance
	slice int64
	fixed bool      // slice does not follow the clock
	began time.Time // of the slice: the guest was seen within its limits then
	yield time.Time // when the processor was last given back
	slept time.Duration

	stacks  *region.Stacks // nil: the engine's own are good enough
	called  api.Function   // by the host, at the moment
	deepest int            // bytes of stack that were seen in use since then
	crowded func() bool    // whether there is a guest for every processor
	way     yield.Point
}

// newGas opens an account; a slice of 0 follows the clock.
func newGas(ctx context.Context, limit uint64, slice int64) *gas {
	g := &gas{ctx: ctx, limit: noLimit, slice: slice, fixed: slice > 0, began: time.Now()}
	if !g.fixed {
		g.slice = newSlice
	}
	if limit > 0 && limit < noLimit {
		g.limit = int64(limit)
	}
	return g
}

// renew opens the account anew for a turn of an instance that is there. The first slice is given at once:
// most turns need no other.
func (g *gas) renew(limit uint64) {
	g.limit, g.slept = noLimit, 0
	if limit > 0 && limit < noLimit {
		g.limit = int64(limit)
	}
	g.began = time.Now()
	g.yield = g.began
	g.given = min(g.slice, g.limit)
	g.fuel.Set(uint64(g.given))
}

// used is the gas spent so far.
func (g *gas) used() int64 {
	if g.fuel == nil {
		return g.given
	}
	return g.given - int64(g.fuel.Get())
}

// refuel gives the guest its next slice, after so much is left (less than nothing, as a rule), or ends it.
func (g *gas) refuel(left int64) int64 {
	used := g.given - left
	if used >= g.limit {
		panic(g.empty())
	}
	g.check()
	now := time.Now()
	crowded := g.crowded != nil && g.crowded()
	most := sliceTime
	if crowded {
		most = crowdedTime
	}
	if !g.fixed {
		g.adapt(now.Sub(g.began), most)
	}
	if now.Sub(g.yield) > most/2 { // not after each of the short slices of a guest that spends fast
		g.giveWay(crowded)
		now = time.Now()
		g.yield = now
	}
	g.began = now
	next := min(g.slice, g.limit-used)
	g.given = used + next
	return next
}

// giveWay lets others have the processor. Only when none is idle must the guest see to it that the network
// is looked at: else the one that is idle does so, and the guest stays on the processor whose caches know it.
func (g *gas) giveWay(crowded bool) {
	if crowded {
		g.way.Yield()
		return
	}
	runtime.Gosched()
}

// adapt sets the size of the next slice by how long the last took: what it should have been for the time, but
// no more than double, as a part of a program that is fast may be short.
func (g *gas) adapt(took, want time.Duration) {
	if took > want*5/4 || took < want*4/5 {
		g.slice = int64(float64(g.slice) * min(2, float64(want)/float64(max(took, 1))))
	}
	g.slice = max(minSlice, min(maxSlice, g.slice))
}

// empty is how a guest ends that has met its limit.
func (g *gas) empty() *halt {
	return &halt{err: &shoal.Error{
		Kind: shoal.Failed, Why: fmt.Sprintf("gas limit of %d reached", g.limit),
		Try: "raise the limit, or give it less to do",
	}, at: g.began}
}

// check ends the guest if its run is over.
func (g *gas) check() {
	if g.ctx.Err() != nil {
		panic(&halt{err: errEnded})
	}
}

// charge takes gas for work of the sandbox. A nil account is nobody's.
func (g *gas) charge(n int64) {
	if g == nil {
		return
	}
	if g.fuel == nil {
		g.given += n
		return
	}
	left := int64(g.fuel.Get()) - n
	if left <= 0 {
		g.fuel.Set(uint64(left)) // what the error reports
		left = g.refuel(left)
	}
	g.fuel.Set(uint64(left))
}

// moves charges for what a host call moves, before it does, and ends the guest if its run is over. To find that out for a little costs more
// than to do it, and each slice finds it out as well.
func (g *gas) moves(n int64) {
	const little = 250 // gas
	if n > little {
		g.check()
	}
	g.charge(n)
}

// moved charges for bytes of a stream or file, and ends the guest if its run is over.
func (g *gas) moved(bytes int) {
	if g == nil {
		return
	}
	g.check()
	g.charge(int64(bytes) / gasIO)
}

// epoch is what every guest's clock shows at first, the start of the year 2000: so that a run costs the
// same at any time.
const epoch = 946_684_800

// gasTime is how much gas a guest's nanosecond has: between what compiled C and Go spend on a machine of
// today.
const gasTime = 10

// clock is how long the guest has run by its own clock, which its work and its sleep move on.
func (g *gas) clock() time.Duration { return time.Duration(g.used()/gasTime) + g.slept }

func (g *gas) walltime() (sec int64, nsec int32) {
	now := g.clock()
	return epoch + int64(now/time.Second), int32(now % time.Second)
}

func (g *gas) sleep(ns int64) {
	ns = max(0, ns)
	t := time.NewTimer(time.Duration(ns))
	defer t.Stop()
	select {
	case <-t.C:
		g.slept += time.Duration(ns)
		g.began = time.Now()
	case <-g.ctx.Done():
		g.check()
	}
}

// gasKey is where a guest's account is in the context of its calls.
type gasKey struct{}

// instantiateMeter offers the guests of a runtime what their meter calls.
func instantiateMeter(ctx context.Context, r wazero.Runtime) error {
	i64 := []api.ValueType{api.ValueTypeI64}
	i32 := []api.ValueType{api.ValueTypeI32}
	_, err := r.NewHostModuleBuilder(meter.HostModule).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			stack[0] = uint64(ctx.Value(gasKey{}).(*gas).refuel(int64(stack[0])))
		}), i64, i64).Export(meter.Refuel).NewFunctionBuilder().
		WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
			stack[0] = uint64(ctx.Value(gasKey{}).(*gas).deep())
		}), i32, i32).Export(meter.Deep).Instantiate(ctx)
	return err
}

// WASI's numbers for errors that the caps below answer with.
const (
	wasiInval       = 28
	wasiNameTooLong = 37
)

// What a guest may ask for in one call; the engine would do larger requests without looking up.
const (
	maxPath  = 4096
	maxIOVs  = 1024
	maxPolls = 1024
	maxBuf   = 1 << 20 // of a list of folder entries
)

// callOf says what a host call costs, besides the bytes it moves, and may ask for.
func callOf(mod, name string) meter.Call {
	if mod == module.Agent {
		return meter.Call{Gas: agentCall(name)}
	}
	if mod != module.WASI {
		return meter.Call{Gas: 1000}
	}
	paths := func(params ...uint32) meter.Call {
		c := meter.Call{Gas: 20_000}
		for _, p := range params {
			c.Caps = append(c.Caps, meter.Cap{Param: p, Most: maxPath, Else: wasiNameTooLong})
		}
		return c
	}
	capped := func(gas, param, most uint32) meter.Call {
		return meter.Call{Gas: gas, Caps: []meter.Cap{{Param: param, Most: most, Else: wasiInval}}}
	}
	switch name {
	case "fd_read", "fd_write", "fd_pread", "fd_pwrite":
		return capped(2000, 2, maxIOVs)
	case "fd_readdir":
		return capped(5000, 2, maxBuf)
	case "poll_oneoff":
		return capped(20_000, 2, maxPolls)
	case "path_create_directory", "path_remove_directory", "path_unlink_file":
		return paths(2)
	case "path_open", "path_filestat_get", "path_filestat_set_times":
		return paths(3)
	case "path_link":
		return paths(3, 6)
	case "path_rename":
		return paths(2, 5)
	case "path_symlink":
		return paths(1, 4)
	case "path_readlink":
		c := paths(2)
		c.Caps = append(c.Caps, meter.Cap{Param: 4, Most: maxBuf, Else: wasiInval})
		return c
	case "args_get", "environ_get":
		return meter.Call{Gas: 20_000}
	}
	if strings.HasPrefix(name, "clock_") {
		return meter.Call{Gas: 200}
	}
	return meter.Call{Gas: 1000}
}

// agentCall is the price of a host call of agents; hostcall holds what they ask for against its bounds.
func agentCall(name string) uint32 {
	switch name {
	case "call", "read", "files":
		return 50_000
	case "send", "timer":
		return 10_000
	case "scan", "state_items", "state_fields":
		return 5000
	case "state_add", "state_set", "state_insert", "state_remove", "state_clear", "state_get", "state_has":
		return 3000
	case "get", "put", "delete", "log":
		return 2000
	case "now", "epoch", "gas", "reading":
		return 200
	}
	return 1000
}
