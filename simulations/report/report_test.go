package report_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/report"
)

// sample is a result as two storeys might give, with figures, series and histograms of every kind.
func sample(seeds int, policies ...cost.Policy) *report.Result {
	r := &report.Result{
		Scenario: "sample-1000", About: "what a report looks like <when> there is \"everything\"", Sum: "00ff", Version: "test", Nodes: 1000, Duration: 600,
		Expect: []string{"locality >= 0.9", "lookup_exact >= 0.5"}, Faults: []report.Shade{{From: 200, To: 320, What: "kill"}, {From: 420, To: 440, What: "slow-disk"}},
	}
	dice := rand.New(rand.NewPCG(1, 2))
	for _, storey := range []string{report.World, report.Model} {
		for p, policy := range policies {
			for seed := range seeds {
				x := report.Run{
					Storey: storey, Policy: policy, Seed: uint64(seed + 1), Nodes: 1000, Simulated: 600, Wall: 20, Events: 1e7, RSS: 1 << 29,
					Figures: map[string]float64{}, Bytes: map[string]uint64{}, Series: map[string][]report.Point{}, Hists: map[string][]report.Bucket{},
				}
				if storey == report.Model {
					x.Trace, x.Leaves = fmt.Sprintf("%016x", seed), map[string]uint64{"cost": 123456, "match": 7}
				}
				for i, f := range report.Names {
					x.Figures[f.Name] = float64(i+1) * (1 + float64(p)*0.6 + dice.Float64()*0.05)
				}
				x.Figures["locality"], x.Figures["lookup_exact"] = 0.93-0.2*float64(p)+dice.Float64()*0.01, 0.99
				x.Figures["task_ms_p50"], x.Figures["moved_bytes"] = 800*(1+float64(p))+dice.Float64()*90, (1+3*float64(p))*4e9+dice.Float64()*1e9
				for i, k := range report.Kinds {
					x.Bytes[k] = uint64((1 + float64(p)) * 3e8 / float64(i+1))
				}
				for i := range 60 {
					at := float64(i)*10 + 5
					bad := 1.0
					if at > 200 && at < 330 {
						bad = 6
					}
					for _, s := range []string{"lookup_ms", "task_ms", "call_ms", "find_ms"} {
						v := 80 * (1 + dice.Float64()*0.2) * (1 + float64(p))
						x.Series[s+"_p50"] = append(x.Series[s+"_p50"], report.Point{At: at, Value: v})
						x.Series[s+"_p99"] = append(x.Series[s+"_p99"], report.Point{At: at, Value: 4 * v * bad})
					}
					x.Series["availability"] = append(x.Series["availability"], report.Point{At: at, Value: 1 - 0.02*(bad-1) - dice.Float64()*0.003})
					x.Series["up"] = append(x.Series["up"], report.Point{At: at, Value: 1 - 0.02*(bad-1)})
					x.Series["queue"] = append(x.Series["queue"], report.Point{At: at, Value: bad * (1 + dice.Float64())})
					x.Series["gpu_use"] = append(x.Series["gpu_use"], report.Point{At: at, Value: 0.4 + 0.3*dice.Float64()})
					x.Series["oddity"] = append(x.Series["oddity"], report.Point{At: at, Value: dice.Float64()})
				}
				for i := range 6 {
					x.Hists["lookup_hops"] = append(x.Hists["lookup_hops"], report.Bucket{From: float64(i + 1), To: float64(i + 2), Count: uint64(100 / (1 + (i-2)*(i-2)))})
				}
				for i := range 30 {
					x.Hists["lookup_ms"] = append(x.Hists["lookup_ms"], report.Bucket{From: 10 * math.Pow(1.2, float64(i)), To: 10 * math.Pow(1.2, float64(i+1)), Count: uint64(1 + 30 - (i-12)*(i-12)/10)})
				}
				if x.Figures["locality"] < 0.9 {
					r.Unmet = append(r.Unmet, report.Unmet{Expect: "locality >= 0.9", Storey: storey, Policy: policy, Seed: x.Seed, Value: x.Figures["locality"]})
				}
				r.Runs = append(r.Runs, x)
			}
		}
	}
	return r
}

// TestHTML: the page stands alone, is well formed, escapes what others wrote, and has every plot and figure.
func TestHTML(t *testing.T) {
	for name, r := range map[string]*report.Result{
		"full": sample(3, cost.Fluid, cost.ShipData), "one": sample(1, cost.Fluid), "empty": {Scenario: "empty", Runs: []report.Run{}},
		"bare": {Scenario: "bare", Runs: []report.Run{{Storey: report.Model, Figures: map[string]float64{"lookups": math.NaN()}}}},
	} {
		b, err := r.HTML()
		if err != nil {
			t.Fatal(name, err)
		}
		if dir := os.Getenv("REPORT_DIR"); dir != "" {
			_ = os.WriteFile(filepath.Join(dir, name+".html"), b, 0o644)
		}
		text := string(b)
		for _, outside := range []string{"http://", "<script", "<link", "src=", "@import", "url("} {
			if strings.Contains(text, outside) {
				t.Errorf("%s: the page has %s", name, outside)
			}
		}
		for _, bad := range []string{"NaN", "Inf", "%!", "<when>"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: the page has %s: %s", name, bad, text[max(strings.Index(text, bad)-100, 0):][:200])
			}
		}
		plots := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(text, -1)
		for _, p := range plots {
			d := xml.NewDecoder(strings.NewReader(p))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s: %v in %.200s", name, err, p)
				}
			}
			if !strings.Contains(p, `role="img"`) || !strings.Contains(p, "<title ") || !strings.Contains(p, "<desc ") {
				t.Errorf("%s: a plot has no title: %.200s", name, p)
			}
		}
		if name == "full" {
			for _, want := range []string{
				"Hops of lookups", "How long lookups took", "Bytes by kind", "Share of local bytes", "Latency over time", "GPUs taken", "Tasks that wait on a node",
				"Requests answered", "Side by side", "The model against the world", "oddity", "class=\"shade\"", "class=\"whisker\"", "prefers-color-scheme: dark",
				"✗ locality &gt;= 0.9", "cost 123,456",
			} {
				if !strings.Contains(text, want) {
					t.Errorf("the page lacks %s", want)
				}
			}
			for _, f := range report.Names {
				if !strings.Contains(text, "<td>"+f.Name+"</td>") {
					t.Errorf("the page lacks the figure %s", f.Name)
				}
			}
			if len(plots) < 20 {
				t.Errorf("%d plots", len(plots))
			}
		}
	}
}

func TestText(t *testing.T) {
	r := sample(3, cost.Fluid, cost.ShipData, cost.ShipCode)
	for i := range 20 {
		r.Runs[0].Broken = append(r.Runs[0].Broken, fmt.Sprint("broken ", i))
	}
	text := r.Text()
	if n := strings.Count(text, "\n"); n > report.MaxLines || n < 15 {
		t.Errorf("%d lines:\n%s", n, text)
	}
	for _, want := range []string{
		"sample-1000: 1,000 nodes, 10 min simulated; 18 runs over 3 seeds", "WORLD, FLUID", "lookup_hops_mean", "not as expected: locality >= 0.9: it is 0.",
		"in 12 of 18 runs", "violation: broken 0", "and 17 more like it", "model against world, fluid, locality", "other policies: 10 figures inside",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the summary lacks %q:\n%s", want, text)
		}
	}
}

// TestGroups: means and intervals against values worked out elsewhere (R: t.test(c(1,2,4))).
func TestGroups(t *testing.T) {
	r := &report.Result{}
	for i, v := range []float64{1, 2, 4} {
		r.Runs = append(r.Runs, report.Run{Storey: report.Model, Seed: uint64(i), Figures: map[string]float64{"tasks": v}})
	}
	r.Runs = append(r.Runs, report.Run{Storey: report.Model, Cut: true, Figures: map[string]float64{"tasks": 1000}})
	e := r.Groups()[0].Figures["tasks"]
	if e.N != 3 || math.Abs(e.Mean-7.0/3) > 1e-12 || math.Abs(e.Half-3.794583) > 1e-5 {
		t.Errorf("%+v", e)
	}
}

// two results that differ by a factor in every figure.
func pair(seeds int, factor float64) (a, b *report.Result) {
	dice := rand.New(rand.NewPCG(3, 4))
	one := func(f float64) *report.Result {
		r := &report.Result{Scenario: "x", Nodes: 10}
		for s := range seeds {
			x := report.Run{Storey: report.Model, Seed: uint64(s), Figures: map[string]float64{}}
			for _, n := range report.Names {
				x.Figures[n.Name] = 100 * f * (1 + 0.01*dice.Float64())
			}
			r.Runs = append(r.Runs, x)
		}
		return r
	}
	return one(1), one(factor)
}

func TestCompare(t *testing.T) {
	verdicts := func(seeds int, factor float64) map[string]string {
		a, b := pair(seeds, factor)
		out := map[string]string{}
		for _, l := range report.Compare(a, b).Lines {
			out[l.Figure] = l.Verdict
		}
		return out
	}
	v := verdicts(5, 1.2)
	if v["task_ms_p50"] != "worse" || v["locality"] != "better" || v["tasks"] != "other" {
		t.Errorf("%v", v)
	}
	v = verdicts(5, 0.8)
	if v["task_ms_p50"] != "better" || v["locality"] != "worse" {
		t.Errorf("%v", v)
	}
	if v = verdicts(1, 1.2); v["task_ms_p50"] != "" {
		t.Errorf("one seed says %v", v)
	}
	a, _ := pair(5, 1)
	if c := report.Compare(a, a); len(c.Worse()) > 0 || c.Lines[0].Verdict != "same" || !c.Same {
		t.Errorf("%+v", c.Lines[0])
	}
}

// TestStoreys: a model that is right is inside of its band, one that is 20 % off is not, nor one of which a single seed speaks.
// TestBelowTheMedian: where medians lie in a gap, the check tells that as many of the model's values are below the world's.
func TestBelowTheMedian(t *testing.T) {
	run := func(storey string, p50 float64, low, high uint64) report.Run {
		return report.Run{
			Storey: storey, Seed: 1, Figures: map[string]float64{"lookup_ms_p50": p50},
			Hists: map[string][]report.Bucket{"lookup_ms": {{From: 8, To: 10, Count: low}, {From: 80, To: 100, Count: high}}},
		}
	}
	r := &report.Result{Runs: []report.Run{run(report.World, 90, 49, 51), run(report.Model, 9, 51, 49)}}
	for _, c := range report.Storeys(r, report.Bands) {
		if c.Figure == "lookup_ms_p50" && (c.Inside || c.Below == nil || *c.Below != (51+49*0.5)/100) {
			t.Errorf("%+v", c)
		}
	}
	r.Runs[0].Figures["lookup_ms_p50"] = 50
	for _, c := range report.Storeys(r, report.Bands) {
		if c.Below == nil || *c.Below != 0.51 {
			t.Errorf("%+v", c)
		}
	}
}

func TestStoreys(t *testing.T) {
	checks := func(seeds int, factor float64) (inside, outside int) {
		a, b := pair(seeds, factor)
		for i := range a.Runs {
			a.Runs[i].Storey = report.World
		}
		a.Runs = append(a.Runs, b.Runs...)
		for _, c := range report.Storeys(a, report.Bands) {
			if c.Inside {
				inside++
			} else {
				outside++
			}
		}
		return inside, outside
	}
	for _, c := range []struct {
		seeds           int
		factor          float64
		inside, outside int
	}{{10, 1, 5, 0}, {10, 1.2, 0, 5}, {10, 0.8, 0, 5}, {1, 1, 0, 5}, {10, 1.12, 2, 3}} {
		if in, out := checks(c.seeds, c.factor); in != c.inside || out != c.outside {
			t.Errorf("%d seeds, factor %v: %d inside, %d outside", c.seeds, c.factor, in, out)
		}
	}
	a, _ := pair(3, 1)
	w := a.Runs[0]
	w.Storey, w.Figures = report.World, map[string]float64{"locality": 1}
	a.Runs = append(a.Runs, w)
	for _, c := range report.Storeys(a, report.Bands) {
		if c.Inside || c.Why == "" {
			t.Errorf("%+v", c)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	b, _ := json.Marshal(sample(2, cost.Fluid))
	r, err := report.ReadFile(write("good.json", string(b)))
	if err != nil || len(r.Runs) != 4 || r.Runs[3].Series["up"][3].At != 35 {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"a": "", "b": "{}", "c": "[1]", "d": `{"scenario":"x"}`, "e": string(b[:len(b)/2])} {
		if _, err := report.ReadFile(write(name, text)); err == nil || !strings.Contains(err.Error(), "it is no result of 'shoal sim run'") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := report.ReadFile(dir + "/absent"); err == nil {
		t.Error("an absent file was read")
	}
}

// TestSweep: growth is drawn, tabled and summed up.
func TestSweep(t *testing.T) {
	s := &report.Sweep{Scenario: "x", Axes: []report.Axis{{Path: "nodes", Values: []string{"1e3", "1e4", "1e5"}}, {Path: "replicas", Values: []string{"1", "3"}}}}
	for i, n := range s.Axes[0].Values {
		for k, rep := range s.Axes[1].Values {
			r := sample(2, cost.Fluid)
			r.Runs = r.Runs[2:]
			for j := range r.Runs {
				r.Runs[j].Figures["lookup_hops_mean"] = 2 + 0.8*float64(i)
				r.Runs[j].Figures["repair_bytes"] = 1e9 * float64(k+1)
			}
			s.Places = append(s.Places, report.Place{At: []string{n, rep}, Result: r})
		}
	}
	b, err := s.HTML()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("REPORT_DIR"); dir != "" {
		_ = os.WriteFile(filepath.Join(dir, "sweep.html"), b, 0o644)
	}
	for _, want := range []string{"Hops of a lookup", "Repair, per node and hour", "replicas 3", "nodes (logarithmic)"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if slope, ok := s.PerDecade("lookup_hops_mean"); !ok || math.Abs(slope-0.8) > 1e-9 {
		t.Errorf("slope %v", slope)
	}
	if head, rows := s.Text(); len(rows) != 6 || head[0] != "NODES" {
		t.Errorf("%v %v", head, rows)
	}
}
