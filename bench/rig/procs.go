package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"
)

const (
	startTime = 60 * time.Second // for a worker to make itself ready
	orderTime = 3 * time.Minute  // for one order
	endTime   = 5 * time.Second  // for a worker to end by itself
)

// Procs are the worker processes of a run. Those that were started first end last.
type Procs struct {
	bench   string
	log     io.Writer
	profile string // a directory for CPU profiles; "": none
	mu      sync.Mutex
	list    []*Proc
}

// Proc is a worker process.
type Proc struct {
	role string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	say  *tail
}

// AnyCore lets a worker run where it likes.
const AnyCore = -1

// Start starts this program again as a worker, on one core unless that is AnyCore, and fills ready with
// what the worker says when it is ready.
func (ps *Procs) Start(ctx context.Context, role string, core int, arg, ready any) (*Proc, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Proc{role: role, cmd: exec.Command(self, WorkerArg, ps.bench, role, ps.profile), say: &tail{}}
	p.cmd.Stderr = p.say
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if core == AnyCore {
		err = p.cmd.Start()
	} else {
		err = startOn(p.cmd, core)
	}
	if err != nil {
		return nil, err
	}
	ps.mu.Lock()
	ps.list = append(ps.list, p)
	ps.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := p.Do(ctx, "begin", arg, ready); err != nil {
		return nil, err
	}
	return p, nil
}

// Do gives an order and waits for what comes of it. value may be nil.
func (p *Proc) Do(ctx context.Context, verb string, arg, value any) error {
	ctx, cancel := context.WithTimeout(ctx, orderTime)
	defer cancel()
	rawArg, err := json.Marshal(arg)
	if err != nil {
		return err
	}
	b, err := json.Marshal(order{verb, rawArg})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() }) // which ends the read below
	defer stop()
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return p.died(ctx, verb, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return p.died(ctx, verb, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("worker %s said %q instead of an answer", p.role, line)
	}
	if a.Error != "" {
		return fmt.Errorf("worker %s: %s: %s", p.role, verb, a.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(a.Value, value)
}

func (p *Proc) died(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("worker %s: %s: %w: %s", p.role, verb, err, p.say)
}

// PID returns the process's number.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Signal sends the worker a signal.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends a worker as a power cut would, and waits until it is gone.
func (ps *Procs) Kill(p *Proc) error {
	err := p.cmd.Process.Kill()
	p.in.Close()
	io.Copy(io.Discard, p.out)
	_ = p.cmd.Wait() // it was killed, and says so
	ps.list = slices.DeleteFunc(ps.list, func(x *Proc) bool { return x == p })
	return err
}

// CPU returns the processor time that the workers ps have used, 0 where the system does not say.
func CPU(ps ...*Proc) (sum time.Duration) {
	for _, p := range ps {
		sum += CPUOf(p.PID())
	}
	return sum
}

// Close ends all workers: it asks, waits, then kills.
func (ps *Procs) Close() {
	for _, p := range slices.Backward(ps.list) {
		p.in.Close()
		timer := time.AfterFunc(endTime, func() { p.cmd.Process.Kill() })
		io.Copy(io.Discard, p.out)
		err := p.cmd.Wait()
		timer.Stop()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			fmt.Fprintf(ps.log, "worker %s ended with %v: %s\n", p.role, err, p.say)
		}
	}
	ps.list = nil
}

// tail keeps the last bytes that a worker wrote to its standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 4 << 10
	if t.buf = append(t.buf, b...); len(t.buf) > most {
		t.buf = t.buf[len(t.buf)-most:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
