package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/region"
)

// The bounds of a guest's call stack: what it may take, and what it may take more between two looks, at least and at
// most. One that was never seen deeper than kept is kept for others.
const (
	maxStack  = 16 << 20
	leastRoom = 512 << 10
	mostRoom  = 1 << 20
	keptStack = 1 << 20
)

// errDeep has the words that the engine has when it would double a stack of 50 MB or more.
var errDeep = errors.New("stack overflow")

var whyDeep = fmt.Sprintf("it calls itself too deeply: calls may take %s of stack", shoal.Size(maxStack))

// deep looks at the stack of the guest, and ends the guest or says how much more may be taken before the next look. The
// nearer the limit, the less: the meter's estimate of a frame is no promise.
func (g *gas) deep() int32 {
	used := engine.StackUsed(g.called)
	g.deepest = max(g.deepest, used)
	if used > maxStack {
		panic(errDeep)
	}
	return int32(min((maxStack-used)/4+leastRoom, mostRoom))
}

// call calls a function of the guest, on a stack of ours. What it takes and returns is in values; nil: it takes nothing,
// and nobody wants what it returns.
func (g *gas) call(ctx context.Context, f api.Function, values []uint64) error {
	if d := f.Definition(); values == nil && len(d.ParamTypes()) == 0 {
		values = make([]uint64, 2*len(d.ResultTypes())) // a vector takes two
	}
	var r region.Region
	if g.stacks != nil {
		var stack []byte
		r, stack = g.stacks.Get()
		engine.Seat(f, stack)
	}
	g.called, g.deepest = f, 0
	defer g.left(r)
	return f.CallWithStack(ctx, values)
}

func (g *gas) left(r region.Region) {
	g.called = nil
	if g.stacks != nil {
		g.stacks.Put(r, g.deepest > keptStack)
	}
}
