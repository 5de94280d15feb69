package sandbox

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// bench is a sandbox with the probe compiled.
func bench(t testing.TB, cfg Config) (*Sandbox, cid.Cid) {
	t.Helper()
	s := fresh(t, cfg)
	c := shoal.BlockCID(probe)
	if _, err := s.Compile(t.Context(), c, probe); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// do runs the probe.
func do(t testing.TB, s *Sandbox, r shoal.Run, args ...string) (string, shoal.Ran, error) {
	t.Helper()
	var out bytes.Buffer
	r.Module = shoal.BlockCID(probe)
	r.Args = append([]string{"probe"}, args...)
	if r.Stdout == nil {
		r.Stdout = &out
	}
	ran, err := s.Run(t.Context(), r)
	return out.String(), ran, err
}

func fails(t testing.TB, s *Sandbox, kind shoal.Kind, why string, r shoal.Run, args ...string) {
	t.Helper()
	out, ran, err := do(t, s, r, args...)
	if err == nil || shoal.KindOf(err) != kind || !strings.Contains(err.Error(), why) {
		t.Errorf("%q: got %v (%v), exit %d, %q; want %v: %s", args, err, shoal.KindOf(err), ran.Exit, out, kind, why)
	}
	if err != nil && strings.Contains(err.Error(), "\n") {
		t.Errorf("%q: not one line: %v", args, err)
	}
}

// TestNothingEscapes tries every way out of /data and /out, with planted links beside them.
func TestNothingEscapes(t *testing.T) {
	s, _ := bench(t, Config{})
	home := t.TempDir()
	out := filepath.Join(home, "out")
	secret := filepath.Join(home, "secret")
	for _, err := range []error{
		os.Mkdir(out, 0o755),
		os.WriteFile(secret, []byte("secret"), 0o644),
		os.Symlink(secret, filepath.Join(out, "planted")),
		os.Symlink("..", filepath.Join(out, "planted-dir")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	data := fstest.MapFS{"a.txt": {Data: []byte("a")}}
	text, ran, err := do(t, s, shoal.Run{Data: data, Out: out}, "escape")
	if err != nil || ran.Exit != 0 {
		t.Fatalf("exit %d, %v", ran.Exit, err)
	}
	may := map[string]bool{
		"mkdir sub": true, "inner symlink": true, "write inside": true, "follow inner": true,
		"move the link up": true,
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 30 {
		t.Errorf("%d tries, want 30:\n%s", len(lines), text)
	}
	for _, line := range lines {
		i := strings.LastIndex(line, ": ")
		if what, done := line[:i], line[i+2:] == "done"; done != may[what] {
			t.Errorf("%s", line)
		}
	}
	if b, err := os.ReadFile(secret); err != nil || string(b) != "secret" {
		t.Errorf("the secret is %q, %v", b, err)
	}
	if string(data["a.txt"].Data) != "a" || len(data) != 1 {
		t.Errorf("/data has changed: %v", data)
	}
	entries, err := os.ReadDir(home)
	if err != nil || len(entries) != 2 {
		t.Errorf("beside /out: %v, %v", entries, err)
	}
}

func TestProgramsMayUseOut(t *testing.T) {
	s, _ := bench(t, Config{})
	text, ran, err := do(t, s, shoal.Run{Out: t.TempDir()}, "files")
	if err != nil || ran.Exit != 0 {
		t.Errorf("exit %d, %v, %s", ran.Exit, err, text)
	}
}

func TestLimitsAreNamed(t *testing.T) {
	s, _ := bench(t, Config{Files: 100})
	short := shoal.Limits{Time: 100 * time.Millisecond}
	fails(t, s, shoal.Failed, "trap: unreachable", shoal.Run{}, "trap")
	fails(t, s, shoal.Failed, "trap: stack overflow: it calls itself too deeply", shoal.Run{}, "deep")
	fails(t, s, shoal.Failed, "time limit of 100ms reached", shoal.Run{Limits: short}, "spin")
	fails(t, s, shoal.Failed, "time limit of 100ms reached", shoal.Run{Limits: short}, "sleep")
	fails(t, s, shoal.Failed, "time limit of 100ms reached", shoal.Run{Limits: short}, "flood")
	fails(t, s, shoal.Failed, "memory limit of 20 MiB reached",
		shoal.Run{Limits: shoal.Limits{Memory: 20 << 20}}, "eat", "64")
	fails(t, s, shoal.Failed, "memory limit of 64 KiB: it needs",
		shoal.Run{Limits: shoal.Limits{Memory: 64 << 10}}, "args")
	fails(t, s, shoal.Refused, "this node gives 1 GiB at most",
		shoal.Run{Limits: shoal.Limits{Memory: 2 << 30}}, "args")
	small := func() shoal.Run { return shoal.Run{Out: t.TempDir(), Limits: shoal.Limits{Output: 3 << 20}} }
	fails(t, s, shoal.Failed, "output limit of 3 MiB under /out reached", small(), "flood", "/out/flood")
	fails(t, s, shoal.Failed, "output limit of 3 MiB", small(), "holes")
	fails(t, s, shoal.Failed, "limit of 100 files under /out reached", small(), "names")
	fails(t, s, shoal.Failed, "output limit", small(), "recycle", "20", "open")
	if _, _, err := do(t, s, small(), "recycle", "20"); err != nil {
		t.Errorf("bytes of removed files count: %v", err)
	}
	text, ran, err := do(t, s, shoal.Run{Limits: shoal.Limits{Memory: 20 << 20}}, "eat", "64", "calmly")
	if err != nil || ran.Exit != 0 || text != "no memory\n" {
		t.Errorf("a program that copes with little memory: %q, %d, %v", text, ran.Exit, err)
	}
	data := fstest.MapFS{"a": {}}
	for _, path := range []string{"/data/a", "/data", "/out"} {
		r := shoal.Run{Data: data, Out: t.TempDir(), Limits: short}
		if path == "/data" { // a folder of /data costs nothing: the clock ends it
			fails(t, s, shoal.Failed, "time limit", r, "open", path)
		} else if text, ran, err := do(t, s, r, "open", path); err != nil || ran.Exit != 0 {
			t.Errorf("opening %s for ever: %q, %d, %v", path, text, ran.Exit, err)
		}
	}
}

func TestTrapShowsTheStack(t *testing.T) {
	s, _ := bench(t, Config{})
	var stderr bytes.Buffer
	fails(t, s, shoal.Failed, "trap: unreachable", shoal.Run{Stderr: &stderr}, "trap")
	if !strings.HasPrefix(stderr.String(), "trap: unreachable\n") || !strings.Contains(stderr.String(), "_start") {
		t.Errorf("standard error: %q", stderr.String())
	}
	if strings.Contains(stderr.String(), "goroutine") {
		t.Errorf("the node's own stack is shown: %q", stderr.String())
	}
}

func TestTheClockIsVirtual(t *testing.T) {
	s, _ := bench(t, Config{})
	text, _, err := do(t, s, shoal.Run{}, "clock")
	again, _, _ := do(t, s, shoal.Run{}, "clock")
	if secs, _, _ := strings.Cut(text, " "); err != nil || secs != strconv.Itoa(epoch) || again != text {
		t.Errorf("got %q and %q, %v", text, again, err)
	}
}

// TestTheNodesMemoryIsBounded has guests that hold memory, and others that want some.
func TestTheNodesMemoryIsBounded(t *testing.T) {
	s, c := bench(t, Config{Memory: 48 << 20, NodeMemory: 64 << 20, Patience: 50 * time.Millisecond})
	eat := func(mib string, hold io.Reader, out io.Writer) error {
		_, err := s.Run(t.Context(), shoal.Run{Module: c, Args: []string{"probe", "eat", mib, "hold"}, Stdin: hold, Stdout: out})
		return err
	}
	r, w := io.Pipe()
	ate, said := io.Pipe()
	first := make(chan error, 1)
	go func() { first <- eat("40", r, said) }()
	if _, err := io.ReadFull(ate, make([]byte, 6)); err != nil { // "eaten"
		t.Fatal(err)
	}
	if err := eat("40", nil, nil); shoal.KindOf(err) != shoal.Overloaded || !strings.Contains(err.Error(), "64 MiB") {
		t.Errorf("with no room: %v, want Overloaded", err)
	}
	_ = w.Close()
	go func() { _, _ = io.Copy(io.Discard, ate) }()
	if err := <-first; err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := eat("40", nil, nil); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestGuestsWaitForMemory runs more than fit: once a module's need is known, they take turns.
func TestGuestsWaitForMemory(t *testing.T) {
	s, c := bench(t, Config{Memory: 32 << 20, NodeMemory: 48 << 20, Patience: time.Minute})
	run := func() {
		if _, err := s.Run(t.Context(), shoal.Run{Module: c, Args: []string{"probe", "eat", "20"}}); err != nil {
			t.Error(err)
		}
	}
	run()
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(run)
	}
	wg.Wait()
}

func TestCloseStopsGuests(t *testing.T) {
	s, c := bench(t, Config{})
	began, started := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := s.Run(context.Background(), shoal.Run{Module: c, Args: []string{"probe", "flood"}, Stdout: started})
		done <- err
	}()
	if _, err := io.ReadFull(began, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("the run: %v, want Unavailable", err)
	}
	if _, err := s.Run(context.Background(), shoal.Run{Module: c}); shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("a run after Close: %v, want Unavailable", err)
	}
	if _, err := s.Compile(context.Background(), shoal.BlockCID(reactor), reactor); shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("compiling after Close: %v, want Unavailable", err)
	}
}

func TestBadRequests(t *testing.T) {
	s, _ := bench(t, Config{})
	fails(t, s, shoal.Invalid, "NUL", shoal.Run{}, "args", "a\x00b")
	fails(t, s, shoal.Invalid, "not NAME=VALUE", shoal.Run{Env: []string{"A"}}, "args")
	fails(t, s, shoal.Invalid, "not NAME=VALUE", shoal.Run{Env: []string{"=x"}}, "args")
	fails(t, s, shoal.Internal, "/out", shoal.Run{Out: filepath.Join(t.TempDir(), "none")}, "args")
	if _, err := New(Config{Modules: -1}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("a negative bound: %v", err)
	}
}
