package scenario

import (
	"math"
	"slices"
	"testing"
	"time"
)

func rows(l *Load, total time.Duration, seed uint64) (out []Row) {
	for r := range Arrivals(l, total, Dice(seed, "test")) {
		out = append(out, r)
	}
	return out
}

func TestArrivalsArePoisson(t *testing.T) {
	l := &Load{Rate: 50, Begin: 10 * time.Second, End: 1010 * time.Second}
	got := rows(l, time.Hour, 1)
	if n := float64(len(got)); math.Abs(n-50000) > 4*math.Sqrt(50000) {
		t.Errorf("%v requests, want about 50000", n)
	}
	var sum, squares float64
	last := l.Begin
	for _, r := range got {
		if r.At < last || r.At >= l.End || r.Node != -1 || r.Item != -1 {
			t.Fatalf("%+v after %v", r, last)
		}
		gap := (r.At - last).Seconds()
		sum, squares, last = sum+gap, squares+gap*gap, r.At
	}
	n := float64(len(got))
	mean := sum / n
	if cv := math.Sqrt(squares/n-mean*mean) / mean; math.Abs(cv-1) > 0.03 { // exponential: as wide as its mean
		t.Errorf("gaps vary by %.3f of their mean", cv)
	}
	if !slices.Equal(got, rows(l, time.Hour, 1)) || slices.Equal(got, rows(l, time.Hour, 2)) {
		t.Error("a seed gives its own rows, and the same again")
	}
}

func TestArrivalsOfADay(t *testing.T) {
	l := &Load{Rate: 2, Daily: &Daily{Peak: 1.8, At: 12 * time.Hour}}
	got := rows(l, 24*time.Hour, 3)
	var hours [24]float64
	for _, r := range got {
		hours[int(r.At.Hours())]++
	}
	if math.Abs(float64(len(got))-172800) > 4*math.Sqrt(172800) {
		t.Errorf("%d in a day", len(got))
	}
	for h, n := range hours {
		// The mean of the cosine over the hour.
		a, b := 2*math.Pi*float64(h-12)/24, 2*math.Pi*float64(h-11)/24
		want := 7200 * (1 + 0.8*(math.Sin(b)-math.Sin(a))/(b-a))
		if math.Abs(n-want) > 5*math.Sqrt(want) {
			t.Errorf("hour %d: %v, want %.0f", h, n, want)
		}
	}
}

func TestArrivalsInBurstsAndTraces(t *testing.T) {
	got := rows(&Load{Burst: &Burst{Every: 10 * time.Second, Count: 3}, Begin: time.Second}, 22*time.Second, 1)
	var at []int
	for _, r := range got {
		at = append(at, int(r.At/time.Second))
	}
	if !slices.Equal(at, []int{1, 1, 1, 11, 11, 11, 21, 21, 21}) {
		t.Error(at)
	}
	if got := rows(&Load{Burst: &Burst{Count: 4}}, time.Minute, 1); len(got) != 4 {
		t.Errorf("a burst that does not come again: %d", len(got))
	}
	trace := []Row{{time.Second, 1, 2}, {2 * time.Second, -1, 5}, {3 * time.Second, 4, -1}}
	if got := rows(&Load{Rows: trace, Begin: 2 * time.Second, End: 3 * time.Second}, time.Minute, 1); !slices.Equal(got, trace[1:2]) {
		t.Error(got)
	}
	if got := rows(&Load{}, time.Minute, 1); got != nil {
		t.Error(got)
	}
}

// TestZipf holds the draws against the exact distribution.
func TestZipf(t *testing.T) {
	r := Dice(1, "zipf")
	for _, s := range []float64{0, 0.5, 1, 1.3, 2.5} {
		const n, draws = 40, 200000
		var count [n]float64
		for range draws {
			count[Zipf(r, n, s)]++
		}
		var all float64
		for i := range n {
			all += math.Pow(float64(i+1), -s)
		}
		for i := range n {
			want := draws * math.Pow(float64(i+1), -s) / all
			if math.Abs(count[i]-want) > 5*math.Sqrt(want)+1 {
				t.Errorf("s=%v: %d drawn %v times, want %.0f", s, i, count[i], want)
			}
		}
	}
	d := &Dataset{Count: 1e6, Zipf: 1}
	for range 1000 {
		if i := d.Pick(r); i < 0 || i >= d.Count {
			t.Fatal(i)
		}
	}
}

func TestSizes(t *testing.T) {
	d := &Dataset{Name: "d", Bytes: 1 << 20, Sigma: 1, Count: 20000}
	var sum float64
	below := 0
	for i := range d.Count {
		b := d.Size(7, i)
		if b != d.Size(7, i) {
			t.Fatal("another size")
		}
		if sum += float64(b); float64(b) < (1<<20)*math.Exp(-0.5) {
			below++
		}
	}
	if mean := sum / float64(d.Count) / (1 << 20); math.Abs(mean-1) > 0.05 {
		t.Errorf("mean %.3f MiB", mean)
	}
	if half := float64(below) / float64(d.Count); math.Abs(half-0.5) > 0.02 {
		t.Errorf("%.3f lie below the median", half)
	}
	flat := &Dataset{Bytes: 100, Partition: 30}
	var all uint64
	for p := range flat.Parts(100) {
		all += flat.PartBytes(100, p)
	}
	if flat.Size(1, 1) != 100 || flat.Parts(100) != 4 || all != 100 || flat.PartBytes(100, 3) != 10 {
		t.Error(flat.Parts(100), all)
	}
}

func TestRequests(t *testing.T) {
	s := &Scenario{
		Duration: time.Minute,
		Classes:  []Class{{Name: "a", Count: 3}, {Name: "b", Count: 5}},
		Data:     []Dataset{{Name: "x", Count: 1, Bytes: 1}, {Name: "y", Count: 9, Bytes: 100, Partition: 10, Zipf: 1}},
		Load:     []Load{{Ask: Task, On: "y", From: "b", Rate: 20, Work: Work{Modules: 4}}},
	}
	draw := func(seed uint64) (out []Request) {
		q := s.NewRequests(seed, 0)
		for r, ok := q.Next(); ok; r, ok = q.Next() {
			if r.Node < 3 || r.Node >= 8 || r.Item >= 9 || r.Part >= 10 || r.Work >= 4 {
				t.Fatalf("%+v", r)
			}
			out = append(out, r)
		}
		return out
	}
	one := draw(1)
	if len(one) < 1000 || !slices.Equal(one, draw(1)) || slices.Equal(one, draw(2)) {
		t.Errorf("%d requests", len(one))
	}
}

// TestReadBy: an agent reads the same dataset each time, others read others, and of those that many want more agents read.
func TestReadBy(t *testing.T) {
	s := &Scenario{Data: []Dataset{{Name: "x"}, {Name: "y", Count: 10, Zipf: 1}}, Agents: []Agents{{Name: "a", Count: 500}, {Name: "b", Count: 500}}}
	var of [2][10]int
	for f := range s.Agents {
		for i := range s.Agents[f].Count {
			n := s.ReadBy(7, f, i, 1)
			if n != s.ReadBy(7, f, i, 1) {
				t.Fatalf("agent %d of family %d reads now this, now that", i, f)
			}
			of[f][n]++
		}
	}
	if of[0] == of[1] || of[0][0] < 2*of[0][4] || of[0][9] == 0 {
		t.Errorf("datasets are read by %v", of)
	}
}

// TestLeafBytes: a leaf is a partition, but not tiny, and not more than a megabyte.
func TestLeafBytes(t *testing.T) {
	for partition, want := range map[Size]uint64{0: 1 << 20, 100: 1 << 12, 256 << 10: 256 << 10, 16 << 20: 1 << 20} {
		if got := (&Dataset{Partition: partition}).LeafBytes(); got != want {
			t.Errorf("partitions of %d bytes have leaves of %d, not %d", partition, got, want)
		}
	}
}
