package main

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/bench/hostile"
	"github.com/shoal-fabric/shoal/bench/rig"
)

// TestResultsRecompute computes every ratio of RESULTS.md anew from the raw samples beside it.
func TestResultsRecompute(t *testing.T) {
	text, err := os.ReadFile("RESULTS.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatal("RESULTS.md or its samples are gone: go run . all makes them")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range benches() {
		res, err := rig.Load("samples", b.Name)
		if err != nil {
			t.Fatal(err)
		}
		again := rig.Compute(b, res.Samples)
		if len(again.Ratios) != len(res.Ratios) {
			t.Errorf("%s: %d ratios, %d were printed", b.Name, len(again.Ratios), len(res.Ratios))
		}
		for name, v := range again.Ratios {
			if math.Abs(v-res.Ratios[name]) > 1e-9*math.Abs(v) {
				t.Errorf("%s: %s is %v, %v was printed", b.Name, name, v, res.Ratios[name])
			}
			row := "| " + name + " | " + rig.Spread{Median: v, Min: again.Spreads[name][0], Max: again.Spreads[name][1]}.String() + " |"
			if !strings.Contains(string(text), row) {
				t.Errorf("%s: RESULTS.md has no row %q", b.Name, row)
			}
		}
	}
}

// TestReplaceSection renews each section in turn, between others, at the end, and where there was none.
func TestReplaceSection(t *testing.T) {
	text := []byte("# Results\n")
	for _, b := range benches() {
		text = replaceSection(text, b, &rig.Result{Bench: b.Name, Rounds: 1})
	}
	for _, b := range benches() {
		before := string(text)
		text = replaceSection(text, b, &rig.Result{Bench: b.Name, Rounds: 77})
		if strings.Count(string(text), "77 rounds") != 1 {
			t.Fatalf("%s: %s", b.Name, text)
		}
		text = replaceSection(text, b, &rig.Result{Bench: b.Name, Rounds: 1})
		if string(text) != before {
			t.Fatalf("%s: renewed and put back, the text is\n%s\nand was\n%s", b.Name, text, before)
		}
	}
}

func TestNames(t *testing.T) {
	for _, b := range benches() {
		if find(b.Name) == nil || len(b.About) == 0 || len(b.Ratios) == 0 {
			t.Errorf("benchmark %q: it cannot be found, or says nothing of itself", b.Name)
		}
		seen := map[string]bool{}
		for _, r := range b.Ratios {
			if seen[r.Name] {
				t.Errorf("%s: two ratios are called %s", b.Name, r.Name)
			}
			seen[r.Name] = true
		}
	}
	if find("all") != nil || find("report") != nil || find(hostile.CompileArg) != nil || find(rig.WorkerArg) != nil {
		t.Error("a benchmark has the name of something else")
	}
}
