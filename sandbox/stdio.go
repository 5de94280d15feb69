package sandbox

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
)

// halt is the panic with which a host function ends its guest; the engine turns it into the error of
// the call.
type halt struct {
	err error
	at  time.Time // when it was last within the limit that it met; zero: it met none
}

func (h *halt) Error() string { return h.err.Error() }

// pipe stands between a guest and one of its standard streams. A stream that blocks must not keep the
// run from ending, so reads and writes happen on a goroutine of their own, in memory of their own:
// when the run ends first they are left behind.
type pipe struct {
	ctx  context.Context
	gas  *gas
	what string
	r    io.Reader
	w    io.Writer
	buf  []byte
	lost bool // buf belongs to a call that was left behind
}

// grace is how long a call that is under way when the run ends may take before it is left behind: the
// streams are the caller's again when Run returns, unless they block.
const grace = 250 * time.Millisecond

// pipeBytes is how much goes through at once.
const pipeBytes = 64 << 10

type moved struct {
	n   int
	err error
}

// errEnded is the halt of a guest whose run has ended while it waited for a stream.
var errEnded = errors.New("the run has ended")

// do runs f. If the run ends first, so does the guest: it must not take that for an error it can pass
// over.
func (p *pipe) do(f func() (int, error)) (int, error) {
	if p.lost || p.ctx.Err() != nil {
		panic(&halt{err: errEnded})
	}
	done := make(chan moved, 1)
	go func() {
		n, err := f()
		done <- moved{n, err}
	}()
	select {
	case m := <-done:
		return m.n, m.err
	case <-p.ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
		p.lost = true
	}
	panic(&halt{err: errEnded})
}

// Read implements io.Reader. A stream that breaks ends the guest, which could take it for the end of
// its input otherwise.
func (p *pipe) Read(b []byte) (int, error) {
	if len(b) == 0 || p.r == nil {
		return 0, io.EOF
	}
	if p.buf == nil {
		p.buf = make([]byte, pipeBytes)
	}
	buf := p.buf[:min(len(b), len(p.buf))]
	for {
		n, err := p.do(func() (int, error) { return p.r.Read(buf) })
		switch {
		case n > 0:
			p.gas.moved(n)
			return copy(b, buf[:n]), nil
		case err == io.EOF:
			return 0, io.EOF
		case err != nil:
			panic(&halt{err: shoal.Wrap(shoal.Unavailable, p.what, err)})
		}
	}
}

// Write implements io.Writer. A stream that breaks ends the guest.
func (p *pipe) Write(b []byte) (int, error) {
	if p.w == nil {
		p.gas.moved(len(b))
		return len(b), nil
	}
	total := 0
	for len(b) > 0 {
		p.buf = append(p.buf[:0], b[:min(len(b), pipeBytes)]...)
		p.gas.moved(len(p.buf))
		n, err := p.do(func() (int, error) { return p.w.Write(p.buf) })
		if err == nil && n < len(p.buf) {
			err = io.ErrShortWrite
		}
		if err != nil {
			panic(&halt{err: shoal.Wrap(shoal.Unavailable, p.what, err)})
		}
		total += n
		b = b[n:]
	}
	return total, nil
}

// firstLine returns the first line of an engine's message, without what it says of itself.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimPrefix(strings.TrimSuffix(line, " (recovered by wazero)"), "wasm error: ")
}
