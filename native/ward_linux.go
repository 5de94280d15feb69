package native

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Numbers that package syscall does not have.
const (
	prSetChildSubreaper = 36
	rlimitData          = 2 // memory that is private and may be written: the address space would not do, of which GPUs' drivers set much aside
	rlimitNproc         = 6
	rlimitFsize         = 1
	rlimitCore          = 4
)

// adopt has this process be the parent of what loses its own among its descendants.
func adopt() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0) // without it the group is what is known
}

// born are the attributes of the command: a group of its own, and death with its ward.
func born() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// killOrphans kills the children of this process: the command, and those of its descendants that lost their
// parents, whatever group they are in.
func killOrphans() {
	me := strconv.Itoa(os.Getpid())
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // the state, the parent, ...
		if f := bytes.Fields(rest); len(f) > 1 && string(f[1]) == me {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// groupGone reports whether nobody is left, once this process has no child any more.
func groupGone(int) bool { return true }

// apply sets the limits of this process and all that it will start, and enters the cgroup.
func (c caps) apply() error {
	if err := enter(c.Cgroup); err != nil {
		return err
	}
	_ = syscall.Setrlimit(rlimitCore, &syscall.Rlimit{})
	set := func(which int, n uint64) error {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(which, &now); err == nil {
			n = min(n, now.Max)
		}
		return syscall.Setrlimit(which, &syscall.Rlimit{Cur: n, Max: n})
	}
	if c.File > 0 {
		if err := set(rlimitFsize, c.File); err != nil {
			return err
		}
	}
	if c.Cgroup != "" {
		return nil
	}
	if c.Processes > 0 {
		if err := set(rlimitNproc, uint64(ofUser()+c.Processes)); err != nil {
			return err
		}
	}
	if c.Memory > 0 { // last: this process itself may be beyond it
		return set(rlimitData, c.Memory)
	}
	return nil
}

// ofUser counts the threads of this process's user: the system's limit is on all of them together.
func ofUser() (n int) {
	uid := uint32(os.Getuid())
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") != "" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid == uid {
			tasks, _ := os.ReadDir("/proc/" + e.Name() + "/task")
			n += len(tasks)
		}
	}
	return n - threadsOfMine()
}

// threadsOfMine are this process's own, which end when it becomes the command.
func threadsOfMine() int {
	tasks, _ := os.ReadDir("/proc/self/task")
	return len(tasks)
}

// rlimited says what rlimits hold a command to.
func rlimited(c caps) string {
	var held, not []string
	if c.Memory > 0 {
		held = append(held, "memory of each process")
	}
	if c.Processes > 0 && os.Getuid() != 0 {
		held = append(held, "processes of the user")
	} else if c.Processes > 0 {
		not = append(not, "processes, of which root has no limit")
	}
	return list(held, not)
}
