package devices

import (
	"sync"
	"testing"
	"time"
)

// TestBoottime holds the clock against the kernel's, for some looks, from several goroutines: each must see it go on,
// and never back.
func TestBoottime(t *testing.T) {
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			last := Boottime()
			for end := time.Now().Add(3 * lookEvery); time.Now().Before(end); {
				before := boottime()
				now := Boottime()
				after := boottime()
				if now < last {
					t.Errorf("it went back by %v", last-now)
				}
				if now < before-tolerance || now > after+tolerance {
					t.Errorf("it is %v, and the kernel's was %v to %v", now, before, after)
				}
				last = now
			}
		})
	}
	done.Wait()
}

// TestBoottimeSeesSuspension makes it look as if the machine had been suspended since the last look.
func TestBoottimeSeesSuspension(t *testing.T) {
	Boottime()
	s := *suspended.Load()
	const night = 8 * time.Hour
	s.sum, s.wall = s.sum-night, s.wall-int64(night) // as they were before it
	suspended.Store(&s)
	before := boottime()
	if now := Boottime(); now < before-tolerance {
		t.Errorf("it is %v behind after a suspension", before-now)
	}
}
