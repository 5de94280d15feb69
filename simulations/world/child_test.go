package world

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestMain is also the child of a world.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Verb {
		Main()
	}
	os.Exit(m.Run())
}

func self(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, os.Args[0], append([]string{Verb}, args...)...)
}

// A world in a process of its own gives what it gives here, and when nobody wants it any more, what there is.
func TestChild(t *testing.T) {
	s := small(4)
	s.Duration, s.Settle = 10*time.Second, time.Second
	told := 0
	r, err := Start(t.Context(), self, s, 1, "", func(Progress) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tellings, %+v", told, r)
	if r.Nodes != 4 || r.Figures["lookups"] == 0 || r.Wall <= 0 || r.Cut || len(r.Broken) > 0 {
		t.Errorf("%+v", r)
	}
	s.Duration = 10 * time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	r, err = Start(ctx, self, s, 1, "", func(p Progress) {
		if p.Phase == "load" {
			cancel()
		}
	})
	if err != nil || !r.Cut || r.Figures["lookups"] == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	// Before there is a cluster.
	ctx, cancel = context.WithCancel(t.Context())
	timer := time.AfterFunc(300*time.Millisecond, cancel)
	defer timer.Stop()
	r, err = Start(ctx, self, small(40), 1, "", nil)
	if err != nil || !r.Cut || len(r.Figures) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A child that dies is told of, with what it said, if it said anything.
func TestChildDies(t *testing.T) {
	for script, want := range map[string]string{
		"kill -9 $$":                         "simulate a world: signal: killed: run it with fewer nodes, or report this",
		"echo no room >&2; exit 7":           "simulate a world: exit status 7; it said:\nno room\n: run it with fewer nodes, or report this",
		"head -n 1 >/dev/null; echo '{}'; :": "simulate a world: it ended without a result: run it with fewer nodes, or report this",
	} {
		child := func(ctx context.Context, _ ...string) *exec.Cmd { return exec.CommandContext(ctx, "sh", "-c", script) }
		if _, err := Start(t.Context(), child, small(4), 1, "", nil); err == nil || err.Error() != want {
			t.Errorf("%s: %q, want %q", script, err, want)
		}
	}
}
