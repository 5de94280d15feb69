package scheduler

import (
	"bufio"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// What the frames of "task.run" and "task.logs" carry.
const (
	frameStdin   uint8 = 1 // home to runner: input
	frameEOF     uint8 = 2 // home to runner: the input ends
	frameCancel  uint8 = 3 // home to runner: stop the task, an outcome follows
	frameBeat    uint8 = 4 // both: still here
	frameState   uint8 = 5 // runner to home: the task's state
	frameStdout  uint8 = 6
	frameStderr  uint8 = 7
	frameOutcome uint8 = 8 // runner to home: the last frame
	frameTaken   uint8 = 9 // runner to home: so many bytes of input were read, send as many more
)

const (
	chunkBytes  = 32 << 10  // of data in one frame
	stdinWindow = 256 << 10 // of input sent ahead of the task's reading
	frameLimit  = 64 << 10
	maxWhy      = 8 << 10 // of an error's text on the wire
)

// frame is one message of a stream.
type frame struct {
	Kind    uint8           `cbor:"k"`
	Data    []byte          `cbor:"d,omitempty"`
	N       uint32          `cbor:"n,omitempty"`
	State   shoal.TaskState `cbor:"s,omitempty"`
	Outcome *shoal.Outcome  `cbor:"o,omitempty"`
	Err     *wire.Error     `cbor:"e,omitempty"`
}

// parseFrame decodes and checks one frame.
func parseFrame(b []byte) (frame, error) {
	var f frame
	if err := wire.Unmarshal("task frame", b, &f); err != nil {
		return frame{}, err
	}
	bad := func(why string) (frame, error) {
		return frame{}, shoal.E(shoal.Invalid, "task frame", why, "check that both nodes run the same version of shoal")
	}
	switch f.Kind {
	case frameStdin, frameStdout, frameStderr:
		if len(f.Data) > chunkBytes {
			return bad("more data than a frame may hold")
		}
	case frameState:
		if !slices.Contains([]shoal.TaskState{shoal.TaskQueued, shoal.TaskFetching, shoal.TaskRunning}, f.State) {
			return bad("an unknown state")
		}
	case frameOutcome:
		if f.Outcome == nil {
			return bad("an outcome without figures")
		}
	case frameTaken:
		if f.N > stdinWindow {
			return bad("more input taken than was sent")
		}
	case frameEOF, frameCancel, frameBeat:
	default:
		return bad("an unknown kind")
	}
	return f, nil
}

// conn sends and receives frames over a stream. Sending is safe for concurrent use.
type conn struct {
	s  shoal.Stream
	r  *bufio.Reader
	mu sync.Mutex
}

func newConn(s shoal.Stream) *conn { return &conn{s: s, r: bufio.NewReaderSize(s, chunkBytes)} }

func (c *conn) send(f frame) error {
	b := wire.Marshal(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	return wire.WriteFrame(c.s, b, frameLimit)
}

func (c *conn) recv() (frame, error) {
	b, err := wire.ReadFrame(c.r, frameLimit)
	if err != nil {
		return frame{}, err
	}
	return parseFrame(b)
}

// watched is recv, but a stream that stays silent for too long is reset.
func (c *conn) watched(silence time.Duration) (frame, error) {
	late := make(chan struct{})
	t := time.AfterFunc(silence, func() {
		close(late)
		c.s.Reset()
	})
	f, err := c.recv()
	if !t.Stop() {
		<-late
		return frame{}, shoal.E(shoal.Unavailable, "connection", "nothing heard for "+silence.String(), "")
	}
	return f, err
}

// beat says from time to time that this side is still here, until done closes.
func (c *conn) beat(silence time.Duration, done <-chan struct{}) {
	tick := time.NewTicker(silence / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if c.send(frame{Kind: frameBeat}) != nil {
				return
			}
		case <-done:
			return
		}
	}
}

// writer sends what is written to it as frames of one kind.
type writer struct {
	c    *conn
	kind uint8
}

func (w writer) Write(p []byte) (int, error) {
	n := 0
	for chunk := range slices.Chunk(p, chunkBytes) {
		if err := w.c.send(frame{Kind: w.kind, Data: chunk}); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}

// lost turns the end of a stream into an error that leads to another attempt. What the other side
// said keeps its kind.
func lost(what string, err error) error {
	var e *shoal.Error
	if errors.As(err, &e) {
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	why := "the connection broke"
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		why += ": " + err.Error()
	}
	return shoal.E(shoal.Unavailable, what, why, "it runs again elsewhere if it can")
}

// wireError is an error cut to what a frame may hold.
func wireError(err error) *wire.Error {
	if err == nil {
		return nil
	}
	e := wire.FromError(err)
	for _, s := range []*string{&e.What, &e.Why, &e.Try} {
		if len(*s) > maxWhy {
			*s = (*s)[:maxWhy] + "..."
		}
	}
	return e
}

// pump is the input of a task on its way: it survives attempts, of which one at a time reads.
type pump struct {
	src   io.Reader
	ch    chan []byte // closed at the end of the input
	quit  chan struct{}
	start sync.Once
	taken atomic.Bool // an attempt got some of it
	rest  []byte      // of the last chunk

	mu     sync.Mutex
	credit int           // bytes that may be sent; of the attempt that sends
	more   chan struct{} // credit has grown
}

func newPump(src io.Reader) *pump {
	return &pump{src: src, ch: make(chan []byte), quit: make(chan struct{}), more: make(chan struct{}, 1)}
}

// used reports whether part of the input is gone, so that another attempt would not see it.
func (p *pump) used() bool { return p.taken.Load() }

// stop ends the pump; a read from the source that is under way is not waited for.
func (p *pump) stop() { close(p.quit) }

func (p *pump) run() {
	defer close(p.ch)
	buf := make([]byte, chunkBytes)
	for {
		n, err := p.src.Read(buf)
		if n > 0 {
			select {
			case p.ch <- slices.Clone(buf[:n]):
			case <-p.quit:
				return
			}
		}
		if err != nil {
			return // an input that breaks ends, as a pipe of a shell does
		}
	}
}

// next returns the next chunk; false at the end of the input or when done closes.
func (p *pump) next(done <-chan struct{}) (chunk []byte, ok bool) {
	p.start.Do(func() { go p.run() })
	if len(p.rest) > 0 {
		chunk, p.rest = p.rest, nil
		return chunk, true
	}
	select {
	case chunk, ok = <-p.ch:
		if ok {
			p.taken.Store(true)
		}
		return chunk, ok
	case <-done:
		return nil, false
	}
}

// reader gives the input to a task on this node.
func (p *pump) reader(ctx context.Context) io.Reader {
	if p.src == nil {
		return nothing{}
	}
	return pumpReader{p, ctx}
}

type pumpReader struct {
	p   *pump
	ctx context.Context
}

func (r pumpReader) Read(b []byte) (int, error) {
	chunk, ok := r.p.next(r.ctx.Done())
	if !ok {
		if err := r.ctx.Err(); err != nil {
			return 0, shoal.Wrap(shoal.Canceled, "read the input", err)
		}
		return 0, io.EOF
	}
	n := copy(b, chunk)
	r.p.rest = chunk[n:]
	return n, nil
}

// send gives the input to a task elsewhere, never more than the window ahead of its reading.
func (p *pump) send(c *conn, done <-chan struct{}) {
	if p.src == nil {
		return
	}
	p.mu.Lock()
	p.credit = stdinWindow
	p.mu.Unlock()
	for {
		chunk, ok := p.next(done)
		if !ok {
			select {
			case <-done:
			default:
				_ = c.send(frame{Kind: frameEOF}) // a broken stream shows at the reading side
			}
			return
		}
		for !p.spend(len(chunk)) {
			select {
			case <-p.more:
			case <-done:
				return
			}
		}
		if c.send(frame{Kind: frameStdin, Data: chunk}) != nil {
			return
		}
	}
}

func (p *pump) spend(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.credit < n {
		return false
	}
	p.credit -= n
	return true
}

// took says that the task has read so many bytes more.
func (p *pump) took(n uint32) {
	p.mu.Lock()
	p.credit = min(p.credit+int(n), stdinWindow)
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
}
