package simulations_test

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestReady: each scenario that comes with the binary can be read, is called like its file, says what it answers and where
// its figures are from, and expects something.
func TestReady(t *testing.T) {
	for _, r := range simulations.List() {
		s, err := simulations.Load(r.Name, scenario.Options{})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if s.Name != r.Name || s.File != r.Name || s.About == "" || len(s.Expect) == 0 || len(s.Load) == 0 {
			t.Errorf("%s: %+v", r.Name, s)
		}
		head, _, _ := bytes.Cut(r.Text, []byte("\nname:"))
		if !bytes.HasPrefix(head, []byte("# ")) || bytes.Count(head, []byte("\n")) < 3 {
			t.Errorf("%s: its head does not say what it answers, and where its figures are from", r.Name)
		}
	}
	for _, want := range []string{"lan-5", "home-lab-50", "campus-1000", "planet-1m", "churn-hour", "paper-training", "gpu-farm"} {
		if s, err := simulations.Load(want, scenario.Options{}); err != nil {
			t.Error(err)
		} else if n, ok := map[string]int{"lan-5": 5, "home-lab-50": 50, "campus-1000": 1000, "planet-1m": 1_000_000, "churn-hour": 100}[want]; ok && s.Nodes() != n {
			t.Errorf("%s has %d nodes", want, s.Nodes())
		}
	}
	names, _ := fs.Glob(os.DirFS("scenarios"), "*.yaml")
	if len(names) != len(simulations.List()) {
		t.Errorf("%d files, %d in the binary", len(names), len(simulations.List()))
	}
}

func TestLoad(t *testing.T) {
	_, err := simulations.Load("lan-6", scenario.Options{})
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "none of this name is ready: ready are ") {
		t.Error(err)
	}
	if s, err := simulations.Load("scenarios/lan-5.yaml", scenario.Options{Nodes: 50}); err != nil || s.Nodes() != 50 {
		t.Error(err)
	}
	if s, err := simulations.Load("planet-1m", scenario.Options{}); err != nil || simulations.Estimate(s, report.Model) > 3<<30 {
		t.Errorf("planet-1m: %v", err)
	}
}
