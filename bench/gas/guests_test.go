package gas

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuestsAreBuiltFromSource rebuilds the committed modules.
func TestGuestsAreBuiltFromSource(t *testing.T) {
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !strings.Contains(string(version), "version 14.") {
		t.Skip("needs Debian 12's clang, version 14: other versions make other bytes")
	}
	dir := t.TempDir()
	if out, err := exec.Command("guests/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, name := range []string{"scalar", "simd", "spin", "echo"} {
		want, err := os.ReadFile(filepath.Join(dir, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := built.ReadFile("guests/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s.wasm is not what its source gives: run guests/build.sh", name)
		}
	}
}

// TestKernelsAgree runs each kernel in C, small, metered and bare.
func TestKernelsAgree(t *testing.T) {
	wasm := map[string][]byte{}
	for module, file := range map[string]string{"c": "scalar", "simd": "simd"} {
		b, err := built.ReadFile("guests/" + file + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		wasm[module] = b
	}
	ours, end, err := newMetered(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	theirs, end, err := newBare(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	for _, k := range append(append([]kernel(nil), scalar...), simd...) {
		o := order{k.module, k.name, 20}
		a, err := runKernel(t.Context(), ours, o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := runKernel(t.Context(), theirs, o)
		if err != nil {
			t.Fatal(err)
		}
		if a.Sum != b.Sum || a.Sum == "" {
			t.Errorf("%s %s: %q metered, %q bare", k.module, k.name, a.Sum, b.Sum)
		}
	}
	if _, err := runKernel(t.Context(), ours, order{"c", "no such kernel", 1}); err == nil {
		t.Error("a kernel that there is not has run")
	}
}

// TestInstancesEnd has a crowd of guests wait, be measured, and end when their input does.
func TestInstancesEnd(t *testing.T) {
	b, err := built.ReadFile("guests/scalar.wasm")
	if err != nil {
		t.Fatal(err)
	}
	for name, build := range map[string]func(context.Context, map[string][]byte) (runner, func(), error){
		"metered": newMetered, "bare": newBare,
	} {
		r, end, err := build(t.Context(), map[string][]byte{"c": b})
		if err != nil {
			t.Fatal(err)
		}
		// What the first crowd makes the process keep is there for the second: it must not need much more.
		if _, err := instances(t.Context(), r, "c"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		kib, err := instances(t.Context(), r, "c")
		if err != nil || kib > 1000 {
			t.Errorf("%s: %v KiB for an instance, %v", name, kib, err)
		}
		end()
	}
}

// TestMethodsAgree has the SDK's method count, metered and bare.
func TestMethodsAgree(t *testing.T) {
	for _, metered := range []bool{true, false} {
		s, err := newSDK(t.Context(), metered)
		if err != nil {
			t.Fatal(err)
		}
		if us, err := s.perTurn(t.Context()); err != nil || us <= 0 {
			t.Errorf("metered %v: %v us, %v", metered, us, err)
		} else {
			t.Logf("metered %v: %.1f us a turn", metered, us)
		}
		s.end()
	}
}
