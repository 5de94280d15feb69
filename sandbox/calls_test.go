package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// TestProgramCalls has a program that runs once call agents: what it says is what the agent replied, an error is told
// with its reason, and without anybody to call it learns that too.
func TestProgramCalls(t *testing.T) {
	s := fresh(t, Config{})
	wasm, _ := examples.Module("ask")
	c := shoal.BlockCID(wasm)
	if _, err := s.Compile(t.Context(), c, wasm); err != nil {
		t.Fatal(err)
	}
	run := func(call func(context.Context, int, string, string, []byte) ([]byte, error), args ...string) (string, string, int) {
		var out, errs bytes.Buffer
		ran, err := s.Run(t.Context(), shoal.Run{Module: c, Args: append([]string{"ask"}, args...), Stdout: &out, Stderr: &errs, Call: call})
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), ran.Exit
	}
	long := strings.Repeat("long ", 1000) // more than the first buffer holds
	echo := func(_ context.Context, n int, agent, method string, payload []byte) ([]byte, error) {
		return fmt.Appendf(nil, "%d %s %s %s %s", n, agent, method, payload, long), nil
	}
	if out, errs, exit := run(echo, "hits", "add", "7"); exit != 0 || out != "1 hits add 7 "+long+"\n" || errs != "" {
		t.Errorf("%d %.60q %q", exit, out, errs)
	}
	refuse := func(context.Context, int, string, string, []byte) ([]byte, error) {
		return nil, shoal.E(shoal.NotFound, "agent hits", "nobody knows it", "")
	}
	if out, errs, exit := run(refuse, "hits", "add"); exit != 1 || out != "" || !strings.Contains(errs, "nobody knows it (-2)") {
		t.Errorf("%d %q %q", exit, out, errs)
	}
	if _, errs, exit := run(nil, "hits", "add"); exit != 1 || !strings.Contains(errs, "(-66)") {
		t.Errorf("without agents: %d %q", exit, errs)
	}
}

// TestProgramShares has a program that runs once change mergeable state: it sees what it staged, and nothing is made before its caller
// says so; without any it learns that.
func TestProgramShares(t *testing.T) {
	s := fresh(t, Config{})
	wasm, _ := examples.Module("count")
	c := shoal.BlockCID(wasm)
	if _, err := s.Compile(t.Context(), c, wasm); err != nil {
		t.Fatal(err)
	}
	shared := agenttest.NewShared()
	run := func(d shoal.Draft, args ...string) (string, string, int) {
		var out, errs bytes.Buffer
		r := shoal.Run{Module: c, Args: append([]string{"count"}, args...), Stdout: &out, Stderr: &errs}
		if d != nil {
			r.Shared = d
		}
		ran, err := s.Run(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), ran.Exit
	}
	for _, want := range []string{"40\n", "80\n"} {
		d := shared.Draft(false)
		if out, errs, exit := run(d, "runs#a", "40"); out != want || errs != "" || exit != 0 {
			t.Errorf("%q, %q, %d, want %q", out, errs, exit, want)
		}
		_, _, _ = run(shared.Draft(false), "runs#a", "1000") // never committed
		if err := d.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := shared.Dump(); got != "runs#a counter 80\n" {
		t.Error(got)
	}
	if _, errs, exit := run(shared.Draft(false), "runs#a", "-1"); exit != 1 || !strings.Contains(errs, "only grows") {
		t.Errorf("%d %q", exit, errs)
	}
	if _, errs, exit := run(nil, "runs#a"); exit != 1 || !strings.Contains(errs, "(-66)") {
		t.Errorf("without any: %d %q", exit, errs)
	}
}
