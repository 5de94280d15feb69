//go:build !linux

package devices

import (
	"sync"
	"time"
)

// Boottime reads a clock that never steps: Go's monotonic one, from its first reading on, and an hour more.
// Unlike Linux's it may stand still while the machine is suspended.
func Boottime() time.Duration { return time.Since(origin()) + time.Hour }

var origin = sync.OnceValue(time.Now)
