package rig

import (
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// CanPin says whether workers can be pinned here.
const CanPin = true

// startOn starts cmd pinned to one core. A child inherits the mask of the thread that starts it, so it
// sees one processor from its first instruction, and its Go runtime runs one thread of Go code.
func startOn(cmd *exec.Cmd, core int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return err
	}
	defer unix.SchedSetaffinity(0, &old)
	return cmd.Start()
}

// FirstCore is the lowest core that this process may use.
func FirstCore() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		for i := range 1024 {
			if set.IsSet(i) {
				return i
			}
		}
	}
	return 0
}

// Niceness is how far this process stands back behind others; below zero it goes before them.
func Niceness() int {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - raw // so the system call says it
}
