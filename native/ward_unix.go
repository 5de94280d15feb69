//go:build unix

package native

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// maxCharge bounds the line that a node sends.
const maxCharge = 8 << 20

// apart has a ward be in a process group of its own, so that a Ctrl-C meant for the node does not reach it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup kills a process group.
func killGroup(pid int) {
	if pid > 1 { // 0 would be this process's own, -1 everybody
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// endGroup kills a process group that has lost its ward, and waits for its end: not for ever, as where nobody
// looks after orphans the dead ones stay in it.
func endGroup(pid int) {
	for end := time.Now().Add(2 * time.Second); pid > 1 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(-pid, syscall.SIGKILL) == syscall.ESRCH {
			return
		}
	}
}

// ward runs a command and waits until all of its processes are gone.
func ward(in io.ReadCloser, out *os.File) error {
	runtime.LockOSThread() // the command dies with the thread that started it, see born
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP) // the node decides
	r := bufio.NewReaderSize(io.LimitReader(in, maxCharge), 64<<10)
	line, err := r.ReadBytes('\n')
	var c charge
	if err == nil {
		err = json.Unmarshal(line, &c)
	}
	if err != nil {
		return fmt.Errorf("a ward without a charge: %w", err)
	}
	adopt()
	group, bounds := enclose(&c.Caps)
	defer group.remove()
	pid, err := start(c, out)
	if err != nil {
		say(out, word{Fail: err.Error(), Ended: true})
		return nil
	}
	say(out, word{Group: pid, Bounds: bounds})
	_ = os.Stdin.Close() // so that who writes to the command learns of its end

	ask, kill := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(kill)
		for {
			if b, err := r.ReadByte(); err != nil {
				return
			} else if b == 'T' {
				select {
				case ask <- struct{}{}:
				default:
				}
			}
		}
	}()
	ended, empty := make(chan syscall.WaitStatus, 1), make(chan struct{})
	go reap(pid, ended, empty)

	var status syscall.WaitStatus
	late := (<-chan time.Time)(nil)
	for over := false; !over; {
		select {
		case status = <-ended:
			over = true
		case <-ask:
			_ = syscall.Kill(-pid, syscall.SIGTERM)
			late = time.After(c.Grace)
		case <-late:
			over = true
		case <-kill:
			over = true
		}
	}
	// What it left behind goes too. Somebody may be in the system and cannot be killed just now: until it can
	// it has what it was given.
	for gone := false; !gone; {
		killGroup(pid)
		killOrphans()
		group.kill()
		select {
		case <-empty:
			gone = groupGone(pid)
		case <-time.After(5 * time.Millisecond):
		}
	}
	select {
	case status = <-ended:
	default:
	}
	w := word{Ended: true, Memory: group.starved()}
	if status.Signaled() {
		w.Signal = int(status.Signal())
	} else {
		w.Exit = status.ExitStatus()
	}
	say(out, w)
	return nil
}

// reap waits for the command, and for what it left to this process, until nobody is left.
func reap(pid int, ended chan<- syscall.WaitStatus, empty chan<- struct{}) {
	for {
		var s syscall.WaitStatus
		got, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil: // no child any more
			close(empty)
			return
		case got == pid:
			ended <- s
		}
	}
}

// start has a process of this same program become the command: in a group of its own, with the limits on.
func start(c charge, out *os.File) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	if runtime.GOOS == "linux" {
		self = "/proc/self/exe" // even if its file was replaced meanwhile
	}
	b, err := json.Marshal(c.Caps)
	if err != nil {
		return 0, err
	}
	argv := append([]string{os.Args[0], Verb, becomeVerb, string(b)}, c.Command...)
	return syscall.ForkExec(self, argv, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2, out.Fd()}, Sys: born(),
	})
}

// become sets the limits of this process and turns it into the command. It returns only if it cannot, and has
// said so on descriptor 3.
func become(args []string) {
	out := os.NewFile(3, "word")
	syscall.CloseOnExec(3)
	var c caps
	err := json.Unmarshal([]byte(args[0]), &c)
	if err == nil {
		err = c.apply()
	}
	if err == nil {
		err = syscall.Exec(args[1], args[1:], os.Environ())
	}
	say(out, word{Fail: err.Error()})
}
