// Package bubble runs tests in testing/synctest bubbles, so that the race detector survives it.
package bubble

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Test is synctest.Test; under the race detector with one processor while the bubble lasts.
//
// Go 1.26 gives all timers of a bubble one context in the race detector, which only one thread may use at a time. Nearly all
// fire in turn, from the bubble's root. But one whose time has come when its goroutine looks at it (a ticker after a wait for
// something else, a timer that is set to nothing) fires on that goroutine; two at once, and the detector writes
// over its own memory: SIGSEGV without a goroutine, or "CHECK failed: tsan_rtl.cpp". With one processor there is no "at once". A
// race is still found: the detector goes by what is ordered before what, not by what happens side by side.
//
// Not for tests that run beside others of their package (t.Parallel).
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raced {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}
