package agenttest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/shoal-fabric/shoal"
)

// Method is one method of a native behaviour. memory is its instance's, made by the first turn that wants some.
type Method func(ctx context.Context, t *shoal.Turn, memory *any) ([]byte, error)

// Behaviour is a shoal.Behaviour whose methods are Go functions. A method that panics has trapped.
type Behaviour map[string]Method

var _ shoal.Behaviour = Behaviour{}

// Methods implements shoal.Behaviour.
func (b Behaviour) Methods() []string {
	var out []string
	for name := range b {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Open implements shoal.Behaviour.
func (b Behaviour) Open(ctx context.Context) (shoal.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "instance", err)
	}
	return &instance{methods: b}, nil
}

type instance struct {
	methods Behaviour
	mu      sync.Mutex
	memory  any
	broken  bool
}

// Turn implements shoal.Instance.
func (in *instance) Turn(ctx context.Context, t *shoal.Turn) (reply []byte, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	what := fmt.Sprintf("method '%.72s'", t.Method)
	if in.broken {
		return nil, shoal.E(shoal.Unavailable, what, "the instance is closed", "open another")
	}
	m := in.methods[t.Method]
	if m == nil {
		return nil, shoal.E(shoal.NotFound, what, "there is no such method", fmt.Sprint("there are: ", in.methods.Methods()))
	}
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	defer func() {
		if r := recover(); r != nil {
			reply, err = nil, shoal.E(shoal.Failed, what, fmt.Sprint("trap: ", r), "mend the program")
			in.broken = true
		}
	}()
	reply, err = m(ctx, t, &in.memory)
	switch {
	case ctx.Err() != nil:
		in.broken = true
		return nil, shoal.Wrap(shoal.Internal, what, ctx.Err())
	case err != nil:
		return nil, shoal.Wrap(shoal.Failed, what, err)
	case len(reply) > MaxMessage:
		in.broken = true
		return nil, shoal.E(shoal.Failed, what, fmt.Sprintf("a reply of %d bytes, and %d is the limit", len(reply), MaxMessage), "")
	}
	return reply, nil
}

// Broken implements shoal.Instance.
func (in *instance) Broken() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.broken
}

// Close implements shoal.Instance.
func (in *instance) Close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.broken = true
}
