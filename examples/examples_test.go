package examples

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestModulesAreBuiltFromSource rebuilds every module and compares it with the committed one.
func TestModulesAreBuiltFromSource(t *testing.T) {
	for _, tool := range []string{"sh", "clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the committed modules are taken as they are", tool)
		}
	}
	version, err := exec.Command("clang", "--version").Output()
	if err != nil || !strings.Contains(string(version), "Debian clang version 14.") {
		t.Skipf("the modules are built with Debian's clang 14; this one is %q",
			strings.SplitN(string(version), "\n", 2)[0])
	}
	if _, err := os.Stat("/usr/include/wasm32-wasi"); err != nil {
		t.Skip("wasi-libc is not installed: the committed modules are taken as they are")
	}
	dir := t.TempDir()
	out, err := exec.Command("./build.sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	built, err := filepath.Glob(filepath.Join(dir, "*.wasm*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range built {
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		want, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(path, ".gz") {
			want, err = unzip(want)
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got, ok := Module(name); !ok || !bytes.Equal(got, want) {
			t.Errorf("%s.wasm is not what its source gives: run 'make examples' and commit it", name)
		}
	}
	if left := len(Names()) - len(built); left > 0 && !strings.Contains(string(out), "they stay as they are") {
		t.Errorf("build.sh built %v, the examples are %v", built, Names())
	}
}

func TestEveryExampleHasAModule(t *testing.T) {
	if !slices.IsSorted(Names()) {
		t.Errorf("names are not sorted: %v", Names())
	}
	for _, e := range All() {
		if !bytes.HasPrefix(e.Module, []byte("\x00asm")) {
			t.Errorf("%s has no module", e.Name)
		}
		most := 64 << 10
		if _, err := os.Stat(e.Name + ".wasm"); err != nil {
			most = 3 << 20 // Go's runtime
		}
		if len(e.Module) > most {
			t.Errorf("%s: %d bytes; examples travel, keep them small", e.Name, len(e.Module))
		}
		if !strings.HasPrefix(e.About, e.Name) {
			t.Errorf("%s: About must start with the name: %q", e.Name, e.About)
		}
	}
	if _, ok := Module("nothing"); ok {
		t.Error("there is a module 'nothing'")
	}
}

func TestCountWords(t *testing.T) {
	got := map[string]uint64{"the": 1}
	if err := CountWords(strings.NewReader("The cat_1 the-CAT\xc3\xa9\n the"), got); err != nil {
		t.Fatal(err)
	}
	if want := map[string]uint64{"the": 4, "cat_1": 1, "cat\xc3\xa9": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
