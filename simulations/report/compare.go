package report

import (
	"math"
	"strings"
)

// Comparison is one result beside another.
type Comparison struct {
	A, B  string // what they are of
	Same  bool   `json:"same_scenario"` // the same file, so that only the program differs
	Lines []Line `json:"lines"`
}

// Line is one figure of one storey and policy.
type Line struct {
	Storey  string   `json:"storey"`
	Policy  string   `json:"policy"`
	Figure  string   `json:"figure"`
	Unit    string   `json:"unit"`
	A       Estimate `json:"a"`
	B       Estimate `json:"b"`
	Diff    float64  `json:"difference"` // b - a
	Half    float64  `json:"half"`       // of its 95 % interval
	Known   bool     `json:"interval"`   // whether there is one: two seeds at least on both sides
	Verdict string   `json:"verdict"`    // better, worse, other, same, or "" if the interval does not say
}

// Compare tells how b differs from a, in what both have. A difference counts if its interval leaves out zero; where there is one
// seed each, runs of the model are the same or not, as they are deterministic, and no more is said.
func Compare(a, b *Result) Comparison {
	c := Comparison{A: a.Scenario, B: b.Scenario, Same: a.Sum == b.Sum && a.Nodes == b.Nodes}
	for _, ga := range a.Groups() {
		for _, gb := range b.Groups() {
			if ga.Storey != gb.Storey || ga.Policy != gb.Policy {
				continue
			}
			for _, f := range Names {
				ea, ok := ga.Figures[f.Name]
				eb, both := gb.Figures[f.Name]
				if !ok || !both {
					continue
				}
				l := Line{Storey: ga.Storey, Policy: PolicyName(ga.Policy), Figure: f.Name, Unit: f.Unit, A: ea, B: eb}
				l.Diff, l.Half, l.Known = difference(ea, eb)
				l.Verdict = verdict(l, f.More)
				c.Lines = append(c.Lines, l)
			}
		}
	}
	return c
}

func verdict(l Line, more string) string {
	switch {
	case l.Diff == 0:
		return "same"
	case !l.Known || math.Abs(l.Diff) <= l.Half:
		return ""
	case more == "":
		return "other"
	case (l.Diff > 0) == (more == "better"):
		return "better"
	}
	return "worse"
}

// Worse lists the lines that are worse beyond their interval.
func (c Comparison) Worse() (list []Line) {
	for _, l := range c.Lines {
		if l.Verdict == "worse" {
			list = append(list, l)
		}
	}
	return list
}

// Band is how far the storeys may differ in a figure, as a part of the world's.
type Band struct {
	Figure string
	Width  float64
}

// Bands are those that the storeys are held to.
var Bands = []Band{
	{"lookup_hops_mean", 0.10},
	{"lookup_ms_p50", 0.10},
	{"locality", 0.10},
	{"bytes_per_node_hour", 0.15},
	{"task_ms_p50", 0.15},
}

// Check is the model against the world in one figure.
type Check struct {
	Policy string   `json:"policy"`
	Figure string   `json:"figure"`
	World  Estimate `json:"world"`
	Model  Estimate `json:"model"`
	Diff   float64  `json:"difference"` // of the means, as a part of the world's
	Half   float64  `json:"half"`       // of its 95 % interval
	Band   float64  `json:"band"`
	Inside bool     `json:"inside"`          // the interval lies in the band
	Why    string   `json:"why,omitempty"`   // it is not known whether it does
	Alone  bool     `json:"alone,omitempty"` // as there is one seed only, which tells no interval
	// Below is the part of the model's values below the world's median, of a figure that is a median: about half, if the two only differ because hardly
	// any value lies near it.
	Below *float64 `json:"model_below_median,omitempty"`
}

// Storeys holds the model against the world, in the figures of bands that one of them has: the difference of the means over
// seeds, and whether its 95 % interval lies inside the band.
func Storeys(r *Result, bands []Band) (list []Check) {
	groups := r.Groups()
	for _, w := range groups {
		for _, m := range groups {
			if w.Storey != World || m.Storey != Model || w.Policy != m.Policy {
				continue
			}
			for _, b := range bands {
				ew, hasWorld := w.Figures[b.Figure]
				em, hasModel := m.Figures[b.Figure]
				if !hasWorld && !hasModel {
					continue
				}
				c := Check{Policy: PolicyName(w.Policy), Figure: b.Figure, World: ew, Model: em, Band: b.Width}
				d, half, known := difference(ew, em)
				if pairs := pairs(w.Runs, m.Runs, b.Figure); len(pairs) > 1 { // of a seed both have the same requests
					e := estimate(pairs)
					d, half, known = e.Mean, e.Half, true
				}
				switch {
				case !hasWorld || !hasModel:
					c.Why = "one storey has no such figure"
				case ew.Mean == 0:
					c.Inside = em.Mean == 0
				default:
					c.Diff, c.Half = d/math.Abs(ew.Mean), half/math.Abs(ew.Mean)
					c.Inside = known && math.Abs(c.Diff)+c.Half <= b.Width
					if !known {
						c.Why, c.Alone = "one seed tells no interval", true
					}
				}
				if name, median := strings.CutSuffix(b.Figure, "_p50"); median && c.Why != "one storey has no such figure" {
					c.Below = below(m.Runs, name, ew.Mean)
				}
				list = append(list, c)
			}
		}
	}
	return list
}

// below returns the part of what histograms of a name hold that is less than v; nil: there are none. In a bucket values are taken for evenly spread.
func below(runs []*Run, name string, v float64) *float64 {
	less, all := 0.0, 0.0
	for _, r := range runs {
		for _, b := range r.Hists[name] {
			n := float64(b.Count)
			all += n
			switch {
			case b.To <= v:
				less += n
			case b.From < v:
				less += n * (v - b.From) / (b.To - b.From)
			}
		}
	}
	if all == 0 {
		return nil
	}
	part := less / all
	return &part
}

// pairs are the differences of a figure, b's less a's, seed by seed; none unless the same seeds have it in both.
func pairs(a, b []*Run, figure string) (list []float64) {
	of := map[uint64]float64{}
	for _, r := range a {
		if v, ok := r.Figures[figure]; ok {
			of[r.Seed] = v
		}
	}
	for _, r := range b {
		v, ok := r.Figures[figure]
		was, both := of[r.Seed]
		if ok != both {
			return nil
		}
		if ok {
			list = append(list, v-was)
			delete(of, r.Seed)
		}
	}
	if len(of) > 0 {
		return nil
	}
	return list
}

// Cells are a line as people read it: storey, policy, figure, both values, difference, verdict.
func (l Line) Cells() []string {
	d := Value(l.Diff, l.Unit)
	if l.Diff > 0 {
		d = "+" + d
	}
	switch {
	case l.Known:
		d += " ± " + Value(l.Half, l.Unit)
	case l.Diff != 0:
		d += " (one seed)"
	}
	v := l.Verdict
	if v == "" {
		v = "?"
	}
	return []string{l.Storey, l.Policy, l.Figure, l.A.text(l.Unit), l.B.text(l.Unit), d, v}
}

// Suspect returns the first run that was not as expected, or else the first.
func (r *Result) Suspect() *Run {
	for i := range r.Runs {
		x := &r.Runs[i]
		if len(x.Broken) > 0 {
			return x
		}
		for _, u := range r.Unmet {
			if u.Storey == x.Storey && u.Policy == x.Policy && u.Seed == x.Seed {
				return x
			}
		}
	}
	return &r.Runs[0]
}
