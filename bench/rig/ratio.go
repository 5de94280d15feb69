package rig

import (
	"fmt"
	"math"
)

// Ratio is a figure that is held against a target. It is a pure function of the samples.
type Ratio struct {
	Name   string
	Of     func(Samples) Spread
	Target Target
}

// Target is what a ratio must reach. A zero Target asks for nothing: the ratio is reported beside.
type Target struct {
	Op    string // "<=" or ">="
	Bound float64
}

// AtMost and AtLeast make targets.
func AtMost(v float64) Target  { return Target{"<=", v} }
func AtLeast(v float64) Target { return Target{">=", v} }

// Met reports whether v reaches the target. NaN, which stands for no samples, reaches none.
func (t Target) Met(v float64) bool {
	switch t.Op {
	case "<=":
		return v <= t.Bound
	case ">=":
		return v >= t.Bound
	}
	return !math.IsNaN(v)
}

// String returns "<= 1.25", or "" for no target.
func (t Target) String() string {
	if t.Op == "" {
		return ""
	}
	return fmt.Sprintf("%s %v", t.Op, t.Bound)
}

// Pair is ours over theirs, round by round.
func Pair(ours, theirs, field string) func(Samples) Spread {
	return func(s Samples) Spread { return Sum(values(s.Paired(ours, theirs, field))) }
}

// Plain is a figure for which there is no peer.
func Plain(kind, field string) func(Samples) Spread {
	return func(s Samples) Spread { return Sum(values(s.Of(kind, field))) }
}

// GeoMean is the geometric mean of the paired ratios of several fields, round by round.
func GeoMean(ours, theirs string, fields ...string) func(Samples) Spread {
	return func(s Samples) Spread {
		sum, n := map[int]float64{}, map[int]int{}
		for _, f := range fields {
			for round, v := range s.Paired(ours, theirs, f) {
				sum[round] += math.Log(v)
				n[round]++
			}
		}
		var means []float64
		for round, v := range sum {
			if n[round] == len(fields) {
				means = append(means, math.Exp(v/float64(len(fields))))
			}
		}
		return Sum(means)
	}
}

// Worst is the largest of the fields' median ratios, with that field's spread.
func Worst(ours, theirs string, fields ...string) func(Samples) Spread {
	return func(s Samples) Spread {
		worst := Sum(nil)
		for _, f := range fields {
			x := Pair(ours, theirs, f)(s)
			if math.IsNaN(x.Median) {
				return x
			}
			if math.IsNaN(worst.Median) || x.Median > worst.Median {
				worst = x
			}
		}
		return worst
	}
}

// Most is the largest of several fields of one kind, round by round.
func Most(kind string, fields ...string) func(Samples) Spread {
	return func(s Samples) Spread {
		most := map[int]float64{}
		for _, f := range fields {
			for round, v := range s.Of(kind, f) {
				most[round] = max(most[round], v)
			}
		}
		return Sum(values(most))
	}
}

// Peak is the greatest of all rounds, of several fields the greatest of all.
func Peak(kind string, fields ...string) func(Samples) Spread {
	return func(s Samples) Spread {
		v := Most(kind, fields...)(s)
		v.Median = v.Max
		return v
	}
}

// Bottom is the least of all rounds and fields.
func Bottom(kind string, fields ...string) func(Samples) Spread {
	return func(s Samples) Spread {
		var all []float64
		for _, f := range fields {
			all = append(all, values(s.Of(kind, f))...)
		}
		v := Sum(all)
		v.Median = v.Min
		return v
	}
}
