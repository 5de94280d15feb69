package bubble

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// Timers that fire on the goroutines that set them, many at once: crashed under the race detector in most runs.
func TestTimersAtOnce(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	Test(t, func(t *testing.T) {
		if n := runtime.GOMAXPROCS(0); raced && n != 1 {
			t.Errorf("%d processors under the race detector: want 1", n)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 5000 {
					<-time.After(-1)
				}
			})
		}
		all.Wait()
	})
	if n := runtime.GOMAXPROCS(0); n != before {
		t.Errorf("%d processors afterwards, %d before", n, before)
	}
}
