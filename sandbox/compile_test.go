package sandbox

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/sandbox/engine"
	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

const compileVerb = "compile-module"

// TestMain lets the test's binary be the child that compiles.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == compileVerb {
		os.Exit(CompileMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// child is the command of a child that compiles.
func child(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, os.Args[0], append([]string{compileVerb}, args...)...)
}

// Modules are put together as hostile guests are.
type wasmBuilder = hostile.Builder

var (
	vec     = hostile.Vec
	sized   = hostile.Sized
	index   = hostile.Index
	i32c    = hostile.I32
	guestOf = hostile.Command
	forever = hostile.Forever
)

func TestCompilingInAChild(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := fresh(t, Config{CacheDir: dir, Compiler: child})
		n := len(compileAll(t, s))
		hello, _ := examples.Module("hello")
		var out bytes.Buffer
		ran, err := s.Run(t.Context(), shoal.Run{Module: shoal.BlockCID(hello), Args: []string{"hello"}, Stdout: &out})
		if err != nil || ran.Exit != 0 || out.Len() == 0 {
			t.Errorf("with directory %q: %+v, %v", dir, ran, err)
		}
		if dir != "" && countFiles(t, dir) != 3*n {
			t.Errorf("%d files for %d modules: was the child's work used?", countFiles(t, dir), n)
		}
		bad := guestOf("\x00", "\x6a") // i32.add of nothing
		if _, err := s.Compile(t.Context(), shoal.BlockCID(bad), bad); shoal.KindOf(err) != shoal.Invalid ||
			!strings.Contains(err.Error(), "does not validate") {
			t.Errorf("a module that does not validate: %v", err)
		}
	}
}

// TestChildrenAreKilled compiles what keeps the engine busy for minutes, or takes gigabytes.
func TestChildrenAreKilled(t *testing.T) {
	wasm := hostile.Branches(5000)
	for _, c := range []struct {
		name, want string
		cfg        Config
	}{
		{"time", "compiling it takes more than 300ms", Config{CompileTime: 300 * time.Millisecond, CompileMemory: 8 << 30}},
		{"memory", "compiling it takes more than 100 MiB of memory", Config{CompileTime: time.Minute, CompileMemory: 100 << 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Compiler = child
			s := fresh(t, c.cfg)
			began := time.Now()
			_, err := s.Compile(t.Context(), shoal.BlockCID(wasm), wasm)
			took := time.Since(began)
			t.Logf("%d bytes: %v: %v", len(wasm), took, err)
			if shoal.KindOf(err) != shoal.Failed || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestCloseKillsChildren(t *testing.T) {
	s := fresh(t, Config{Compiler: func(ctx context.Context, _ ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "sleep", "60")
	}})
	done := make(chan error, 1)
	go func() {
		_, err := s.Compile(t.Context(), shoal.BlockCID(probe), probe)
		done <- err
	}()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; shoal.KindOf(err) != shoal.Unavailable || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestFailuresAreRemembered has many tasks name modules that cannot be compiled: each is tried once.
func TestFailuresAreRemembered(t *testing.T) {
	var children atomic.Int64
	s := fresh(t, Config{CompileTime: 5 * time.Minute, CompileMemory: 200 << 20, Compiler: func(ctx context.Context, args ...string) *exec.Cmd {
		children.Add(1)
		return child(ctx, args...)
	}})
	slow, bad := hostile.Branches(20_000), guestOf("\x00", "\x6a") // i32.add of nothing
	for _, c := range []struct {
		wasm []byte
		kind shoal.Kind
		want string
	}{
		{slow, shoal.Failed, "compiling it takes more than 200 MiB"},
		{bad, shoal.Invalid, "does not validate"},
	} {
		children.Store(0)
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				_, err := s.Compile(t.Context(), shoal.BlockCID(c.wasm), c.wasm)
				if shoal.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			})
		}
		wg.Wait()
		_, err := s.Compile(t.Context(), shoal.BlockCID(c.wasm), c.wasm)
		if n := children.Load(); n != 1 || err == nil || !strings.Contains(err.Error(), "tried again after 1m0s") || errors.As(err, new(*engine.ErrLimit)) {
			t.Errorf("%d children for 7 tasks, the last told %v", n, err)
		}
	}
	// Other bytes under the same CID, which here names no bytes, are not the ones that failed.
	hello, _ := examples.Module("hello")
	file := cid.NewCidV1(cid.DagProtobuf, shoal.BlockCID(bad).Hash())
	if _, err := s.Compile(t.Context(), file, bad); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("bad bytes: %v", err)
	}
	if _, err := s.Compile(t.Context(), file, hello); err != nil {
		t.Errorf("good bytes under the name of bad ones: %v", err)
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	var f failures
	now := time.Unix(1e9, 0)
	at := func(i int) source { return source{c: shoal.BlockCID([]byte{byte(i), byte(i >> 8)})} }
	for i := range 1000 {
		f.note(at(i), shoal.E(shoal.Invalid, "module", "bad", ""), now.Add(time.Duration(i)*time.Millisecond))
	}
	if len(f.all) != maxFailures || f.find(at(999), now) == nil || f.find(at(999-maxFailures), now) != nil {
		t.Errorf("%d are remembered, want the last %d", len(f.all), maxFailures)
	}
	f.note(at(0), shoal.E(shoal.Full, "module", "the disk is full", ""), now)
	f.note(at(1), nil, now)
	if f.find(at(0), now) != nil || f.find(at(1), now) != nil {
		t.Error("what is not the module's fault is remembered")
	}
	if late := now.Add(time.Second + failureTime); f.find(at(999), late) != nil || f.find(at(999), now) != nil {
		t.Error("a failure is remembered for ever")
	}
}
