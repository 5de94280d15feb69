package rig

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// Result is what a benchmark prints.
type Result struct {
	Bench   string                       `json:"bench"`
	Seed    uint64                       `json:"seed"`
	Rounds  int                          `json:"rounds"`
	Ours    map[string]Spread            `json:"ours"`
	Peers   map[string]map[string]Spread `json:"peers"`
	Ratios  map[string]float64           `json:"ratios"`
	Spreads map[string][2]float64        `json:"ratio_spreads"` // least and greatest round
	Targets []Verdict                    `json:"targets"`
	Notes   []string                     `json:"notes,omitempty"`
	Seconds float64                      `json:"seconds"`
	Machine Machine                      `json:"machine"`
	Samples Samples                      `json:"-"` // written to a file of their own, see Save
}

// Verdict is a ratio held against its target.
type Verdict struct {
	Ratio  string  `json:"ratio"`
	Value  float64 `json:"value"`
	Target string  `json:"target"`
	OK     bool    `json:"ok"`
}

// Compute turns samples into figures. A ratio without samples is left out and its target missed.
func Compute(b *Bench, s Samples) *Result {
	res := &Result{
		Bench: b.Name, Samples: s, Ours: map[string]Spread{}, Peers: map[string]map[string]Spread{},
		Ratios: map[string]float64{}, Spreads: map[string][2]float64{},
	}
	for _, x := range s {
		into := res.Ours
		if x.Kind != b.Ours {
			if res.Peers[x.Kind] == nil {
				res.Peers[x.Kind] = map[string]Spread{}
			}
			into = res.Peers[x.Kind]
		}
		if _, done := into[x.Field]; !done {
			into[x.Field] = Sum(values(s.Of(x.Kind, x.Field)))
		}
	}
	for _, r := range b.Ratios {
		v := r.Of(s)
		if !math.IsNaN(v.Median) {
			res.Ratios[r.Name] = v.Median
			res.Spreads[r.Name] = [2]float64{v.Min, v.Max}
		}
		if t := r.Target.String(); t != "" {
			verdict := Verdict{Ratio: r.Name, Target: t, OK: r.Target.Met(v.Median)}
			verdict.Value = res.Ratios[r.Name]
			res.Targets = append(res.Targets, verdict)
		}
	}
	return res
}

// raw is the file of a run's samples.
type raw struct {
	Result  *Result `json:"result"`
	Samples Samples `json:"samples"`
}

// Save writes the samples, with the figures that were printed, to dir/NAME.json.
func (res *Result) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(raw{res, res.Samples}, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, res.Bench+".json"), append(b, '\n'), 0o644)
}

// Load reads what Save has written.
func Load(dir, bench string) (*Result, error) {
	b, err := os.ReadFile(filepath.Join(dir, bench+".json"))
	if err != nil {
		return nil, err
	}
	var r raw
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("samples of %s: %w", bench, err)
	}
	if r.Result == nil {
		return nil, fmt.Errorf("samples of %s: no result in it", bench)
	}
	r.Result.Samples = r.Samples
	return r.Result, nil
}
