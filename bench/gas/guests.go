package gas

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed guests/*.wasm
var built embed.FS

// kernel is a program that a guest module has, and a size at which it takes some 40 ms.
type kernel struct {
	module, name string
	size         int
}

func (k kernel) field() string { return k.module + "_" + k.name + "_ms" }

var scalar = []kernel{
	{"c", "chain", 20_000_000},
	{"c", "matmul", 256},
	{"c", "sieve", 4_000_000},
	{"c", "crc32", 12_000_000},
	{"c", "sha256", 50_000},
	{"c", "sort", 40_000},
	{"c", "hashmap", 150_000},
	{"c", "mandelbrot", 400},
	{"c", "nbody", 150_000},
	{"c", "fibonacci", 33},
}

var simd = []kernel{
	{"simd", "saxpy", 4000},
	{"simd", "dot", 5000},
	{"simd", "matmul", 400},
	{"simd", "blur", 1000},
	{"simd", "count", 20000},
}

var golang = []kernel{
	{"go", "json", 3},
	{"go", "sort", 100_000},
	{"go", "map", 30_000},
	{"go", "sha256", 15},
	{"go", "matmul", 160},
	{"go", "trees", 15},
	{"go", "flate", 80_000},
}

func fields(lists ...[]kernel) (out []string) {
	for _, list := range lists {
		for _, k := range list {
			out = append(out, k.field())
		}
	}
	return out
}

// modules writes all guest modules to dir and returns where they are. The Go one is built anew.
func modules(ctx context.Context, dir string) (map[string]string, error) {
	at := map[string]string{}
	for name, file := range map[string]string{"c": "scalar", "simd": "simd", "spin": "spin", "echo": "echo"} {
		b, err := built.ReadFile("guests/" + file + ".wasm")
		if err != nil {
			return nil, err
		}
		at[name] = filepath.Join(dir, file+".wasm")
		if err := os.WriteFile(at[name], b, 0o600); err != nil {
			return nil, err
		}
	}
	at["go"] = filepath.Join(dir, "go.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", at["go"], "github.com/shoal-fabric/shoal/bench/gas/guests/gokernels")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the Go guest: %w: %s: run it in bench/", err, out)
	}
	return at, nil
}
