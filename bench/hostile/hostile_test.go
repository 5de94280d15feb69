package hostile

import (
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// TestEveryGuestHasItsRow makes up samples and looks for each guest's figures in its own row, and for the worst
// among the ratios.
func TestEveryGuestHasItsRow(t *testing.T) {
	var s rig.Samples
	fields := map[string]bool{}
	for i, g := range guests() {
		if fields[slug(g.Name)] {
			t.Errorf("two guests would share the figures of %s", slug(g.Name))
		}
		fields[slug(g.Name)] = true
		for round := 1; round <= 2; round++ {
			for kind, base := range map[string]float64{"shoal": 100, "control": 200} {
				for _, f := range []string{"stop_ms", "ping_ms", "ping_p50_ms", "ticker_ms", "collect_ms", "pause_ms"} {
					s = append(s, rig.Sample{Round: round, Kind: kind, Field: slug(g.Name) + "_" + f, Value: base + float64(i)})
				}
			}
			s = append(s, rig.Sample{Round: round, Kind: "shoal", Field: slug(g.Name) + "_pings", Value: 10},
				rig.Sample{Round: round, Kind: "shoal", Field: slug(g.Name) + "_collections", Value: float64(round)})
		}
	}
	rows := table(s)
	if len(rows) != len(guests())+1 {
		t.Fatalf("%d rows for %d guests", len(rows), len(guests()))
	}
	for i, g := range guests() {
		row := rows[i+1]
		both := rig.Number(100+float64(i)) + " (" + rig.Number(200+float64(i)) + ")"
		if row[0] != g.Name || row[1] == "" || row[3] != both || row[4] != both || row[5] != "20" || row[6] != both || row[9] != "3" || len(row) != len(rows[0]) {
			t.Errorf("%s: %q", g.Name, row)
		}
		if stop := rig.Number(100 + float64(i)); row[2] != stop && (g.Limit != "none" || row[2] != "-") {
			t.Errorf("%s: stopped after %s, want %s", g.Name, row[2], stop)
		}
	}
	res := rig.Compute(Bench(), s)
	last := 100 + float64(len(guests())-1)
	if res.Ratios["ping_worst_ms"] != last || res.Ratios["stop_worst_ms"] != last || res.Ratios["ping_control_ms"] != last+100 || res.Ratios["collections_least"] != 1 {
		t.Errorf("ratios: %v", res.Ratios)
	}
}

// TestTheListIsWhatIsAskedFor holds the guests against the list of what must be withstood.
func TestTheListIsWhatIsAskedFor(t *testing.T) {
	var all []string
	for _, g := range guests() {
		all = append(all, g.Name)
	}
	names := strings.Join(all, "\n")
	for _, want := range []string{
		"endless loop", "2^60 calls", "memory.fill for ever", "a table of 2^27", "100,000 functions", "deep recursion", "output flood",
		"log flood", "path tricks", "trap with all gas spent", "start function that loops", "2,000 nested loops, 500 locals",
		"loop body of 10^6 instructions", "one memory.fill of 1 GiB",
	} {
		if !strings.Contains(names, want) {
			t.Errorf("no guest is called %q", want)
		}
	}
}
