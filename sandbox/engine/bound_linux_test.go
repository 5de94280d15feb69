package engine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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

// TestParentsWatch has children that do not look after themselves.
func TestParentsWatch(t *testing.T) {
	for _, c := range []struct {
		verb, want string
		limits     Child
	}{
		{gluttony, "more than 100 MiB", Child{Time: time.Minute, Memory: 100 << 20}},
		{sloth, "more than 500ms", Child{Time: 500 * time.Millisecond, Memory: 1 << 30}},
	} {
		c.limits.Command = func(ctx context.Context, _ ...string) *exec.Cmd { return exec.CommandContext(ctx, os.Args[0], c.verb) }
		var err error
		var took time.Duration
		for range 5 { // on a machine that is busy enough, half a second of a processor takes two
			began := time.Now()
			err = c.limits.Compile(t.Context(), t.TempDir())
			if took = time.Since(began); took < patience*c.limits.Time {
				break
			}
		}
		var limit *ErrLimit
		if !errors.As(err, &limit) || !strings.Contains(limit.Why, c.want) || limit.Over() <= 0 || limit.Over() > took {
			t.Errorf("%s: %v after %v, want %s", c.verb, err, took, c.want)
		}
		if took >= patience*c.limits.Time { // when it would have been killed unseen
			t.Errorf("%s: killed after %v", c.verb, took)
		}
	}
	for end := time.Now().Add(10 * time.Second); len(dying) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a killed child was never waited for")
		}
	}
}
