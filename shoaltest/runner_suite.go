package shoaltest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
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

// TestRunner holds an implementation of shoal.Runner against the contract. open gives a fresh runner
// for each subtest; reopen stands for a restart of its node, and may return the same. reactor is a
// module without _start. probe is a command that does what its first argument says; Probe is one:
//
//	args, env       prints its arguments, its environment, one a line
//	exit N          ends with the exit code N
//	cat [PATH]      copies a file, or standard input as it comes, to standard output
//	err TEXT        writes TEXT to standard error
//	tree PATH       prints "PATH/" for a folder, then its entries; "PATH SIZE 0" for a file
//	write PATH TEXT writes a file, and prints "write: done" or "write: " and why not
//	random          prints 16 random bytes, hexadecimal
//	spin            never ends
//	trap            traps
//	eat N           takes N MiB of memory and prints "eaten"; traps if it gets no more
func TestRunner(t *testing.T, open, reopen func(t *testing.T, was shoal.Runner) shoal.Runner, probe, reactor []byte) {
	for _, c := range runnerCases() {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c.run(t, &runnerRig{Runner: open(t, nil), reopen: reopen, ctx: ctx, probe: probe, reactor: reactor})
		})
	}
}

// runnerRig is one subtest's runner.
type runnerRig struct {
	shoal.Runner
	reopen         func(t *testing.T, was shoal.Runner) shoal.Runner
	ctx            context.Context
	probe, reactor []byte
}

// compile makes the probe ready.
func (g *runnerRig) compile(t *testing.T) cid.Cid {
	t.Helper()
	c := shoal.BlockCID(g.probe)
	if _, err := g.Compile(g.ctx, c, g.probe); err != nil {
		t.Fatal(err)
	}
	return c
}

// do runs the probe and returns what it printed.
func (g *runnerRig) do(t *testing.T, r shoal.Run, args ...string) (string, shoal.Ran, error) {
	t.Helper()
	r.Module = g.compile(t)
	r.Args = append([]string{"probe"}, args...)
	var out bytes.Buffer
	if r.Stdout == nil {
		r.Stdout = &out
	}
	ran, err := g.Run(g.ctx, r)
	return out.String(), ran, err
}

// wants runs the probe and wants it to print want and end well.
func (g *runnerRig) wants(t *testing.T, want string, r shoal.Run, args ...string) {
	t.Helper()
	got, ran, err := g.do(t, r, args...)
	if err != nil || ran.Exit != 0 || got != want {
		t.Fatalf("%q: got %q, exit %d, %v; want %q", args, got, ran.Exit, err, want)
	}
}

// fails runs the probe and wants an error of a kind that says why.
func (g *runnerRig) fails(t *testing.T, kind shoal.Kind, why string, r shoal.Run, args ...string) {
	t.Helper()
	_, _, err := g.do(t, r, args...)
	if err == nil || shoal.KindOf(err) != kind || !strings.Contains(err.Error(), why) {
		t.Fatalf("%q: got %v (%v); want %v: %q", args, err, shoal.KindOf(err), kind, why)
	}
}

func runnerCases() []struct {
	name string
	run  func(t *testing.T, g *runnerRig)
} {
	return []struct {
		name string
		run  func(t *testing.T, g *runnerRig)
	}{
		{"compile", runnerCompile},
		{"compile refuses", runnerRefuses},
		{"not compiled", func(t *testing.T, g *runnerRig) {
			_, err := g.Run(g.ctx, shoal.Run{Module: shoal.BlockCID(g.probe)})
			if shoal.KindOf(err) != shoal.NotFound {
				t.Fatalf("got %v, want NotFound", err)
			}
		}},
		{"reactor", func(t *testing.T, g *runnerRig) {
			c := shoal.BlockCID(g.reactor)
			info, err := g.Compile(g.ctx, c, g.reactor)
			if err != nil || info.Kind == "command" {
				t.Fatalf("compile: %+v, %v", info, err)
			}
			if _, err = g.Run(g.ctx, shoal.Run{Module: c}); shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("run: got %v, want Invalid", err)
			}
		}},
		{"arguments and environment", func(t *testing.T, g *runnerRig) {
			t.Setenv("SHOAL_SECRET", "of the host")
			g.wants(t, "probe\nargs\n\na b\n\u00fc\n", shoal.Run{}, "args", "", "a b", "\u00fc")
			g.wants(t, "", shoal.Run{}, "env")
			g.wants(t, "A=1\nB=x=y\nC=\n", shoal.Run{Env: []string{"A=1", "B=x=y", "C="}}, "env")
		}},
		{"exit code", func(t *testing.T, g *runnerRig) {
			for _, code := range []int{0, 1, 42, 255} {
				_, ran, err := g.do(t, shoal.Run{}, "exit", strconv.Itoa(code))
				if err != nil || ran.Exit != code {
					t.Errorf("exit %d: got %d, %v", code, ran.Exit, err)
				}
			}
		}},
		{"streams", runnerStreams},
		{"broken streams", runnerBroken},
		{"data", runnerData},
		{"out", runnerOut},
		{"randomness", func(t *testing.T, g *runnerRig) {
			one, _, err := g.do(t, shoal.Run{Seed: []byte("one")}, "random")
			two, _, err2 := g.do(t, shoal.Run{Seed: []byte("two")}, "random")
			if err != nil || err2 != nil || len(one) != 33 || one == two {
				t.Fatalf("%q, %v and %q, %v: not 16 bytes, or the same", one, err, two, err2)
			}
			g.wants(t, one, shoal.Run{Seed: []byte("one")}, "random")
		}},
		{"limits", runnerLimits},
		{"the caller gives up", runnerGivesUp},
		{"many at once", runnerMany},
	}
}

func runnerCompile(t *testing.T, g *runnerRig) {
	c := shoal.BlockCID(g.probe)
	if g.Ready(c) {
		t.Fatal("ready before it was compiled")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			info, err := g.Compile(g.ctx, c, g.probe)
			if err != nil || info.Kind != "command" || info.Bytes != len(g.probe) || info.Memory == 0 {
				t.Errorf("compile: %+v, %v", info, err)
			}
		})
	}
	wg.Wait()
	if !g.Ready(c) {
		t.Fatal("not ready after it was compiled")
	}
	g.Runner = g.reopen(t, g.Runner)
	if !g.Ready(c) {
		t.Fatal("not ready after a restart")
	}
	ran, err := g.Run(g.ctx, shoal.Run{Module: c, Args: []string{"probe", "exit", "7"}})
	if err != nil || ran.Exit != 7 || ran.Seconds < 0 {
		t.Fatalf("run after a restart: %+v, %v", ran, err)
	}
}

func runnerRefuses(t *testing.T, g *runnerRig) {
	for _, bad := range []string{"", "#!/bin/sh\n", "\x7fELF and so on"} {
		c := shoal.BlockCID([]byte(bad))
		_, err := g.Compile(g.ctx, c, []byte(bad))
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "WebAssembly") {
			t.Errorf("%q: got %v, want Invalid", bad, err)
		}
		if g.Ready(c) {
			t.Errorf("%q is ready", bad)
		}
	}
	c := shoal.BlockCID([]byte("other"))
	if _, err := g.Compile(g.ctx, c, g.probe); shoal.KindOf(err) != shoal.Corrupt || g.Ready(c) {
		t.Errorf("bytes of another CID: got %v, want Corrupt", err)
	}
}

func runnerStreams(t *testing.T, g *runnerRig) {
	body := strings.Repeat("0123456789abcde\n", 20_000)
	g.wants(t, body, shoal.Run{Stdin: strings.NewReader(body)}, "cat")
	g.wants(t, "", shoal.Run{}, "cat")
	var stderr bytes.Buffer
	g.wants(t, "", shoal.Run{Stderr: &stderr}, "err", "this went wrong")
	if stderr.String() != "this went wrong" {
		t.Fatalf("standard error: %q", stderr.String())
	}
	// Live: the answer to a line comes before the next line is sent.
	in, send := io.Pipe()
	receive, out := io.Pipe()
	done := make(chan error, 1)
	module := g.compile(t)
	go func() {
		_, err := g.Run(g.ctx, shoal.Run{Module: module, Args: []string{"probe", "cat"}, Stdin: in, Stdout: out})
		_ = out.CloseWithError(io.EOF)
		done <- err
	}()
	for i := range 3 {
		line := fmt.Sprintf("line %d\n", i)
		if _, err := io.WriteString(send, line); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(line))
		if _, err := io.ReadFull(receive, got); err != nil || string(got) != line {
			t.Fatalf("got %q, %v; want %q", got, err, line)
		}
	}
	_ = send.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// broken is a stream that fails.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error)  { return 0, b.err }
func (b broken) Write([]byte) (int, error) { return 0, b.err }

func runnerBroken(t *testing.T, g *runnerRig) {
	gone := broken{shoal.E(shoal.Unavailable, "stream", "the peer is gone", "")}
	g.fails(t, shoal.Unavailable, "the peer is gone", shoal.Run{Stdin: gone}, "cat")
	g.fails(t, shoal.Unavailable, "the peer is gone", shoal.Run{Stdout: gone}, "args")
	// One that neither answers nor fails does not hold up the end.
	stuck, _ := io.Pipe()
	_, sink := io.Pipe()
	soon := shoal.Limits{Time: 50 * time.Millisecond}
	g.fails(t, shoal.Failed, "time limit", shoal.Run{Stdin: stuck, Limits: soon}, "cat")
	g.fails(t, shoal.Failed, "time limit", shoal.Run{Stdout: sink, Limits: soon}, "args")
}

func runnerData(t *testing.T, g *runnerRig) {
	data := fstest.MapFS{
		"set/b.txt":     {Data: []byte("bee"), ModTime: time.Unix(1e9, 0)},
		"set/a.txt":     {Data: []byte("a")},
		"set/sub/c":     {Data: bytes.Repeat([]byte("sea\n"), 100_000)},
		"set/sub/empty": {},
	}
	for i := range 300 {
		data[fmt.Sprintf("many/%03d", i)] = &fstest.MapFile{}
	}
	r := shoal.Run{Data: data}
	g.wants(t, "/data/set/\n/data/set/a.txt 1 0\n/data/set/b.txt 3 0\n/data/set/sub/\n"+
		"/data/set/sub/c 400000 0\n/data/set/sub/empty 0 0\n", r, "tree", "/data/set")
	many, _, err := g.do(t, r, "tree", "/data/many")
	if err != nil || strings.Count(many, "\n") != 301 || !strings.HasSuffix(many, "/data/many/299 0 0\n") {
		t.Fatalf("a large folder: %d lines, %v", strings.Count(many, "\n"), err)
	}
	g.wants(t, string(data["set/sub/c"].Data), r, "cat", "/data/set/sub/c")
	for _, path := range []string{"/data/set/a.txt", "/data/new", "/data/set/sub"} {
		got, _, err := g.do(t, r, "write", path, "x")
		if err != nil || got == "write: done\n" || string(data["set/a.txt"].Data) != "a" {
			t.Fatalf("writing %s: %q, %v", path, got, err)
		}
	}
	for _, r := range []shoal.Run{{Data: data}, {}} {
		_, ran, err := g.do(t, r, "cat", "/data/none")
		if err != nil || ran.Exit == 0 {
			t.Fatalf("a file that is not there: exit %d, %v", ran.Exit, err)
		}
	}
	lost := shoal.E(shoal.Corrupt, "block", "does not match its CID", "")
	g.fails(t, shoal.Corrupt, "does not match", shoal.Run{Data: badFS{data, lost}}, "cat", "/data/set/b.txt")
}

// badFS has files that cannot be read.
type badFS struct {
	fs.FS
	err error
}

type badFile struct {
	fs.File
	err error
}

func (b badFS) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return f, nil
	}
	return badFile{f, b.err}, nil
}

func (b badFile) Read([]byte) (int, error)             { return 0, b.err }
func (b badFile) ReadAt([]byte, int64) (int, error)    { return 0, b.err }
func (b badFile) Seek(int64, int) (n int64, err error) { return 0, nil }

func runnerOut(t *testing.T, g *runnerRig) {
	dir := t.TempDir()
	g.wants(t, "write: done\n", shoal.Run{Out: dir}, "write", "/out/result", "42")
	if b, err := os.ReadFile(filepath.Join(dir, "result")); err != nil || string(b) != "42" {
		t.Fatalf("the result: %q, %v", b, err)
	}
	g.wants(t, "42", shoal.Run{Out: dir}, "cat", "/out/result")
	for _, path := range []string{"/result", "/tmp/result", "/out/../result", "/out/none/result", "/data/result"} {
		got, _, err := g.do(t, shoal.Run{Out: dir}, "write", path, "x")
		if err != nil || got == "write: done\n" {
			t.Errorf("writing %s: %q, %v", path, got, err)
		}
	}
	got, _, err := g.do(t, shoal.Run{}, "write", "/out/result", "x")
	if err != nil || got == "write: done\n" {
		t.Errorf("writing without /out: %q, %v", got, err)
	}
}

func runnerLimits(t *testing.T, g *runnerRig) {
	g.fails(t, shoal.Failed, "trap: ", shoal.Run{}, "trap")
	g.fails(t, shoal.Failed, "time limit of 50ms", shoal.Run{Limits: shoal.Limits{Time: 50 * time.Millisecond}}, "spin")
	g.wants(t, "eaten\n", shoal.Run{Limits: shoal.Limits{Memory: 64 << 20}}, "eat", "32")
	g.fails(t, shoal.Failed, "memory limit", shoal.Run{Limits: shoal.Limits{Memory: 16 << 20}}, "eat", "32")
	r := shoal.Run{Out: t.TempDir(), Limits: shoal.Limits{Output: 4}}
	g.wants(t, "write: done\n", r, "write", "/out/x", "four")
	r.Out = t.TempDir()
	g.fails(t, shoal.Failed, "output limit", r, "write", "/out/x", "fives")
	g.wants(t, "probe\nargs\n", shoal.Run{}, "args") // all is well afterwards
}

func runnerGivesUp(t *testing.T, g *runnerRig) {
	c := g.compile(t)
	ctx, cancel := context.WithCancel(g.ctx)
	began, started := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := g.Run(ctx, shoal.Run{Module: c, Args: []string{"probe", "cat"}, Stdin: neverending{}, Stdout: started})
		done <- err
	}()
	if _, err := io.ReadFull(began, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; shoal.KindOf(err) != shoal.Canceled {
		t.Fatalf("got %v, want Canceled", err)
	}
	ctx, cancel = context.WithTimeout(g.ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := g.Run(ctx, shoal.Run{Module: c, Args: []string{"probe", "spin"}}); shoal.KindOf(err) != shoal.Timeout {
		t.Fatalf("got %v, want Timeout", err)
	}
}

// neverending is a stream of zeros.
type neverending struct{}

func (neverending) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func runnerMany(t *testing.T, g *runnerRig) {
	c := g.compile(t)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var out bytes.Buffer
			want := fmt.Sprintf("probe\nargs\n%d\n", i)
			ran, err := g.Run(g.ctx, shoal.Run{Module: c, Args: []string{"probe", "args", strconv.Itoa(i)}, Stdout: &out})
			if err != nil || ran.Exit != 0 || out.String() != want {
				t.Errorf("run %d: %q, %+v, %v", i, out.String(), ran, err)
			}
		})
	}
	wg.Wait()
}
