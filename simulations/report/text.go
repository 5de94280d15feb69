package report

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
)

// MaxLines bounds Text: with the path of the report, a terminal shows 25.
const MaxLines = 24

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
	tail = append(tail, checkLines(Storeys(r, Bands))...)
	if len(r.Expect) > 0 && len(r.Unmet) == 0 && !r.Cut {
		tail = append(tail, fmt.Sprintf("All %s hold.", many(len(r.Expect), "expectation")))
	}
	tail = append(tail, capped(r.Misses(), 6)...)
	tail = append(tail, capped(r.Broken(), 3)...)
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

// checkLines tells each figure of the first policy, and of the others what is not inside of its band.
func checkLines(checks []Check) (list []string) {
	for i, c := range checks {
		verdict := "inside"
		switch {
		case c.Why != "":
			verdict = c.Why
		case !c.Inside:
			verdict = "OUTSIDE"
		}
		if !c.Inside && c.Below != nil {
			verdict += fmt.Sprintf(" (%.0f %% of the model's are below the world's median)", 100**c.Below)
		}
		if c.Policy == checks[0].Policy || !c.Inside {
			list = append(list, fmt.Sprintf("model against world, %s, %s: %s ± %.1f %%, band %.0f %%: %s", c.Policy, c.Figure, percent(c.Diff), 100*c.Half, 100*c.Band, verdict))
		}
		if i == len(checks)-1 && c.Policy != checks[0].Policy && len(list) < len(checks) {
			list = append(list, fmt.Sprintf("model against world, other policies: %s inside", many(len(checks)-len(list), "figure")))
		}
	}
	return capped(list, 9)
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

// Misses lists the expectations that do not hold, one line each: in how many runs, and what was found instead.
func (r *Result) Misses() (list []string) {
	for _, e := range r.Expect {
		lo, hi, n, absent, first := math.Inf(1), math.Inf(-1), 0, 0, Unmet{}
		for _, u := range r.Unmet {
			switch {
			case u.Expect != e:
				continue
			case u.Absent:
				absent++
			default:
				lo, hi = min(lo, u.Value), max(hi, u.Value)
			}
			if n++; n == 1 {
				first = u
			}
		}
		var found string
		switch {
		case n == 0:
			continue
		case absent > 0:
			found = fmt.Sprintf("%s no such figure", map[bool]string{true: "a run has", false: many(absent, "run") + " have"}[absent == 1])
		case lo == hi:
			found = fmt.Sprintf("it is %.6g", lo)
		default:
			found = fmt.Sprintf("it is %.6g to %.6g", lo, hi)
		}
		where := fmt.Sprintf("in %d of %s, as of seed %d", n, many(len(r.Runs), "run"), first.Seed)
		if n == 1 {
			where = fmt.Sprintf("%s, %s, seed %d", first.Storey, PolicyName(first.Policy), first.Seed)
		}
		list = append(list, fmt.Sprintf("not as expected: %s: %s (%s)", e, found, where))
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

// Broken lists what the checkers found in all runs.
func (r *Result) Broken() (list []string) {
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
