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

// Compile has a child compile folder/Module into folder/Cache. The end of ctx kills it. A child over its limits
// is killed and left behind: the system may need a tenth of a second to take a gibibyte from it.
func (c Child) Compile(ctx context.Context, folder string) error {
	limited, cancel := context.WithTimeout(ctx, patience*c.Time)
	defer cancel()
	cmd := c.Command(limited, folder, c.Time.String(), strconv.FormatUint(c.Memory, 10))
	said := make(chan string, 1)
	out, errs := tail{most: 4 << 10, said: said}, tail{most: 4 << 10}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return c.verdict(ctx, limited, err, &out, &errs)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	last := time.Now() // when it was seen within its limits
	for {
		why := ""
		select {
		case err := <-ended:
			return c.verdict(ctx, limited, err, &out, &errs)
		case line := <-said: // it may have seen it first
			why, last = c.confessed(line, last)
		case <-look.C:
			now := time.Now()
			if why = c.over(cmd.Process.Pid); why == "" {
				last = now
			}
		}
		if why != "" {
			leave(cmd, ended)
			return &ErrLimit{why, time.Since(last)}
		}
	}
}

// lookEvery is how often the parent looks at what its child uses. The child looks too, but not while it clears
// memory or collects.
const lookEvery = 10 * time.Millisecond

// over says which limit a child exceeds, if any.
func (c Child) over(pid int) string {
	memory, spent, ok := used(pid)
	switch {
	case !ok:
		return ""
	case memory > c.Memory:
		return c.tooBig()
	case spent > c.Time:
		return c.tooLong()
	}
	return ""
}

// confessed says which limit a child says that it exceeds, if any, and when it last did not.
func (c Child) confessed(line string, last time.Time) (why string, within time.Time) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	at, _ := strconv.ParseInt(rest, 10, 64)
	switch word {
	case saidMemory:
		return c.tooBig(), time.Unix(0, at)
	case saidTime:
		return c.tooLong(), time.Unix(0, at)
	}
	return "", last
}

// dying has a place for each killed child that is not waited for.
var dying = make(chan struct{}, 4)

// leave kills a child, and waits for its end if there are many that are ending.
func leave(cmd *exec.Cmd, ended <-chan error) {
	_ = cmd.Process.Kill()
	select {
	case dying <- struct{}{}:
		go func() {
			<-ended
			<-dying
		}()
	default:
		<-ended
	}
}

// verdict says what came of a child that has ended.
func (c Child) verdict(ctx, limited context.Context, err error, out, errs *tail) error {
	said := string(out.b)
	word, rest, _ := strings.Cut(strings.TrimSpace(said), " ")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case word == saidDone && rest == Name():
		return nil
	case word == saidDone:
		return fmt.Errorf("the child is another version (%s): was the program replaced? Start the node again", rest)
	case word == saidInvalid:
		return &ErrInvalid{rest}
	case word == saidMemory, word == saidTime:
		why, last := c.confessed(said, time.Time{})
		return &ErrLimit{why, time.Since(last)}
	case bytes.Contains(errs.b, []byte("out of memory")), bytes.Contains(errs.b, []byte("cannot allocate")),
		bytes.Contains(errs.b, []byte("failed to allocate")), bytes.Contains(errs.b, []byte("pthread_create failed")):
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
	began time.Time   // of the first
	said  chan string // gets the first line, and is nil from then on; may be nil
}

func (t *tail) Write(p []byte) (int, error) {
	if t.began.IsZero() {
		t.began = time.Now()
	}
	t.b = append(t.b, p[:min(len(p), t.most-len(t.b))]...)
	if line, _, whole := strings.Cut(string(t.b), "\n"); whole && t.said != nil {
		t.said <- line
		t.said = nil
	}
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
