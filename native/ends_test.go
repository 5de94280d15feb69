package native

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// TestEndsAllItsProcesses: a shell that ignores SIGTERM, a child that does, and one that left the group and
// lost its parent.
func TestEndsAllItsProcesses(t *testing.T) {
	stubborn := `trap "" TERM
sh -c 'trap "" TERM; echo $$ >out/child; while :; do sleep 1; done' &
(setsid sh -c 'trap "" TERM; echo $$ >out/daemon; while :; do sleep 1; done' &)
echo $$ >out/self; while :; do sleep 1; done`
	names := []string{"self", "child"}
	if runtime.GOOS == "linux" {
		names = append(names, "daemon")
	}
	x := shell("stubborn", stubborn)
	x.Devices = reserve.Want{Whole: 1}
	n := open(t, Config{Look: cards(1)}, x, shell("leaves", strings.ReplaceAll(stubborn, "while :; do sleep 1; done`", "")+" &\nsleep 0.5; kill -9 $$"))
	ctx, cancel := context.WithCancel(t.Context())
	out := t.TempDir()
	done := make(chan error, 1)
	go func() {
		_, err := n.Run(ctx, shoal.Run{Module: shoal.ExecCID("stubborn"), Out: out})
		done <- err
	}()
	all := pids(t, out, names...)
	began := time.Now()
	cancel()
	if err := <-done; shoal.KindOf(err) != shoal.Canceled {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 8*time.Second {
		t.Errorf("it was asked and killed within %v", took)
	}
	for _, pid := range all {
		if syscall.Kill(pid, 0) == nil {
			t.Errorf("process %d is there when Run returns", pid)
		}
	}
	if s := n.Devices(); s[0].Whole || s[0].Tasks > 0 {
		t.Errorf("%+v", s)
	}
	// One that ends by itself leaves nothing behind either.
	_, _, out, err := run(t, n, "leaves", nil)
	if shoal.KindOf(err) != shoal.Failed || !strings.Contains(err.Error(), "it was killed: killed") {
		t.Error(err)
	}
	for _, pid := range pids(t, out, names...) {
		dead(t, pid)
	}
}

// TestANodeThatIsKilled: its commands end with it, and with their ward.
func TestANodeThatIsKilled(t *testing.T) {
	for _, who := range []string{"node", "ward"} {
		t.Run(who, func(t *testing.T) {
			dir := t.TempDir()
			script := `cd ` + dir + `; trap "" TERM; sh -c 'trap "" TERM; echo $$ >child; while :; do sleep 1; done' & echo $PPID >ward; echo $$ >self; while :; do sleep 1; done`
			self, _ := os.Executable()
			node := exec.Command(self, "node", filepath.Join(dir, "native"), "sh", "-c", script)
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
			all := pids(t, dir, "self", "child", "ward")
			victim := node.Process.Pid
			if who == "ward" {
				victim = all[2]
			}
			_ = syscall.Kill(victim, syscall.SIGKILL)
			_ = node.Wait()
			if runtime.GOOS != "linux" && who == "ward" {
				all = all[:2]
			}
			for _, pid := range all {
				dead(t, pid)
			}
		})
	}
}

func TestCloseEndsRuns(t *testing.T) {
	n := open(t, Config{}, shell("x", "echo $$ >out/self; sleep 100"))
	out, done := t.TempDir(), make(chan error, 1)
	go func() {
		_, err := n.Run(t.Context(), shoal.Run{Module: shoal.ExecCID("x"), Out: out})
		done <- err
	}()
	all := pids(t, out, "self")
	_ = n.Close()
	if err := <-done; shoal.KindOf(err) != shoal.Unavailable {
		t.Error(err)
	}
	dead(t, all[0])
	if _, err := n.Run(t.Context(), shoal.Run{Module: shoal.ExecCID("x")}); shoal.KindOf(err) != shoal.Unavailable {
		t.Error(err)
	}
}

// TestNoWard: a node that cannot start one, or whose ward says nothing, has a failed task and no more.
func TestNoWard(t *testing.T) {
	for name, helper := range map[string]func(context.Context, ...string) *exec.Cmd{
		"no program": func(ctx context.Context, _ ...string) *exec.Cmd { return exec.CommandContext(ctx, "/no/such/program") },
		"silent":     func(ctx context.Context, _ ...string) *exec.Cmd { return exec.CommandContext(ctx, "true") },
		"nonsense": func(ctx context.Context, _ ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "sh", "-c", "echo '{]' >&4; exit 1")
		},
	} {
		n := open(t, Config{Look: cards(1)}, Executor{Name: "x", Command: []string{"true"}, Devices: reserve.Want{Whole: 1}})
		n.cfg.Helper = helper
		if _, _, _, err := run(t, n, "x", nil); shoal.KindOf(err) != shoal.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		if d := n.Devices(); d[0].Whole || d[0].Tasks > 0 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestTheCommandGoes: it was there when the node started.
func TestTheCommandGoes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "command")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 4\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	n := open(t, Config{}, Executor{Name: "x", Command: []string{file}})
	if ran, _, _, err := run(t, n, "x", nil); err != nil || ran.Exit != 4 {
		t.Fatalf("%+v %v", ran, err)
	}
	_ = os.Remove(file)
	if _, _, _, err := run(t, n, "x", nil); shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "it cannot be started: no such file") {
		t.Error(err)
	}
}
