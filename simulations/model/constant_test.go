package model

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// jobs is a scenario of tasks, which take so much gas.
func jobs(gas float64) *scenario.Scenario {
	return town(50, func(s *scenario.Scenario) {
		s.Duration = 2 * time.Minute
		s.Data = []scenario.Dataset{{Name: "d", Count: 5, Bytes: 1 << 20, Partition: 1 << 20, Replicas: 2}}
		s.Load = []scenario.Load{{Ask: scenario.Task, Rate: 1, Work: scenario.Work{Code: 1 << 18, Modules: 2, Gas: gas, Result: 1024, Deadline: time.Minute}}}
	})
}

// TestTraceOfJobs is what TestACostConstantChangesTheTrace runs again.
func TestTraceOfJobs(t *testing.T) {
	r := run(t, jobs(1e9), 1, Options{})
	t.Logf("trace %s after %d decisions", r.Trace, r.Leaves["cost"])
	if r.Leaves["cost"] < 50 {
		t.Errorf("%d decisions", r.Leaves["cost"])
	}
}

// TestACostConstantChangesTheTrace builds this package anew against a copy of scheduler/cost, once as it is and once with a constant
// that is a little greater: the model has no figures of its own in place of production's.
func TestACostConstantChangesTheTrace(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the package twice")
	}
	file, err := filepath.Abs("../../scheduler/cost/cost.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const was, is = "const Pull = 2.0\n", "const Pull = 2.001\n"
	if bytes.Count(source, []byte(was)) != 1 {
		t.Fatalf("%s has no %q: name another constant", file, was)
	}
	trace := func(source []byte) string {
		dir := t.TempDir()
		twin, overlay := filepath.Join(dir, "cost.go"), filepath.Join(dir, "overlay.json")
		list, err := json.Marshal(map[string]any{"Replace": map[string]string{file: twin}})
		if err != nil {
			t.Fatal(err)
		}
		for at, b := range map[string][]byte{twin: source, overlay: list} {
			if err := os.WriteFile(at, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-vet=off", "-count=1", "-run", "^TestTraceOfJobs$", "-v", ".").CombinedOutput()
		m := regexp.MustCompile(`trace ([0-9a-f]{16}) `).FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(m[1])
	}
	here := run(t, jobs(1e9), 1, Options{}).Trace
	if same := trace(source); same != here {
		t.Errorf("built again it has the trace %s, not %s", same, here)
	}
	if other := trace(bytes.Replace(source, []byte(was), []byte(is), 1)); other == here {
		t.Errorf("with %q in place of %q it has the same trace, %s", is, was, other)
	}
}
