package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal/sandbox/engine"
)

// The bounds of a guest's call stack. The engine doubles it when it is full and copies it in one go, which takes the
// processor from all others for as long: some milliseconds for what is allowed here.
const (
	maxStack  = 8 << 20 // as much as a thread of Linux has
	keptStack = 1 << 20 // between two turns of an agent
	leastRoom = 512 << 10
)

// errDeep has the words that the engine has when it would double a stack of 50 MB or more.
var errDeep = errors.New("stack overflow")

var whyDeep = fmt.Sprintf("it calls itself too deeply: calls may take %s of stack", size(maxStack))

// deep looks at the stack of the guest, and ends the guest or says how much more may be taken before the next look. The
// nearer the limit, the less: the meter's estimate of a frame is no promise.
func (g *gas) deep() int32 {
	used := engine.StackUsed(g.called)
	if used > maxStack {
		panic(errDeep)
	}
	return int32((maxStack-used)/4 + leastRoom)
}

// call calls a function of the guest that takes nothing and whose results nobody wants.
func (g *gas) call(ctx context.Context, f api.Function) error {
	g.called = f
	defer func() { g.called = nil }()
	_, err := f.Call(ctx)
	return err
}

// tall reports whether a function holds more stack than one that is kept may.
func tall(f api.Function) bool { return engine.StackHeld(f) > keptStack }
