package rig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit in which Linux tells processor time, on all platforms that Go knows.
const tick = 10 * time.Millisecond

// CPUOf returns the processor time that a process has used, 0 where the system does not say.
func CPUOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may hold anything
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * tick
}

// Busy returns the processor time that this machine has spent on anything, 0 where the system does not say.
func Busy() (sum time.Duration) {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		n, _ := strconv.Atoi(f) // the first is the name of the line
		if idle := i == 4 || i == 5; !idle && i <= 8 {
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// RSSOf returns the resident memory of a process in bytes, 0 where the system does not say.
func RSSOf(pid int) int64 { return status(pid, "VmRSS") }

// MemoryOf is the part of RSSOf that is no file: neither the program itself nor what it maps.
func MemoryOf(pid int) int64 { return status(pid, "RssAnon") }

func status(pid int, name string) int64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), name), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}
