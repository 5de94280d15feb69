package pipe

import (
	"errors"
	"io"
	"sync"

	"github.com/shoal-fabric/shoal"
)

// End is one of the two ends of a stream in memory. It implements shoal.Stream.
type End struct {
	in, out *Pipe
	left    func() // called once when this end closes or resets; may be nil
	once    sync.Once
}

// Duplex returns a stream between an asker and a handler, with room for limit bytes each way. left
// is called once, when the asker closes or resets its end.
func Duplex(limit int, left func()) (asker, handler *End) {
	there, back := New(limit), New(limit)
	return &End{in: back, out: there, left: left}, &End{in: there, out: back}
}

// Read implements io.Reader. A stream that broke gives an *shoal.Error, never io.EOF.
func (e *End) Read(b []byte) (int, error) {
	n, err := e.in.Read(b)
	return n, closed("read", err)
}

// Write implements io.Writer.
func (e *End) Write(b []byte) (int, error) {
	n, err := e.out.Write(b)
	return n, closed("write", err)
}

// CloseWrite ends this direction; reads go on.
func (e *End) CloseWrite() error {
	e.out.CloseWrite(nil)
	return nil
}

// Close ends both directions. What was written before still arrives.
func (e *End) Close() error {
	e.out.CloseWrite(nil)
	e.in.CloseRead(Gone())
	e.leave()
	return nil
}

// Reset breaks the stream: the other side's Read and Write fail with Unavailable.
func (e *End) Reset() { e.Break(Broken()) }

// Break is Reset with the error that both sides see.
func (e *End) Break(err error) {
	e.out.Break(err)
	e.in.Break(err)
	e.leave()
}

// Fail ends the stream with an error that the other side reads after what was written before.
func (e *End) Fail(err error) {
	e.out.CloseWrite(err)
	e.in.CloseRead(err)
	e.leave()
}

func (e *End) leave() {
	if e.left != nil {
		e.once.Do(e.left)
	}
}

// Gone is what a writer sees when the other side has closed the stream.
func Gone() error {
	return shoal.E(shoal.Unavailable, "stream", "the other side has closed it", "")
}

// Broken is what both sides see of a stream that was reset.
func Broken() error {
	return shoal.E(shoal.Unavailable, "stream", "it was broken off", "try again")
}

// closed says which call came too late.
func closed(verb string, err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return &shoal.Error{Kind: shoal.Invalid, What: verb + " stream", Why: "it was closed on this side", Err: err}
	}
	return err
}
