package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
)

// WorkerArg is the first argument of a worker process; the benchmark's and the role's name, and the
// directory for its profile, follow.
const WorkerArg = "worker"

// Role makes a worker process ready. arg is what Procs.Start was given.
type Role func(ctx context.Context, arg json.RawMessage) (*Worker, error)

// Worker is a process that is ready to do as it is told.
type Worker struct {
	Ready any // told to the one who started it: an address, for the others
	Do    map[string]func(ctx context.Context, arg json.RawMessage) (any, error)
	Close func() // may be nil
}

// order and answer travel as lines of JSON over the worker's stdin and stdout.
type order struct {
	Verb string          `json:"verb"`
	Arg  json.RawMessage `json:"arg"`
}

type answer struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Profiled is Work with a CPU profile of it in dir.
func Profiled(ctx context.Context, role Role, in io.Reader, out io.Writer, dir, name string) error {
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", name, os.Getpid())))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return Work(ctx, role, in, out)
}

// Work is a worker's life: it ends with in, which closes when the starting process is gone.
func Work(ctx context.Context, role Role, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	first, err := readOrder(lines)
	if err != nil {
		return err
	}
	w, err := role(ctx, first.Arg)
	if err != nil {
		return reply(out, nil, err)
	}
	if w.Close != nil {
		defer w.Close()
	}
	if err := reply(out, w.Ready, nil); err != nil {
		return err
	}
	for {
		o, err := readOrder(lines)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		do := w.Do[o.Verb]
		if do == nil {
			return fmt.Errorf("a worker was told to %q, which it cannot", o.Verb)
		}
		v, err := do(ctx, o.Arg)
		if err := reply(out, v, err); err != nil {
			return err
		}
	}
}

func readOrder(in *bufio.Reader) (o order, err error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(line, &o)
}

func reply(out io.Writer, v any, err error) error {
	var a answer
	if err != nil {
		a.Error = err.Error()
	} else if a.Value, err = json.Marshal(v); err != nil {
		return err
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = out.Write(append(b, '\n'))
	return err
}

// Verb makes a typed function into one that Worker.Do takes.
func Verb[A, V any](f func(ctx context.Context, arg A) (V, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var arg A
		if err := json.Unmarshal(raw, &arg); err != nil {
			return nil, err
		}
		return f(ctx, arg)
	}
}

// As makes a typed function into a Role.
func As[A any](f func(ctx context.Context, arg A) (*Worker, error)) Role {
	return func(ctx context.Context, raw json.RawMessage) (*Worker, error) {
		var arg A
		if err := json.Unmarshal(raw, &arg); err != nil {
			return nil, fmt.Errorf("worker %v: %w", os.Args, err)
		}
		return f(ctx, arg)
	}
}
