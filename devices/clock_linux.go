package devices

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime reads the machine's clock since it started: it goes on while the machine is suspended, and never
// steps (CLOCK_BOOTTIME).
func Boottime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("CLOCK_BOOTTIME is in every Linux since 2.6.39: " + err.Error())
	}
	return time.Duration(t.Nano())
}
