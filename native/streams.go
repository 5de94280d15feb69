package native

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

// streams are what a command prints, on its way to the caller.
type streams struct {
	reads, writes []*os.File
	copies        sync.WaitGroup
}

// grace is how long a stream of the caller's that is busy when the run is to end may take before it is left behind.
const grace = 250 * time.Millisecond

// to returns the file for a command to print into. A writer that breaks ends the run. nil: nobody cares.
func (s *streams) to(w io.Writer, end context.CancelCauseFunc) (*os.File, error) {
	if w == nil {
		w = io.Discard
	}
	from, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.reads, s.writes = append(s.reads, from), append(s.writes, to)
	s.copies.Go(func() {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if _, err := w.Write(buf[:n]); err != nil {
					end(shoal.Wrap(shoal.Unavailable, "show the output", err))
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	return to, nil
}

// begun lets go of the command's ends: it has them.
func (s *streams) begun() {
	for _, f := range s.writes {
		f.Close()
	}
}

// rest waits, once the command is gone, until all that it printed has arrived. When ctx ends first, a write that
// is under way has a moment, and the rest is lost.
func (s *streams) rest(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		s.copies.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

func (s *streams) close() {
	s.begun()
	for _, f := range s.reads {
		f.Close()
	}
}

// feed gives the command its input. A reader that blocks is left behind.
func feed(w io.WriteCloser, r io.Reader) {
	if r != nil {
		_, _ = io.Copy(w, r) // a command need not read it
	}
	_ = w.Close()
}

// tail passes a stream on and remembers its end.
type tail struct {
	w    io.Writer
	mu   sync.Mutex
	last []byte
}

// tailBytes is how much of standard error an error shows.
const tailBytes = 512

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.last = append(t.last, p...)
	if n := len(t.last) - tailBytes; n > 0 {
		t.last = append(t.last[:0], t.last[n:]...)
	}
	t.mu.Unlock()
	if t.w == nil {
		return len(p), nil
	}
	return t.w.Write(p)
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.last)
}

// add has an error show it.
func (t *tail) add(e *shoal.Error) error {
	text := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(t.text(), ""), func(r rune) bool { return r == '\n' || r == '\r' }), " | ")
	if text = strings.TrimSpace(text); text != "" {
		e.Why += fmt.Sprintf(" (standard error ends: %q)", text)
	}
	return e
}
