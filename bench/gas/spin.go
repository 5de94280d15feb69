package gas

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"time"
)

const (
	spinTime     = 500 * time.Millisecond
	tick         = time.Millisecond
	collectEvery = 20 * time.Millisecond
)

// spun is what came of a crowd of guests that never end.
type spun struct {
	StopMS, LateMS, LateP99MS float64
}

func spin(ctx context.Context, r runner) (s spun, err error) {
	done, err := crowd(ctx, r, runtime.GOMAXPROCS(0), "spin", []string{"spin"}, func() io.Reader { return nil })
	if err != nil {
		return s, err
	}
	stop := make(chan struct{})
	collecting := make(chan struct{})
	go func() {
		defer close(collecting)
		t := time.NewTicker(collectEvery)
		defer t.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.C:
				runtime.GC()
			}
		}
	}()
	var late []time.Duration
	for end := time.Now().Add(spinTime); time.Now().Before(end); {
		due := time.Now().Add(tick)
		time.Sleep(tick)
		late = append(late, time.Since(due))
	}
	close(stop)
	<-collecting
	slices.Sort(late)
	ms := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	s.LateMS, s.LateP99MS = ms(late[len(late)-1]), ms(late[len(late)*99/100])
	at := time.Now()
	errs := done()
	s.StopMS = ms(time.Since(at))
	for _, e := range errs {
		if e == nil {
			return s, errors.New("a guest that never ends has ended")
		}
	}
	return s, nil
}
