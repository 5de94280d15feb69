package engine

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestChildrenStandBack looks at the niceness of all threads of a child.
func TestChildrenStandBack(t *testing.T) {
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	want := min(19, 20-raw+niceness)
	out, err := exec.Command(os.Args[0], priority).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	for _, l := range lines {
		if n, err := strconv.Atoi(l); err != nil || n != want {
			t.Errorf("a thread has a niceness of %s, want %d", l, want)
		}
	}
	if len(lines) == 0 {
		t.Error("no threads")
	}
}
