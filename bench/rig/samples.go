package rig

import (
	"math"
	"slices"
)

// Sample is one figure that was measured. Everything else is computed from samples.
type Sample struct {
	Round int     `json:"round"`
	Kind  string  `json:"kind"`
	Field string  `json:"field"`
	Value float64 `json:"value"`
}

// Samples are those of a run.
type Samples []Sample

// Of returns the values of a field, by round.
func (s Samples) Of(kind, field string) map[int]float64 {
	out := map[int]float64{}
	for _, x := range s {
		if x.Kind == kind && x.Field == field {
			out[x.Round] = x.Value
		}
	}
	return out
}

// Spread is a median and how far the rounds lie apart.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Sum returns the spread of values; all NaN when there are none.
func Sum(values []float64) Spread {
	if len(values) == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	v := slices.Sorted(slices.Values(values))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + mid) / 2
	}
	return Spread{mid, v[0], v[len(v)-1]}
}

// values returns a map's values.
func values(m map[int]float64) []float64 {
	out := make([]float64, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// Paired returns, for each round in which both were measured, ours over theirs.
func (s Samples) Paired(ours, theirs, field string) map[int]float64 {
	a, b := s.Of(ours, field), s.Of(theirs, field)
	out := map[int]float64{}
	for round, v := range a {
		if w, ok := b[round]; ok {
			out[round] = v / w
		}
	}
	return out
}
