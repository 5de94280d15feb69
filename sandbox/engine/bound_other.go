//go:build !linux

package engine

import "time"

// bound does nothing: here the process only watches itself.
func bound(uint64, time.Duration) error { return nil }

// spent is the time since the process began its work: here the clock stands in for the processor's time.
func spent(began time.Time) time.Duration { return time.Since(began) }

// used says nothing: here a child only watches itself.
func used(int) (memory uint64, spent time.Duration, ok bool) { return 0, 0, false }
