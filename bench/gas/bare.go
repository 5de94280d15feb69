package gas

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// bare runs guests in the engine as it is, without any limit.
type bare struct {
	engine wazero.Runtime
	code   map[string]wazero.CompiledModule
	memory regions
}

func newBare(ctx context.Context, wasm map[string][]byte) (runner, func(), error) {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, nil, err
	}
	b := &bare{engine: r, code: map[string]wazero.CompiledModule{}}
	for name, w := range wasm {
		code, err := r.CompileModule(ctx, w)
		if err != nil {
			return nil, nil, fmt.Errorf("module %s: %w", name, err)
		}
		b.code[name] = code
	}
	return b, func() { r.Close(context.Background()) }, nil
}

func (b *bare) run(ctx context.Context, module string, args []string, in io.Reader, out io.Writer) error {
	cfg := wazero.NewModuleConfig().WithName("").WithArgs(args...).WithStdout(out).WithStderr(io.Discard).
		WithSysNanotime().WithSysWalltime().WithRandSource(rand.Reader)
	if in != nil {
		cfg = cfg.WithStdin(in)
	}
	memory := b.memory.get()
	defer memory.Free()
	m, err := b.engine.InstantiateModule(experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(
		func(size, _ uint64) experimental.LinearMemory {
			memory.Reallocate(size)
			return memory
		})), b.code[module], cfg)
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 0 {
		err = nil
	}
	if err == nil && m != nil {
		err = m.Close(ctx)
	}
	if err != nil {
		return fmt.Errorf("%v: %w", args, err)
	}
	return nil
}
