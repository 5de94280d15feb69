package simulations

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// maxPlaces bounds a sweep.
const maxPlaces = 1000

// ParseAxis reads PATH=VALUE,VALUE,...: nodes, replicas (of all data), or the path of a value, as scenario.Setting has it.
func ParseAxis(s string) (a report.Axis, err error) {
	path, values, ok := strings.Cut(s, "=")
	a.Path = strings.TrimSpace(path)
	for v := range strings.SplitSeq(values, ",") {
		if v = strings.TrimSpace(v); v != "" {
			a.Values = append(a.Values, v)
		}
	}
	if !ok || a.Path == "" || len(a.Values) == 0 {
		return a, shoal.E(shoal.Invalid, "vary '"+s+"'", "it has not the form PATH=VALUE,VALUE,...", "write one like nodes=1e3,1e4 or load.lookup.rate=1,10")
	}
	return a, nil
}

// ParseNodes reads a number of nodes: 1000, 1e6.
func ParseNodes(s string) (int, error) {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || x != math.Trunc(x) || x < 1 || x > 1e8 {
		return 0, shoal.E(shoal.Invalid, "nodes "+s, "it is no number of nodes", "write a whole number of 1 or more, such as 1000 or 1e6")
	}
	return int(x), nil
}

// Change has the options say what a sweep's or a command's setting says.
func Change(o *scenario.Options, path, value string) error {
	switch path {
	case "nodes":
		n, err := ParseNodes(value)
		o.Nodes = n
		return err
	case "replicas":
		path = "data.replicas"
	}
	o.Set = append(o.Set[:len(o.Set):len(o.Set)], scenario.Setting{Path: path, Value: value})
	return nil
}

// Sweep runs a scenario with each combination of the axes' values. All of them are checked before the first runs.
func Sweep(ctx context.Context, ref string, base scenario.Options, axes []report.Axis, o Options) (*report.Sweep, error) {
	total := 1
	for i, a := range axes {
		total *= len(a.Values)
		for _, b := range axes[:i] {
			if a.Path == b.Path {
				return nil, shoal.E(shoal.Invalid, "vary "+a.Path, "it is there twice", "write all values in one")
			}
		}
		if total > maxPlaces {
			return nil, shoal.E(shoal.Invalid, "sweep "+ref, fmt.Sprintf("there are more than %d combinations", maxPlaces), "vary fewer values")
		}
	}
	out := &report.Sweep{Axes: axes, Version: o.Version}
	var list []*scenario.Scenario
	var at [][]string
	for i := range total {
		opt, words, rest := base, []string{}, i
		for a := len(axes) - 1; a >= 0; a-- {
			words = append([]string{axes[a].Values[rest%len(axes[a].Values)]}, words...)
			rest /= len(axes[a].Values)
		}
		for a := range axes {
			if err := Change(&opt, axes[a].Path, words[a]); err != nil {
				return nil, err
			}
		}
		s, err := Load(ref, opt)
		if err != nil {
			return nil, err
		}
		list, at = append(list, s), append(at, words)
	}
	out.Scenario, out.About, out.Sum = list[0].Name, list[0].About, list[0].Sum
	tell := o.Progress
	for i, s := range list {
		if o.Progress = nil; tell != nil {
			o.Progress = func(p Progress) { // of all: each place counts alike
				part := float64(p.Now) / float64(max(p.End, 1))
				tell(Progress{Runs: len(list), Done: i, Now: p.Now, End: p.End, Events: p.Events, Part: (float64(i) + part) / float64(len(list))})
			}
		}
		r, err := Run(ctx, s, o)
		if shoal.KindOf(err) == shoal.Refused {
			out.Refused = append(out.Refused, strings.Join(at[i], ", ")+": "+err.Error())
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(r.Runs) > 0 {
			out.Places = append(out.Places, report.Place{At: at[i], Result: r})
		}
		if ctx.Err() != nil {
			out.Cut = true
			break
		}
	}
	return out, nil
}
