package report_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/simulations/report"
)

// TestDocs: docs/simulation.md has every figure, as Names says it, and every kind of bytes. UPDATE_DOCS=1 writes the table.
func TestDocs(t *testing.T) {
	const path, head = "../../docs/simulation.md", "| figure | unit | what it is | more is |\n|---|---|---|---|\n"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, f := range report.Names {
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.Name, f.Unit, f.Says, f.More)
	}
	before, rest, _ := strings.Cut(string(b), head)
	old, after, ok := strings.Cut(rest, "<!-- figures -->")
	if !ok {
		t.Fatal("docs/simulation.md has no table of figures")
	}
	if old != table.String() {
		if os.Getenv("UPDATE_DOCS") == "" {
			t.Fatal("the table of figures is out of date: UPDATE_DOCS=1 go test ./simulations/report -run TestDocs")
		}
		if err := os.WriteFile(path, []byte(before+head+table.String()+"<!-- figures -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range report.Kinds {
		if !strings.Contains(after, "`"+k+"`") {
			t.Errorf("docs/simulation.md does not name bytes of kind %s", k)
		}
	}
}
