package rig

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// WriteText writes a result for people.
func (res *Result) WriteText(w io.Writer, b *Bench) {
	fmt.Fprintf(w, "%s: %d rounds, seed %d, %.0f s\n", res.Bench, res.Rounds, res.Seed, res.Seconds)
	if b.Table == nil {
		for _, row := range res.rows(b) {
			fmt.Fprintf(w, "  %-24s %-14s %s\n", row[1], row[0], row[2])
		}
	} else {
		for _, row := range b.Table(res.Samples) {
			fmt.Fprintf(w, "  %-32s", row[0])
			for _, cell := range row[1:] {
				fmt.Fprintf(w, " %16s", cell)
			}
			fmt.Fprintln(w)
		}
	}
	for _, row := range res.ratioRows(b) {
		fmt.Fprintf(w, "  %-24s %-32s %-12s %s\n", row[0], row[1], row[2], row[3])
	}
	for _, n := range res.Notes {
		fmt.Fprintf(w, "  %s\n", n)
	}
}

// WriteMarkdown writes a result as a section of RESULTS.md.
func (res *Result) WriteMarkdown(w io.Writer, b *Bench) {
	fmt.Fprintf(w, "\n## %s\n\n    cd bench && go run . %s --seed %d --rounds %d\n\n", res.Bench, res.Bench, res.Seed, res.Rounds)
	for _, a := range b.About {
		fmt.Fprintf(w, "* %s\n", a)
	}
	fmt.Fprintf(w, "\n%d rounds, %.0f s; commit %s; load when it began %s.\n\n| ratio | median (least..greatest round) | target | |\n|---|---|---|---|\n",
		res.Rounds, res.Seconds, res.Machine.Commit, res.Machine.Load)
	for _, row := range res.ratioRows(b) {
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", row[0], row[1], row[2], row[3])
	}
	if b.Table == nil {
		fmt.Fprintf(w, "\n| what | figure | median (least..greatest round) |\n|---|---|---|\n")
		for _, row := range res.rows(b) {
			fmt.Fprintf(w, "| %s | %s | %s |\n", row[0], row[1], row[2])
		}
	} else {
		fmt.Fprintln(w)
		for i, row := range b.Table(res.Samples) {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
			}
		}
	}
	if len(res.Notes) > 0 {
		fmt.Fprintf(w, "\n")
	}
	for _, n := range res.Notes {
		fmt.Fprintf(w, "* %s\n", n)
	}
}

// ratioRows are name, spread, target and verdict.
func (res *Result) ratioRows(b *Bench) (rows [][4]string) {
	for _, r := range b.Ratios {
		text, verdict := "not measured", "missed"
		if v, ok := res.Ratios[r.Name]; ok {
			text = Spread{v, res.Spreads[r.Name][0], res.Spreads[r.Name][1]}.String()
		}
		switch {
		case r.Target.String() == "":
			verdict = "reported"
		case r.Target.Met(value(res.Ratios, r.Name)):
			verdict = "ok"
		}
		rows = append(rows, [4]string{r.Name, text, r.Target.String(), verdict})
	}
	return rows
}

func value(m map[string]float64, name string) float64 {
	if v, ok := m[name]; ok {
		return v
	}
	return math.NaN()
}

// rows are kind, field and spread: ours first.
func (res *Result) rows(b *Bench) (rows [][3]string) {
	add := func(kind string, fields map[string]Spread) {
		for _, f := range slices.Sorted(maps.Keys(fields)) {
			rows = append(rows, [3]string{kind, f, fields[f].String()})
		}
	}
	add(b.Ours, res.Ours)
	for _, kind := range slices.Sorted(maps.Keys(res.Peers)) {
		add(kind, res.Peers[kind])
	}
	return rows
}

// String returns "1.23 (1.10..1.40)".
func (s Spread) String() string {
	if s.Min == s.Max {
		return Number(s.Median)
	}
	return Number(s.Median) + " (" + Number(s.Min) + ".." + Number(s.Max) + ")"
}

// Number prints three or four digits that matter.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 1000:
		return fmt.Sprintf("%.0f", v)
	case a >= 100:
		return fmt.Sprintf("%.1f", v)
	case a >= 10:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// WriteMachine writes the head of RESULTS.md.
func (m Machine) WriteMachine(w io.Writer) {
	fmt.Fprintf(w, "| | |\n|---|---|\n| processor | %s, %d cores |\n| memory | %s |\n| system | %s, %s |\n", m.CPU, m.Cores, m.Memory, m.Kernel, m.Go)
	fmt.Fprintf(w, "| scratch files | %s, 4 KiB write and fsync %.2f ms (median of 30) |\n| load when it began | %s |\n| commit | %s |\n", m.Files, m.FsyncMS, m.Load, m.Commit)
	var libs []string
	for _, l := range slices.Sorted(maps.Keys(m.Libs)) {
		libs = append(libs, l+" "+m.Libs[l])
	}
	fmt.Fprintf(w, "| libraries | %s |\n", strings.Join(libs, ", "))
}
