package sandbox

import (
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal/sandbox/meter"
)

// FuzzMetered wants the engine to take a metered module if and only if it takes the module: nothing that
// is wrong becomes right by what is added, and nothing right wrong.
func FuzzMetered(f *testing.F) {
	seed := uint64(0)
	for range 8 {
		f.Add(generate(seed, 4).Build())
		seed++
	}
	f.Add(guestOf("\x01\x01\x7f", forever("\x20\x00\x0d\x01")))
	ctx := f.Context()
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	defer engine.Close(ctx)
	takes := func(wasm []byte) error {
		c, err := engine.CompileModule(ctx, wasm)
		if err == nil {
			_ = c.Close(ctx)
		}
		return err
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, _, err := meter.Rewrite(wasm, callOf)
		if err != nil {
			return
		}
		plain, metered := takes(wasm), takes(out)
		if (plain == nil) != (metered == nil) {
			t.Fatalf("the engine says %v, and metered %v", plain, metered)
		}
	})
}
