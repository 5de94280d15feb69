package devices

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Boottime reads the machine's clock since it started: it goes on while the machine is suspended, and never
// steps (CLOCK_BOOTTIME).
//
// Go reads the clocks that stand still in suspension, and the wall's, without entering the kernel, and this one not: a
// turn of an agent would spend a tenth of its time on it. Boottime is the clock that stands still and the time spent
// in suspension, which is looked up anew ten times a second, and whenever the wall's clock has moved away from the one
// that stands still: suspension moves both by the same step at the same moment.
func Boottime() time.Duration {
	now := time.Now()
	mono := now.Sub(started)
	wall := now.UnixNano() - int64(mono)
	s := suspended.Load()
	if s != nil && mono-s.at < lookEvery && wall-s.wall < int64(tolerance) && s.wall-wall < int64(tolerance) {
		return mono + s.sum
	}
	fresh := &suspension{at: mono, wall: wall, sum: asleep()}
	if s != nil && fresh.sum-s.sum < tolerance { // what lies between two readings of clocks is no suspension
		fresh.sum = s.sum
	}
	if !suspended.CompareAndSwap(s, fresh) {
		return Boottime() // another looked at the same time
	}
	return mono + fresh.sum
}

const (
	lookEvery = 100 * time.Millisecond
	tolerance = time.Millisecond
)

// suspension is how long the machine was suspended, as of a look.
type suspension struct {
	at   time.Duration // by the clock that stands still
	wall int64         // by how much the wall's clock was before it
	sum  time.Duration // boottime less that clock
}

var (
	started   = time.Now()
	suspended atomic.Pointer[suspension]
)

// asleep measures how long the machine was suspended. A measurement in which this thread had to wait is thrown away: a
// leap of the clock ends promises early.
func asleep() (sum time.Duration) {
	best := time.Hour
	for try := 0; try < 100 && best > tolerance/4; try++ {
		before := time.Since(started)
		boot := boottime()
		if took := time.Since(started) - before; took < best {
			best, sum = took, boot-before
		}
	}
	return sum
}

func boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("CLOCK_BOOTTIME is in every Linux since 2.6.39: " + err.Error())
	}
	return time.Duration(t.Nano())
}
