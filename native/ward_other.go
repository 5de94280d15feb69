//go:build unix && !linux

package native

import "syscall"

const rlimitFsize, rlimitNproc = 1, 7

func adopt() {}

func born() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killOrphans() {}

// groupGone reports whether nobody is left in a group.
func groupGone(pid int) bool { return syscall.Kill(-pid, 0) == syscall.ESRCH }

// group is a cgroup, of which there are none here.
type group struct{}

func enclose(c *caps) (*group, string) {
	var held, not []string
	if c.Memory > 0 {
		not = append(not, "memory, which this system has no limit for")
	}
	if c.Processes > 0 {
		held = append(held, "processes of the user")
	}
	return nil, list(held, not)
}

func (*group) kill()         {}
func (*group) remove()       {}
func (*group) starved() bool { return false }

func (c caps) apply() error {
	if c.File > 0 {
		if err := syscall.Setrlimit(rlimitFsize, &syscall.Rlimit{Cur: c.File, Max: c.File}); err != nil {
			return err
		}
	}
	if c.Processes > 0 {
		return syscall.Setrlimit(rlimitNproc, &syscall.Rlimit{Cur: uint64(c.Processes), Max: uint64(c.Processes)})
	}
	return nil
}
