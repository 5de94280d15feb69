package simulations_test

import (
	"os"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// TestExample: the scenario in docs/simulation.md is one.
func TestExample(t *testing.T) {
	b, err := os.ReadFile("../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "\n    name: shop\n")
	if !ok {
		t.Fatal("there is no example")
	}
	var lines []string
	for line := range strings.SplitSeq("    name: shop\n"+text, "\n") {
		cut, indented := strings.CutPrefix(line, "    ")
		if !indented {
			break
		}
		lines = append(lines, cut)
	}
	s := load(t, strings.Join(lines, "\n"), scenario.Options{})
	if s.Nodes() != 210 || len(s.Load) != 3 || s.Expect[1].Value != 2000 {
		t.Errorf("%+v", s)
	}
}
