package report

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// MaxLines bounds Text.
const MaxLines = 25

// first are the figures that a terminal shows before others.
var first = []string{
	"lookup_hops_mean", "lookup_ms_p50", "lookup_ms_p99", "lookup_exact", "task_ms_p50", "task_ms_p99", "task_failed", "locality", "moved_bytes",
	"call_ms_p50", "call_failed", "availability", "partitions_lost", "bytes_per_node_hour", "find_ms_p50", "find_found", "gpu_ms_p50", "gpu_found",
	"makespan_s", "queue_mean", "gpu_use", "delivered", "deliver_ms_p50", "repair_bytes", "announce_bytes_per_node_hour", "events_per_s",
}

// Text is the summary for a terminal: at most MaxLines lines.
func (r *Result) Text() string {
	groups := r.Groups()
	var head, tail []string
	line := fmt.Sprintf("%s: %s nodes, %s", r.Scenario, thousands(uint64(r.Nodes)), seconds(r.Duration))
	seeds, events, wall := map[uint64]bool{}, uint64(0), 0.0
	for _, x := range r.Runs {
		seeds[x.Seed] = true
		events += x.Events
		wall += x.Wall
	}
	line += fmt.Sprintf(" simulated; %s over %s, %s events in %s of work", many(len(r.Runs), "run"), many(len(seeds), "seed"), thousands(events), seconds(wall))
	head = append(head, line)
	if r.Cut {
		head = append(head, "It was interrupted: this is what there is.")
	}
	if r.Skipped > 0 {
		head = append(head, fmt.Sprintf("%s of traces were broken and left out.", many(r.Skipped, "row")))
	}
	for _, c := range Storeys(r, Bands) {
		verdict := "inside"
		switch {
		case c.Why != "":
			verdict = c.Why
		case !c.Inside:
			verdict = "OUTSIDE"
		}
		tail = append(tail, fmt.Sprintf("model against world, %s: %s ± %.1f %%, band %.0f %%: %s", c.Figure, percent(c.Diff), 100*c.Half, 100*c.Band, verdict))
	}
	if len(r.Expect) > 0 && len(r.Unmet) == 0 && !r.Cut {
		tail = append(tail, fmt.Sprintf("All %s hold.", many(len(r.Expect), "expectation")))
	}
	tail = append(tail, capped(r.unmet(), 4)...)
	tail = append(tail, capped(r.broken(), 3)...)
	rows := r.rows(groups)
	room := max(MaxLines-len(head)-len(tail)-1, 1)
	var b strings.Builder
	for _, l := range head {
		b.WriteString(l + "\n")
	}
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	cols := []string{"FIGURE"}
	for i := range groups {
		cols = append(cols, strings.ToUpper(groups[i].Name(groups)))
	}
	if len(rows) > 0 {
		fmt.Fprintln(w, strings.Join(cols, "\t"))
	}
	for i, row := range rows {
		if i == room {
			break
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	for _, l := range tail {
		b.WriteString(l + "\n")
	}
	return b.String()
}

func (r *Result) rows(groups []Group) (rows [][]string) {
	for _, name := range first {
		row, there := []string{name}, false
		for _, g := range groups {
			e := g.Figures[name]
			there = there || e.N > 0
			row = append(row, e.text(unitOf(name)))
		}
		if there {
			rows = append(rows, row)
		}
	}
	return rows
}

// unmet lists the expectations that do not hold, as people read them.
func (r *Result) unmet() (list []string) {
	for _, u := range r.Unmet {
		list = append(list, u.String())
	}
	return list
}

// String says what did not hold, where, and what was found.
func (u Unmet) String() string {
	found := fmt.Sprintf("it is %.6g", u.Value)
	if u.Absent {
		found = "the run has no such figure"
	}
	return fmt.Sprintf("not as expected: %s: %s (%s, %s, seed %d)", u.Expect, found, u.Storey, PolicyName(u.Policy), u.Seed)
}

func (r *Result) broken() (list []string) {
	for _, x := range r.Runs {
		for _, b := range x.Broken {
			list = append(list, fmt.Sprintf("violation: %s (%s, %s, seed %d)", b, x.Storey, PolicyName(x.Policy), x.Seed))
		}
	}
	return list
}

func capped(list []string, n int) []string {
	if len(list) <= n {
		return list
	}
	return append(list[:n:n], fmt.Sprintf("and %d more like it", len(list)-n))
}

func many(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprint(n, " ", word)
}
