package engine

import (
	"context"
	"runtime"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

// downAndLook is a module whose "down", function 1, calls itself as often as its argument says, and then the host's.
func downAndLook() []byte {
	var w hostile.Builder
	w.Sections[1] = hostile.Vec(hostile.None, "\x60\x01\x7f\x00")
	w.Sections[2] = hostile.Vec(hostile.Sized("host") + hostile.Sized("look") + "\x00\x00")
	w.Sections[3] = hostile.Vec("\x01")
	w.Sections[7] = hostile.Vec(hostile.Sized("down") + "\x00\x01")
	w.Sections[10] = hostile.Vec(hostile.Sized("\x00\x20\x00\x04\x40\x20\x00" + hostile.I32(1) + "\x6b\x10\x01\x05\x10\x00\x0b\x0b"))
	return w.Build()
}

// TestTheStackIsSeen fails if the engine keeps its stack elsewhere than we look.
func TestTheStackIsSeen(t *testing.T) {
	ctx := context.Background()
	look := func(cfg wazero.RuntimeConfig) (used, held []int) {
		r := wazero.NewRuntimeWithConfig(ctx, cfg)
		defer r.Close(ctx)
		var f api.Function
		_, err := r.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(func() { used = append(used, StackUsed(f)) }).Export("look").Instantiate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Instantiate(ctx, downAndLook())
		if err != nil {
			t.Fatal(err)
		}
		f = m.ExportedFunction("down")
		for _, n := range []uint64{0, 1000, 1500} {
			if _, err := f.Call(ctx, n); err != nil {
				t.Fatal(err)
			}
			held = append(held, StackHeld(f))
		}
		return used, held
	}
	if runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" {
		used, held := look(wazero.NewRuntimeConfigCompiler())
		frame := (used[1] - used[0]) / 1000
		if frame < 16 || frame > 200 || used[0] < 16 || used[0] > 1000 || used[2]-used[1] != 500*frame {
			t.Errorf("%v bytes are used: a frame takes %d", used, frame)
		}
		if held[0] >= held[1] || held[1] < used[1] || held[2] < used[2] || held[2] > 4*used[2] {
			t.Errorf("%v bytes are used, and %v held", used, held)
		}
	}
	if used, held := look(wazero.NewRuntimeConfigInterpreter()); used[2] != 0 || held[2] != 0 {
		t.Errorf("interpreted, %v are used and %v held: it bounds itself", used, held)
	}
}

type strange struct {
	api.Function
	stack string
}

// TestAnUnknownStackHasNoEnd is that an engine of another kind stops guests, and does not let them go on unseen.
func TestAnUnknownStackHasNoEnd(t *testing.T) {
	for _, f := range []api.Function{nil, strange{}, &strange{}, (*strange)(nil)} {
		if used, held := StackUsed(f), StackHeld(f); used != unseen || held != unseen {
			t.Errorf("%T: %d are used, %d held", f, used, held)
		}
	}
}
