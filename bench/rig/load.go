package rig

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Figures come of one measurement of callers.
type Figures struct {
	Calls int     // in the time measured and the tenth of it before that
	P50   float64 // µs
	P99   float64
	Rate  float64 // calls/s
}

// Ring has all callers call, each as soon as its last call has returned, for a tenth of d to warm up and then
// for d. The first error of a caller ends that caller, and fails the measurement.
func Ring(ctx context.Context, d time.Duration, all []func(context.Context) error) (Figures, error) {
	warm, _, err := lap(ctx, d/10, all)
	if err != nil {
		return Figures{}, err
	}
	times, took, err := lap(ctx, d, all)
	if err != nil {
		return Figures{}, err
	}
	slices.Sort(times)
	us := func(k int) float64 { return float64(times[k].Nanoseconds()) / 1e3 }
	return Figures{
		Calls: len(warm) + len(times), P50: us(len(times) / 2), P99: us(len(times) * 99 / 100),
		Rate: float64(len(times)) / took.Seconds(),
	}, nil
}

func lap(ctx context.Context, d time.Duration, all []func(context.Context) error) (times []time.Duration, took time.Duration, err error) {
	each := make([][]time.Duration, len(all))
	errs := make([]error, len(all))
	start := time.Now()
	end := start.Add(d)
	var done sync.WaitGroup
	for i, call := range all {
		done.Go(func() {
			for at := time.Now(); ; {
				if errs[i] = call(ctx); errs[i] != nil {
					return
				}
				now := time.Now()
				each[i] = append(each[i], now.Sub(at))
				if at = now; now.After(end) {
					return
				}
			}
		})
	}
	done.Wait()
	return slices.Concat(each...), time.Since(start), errors.Join(errs...)
}
