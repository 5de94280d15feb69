package gas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// order is to run a kernel.
type order struct {
	Module, Name string
	Size         int
}

// finished is what came of it.
type finished struct {
	MS  float64 // of processor time, between the guest's lines
	Sum string
}

// runner runs a guest to its end.
type runner interface {
	run(ctx context.Context, module string, args []string, in io.Reader, out io.Writer) error
}

func guests(ctx context.Context, s setup) (*rig.Worker, error) {
	wasm := map[string][]byte{}
	for name, path := range s.Modules {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		wasm[name] = b
	}
	build := newBare
	if s.Kind == "shoal" {
		build = newMetered
	}
	r, end, err := build(ctx, wasm)
	if err != nil {
		return nil, err
	}
	echo, err := newEcho(ctx, wasm["echo"], s.Kind == "shoal")
	if err != nil {
		return nil, err
	}
	method, err := newSDK(ctx, s.Kind == "shoal")
	if err != nil {
		return nil, err
	}
	closeAll := func() {
		method.end()
		end()
	}
	return &rig.Worker{Close: closeAll, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"run":       rig.Verb(func(ctx context.Context, o order) (finished, error) { return runKernel(ctx, r, o) }),
		"warm":      rig.Verb(func(ctx context.Context, _ *order) (float64, error) { return echo.perCall(ctx) }),
		"sdk":       rig.Verb(func(ctx context.Context, _ *order) (float64, error) { return method.perTurn(ctx) }),
		"spin":      rig.Verb(func(ctx context.Context, _ *order) (spun, error) { return spin(ctx, r) }),
		"instances": rig.Verb(func(ctx context.Context, m string) (float64, error) { return instances(ctx, r, m) }),
	}}, nil
}

// runKernel runs a kernel and takes its time.
func runKernel(ctx context.Context, r runner, o order) (f finished, err error) {
	out := &lines{}
	runtime.GC() // the last guest's memory is not this one's affair
	if err := r.run(ctx, o.Module, []string{o.Module, o.Name, strconv.Itoa(o.Size)}, nil, out); err != nil {
		return f, err
	}
	sum, ok := strings.CutPrefix(strings.TrimSpace(out.last), "end ")
	if !ok || out.begun == 0 {
		return f, fmt.Errorf("the guest said %q at last", out.last)
	}
	return finished{(out.ended - out.begun).Seconds() * 1e3, sum}, nil
}

// lines is a guest's standard output. It notes the processor time at each line.
type lines struct {
	part         []byte
	begun, ended time.Duration
	last         string
	onBegin      func()
}

func (l *lines) Write(b []byte) (int, error) {
	now := spent()
	l.part = append(l.part, b...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.part, l.last = rest, string(line)
		if l.last != "begin" {
			l.ended = now
			continue
		}
		if l.begun = spent(); l.onBegin != nil {
			l.onBegin()
		}
	}
}

// spent is the processor time of this process so far.
func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// crowd runs n guests at once until done is called; it returns when all have begun. done returns their errors.
func crowd(ctx context.Context, r runner, n int, module string, args []string, in func() io.Reader) (done func() []error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	began := make(chan struct{}, n)
	failed := make(chan error, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		stdin := in()
		all.Go(func() {
			errs[i] = r.run(ctx, module, args, stdin, &lines{onBegin: func() { began <- struct{}{} }})
			failed <- errs[i]
		})
	}
	for range n {
		select {
		case <-began:
		case err := <-failed:
			cancel()
			return nil, fmt.Errorf("a guest ended before its time: %w", errors.Join(err, io.ErrUnexpectedEOF))
		}
	}
	return func() []error { cancel(); all.Wait(); return errs }, nil
}

// instances returns how much memory one more guest takes, in KiB.
func instances(ctx context.Context, r runner, module string) (float64, error) {
	const n = 24
	if _, err := runKernel(ctx, r, order{module, "wait", 1}); err != nil { // what all share is there now
		return 0, err
	}
	debug.FreeOSMemory()
	debug.FreeOSMemory() // pools give up what they hold at the second collection
	before := rig.RSSOf(os.Getpid())
	var pipes []*io.PipeWriter
	done, err := crowd(ctx, r, n, module, []string{module, "wait", "1"}, func() io.Reader {
		in, out := io.Pipe()
		pipes = append(pipes, out)
		return in
	})
	if err != nil {
		return 0, err
	}
	debug.FreeOSMemory()
	grown := rig.RSSOf(os.Getpid()) - before
	for _, p := range pipes {
		p.Close()
	}
	done()
	return float64(grown) / n / 1024, nil
}
