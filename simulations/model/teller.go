package model

import (
	"math"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
)

// teller gathers values as they come and makes percentiles, series and histograms of them. Values of one name fall into
// buckets whose widths grow in proportion, so that millions take little memory and a percentile errs by 1 % at most.
type teller struct {
	bin   time.Duration // of series
	kinds map[string]*values
}

// values are those of one name.
type values struct {
	bin  time.Duration
	all  sketch
	bins []sketch // by time
}

// sketch counts values by bucket of their logarithm.
type sketch struct {
	n     uint64
	sum   float64
	count map[int32]uint32
}

const growth = 1.02 // of one bucket over the one below it

func (s *sketch) add(x float64) {
	if s.count == nil {
		s.count = map[int32]uint32{}
	}
	s.n++
	s.sum += x
	i := int32(math.MinInt32)
	if x > 0 {
		i = int32(math.Floor(math.Log(x) / math.Log(growth)))
	}
	s.count[i]++
}

// quantile returns the value below which the part q lies: the middle of its bucket.
func (s *sketch) quantile(q float64) float64 {
	keys := make([]int32, 0, len(s.count))
	for i := range s.count {
		keys = append(keys, i)
	}
	slices.Sort(keys)
	left := uint64(math.Ceil(q * float64(s.n)))
	for _, i := range keys {
		if n := uint64(s.count[i]); n < left {
			left -= n
			continue
		}
		if i == math.MinInt32 {
			return 0
		}
		return math.Pow(growth, float64(i)+0.5)
	}
	return 0
}

func newTeller(total time.Duration) *teller {
	return &teller{bin: max(total/60, time.Millisecond), kinds: map[string]*values{}}
}

// of returns where the values of a name go; callers keep it.
func (t *teller) of(name string) *values {
	v := t.kinds[name]
	if v == nil {
		v = &values{bin: t.bin}
		t.kinds[name] = v
	}
	return v
}

// add says that a value was seen at a time.
func (v *values) add(at event.Time, x float64) {
	v.all.add(x)
	i := int(time.Duration(at) / v.bin)
	for len(v.bins) <= i {
		v.bins = append(v.bins, sketch{})
	}
	v.bins[i].add(x)
}

// mean of all values, 0 if there is none.
func (v *values) mean() float64 { return v.all.sum / float64(max(v.all.n, 1)) }

// into writes, for each name, the series NAME_p50 and NAME_p99 and a histogram.
func (t *teller) into(r *report.Run) {
	if r.Series == nil {
		r.Series, r.Hists = map[string][]report.Point{}, map[string][]report.Bucket{}
	}
	for name, v := range t.kinds {
		if v.all.n == 0 {
			continue
		}
		for i := range v.bins {
			b := &v.bins[i]
			if b.n == 0 {
				continue
			}
			at := (time.Duration(i)*v.bin + v.bin/2).Seconds()
			r.Series[name+"_p50"] = append(r.Series[name+"_p50"], report.Point{At: at, Value: b.quantile(0.5)})
			r.Series[name+"_p99"] = append(r.Series[name+"_p99"], report.Point{At: at, Value: b.quantile(0.99)})
		}
		r.Hists[name] = v.all.buckets()
	}
}

// buckets are the sketch's, six of them joined to one.
func (s *sketch) buckets() (out []report.Bucket) {
	const join = 6
	sums := map[int32]uint64{}
	for i, n := range s.count {
		if i != math.MinInt32 {
			i = int32(math.Floor(float64(i) / join))
		}
		sums[i] += uint64(n)
	}
	keys := make([]int32, 0, len(sums))
	for i := range sums {
		keys = append(keys, i)
	}
	slices.Sort(keys)
	for _, i := range keys {
		b := report.Bucket{Count: sums[i]}
		if i != math.MinInt32 {
			b.From, b.To = math.Pow(growth, float64(i)*join), math.Pow(growth, float64(i+1)*join)
		}
		out = append(out, b)
	}
	return out
}
