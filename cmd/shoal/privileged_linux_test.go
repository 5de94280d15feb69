package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// tmpfsScript mounts a small disk where a node's directory will be.
func tmpfsScript(ts *testscript.TestScript, _ bool, args []string) {
	dir := filepath.Join(ts.Getenv("WORK"), args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]+"m"))
	ts.Defer(func() {
		fleetOf(ts).killAll()
		_ = syscall.Unmount(dir, 0)
	})
}

// mayMount tries: root in a container often may not.
func mayMount() bool {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m") != nil {
		return false
	}
	return syscall.Unmount(dir, 0) == nil
}

// mayNetns tries to make a network namespace with a bridge in it.
func mayNetns() bool {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	name := fmt.Sprintf("try%d-%s", os.Getpid(), filepath.Base(dir))
	if exec.Command("ip", "netns", "add", name).Run() != nil {
		return false
	}
	defer func() { _ = exec.Command("ip", "netns", "del", name).Run() }()
	return exec.Command("ip", "-n", name, "link", "add", "br0", "type", "bridge").Run() == nil
}
