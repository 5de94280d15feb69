package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestSum(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 1, 4}, Spread{4, 1, 9}},
		{[]float64{9, 1, 4, 6}, Spread{5, 1, 9}},
	} {
		if got := Sum(c.in); got != c.want {
			t.Errorf("Sum(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	if got := Sum(nil); !math.IsNaN(got.Median) || AtMost(1).Met(got.Median) || AtLeast(1).Met(got.Median) {
		t.Error("no samples must meet no target")
	}
}

// samples of two rounds; the peer was not measured in round 3.
func sampled() Samples {
	return Samples{
		{1, "ours", "a", 2},
		{1, "peer", "a", 1},
		{1, "ours", "b", 8},
		{1, "peer", "b", 1},
		{2, "ours", "a", 3},
		{2, "peer", "a", 1},
		{2, "ours", "b", 3},
		{2, "peer", "b", 1},
		{3, "ours", "a", 100},
	}
}

func TestRatios(t *testing.T) {
	s := sampled()
	for _, c := range []struct {
		name string
		of   func(Samples) Spread
		want Spread
	}{
		{"pair", Pair("ours", "peer", "a"), Spread{2.5, 2, 3}},
		{"plain", Plain("ours", "a"), Spread{3, 2, 100}},
		{"mean", GeoMean("ours", "peer", "a", "b"), Spread{3.5, 3, 4}},
		{"worst", Worst("ours", "peer", "a", "b"), Spread{5.5, 3, 8}},
		{"most", Most("ours", "a", "b"), Spread{8, 3, 100}},
		{"peak", Peak("ours", "b"), Spread{8, 3, 8}},
		{"peak of two", Peak("ours", "a", "b"), Spread{100, 3, 100}},
		{"bottom of two", Bottom("ours", "a", "b"), Spread{2, 2, 100}},
	} {
		got := c.of(s)
		for i, v := range []float64{got.Median - c.want.Median, got.Min - c.want.Min, got.Max - c.want.Max} {
			if math.Abs(v) > 1e-12 || math.IsNaN(v) {
				t.Errorf("%s: got %v, want %v (%d)", c.name, got, c.want, i)
			}
		}
	}
	if got := Worst("ours", "peer", "a", "missing")(s); !math.IsNaN(got.Median) {
		t.Errorf("a kernel that was not measured must not vanish from the worst: %v", got)
	}
	if got := GeoMean("ours", "peer", "a", "missing")(s); !math.IsNaN(got.Median) {
		t.Errorf("nor from the mean: %v", got)
	}
}

func bench(run func(ctx context.Context, r *Run) error) *Bench {
	return &Bench{
		Name: "test", Ours: "ours", Rounds: 2, Run: run,
		Ratios: []Ratio{
			{"a_vs_peer", Pair("ours", "peer", "a"), AtMost(2.5)},
			{"b_vs_peer", Pair("ours", "peer", "b"), AtLeast(6)},
			{"c_vs_peer", Pair("ours", "peer", "c"), AtMost(1)},
		},
	}
}

func TestResultIsSavedAndRecomputes(t *testing.T) {
	b := bench(func(_ context.Context, r *Run) error { r.Samples = sampled(); return nil })
	res, err := Measure(t.Context(), b, Options{Seed: 7, Work: t.TempDir(), Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	var ok []bool
	for _, v := range res.Targets {
		ok = append(ok, v.OK)
	}
	if want := []bool{true, false, false}; !slices.Equal(ok, want) || len(res.Ratios) != 2 {
		t.Errorf("verdicts %v, want %v; ratios %v", ok, want, res.Ratios)
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := res.Save(dir); err != nil {
		t.Fatal(err)
	}
	back, err := Load(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	again := Compute(b, back.Samples)
	if !reflect.DeepEqual(again.Ratios, res.Ratios) || !reflect.DeepEqual(again.Targets, res.Targets) {
		t.Errorf("recomputed %v, printed %v", again.Ratios, res.Ratios)
	}
	var text bytes.Buffer
	res.WriteMarkdown(&text, b)
	if s := text.String(); strings.Count(s, "| missed |") != 2 || strings.Count(s, "| ok |") != 1 || !strings.Contains(s, "not measured") {
		t.Errorf("the report hides what was missed:\n%s", s)
	}
	if _, err := json.Marshal(res); err != nil {
		t.Errorf("it cannot be printed: %v", err)
	}
}

// TestTables has a benchmark report by a table of its own, in both forms.
func TestTables(t *testing.T) {
	b := bench(func(_ context.Context, r *Run) error { r.Samples = sampled(); return nil })
	b.Table = func(s Samples) [][]string {
		return [][]string{{"guest", "most"}, {"a row", Number(Peak("ours", "a")(s).Median)}}
	}
	res, err := Measure(t.Context(), b, Options{Work: t.TempDir(), Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	var md, text bytes.Buffer
	res.WriteMarkdown(&md, b)
	res.WriteText(&text, b)
	if s := md.String(); !strings.Contains(s, "| guest | most |\n|---|---|\n| a row | 100.0 |\n") || strings.Contains(s, "| what |") {
		t.Errorf("markdown:\n%s", s)
	}
	if s := strings.Join(strings.Fields(text.String()), " "); !strings.Contains(s, "guest most a row 100.0 a_vs_peer") {
		t.Errorf("text: %s", s)
	}
}

func TestTurns(t *testing.T) {
	orders := func(seed uint64) (seen []string, kept Samples) {
		r := &Run{Options: Options{Seed: seed, Rounds: 6}}
		err := r.Turns(t.Context(), []string{"x", "y", "z"}, func(round int, kind string) error {
			seen = append(seen, kind)
			r.Add(round, kind, "f", float64(round))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen, r.Samples
	}
	seen, kept := orders(1)
	if again, _ := orders(1); !slices.Equal(seen, again) {
		t.Error("the same seed gives another order")
	}
	if other, _ := orders(2); slices.Equal(seen, other) {
		t.Error("another seed gives the same order")
	}
	if len(seen) != 21 || len(kept) != 18 {
		t.Errorf("%d turns and %d samples, want 7 rounds of 3, of which the first is dropped", len(seen), len(kept))
	}
	for i := 0; i < len(seen); i += 3 {
		if round := slices.Sorted(slices.Values(seen[i : i+3])); !slices.Equal(round, []string{"x", "y", "z"}) {
			t.Errorf("round %d measured %v", i/3, round)
		}
	}
	boom := errors.New("boom")
	r := &Run{Options: Options{Rounds: 1}}
	if err := r.Turns(t.Context(), []string{"x"}, func(int, string) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("a failure is lost: %v", err)
	}
}

func TestWork(t *testing.T) {
	role := As(func(_ context.Context, name string) (*Worker, error) {
		if name == "" {
			return nil, errors.New("no name")
		}
		return &Worker{Ready: "I am " + name, Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"double": Verb(func(_ context.Context, n int) (int, error) { return 2 * n, nil }),
			"fail":   Verb(func(context.Context, int) (int, error) { return 0, errors.New("no") }),
		}}, nil
	})
	say := func(in string) (string, error) {
		var out bytes.Buffer
		err := Work(t.Context(), role, strings.NewReader(in), &out)
		return out.String(), err
	}
	got, err := say(`{"arg":"Ann"}` + "\n" + `{"verb":"double","arg":4}` + "\n" + `{"verb":"fail","arg":1}` + "\n")
	want := `{"value":"I am Ann"}` + "\n" + `{"value":8}` + "\n" + `{"error":"no"}` + "\n"
	if err != nil || got != want {
		t.Errorf("got %v\n%s", err, got)
	}
	if got, err := say(`{"arg":""}` + "\n"); err != nil || !strings.Contains(got, "no name") {
		t.Errorf("a worker that cannot begin says %q, %v", got, err)
	}
	if _, err := say(`{"arg":"Ann"}` + "\n" + `{"verb":"fly","arg":1}` + "\n"); err == nil {
		t.Error("a worker obeys an order it does not know")
	}
}
