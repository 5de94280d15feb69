package world

import (
	"bytes"
	"testing"

	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/sandbox/module"
)

// TestModule: what tasks of loads run is a module of the size that was asked for, nearly all of it code, and each its own.
func TestModule(t *testing.T) {
	for _, n := range []uint64{128, 1 << 10, 64 << 10, 300_000, 2 << 20} {
		b := programme(n, 1)
		info, err := sandbox.Inspect(b)
		if err != nil || info.Kind != "command" {
			t.Fatalf("%d: %+v, %v", n, info, err)
		}
		m, err := module.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		code := 0
		for _, f := range m.Bodies {
			code += len(f)
		}
		if size := float64(len(b)) / float64(n); n > 128 && (size != 1 || float64(code) < 0.9*float64(n)) {
			t.Errorf("%d: %d bytes, %d of code", n, len(b), code)
		}
		if n > 128 && bytes.Equal(b, programme(n, 2)) {
			t.Error("two names give one module")
		}
	}
}
