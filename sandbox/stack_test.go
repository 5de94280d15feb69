package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/sandbox/meter"
	"github.com/shoal-fabric/shoal/sandbox/region"
	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

// TestStackIsBounded has guests with frames of all kinds call themselves for ever, and looks at what the engine took.
func TestStackIsBounded(t *testing.T) {
	const overshoot = 4 << 20
	var stacks region.Stacks
	defer stacks.Close()
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2))
	defer r.Close(t.Context())
	if err := instantiateMeter(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, c := range hostile.Deep() {
		metered, _, err := meter.Rewrite(c.Wasm, callOf)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		m, err := r.InstantiateWithConfig(t.Context(), metered, wazero.NewModuleConfig().WithName("").WithStartFunctions())
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		g := newGas(t.Context(), 0, 0)
		g.stacks = &stacks
		g.fuel = m.ExportedGlobal(meter.Fuel).(api.MutableGlobal)
		f := m.ExportedFunction("_start")
		began := time.Now()
		err = g.call(context.WithValue(t.Context(), gasKey{}, g), f, nil)
		took, used := time.Since(began), engine.StackUsed(f)
		t.Logf("%-48s %10v %10s", c.Name, took.Round(time.Microsecond*100), shoal.Size(uint64(used)))
		if err == nil || firstLine(err.Error()) != c.Want {
			t.Errorf("%s: %v, want %s", c.Name, err, c.Want)
		}
		if runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64" {
			if used <= maxStack || used > maxStack+overshoot {
				t.Errorf("%s: %s of stack were used", c.Name, shoal.Size(uint64(used)))
			}
		}
	}
}

// TestDeepCallsAreFine has programs that call themselves as deeply as honest ones may.
func TestDeepCallsAreFine(t *testing.T) {
	const depth = 50_000
	wasm := buildGo(t, "./testdata/deep")
	s := fresh(t, Config{})
	c := shoal.BlockCID(wasm)
	if _, err := s.Compile(t.Context(), c, wasm); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err := s.Run(t.Context(), shoal.Run{Module: c, Args: []string{"deep", fmt.Sprint(depth)}, Stdout: &out})
	if want := strings.Repeat(fmt.Sprint(depth, " "), 3); err != nil || strings.TrimSpace(out.String()) != strings.TrimSpace(want) {
		t.Errorf("in Go: %v, %q", err, out.String())
	}
	in := openAgent(t, behave(t, s, agentModule))
	for range 3 { // each with a new stack
		turn, _ := turnOf("deep", fmt.Sprint(3*depth))
		if _, err := in.Turn(t.Context(), turn); err != nil {
			t.Errorf("in C: %v", err)
		}
	}
	turn, _ := turnOf("deep", fmt.Sprint(20*depth))
	if _, err := in.Turn(t.Context(), turn); shoal.KindOf(err) != shoal.Failed || !strings.Contains(err.Error(), "trap: stack overflow: "+whyDeep) {
		t.Errorf("deeper than that: %v", err)
	}
}

// TestManyCallsAreNotDeep has guests whose calls would take far more than there is if none returned: many small frames,
// and large ones, two of which would make the host look.
func TestManyCallsAreNotDeep(t *testing.T) {
	s := fresh(t, Config{})
	for name, wasm := range map[string][]byte{
		"calls": hostile.Doubling(22),
		"large": hostile.Funcs(hostile.NoMemory, false, "", strings.Repeat("\x10\x00", 1<<16), strings.Repeat("\x10\x01", 200)),
	} {
		c := shoal.BlockCID(wasm)
		if _, err := s.Compile(t.Context(), c, wasm); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Run(t.Context(), shoal.Run{Module: c}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
