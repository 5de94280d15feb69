package gas

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/sandbox/hostcall"
)

// sdk is a method of the Go SDK, called again and again on an instance that is kept: the add of example:counter,
// which reads its payload and a value, writes the value and replies.
type sdk struct {
	turn func(ctx context.Context, t *shoal.Turn) ([]byte, error)
	end  func()
}

// newSDK opens an instance: in the sandbox, as agents have it, or in the bare engine with the same host calls.
func newSDK(ctx context.Context, metered bool) (*sdk, error) {
	wasm, ok := examples.Module("counter")
	if !ok {
		return nil, errors.New("there is no example:counter")
	}
	if metered {
		return sandboxed(ctx, wasm)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	if err := hostcall.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	desk := &hostcall.Desk{Host: unlimited{}}
	ctx = context.WithValue(ctx, hostcall.Key{}, desk)
	pages := &memory{from: &regions{}}
	allocate := experimental.MemoryAllocatorFunc(func(size, _ uint64) experimental.LinearMemory {
		pages.Reallocate(size)
		return pages
	})
	code, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	m, err := r.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocate), code, wazero.NewModuleConfig().
		WithStartFunctions("_initialize").WithStdout(io.Discard).WithStderr(io.Discard).
		WithSysNanotime().WithSysWalltime().WithRandSource(rand.Reader))
	if err != nil {
		return nil, err
	}
	add := m.ExportedFunction("add")
	var stack [1]uint64
	return &sdk{end: func() { r.Close(context.Background()) }, turn: func(_ context.Context, t *shoal.Turn) ([]byte, error) {
		desk.Begin(t)
		stack[0] = 0
		err := add.CallWithStack(ctx, stack[:])
		reply, failed, why := desk.Finish()
		if err == nil && (failed || stack[0] != 0) {
			err = fmt.Errorf("the method failed: %s", why)
		}
		return reply, err
	}}, nil
}

func sandboxed(ctx context.Context, wasm []byte) (*sdk, error) {
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		return nil, err
	}
	c := shoal.BlockCID(wasm)
	if _, err := box.Compile(ctx, c, wasm); err != nil {
		return nil, err
	}
	code, err := box.Behaviour(ctx, c)
	if err != nil {
		return nil, err
	}
	inst, err := code.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &sdk{turn: inst.Turn, end: func() {
		inst.Close()
		box.Close()
	}}, nil
}

// unlimited is a host that counts nothing.
type unlimited struct{}

func (unlimited) Charge(int64)             {}
func (unlimited) Left() uint64             { return math.MaxInt64 }
func (unlimited) Context() context.Context { return context.Background() }
func (unlimited) Resumed()                 {}

// kept is a state of one value.
type kept struct {
	shoal.State // of which the method uses no more than Get and Put
	value       []byte
}

func (k *kept) Get([]byte) ([]byte, bool, error) { return k.value, k.value != nil, nil }

func (k *kept) Put(_, value []byte) error {
	k.value = append(k.value[:0], value...)
	return nil
}

// perTurn returns the microseconds of a turn.
func (s *sdk) perTurn(ctx context.Context) (float64, error) {
	state := &kept{}
	t := &shoal.Turn{
		Agent: shoal.NameKey("agent", "bench"), Method: "add", Payload: []byte("1"), Caller: "bench", Request: "0.bench/1", Epoch: 1,
		Now: time.UnixMilli(1_800_000_000_000), Seed: []byte("seed"), State: state,
	}
	calls := 0
	start := time.Now()
	for time.Since(start) < echoTime {
		for range 100 {
			calls++
			reply, err := s.turn(ctx, t)
			if err != nil {
				return 0, err
			}
			if string(reply) != strconv.Itoa(calls) {
				return 0, fmt.Errorf("turn %d replied %q", calls, reply)
			}
		}
	}
	return float64(time.Since(start).Nanoseconds()) / 1e3 / float64(calls), nil
}
