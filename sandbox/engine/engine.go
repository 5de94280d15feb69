// Package engine compiles modules: it holds wazero to the features that the sandbox offers, keeps the
// compiled code in a folder, and can do the work in a process of its own, which is killed when it takes
// too long or too much memory. The engine itself knows no bounds: a module of 17 KiB can keep it busy for
// minutes, and one of 65 KiB takes gigabytes.
package engine

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Code is one module, compiled: an engine of its own, so that dropping a module frees all it took, and
// so that guests of different modules share no lock.
type Code struct {
	Runtime  wazero.Runtime
	Compiled wazero.CompiledModule
	cache    wazero.CompilationCache // nil without a directory
}

// Name identifies who wrote compiled code: it is of no use to another version or machine.
func Name() string {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				version = d.Version
			}
		}
	}
	return fmt.Sprintf("wazero-%s-%s-%s", version, runtime.GOARCH, runtime.GOOS)
}

// Compile makes a module ready. Compiled code is read from dir if it is there, and written if not;
// "": no directory. The engine compiles on this goroutine, where its panics can be caught.
func Compile(dir string, wasm []byte) (c *Code, err error) {
	ctx := context.Background()
	c = &Code{}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the compiler failed: %v", r)
		}
		if err != nil {
			c.Close()
			c = nil
		}
	}()
	cfg := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
	if dir != "" {
		if c.cache, err = wazero.NewCompilationCacheWithDir(dir); err != nil {
			return c, err
		}
		cfg = cfg.WithCompilationCache(c.cache)
	}
	c.Runtime = wazero.NewRuntimeWithConfig(ctx, cfg)
	c.Compiled, err = c.Runtime.CompileModule(ctx, wasm)
	return c, err
}

// Close frees all; no instance may be running.
func (c *Code) Close() {
	ctx := context.Background()
	if c.Runtime != nil {
		_ = c.Runtime.Close(ctx)
	}
	if c.cache != nil {
		_ = c.cache.Close(ctx)
	}
}
