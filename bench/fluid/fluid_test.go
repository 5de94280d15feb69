package fluid

import (
	"bytes"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/sandbox/module"
)

func TestListsComeFromTheSeed(t *testing.T) {
	a, b := draw(3, 1), draw(3, 1)
	if !reflect.DeepEqual(a, b) {
		t.Error("one seed, two lists")
	}
	if reflect.DeepEqual(a, draw(4, 1)) || reflect.DeepEqual(a, draw(3, 2)) {
		t.Error("another seed or round, and the same lists")
	}
	for i, l := range a {
		s := shapes[i]
		if len(l.Jobs) != s.jobs || len(l.Sets) != s.sets || len(l.Modules) != nodes*s.modules {
			t.Errorf("%s: %d jobs, %d sets, %d modules", l.Name, len(l.Jobs), len(l.Sets), len(l.Modules))
		}
		uses := map[int]int{}
		for _, j := range l.Jobs {
			if j.Module%nodes != j.Caller || j.Module >= len(l.Modules) || j.Set >= len(l.Sets) {
				t.Errorf("%s: %+v", l.Name, j)
			}
			uses[j.Set]++
		}
		if l.Name == "skewed" && uses[0] < 5*len(l.Jobs)/len(l.Sets) {
			t.Errorf("the most popular set is used %d times by %d jobs", uses[0], len(l.Jobs))
		}
		for _, set := range l.Sets {
			if float64(set.Bytes) < s.data[0] || float64(set.Bytes) > s.data[1] || set.Putter < 0 || set.Putter >= nodes {
				t.Errorf("%s: %+v", l.Name, set)
			}
		}
	}
	if bytes.Equal(noise(100, 1, 1, "big-code", "data", 0), noise(100, 1, 1, "big-code", "module", 0)) ||
		bytes.Equal(noise(100, 1, 1, "big-code", "data", 0), noise(100, 1, 2, "big-code", "data", 0)) {
		t.Error("noise that was seen before")
	}
}

func TestPaddedModulesAreModules(t *testing.T) {
	for _, n := range []int64{0, 1, 200, 3 * mib} {
		m := padded(guest, noise(n, 1, 0, "x", "module", 0))
		if _, err := sandbox.Inspect(m); err != nil {
			t.Errorf("with %d bytes more: %v", n, err)
		}
		if got, want := module.CodeBytes(bytes.NewReader(m), int64(len(m))), module.CodeBytes(bytes.NewReader(guest), int64(len(guest))); got != want || got == 0 {
			t.Errorf("with %d bytes more %d are code, not %d", n, got, want)
		}
	}
}

// TestWorstIsHeldAgainstTheBest computes the ratios from samples made up.
func TestWorstIsHeldAgainstTheBest(t *testing.T) {
	var s rig.Samples
	for i, l := range shapes {
		for kind, v := range map[string]float64{"fluid": 2 + float64(i), "ship-data": 4, "ship-code": 8 / float64(i+1)} {
			s = append(s, rig.Sample{Round: 1, Kind: kind, Field: l.name + "_s", Value: v})
		}
	}
	if got := worst("s")(s).Median; got != 4/(8./3) {
		t.Errorf("%v", got)
	}
	for _, some := range []rig.Samples{s[3:], s[:len(s)-3]} {
		if got := worst("s")(some).Median; !math.IsNaN(got) {
			t.Errorf("a list is missing, and it says %v", got)
		}
	}
}

func TestGuestIsBuiltFromSource(t *testing.T) {
	if _, err := exec.LookPath("wasm-ld"); err != nil {
		t.Skip("clang and lld are needed to rebuild it")
	}
	dir := t.TempDir()
	if out, err := exec.Command("sh", "guest/build.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built, err := os.ReadFile(filepath.Join(dir, "read.wasm"))
	if err != nil || !bytes.Equal(built, guest) {
		t.Errorf("read.wasm is not what its source makes: %v", err)
	}
}
