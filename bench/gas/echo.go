package gas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal/sandbox/meter"
)

const (
	echoBytes = 1 << 10
	echoTime  = 100 * time.Millisecond
	echoGas   = 1_000_000 // given for each call
)

// echo is an instance that is kept and called again and again.
type echo struct {
	call    api.Function
	memory  api.Memory
	in, out uint32
	fuel    api.MutableGlobal // nil: not metered
}

func newEcho(ctx context.Context, wasm []byte, metered bool) (*echo, error) {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	if metered {
		var err error
		wasm, _, err = meter.Rewrite(wasm, func(string, string) meter.Call { return meter.Call{} })
		if err != nil {
			return nil, err
		}
		i32, i64 := []api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI64}
		_, err = r.NewHostModuleBuilder(meter.HostModule).NewFunctionBuilder().WithGoFunction(
			api.GoFunc(func(_ context.Context, stack []uint64) { stack[0] = echoGas }), i64, i64).Export(meter.Refuel).NewFunctionBuilder().WithGoFunction(
			api.GoFunc(func(_ context.Context, stack []uint64) { stack[0] = meter.FirstRoom }), i32, i32).Export(meter.Deep).Instantiate(ctx)
		if err != nil {
			return nil, err
		}
	}
	m, err := r.Instantiate(ctx, wasm)
	if err != nil {
		return nil, err
	}
	e := &echo{call: m.ExportedFunction("echo"), memory: m.Memory()}
	if metered {
		e.fuel = m.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
		e.fuel.Set(echoGas)
	}
	for name, at := range map[string]*uint32{"in": &e.in, "out": &e.out} {
		v, err := m.ExportedFunction(name).Call(ctx)
		if err != nil {
			return nil, err
		}
		*at = uint32(v[0])
	}
	return e, nil
}

// perCall returns the microseconds of a call, with its bytes written and read.
func (e *echo) perCall(ctx context.Context) (float64, error) {
	body, back := make([]byte, echoBytes), make([]byte, echoBytes)
	var stack [1]uint64
	calls := 0
	start := time.Now()
	for time.Since(start) < echoTime {
		for range 1000 {
			body[0]++
			if !e.memory.Write(e.in, body) {
				return 0, errors.New("the guest's memory is too small")
			}
			if e.fuel != nil {
				e.fuel.Set(echoGas)
			}
			stack[0] = echoBytes
			if err := e.call.CallWithStack(ctx, stack[:]); err != nil {
				return 0, err
			}
			if e.fuel != nil && e.fuel.Get() >= echoGas {
				return 0, errors.New("the call cost nothing: it was not metered")
			}
			b, ok := e.memory.Read(e.out, echoBytes)
			if !ok || stack[0] != echoBytes {
				return 0, fmt.Errorf("the guest answered %d", stack[0])
			}
			copy(back, b)
		}
		if calls += 1000; !bytes.Equal(body, back) {
			return 0, errors.New("what came back is not what was sent")
		}
	}
	return float64(time.Since(start).Nanoseconds()) / 1e3 / float64(calls), nil
}
