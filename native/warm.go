package native

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Frames of a warm process, on its standard input and output: a u32 of how many bytes follow, one byte that says what it
// is, and the rest. docs/native.md specifies them.
const (
	frameHealth = 'h' // is it well? The answer may say, as a u32, how many calls it takes together
	frameCalls  = 'c' // calls to process: a u32 of milliseconds that are left, 0: unknown, and a batch. The answers
	maxWarm     = 8 << 20
)

// How a warm process is looked after.
const (
	healthEvery = 10 * time.Second
	healthTime  = 5 * time.Second
	lateGrace   = 2 * time.Second // for a call that nobody waits for any more; then the process is killed
	forever     = 10 * 365 * 24 * time.Hour
)

// Warm is an executor's process that stays, and processes calls: its devices are its own until Close. Its methods may be
// called from many goroutines; calls are processed one after the other.
type Warm struct {
	end    context.CancelCauseFunc
	most   int
	frames chan frame
	ended  chan struct{} // closed when all of its processes are gone
	why    error         // then

	turn   sync.Mutex // of who talks to it
	in     *io.PipeWriter
	broken atomic.Bool
}

type frame struct {
	kind byte
	body []byte
}

// Open starts the executor called name, with args behind its own and env besides, and waits until it says that it is
// well. ctx bounds that. Its limits are the executor's but for the time, of which there is none.
func (n *Native) Open(ctx context.Context, name string, args, env []string) (*Warm, error) {
	what := shoal.ExecPrefix + name
	live, end := context.WithCancelCause(context.Background())
	pr, pw := io.Pipe() // its standard input
	or, ow := io.Pipe() // its standard output
	w := &Warm{end: end, frames: make(chan frame), ended: make(chan struct{}), in: pw, most: 1}
	go func() {
		ran, err := n.run(live, shoal.Run{
			Module: shoal.ExecCID(name), Args: append([]string{name}, args...), Env: env, Stdin: pr, Stdout: ow,
		}, true)
		if err == nil {
			err = shoal.E(shoal.Unavailable, what, fmt.Sprintf("its process ended by itself, with code %d", ran.Exit), "a warm process reads frames until its input ends")
		}
		w.why = err
		w.broken.Store(true)
		_ = pr.CloseWithError(io.ErrClosedPipe)
		_ = ow.CloseWithError(io.ErrUnexpectedEOF)
		close(w.ended)
	}()
	go w.read(or)
	body, err := w.talk(ctx, frame{kind: frameHealth})
	if err != nil {
		w.Close()
		return nil, shoal.Wrap(shoal.Unavailable, what+": start a warm process", err)
	}
	if len(body) == 4 {
		w.most = int(min(max(1, binary.LittleEndian.Uint32(body)), 1024))
	}
	go w.watch()
	return w, nil
}

// read takes in frames until the output ends, or is none.
func (w *Warm) read(r io.Reader) {
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		n := binary.LittleEndian.Uint32(head[:4])
		if n < 1 || n > maxWarm {
			w.fail(shoal.E(shoal.Failed, "", fmt.Sprintf("its output is no frame: %q", head), "print to standard error; docs/native.md says what goes to standard output"))
			return
		}
		f := frame{head[4], make([]byte, n-1)}
		if _, err := io.ReadFull(r, f.body); err != nil {
			return
		}
		select {
		case w.frames <- f:
		case <-w.ended:
			return
		}
	}
}

// fail ends the process.
func (w *Warm) fail(err error) {
	w.broken.Store(true)
	w.end(err)
}

// watch looks from time to time whether the process is well, while it has nothing to do.
func (w *Warm) watch() {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-tick.C:
		}
		if !w.turn.TryLock() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), healthTime)
		_, err := w.exchange(ctx, frame{kind: frameHealth}, 0)
		cancel()
		w.turn.Unlock()
		if err != nil {
			w.fail(shoal.E(shoal.Unavailable, "", "its process does not say that it is well", "see its standard error"))
			return
		}
	}
}

// Most is how many calls the process takes together.
func (w *Warm) Most() int { return w.most }

// Broken reports whether it can process nothing more.
func (w *Warm) Broken() bool { return w.broken.Load() }

// Close ends the process, and frees its devices once it is gone. It may be called more than once.
func (w *Warm) Close() {
	w.broken.Store(true)
	w.end(shoal.E(shoal.Canceled, "", "it is not needed any more", ""))
}

// Wait waits until all of its processes are gone.
func (w *Warm) Wait() { <-w.ended }

// Calls has the process process a batch, as package services/batch packs it, and returns its answers. When ctx ends the
// process has two seconds to come to an end, and is killed.
func (w *Warm) Calls(ctx context.Context, packed []byte) ([]byte, error) {
	body := make([]byte, 4, 4+len(packed))
	if d, ok := ctx.Deadline(); ok {
		binary.LittleEndian.PutUint32(body, uint32(max(1, min(time.Until(d).Milliseconds(), 1<<31))))
	}
	return w.talk(ctx, frame{frameCalls, append(body, packed...)})
}

// talk sends one frame and waits for the answer.
func (w *Warm) talk(ctx context.Context, f frame) ([]byte, error) {
	w.turn.Lock()
	defer w.turn.Unlock()
	return w.exchange(ctx, f, lateGrace)
}

// exchange is talk. The caller has the turn.
func (w *Warm) exchange(ctx context.Context, f frame, grace time.Duration) ([]byte, error) {
	if w.broken.Load() {
		return nil, w.gone()
	}
	head := binary.LittleEndian.AppendUint32(make([]byte, 0, 5+len(f.body)), uint32(1+len(f.body)))
	sent := make(chan error, 1)
	go func() { // a process that does not read must not hold its caller
		_, err := w.in.Write(append(append(head, f.kind), f.body...))
		sent <- err
	}()
	gaveUp := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case got := <-w.frames:
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err() // the process goes on, with the next
			case got.kind != f.kind:
				err := shoal.E(shoal.Failed, "", fmt.Sprintf("it answered %q to %q", got.kind, f.kind), "answer each frame with one of its kind")
				w.fail(err)
				return nil, err
			}
			return got.body, nil
		case err := <-sent:
			if sent = nil; err != nil {
				<-w.ended
				return nil, w.gone()
			}
		case <-w.ended:
			return nil, w.gone()
		case <-gaveUp:
			gaveUp = nil
			late = time.After(grace)
		case <-late:
			err := shoal.Wrap(shoal.Timeout, "", ctx.Err())
			w.fail(err)
			return nil, err
		}
	}
}

// gone says why there is no process any more.
func (w *Warm) gone() error {
	select {
	case <-w.ended:
	case <-time.After(healthTime):
	}
	select {
	case <-w.ended:
		return w.why
	default:
		return errors.New("its process is being ended")
	}
}
