package native

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestCgroup has files in place of the kernel's: that what is written is what its documentation asks for. Where
// this runs there is no version 2 with controllers.
func TestCgroup(t *testing.T) {
	root := t.TempDir()
	above := filepath.Join(root, "system.slice", "shoal.service")
	dir := filepath.Join(above, "shoal-1")
	if err := os.MkdirAll(filepath.Join(above, "node"), 0o755); err != nil {
		t.Fatal(err)
	}
	self := "9:name=systemd:/x\n0::/system.slice/shoal.service/node\n"
	c := caps{Memory: 1 << 30, Processes: 8}
	if g := newGroup(root, self, "shoal-1", c); g != nil {
		t.Fatal("a folder without the controllers' files is taken for a cgroup")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Fatal("it is left")
	}
	if newGroup(root, "4:memory:/x\n", "shoal-1", c) != nil || newGroup(root, "0::/nowhere\n", "shoal-1", c) != nil {
		t.Fatal("a cgroup out of nothing")
	}
	// The kernel fills a folder as it is made: here a test does, with the same name.
	files := map[string]string{"memory.max": "1073741824", "memory.oom.group": "1", "pids.max": "8", "cgroup.kill": "1", "memory.swap.max": "0"}
	for name := range files {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := &group{dir}
	if err := g.limit(c); err != nil {
		t.Fatal(err)
	}
	g.kill()
	for name, want := range files {
		if b, _ := os.ReadFile(filepath.Join(dir, name)); string(b) != want {
			t.Errorf("%s: %q, not %q", name, b, want)
		}
	}
	if b, err := os.ReadFile(filepath.Join(above, "cgroup.subtree_control")); err != nil || string(b) != "+memory +pids" {
		t.Errorf("%q %v", b, err)
	}
	for text, want := range map[string]bool{"low 0\noom 1\noom_kill 0\n": false, "oom 3\noom_kill 2\n": true, "": false} {
		if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if g.starved() != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

// TestProcessesOfAUser: with rlimits the processes of a user that is not root are limited.
func TestProcessesOfAUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it becomes nobody, which only root can")
	}
	dir, err := os.MkdirTemp("", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, _ := os.Executable()
	b, err := os.ReadFile(self)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "program"), b, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	said := func(most int) string {
		cmd := exec.Command(filepath.Join(dir, "program"), Verb, becomeVerb, fmt.Sprintf(`{"processes":%d}`, most),
			"/bin/sh", "-c", "for i in 1 2 3 4 5 6; do sleep 0.5 & done; wait; echo all")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if got := said(4); !strings.Contains(strings.ToLower(got), "fork") || strings.Contains(got, "all") {
		t.Errorf("4 processes: %q", got)
	}
	if got := said(8); got != "all\n" {
		t.Errorf("8 processes: %q", got)
	}
}
