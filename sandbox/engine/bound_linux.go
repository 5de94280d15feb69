package engine

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rlimitData is RLIMIT_DATA: memory that is private and may be written. The whole address space would not
// do: Go sets much of that aside that it never uses.
const rlimitData = 2

// niceness is how far a child stands back behind the node: a compilation can wait, a ping cannot. It leaves the
// child a quarter of a machine on which a guest spins on each processor.
const niceness = 5

// bound has the system hold this process to its limits, a little above those that it watches itself.
func bound(memory uint64, limit time.Duration) error {
	standBack()
	most := memory + memory/4 + 64<<20
	if err := syscall.Setrlimit(rlimitData, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		return err
	}
	seconds := 2*uint64(limit/time.Second) + 2 // of all processors together
	return syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: seconds, Max: seconds})
}

// spent is the processor time of this process so far.
func spent(time.Time) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // the system's own limit remains
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// used is the memory of a child that is its own and in use, and its processor time in steps of 10 ms; false if
// there is none any more.
func used(pid int) (memory uint64, spent time.Duration, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	pages, err := os.ReadFile(dir + "/statm") // size, resident, shared, ...
	if err != nil {
		return 0, 0, false
	}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, 0, false
	}
	p := strings.Fields(string(pages))
	_, rest, _ := strings.Cut(string(stat), ") ")
	t := strings.Fields(rest) // from the third field on
	if len(p) < 3 || len(t) < 13 {
		return 0, 0, false
	}
	number := func(s string) uint64 { n, _ := strconv.ParseUint(s, 10, 64); return n }
	resident, shared := number(p[1]), number(p[2])
	const tick = time.Second / 100 // the unit of /proc on all that Go runs on
	return (resident - min(shared, resident)) * uint64(os.Getpagesize()), time.Duration(number(t[11])+number(t[12])) * tick, true
}

// standBack is for all threads of this process: on Linux each has a niceness of its own, which those that it starts
// take over. Looking twice finds those that were started meanwhile. Where it is not allowed nothing is lost.
func standBack() {
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, os.Getpid())
	if err != nil {
		return
	}
	behind := min(19, 20-raw+niceness) // the system call says 20 less the niceness
	for range 2 {
		threads, _ := os.ReadDir("/proc/self/task")
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil {
				_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, behind)
			}
		}
	}
}
