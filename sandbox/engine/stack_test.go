package engine

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"testing"
	"unsafe"

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

// TestTheStackIsOurs fails if the engine keeps its stack elsewhere than we look.
func TestTheStackIsOurs(t *testing.T) {
	ctx := context.Background()
	// look calls the function with each depth, on the stack given, and returns what is used and what the engine then has.
	look := func(cfg wazero.RuntimeConfig, stack []byte, depths ...uint64) (used []int, kept []byte) {
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
		Seat(f, stack)
		for _, n := range depths {
			if _, err := f.Call(ctx, n); err != nil {
				t.Fatal(err)
			}
		}
		if l, p := layoutOf(f); l.known {
			kept = *(*[]byte)(unsafe.Add(p, l.stack))
		}
		return used, kept
	}
	if runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" {
		used, kept := look(wazero.NewRuntimeConfigCompiler(), nil, 0, 1000, 1500)
		frame := (used[1] - used[0]) / 1000
		if frame < 16 || frame > 200 || used[0] < 16 || used[0] > 1000 || used[2]-used[1] != 500*frame || len(kept) < used[2] {
			t.Errorf("%v bytes are used: a frame takes %d; %d are kept", used, frame, len(kept))
		}
		ours := make([]byte, 1<<20+5)
		at := &ours[0]
		again, kept := look(wazero.NewRuntimeConfigCompiler(), ours, 0, 1000, 1500)
		if &kept[0] != at || !slices.Equal(used, again) {
			t.Errorf("on a stack of ours %v bytes are used, not %v, and it is there: %v", again, used, &kept[0] == at)
		}
		end := ours[len(ours)-used[2]:]
		if bytes.Count(end, []byte{0}) == len(end) || bytes.Count(ours, []byte{0}) < len(ours)-used[2]-100 {
			t.Error("nothing is written at its end, or something before it")
		}
		deep := uint64(4*len(ours)) / uint64(frame)
		if more, kept := look(wazero.NewRuntimeConfigCompiler(), ours, 10, deep); more[1] < 4*len(ours) || len(kept) < more[1] {
			t.Errorf("deeper than ours %v bytes are used of %d", more, len(kept))
		}
	}
	if used, _ := look(wazero.NewRuntimeConfigInterpreter(), make([]byte, 1<<20), 0, 1500); used[1] != 0 {
		t.Errorf("interpreted, %v are used: it bounds itself", used)
	}
}

type strange struct {
	api.Function
	stack string
}

// TestAnUnknownStackHasNoEnd is that an engine of another kind stops guests, and does not let them go on unseen.
func TestAnUnknownStackHasNoEnd(t *testing.T) {
	for _, f := range []api.Function{nil, strange{}, &strange{stack: "of another type"}, (*strange)(nil)} {
		Seat(f, make([]byte, 1<<20))
		if used := StackUsed(f); used != unseen {
			t.Errorf("%T: %d are used", f, used)
		}
	}
}
