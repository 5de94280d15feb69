package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// The files of a folder in which a child compiles.
const (
	Module = "module.wasm" // what to compile
	Cache  = "code"        // a directory, for the result
)

// Child says how to compile in a process of its own.
type Child struct {
	// Command makes the command of a process that calls Main with these arguments.
	Command func(ctx context.Context, args ...string) *exec.Cmd
	Time    time.Duration // of a processor; four times as much by the clock, for a machine that is busy with other things
	Memory  uint64        // bytes
}

// ErrLimit is a compilation that was given up: it took too long or too much memory.
type ErrLimit struct {
	Why  string
	Late time.Duration // from the limit to the child's end, or from when it was last seen within
}

func (e *ErrLimit) Error() string { return e.Why }

// Over returns Late. It is how the one who waits for a module asks.
func (e *ErrLimit) Over() time.Duration { return e.Late }

// ErrInvalid is what the engine has against a module.
type ErrInvalid struct{ Why string }

func (e *ErrInvalid) Error() string { return e.Why }

// Compile has a child compile folder/Module into folder/Cache. The end of ctx kills it.
func (c Child) Compile(ctx context.Context, folder string) error {
	limited, cancel := context.WithTimeout(ctx, patience*c.Time)
	defer cancel()
	cmd := c.Command(limited, folder, c.Time.String(), strconv.FormatUint(c.Memory, 10))
	out, errs := tail{most: 4 << 10}, tail{most: 4 << 10}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	word, rest, _ := strings.Cut(strings.TrimSpace(string(out.b)), " ")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case word == saidDone && rest == Name():
		return nil
	case word == saidDone:
		return fmt.Errorf("the child is another version (%s): was the program replaced? Start the node again", rest)
	case word == saidInvalid:
		return &ErrInvalid{rest}
	case word == saidMemory:
		last, _ := strconv.ParseInt(rest, 10, 64)
		return &ErrLimit{c.tooBig(), time.Since(time.Unix(0, last))}
	case word == saidTime:
		last, _ := strconv.ParseInt(rest, 10, 64)
		return &ErrLimit{c.tooLong(), time.Since(time.Unix(0, last))}
	case bytes.Contains(errs.b, []byte("out of memory")), bytes.Contains(errs.b, []byte("cannot allocate")), bytes.Contains(errs.b, []byte("failed to allocate")):
		return &ErrLimit{c.tooBig(), time.Since(errs.began)} // the system refused, and the child said so and broke down
	case limited.Err() != nil:
		end, _ := limited.Deadline()
		return &ErrLimit{c.tooLong(), time.Since(end)}
	}
	first, _, _ := strings.Cut(string(errs.b), "\n")
	return fmt.Errorf("the child failed: %v: %q", err, first)
}

// patience is by how much the clock may exceed the processor's time.
const patience = 4

func (c Child) tooLong() string { return fmt.Sprintf("compiling it takes more than %v", c.Time) }

func (c Child) tooBig() string {
	return fmt.Sprintf("compiling it takes more than %d MiB of memory", c.Memory>>20)
}

// tail keeps the first bytes that are written to it.
type tail struct {
	b     []byte
	most  int
	began time.Time // of the first
}

func (t *tail) Write(p []byte) (int, error) {
	if t.began.IsZero() {
		t.began = time.Now()
	}
	t.b = append(t.b, p[:min(len(p), t.most-len(t.b))]...)
	return len(p), nil
}

// What a child says in its first word.
const (
	saidDone    = "done"
	saidInvalid = "invalid"
	saidTime    = "time"   // and when it was last seen within its limit, in nanoseconds since 1970
	saidMemory  = "memory" // and when it was last seen within its limit, in nanoseconds since 1970
)

// Main is the child's side: args are those of Command. It returns the exit code.
func Main(args []string, stdout io.Writer) int {
	if err := work(args, stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func work(args []string, stdout io.Writer) error {
	if len(args) != 3 {
		return errors.New("wants a folder, a time and a number of bytes: it is for the node itself")
	}
	limit, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	most, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	if err := bound(most, limit); err != nil {
		return fmt.Errorf("the limits cannot be set: %w", err)
	}
	go watch(most, limit, stdout)
	wasm, err := os.ReadFile(filepath.Join(args[0], Module))
	if err != nil {
		return err
	}
	c, err := Compile(filepath.Join(args[0], Cache), wasm)
	if err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintln(stdout, saidInvalid, first)
		return nil
	}
	c.Close()
	fmt.Fprintln(stdout, saidDone, Name())
	return nil
}

// watch ends the process when it takes too much, also where the system would not, and when its parent
// has gone without killing it.
func watch(most uint64, limit time.Duration, stdout io.Writer) {
	use := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	last := time.Now()
	began, end := last, last.Add(patience*limit+time.Second)
	for last.Before(end) {
		time.Sleep(5 * time.Millisecond)
		now := time.Now()
		if metrics.Read(use); use[0].Value.Uint64()-use[1].Value.Uint64() > most {
			fmt.Fprintln(stdout, saidMemory, last.UnixNano())
			break
		}
		if spent(began) > limit {
			fmt.Fprintln(stdout, saidTime, last.UnixNano())
			break
		}
		last = now
	}
	os.Exit(1)
}
