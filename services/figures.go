package services

import (
	"slices"
	"time"
)

// figures are what a host did.
type figures struct {
	calls   uint64
	failed  uint64
	refused uint64 // sent on, as the queue was past the target
	batches uint64
	by      map[string]uint64 // calls, by implementation
	took    [512]float32      // milliseconds that the last calls took, the wait included; a ring
	n       int
	last    time.Duration // that an instance took to open
	opens   uint64
}

func (f *figures) opened(d time.Duration) {
	f.last = d
	f.opens++
}

func (f *figures) did(kind string, list []*ticket, began time.Time, took time.Duration, err error) {
	if f.by == nil {
		f.by = map[string]uint64{}
	}
	f.calls += uint64(len(list))
	f.batches++
	f.by[kind] += uint64(len(list))
	if err != nil {
		f.failed += uint64(len(list))
	}
	for _, t := range list {
		f.took[f.n%len(f.took)] = float32((began.Sub(t.at) + took).Seconds() * 1000)
		f.n++
	}
}

// quantiles of the last calls, in milliseconds.
func (f *figures) quantiles() (p50, p99 float64) {
	n := min(f.n, len(f.took))
	if n == 0 {
		return 0, 0
	}
	list := slices.Clone(f.took[:n])
	slices.Sort(list)
	return float64(list[(n-1)/2]), float64(list[(n-1)*99/100])
}
