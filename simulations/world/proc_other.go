//go:build !unix

package world

import "time"

// busy is how long this process has computed, 0 unknown.
func busy() time.Duration { return 0 }

// peak is the greatest resident size of this process so far, 0 unknown.
func peak() uint64 { return 0 }
