package rpc

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/rpc/pipe"
)

const (
	readAhead  = 4 << 10     // of a stream: headers and small records
	gather     = cut         // what a Write copies behind a header rather than write twice
	watchAfter = 256 << 10   // bytes an asker writes before it listens for an early end
	probeEvery = time.Second // how often a stream is tried whose bytes nobody reads
	byeTime    = time.Second // for writing the last record
	drainLimit = 64 << 20    // bytes that an asker may still send when the handler has ended
)

// stream is one side of a libp2p stream that carries records. It implements shoal.Stream,
// io.ReaderFrom and io.WriterTo.
//
// Reading and writing have a lock each, which is held while waiting for the peer. Whatever ends a
// stream from outside therefore takes neither: it notes the reason and ends the libp2p stream, which
// wakes those who wait.
type stream struct {
	raw   network.Stream
	what  string // for errors
	asker bool
	down  chan struct{} // closed when the libp2p stream was given up
	rude  func()        // called when the peer breaks the rules

	rmu   turn
	in    *bufio.Reader
	chunk int           // bytes of the record being read
	left  int           // those not read yet
	over  error         // once all was read: io.EOF after a whole body, or the handler's error
	last  bool          // the other side's last record has come
	flow  flow          // what comes in
	eaten chan struct{} // tells watch that left became 0

	wmu      turn
	scratch  []byte
	written  int64
	ended    bool // this side's body has ended
	bye      bool // this side's last record is out
	watching bool

	mu       sync.Mutex
	local    error // this side closed or reset the stream, or its context ended
	lost     error // the libp2p stream failed
	gone     error // the other side reads no more
	released bool
	draining bool
	onFree   []func() bool // called when the libp2p stream is given up
}

func newStream(raw network.Stream, in *bufio.Reader, what string, m *meter) *stream {
	return &stream{
		raw: raw, in: in, what: what, flow: flow{meter: m}, rude: func() {},
		down: make(chan struct{}), eaten: make(chan struct{}, 1),
	}
}

// state returns why reading, and why writing, cannot go on.
func (s *stream) state() (local, lost, gone error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.local, s.lost, s.gone
}

// release gives the libp2p stream up. A reset tells the other side that something broke.
func (s *stream) release(reset bool) {
	s.mu.Lock()
	done, onFree := s.released, s.onFree
	s.released, s.onFree = true, nil
	s.mu.Unlock()
	if done {
		return
	}
	if reset || s.raw.Close() != nil {
		s.raw.Reset()
	}
	close(s.down)
	for _, f := range onFree {
		f()
	}
}

// until has the stream end with an error when ctx does.
func (s *stream) until(ctx context.Context, why func() error) {
	s.after(context.AfterFunc(ctx, func() { s.abort(why()) }))
}

// after has f called once when the libp2p stream is given up; at once if it was.
func (s *stream) after(f func() bool) {
	s.mu.Lock()
	released := s.released
	if !released {
		s.onFree = append(s.onFree, f)
	}
	s.mu.Unlock()
	if released {
		f()
	}
}

// abort ends the stream from this side.
func (s *stream) abort(err error) {
	s.mu.Lock()
	if s.local == nil {
		s.local = err
	}
	s.mu.Unlock()
	s.release(true)
}

// cut ends the stream after the libp2p stream failed, and returns the error for the caller.
func (s *stream) cut(err error) error {
	if errors.Is(err, errFrame) {
		s.rude()
	}
	s.mu.Lock()
	if s.lost == nil {
		s.lost = transportError(context.Background(), s.what, err)
	}
	if err = s.local; err == nil {
		err = s.lost
	}
	s.mu.Unlock()
	s.release(true)
	return err
}

// Reset implements shoal.Stream.
func (s *stream) Reset() { s.abort(pipe.Broken()) }

// Close implements shoal.Stream. It may interrupt a Write, which breaks the stream.
func (s *stream) Close() error {
	s.mu.Lock()
	if s.local == nil {
		s.local = shut("read or write")
	}
	s.mu.Unlock()
	polite := s.wmu.TryLock()
	if polite {
		polite = s.goodbye(nil)
		s.wmu.Unlock()
	}
	if s.asker || !polite {
		s.release(!polite)
	}
	return nil
}

// goodbye closes this side for good: with the handler's error, or with what this side measured. The
// write lock is held. It reports whether the other side can know of the end.
func (s *stream) goodbye(failed error) bool {
	if failed != nil {
		return s.lastRecord(recordFail, encodeError(failed))
	}
	var payload []byte
	if s.rmu.TryLock() {
		payload = said(&s.flow)
		s.rmu.Unlock()
	}
	return s.lastRecord(recordClose, payload)
}

func (s *stream) lastRecord(kind byte, payload []byte) bool {
	s.mu.Lock()
	released := s.released
	s.mu.Unlock()
	if s.bye || released {
		return s.bye
	}
	s.ended, s.bye = true, true
	b := make([]byte, headSize, headSize+len(payload))
	putHead(b, kind, len(payload))
	s.raw.SetWriteDeadline(time.Now().Add(byeTime))
	_, err := s.raw.Write(append(b, payload...))
	return err == nil
}

// CloseWrite implements shoal.Stream.
func (s *stream) CloseWrite() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	local, lost, gone := s.state()
	if s.ended || local != nil || gone != nil {
		s.ended = true
		return nil
	}
	s.ended = true
	if lost != nil {
		return lost
	}
	b := make([]byte, headSize)
	putHead(b, recordEnd, 0)
	if _, err := s.raw.Write(b); err != nil {
		return s.cut(noEOF(err))
	}
	return nil
}

// farewell takes in the other side's last record. An asker then says goodbye too, if it is not
// writing just now, so that a stream that was read to its end is over even if nobody closes it.
func (s *stream) farewell(kind byte, end error, payload []byte) {
	s.last = true
	if kind == recordClose {
		end = pipe.Gone()
		bytes, d := heard(payload)
		s.flow.meter.moved(bytes, d, time.Now())
	}
	s.mu.Lock()
	s.gone = end
	s.mu.Unlock()
	if s.asker && s.wmu.TryLock() {
		defer s.wmu.Unlock()
		s.lastRecord(recordClose, said(&s.flow))
		s.release(false)
	}
}

// watch reads headers whenever nobody else does, so that this side learns of the end of a stream
// that it does not read. It returns when the other side's last record has come or the stream broke.
func (s *stream) watch() {
	drained := 0
	for {
		s.rmu.Lock()
		if s.over != nil && !s.last {
			// The body has ended: no reader goes further, and none may wait while watch does.
			s.rmu.Unlock()
			s.in.Peek(headSize)
			s.rmu.Lock()
		}
		s.mu.Lock()
		released, draining := s.released, s.draining
		s.mu.Unlock()
		var err error
		switch {
		case released || s.last:
			s.rmu.Unlock()
			return
		case s.left == 0:
			err = s.head()
		case draining:
			var n int
			n, err = s.in.Discard(s.left)
			s.left -= n
			if drained += n; drained > drainLimit {
				err = shoal.E(shoal.Unavailable, s.what, "the asker goes on sending", "")
			}
		}
		if err != nil {
			s.cut(noEOF(err))
		}
		wait := s.left > 0 && !draining
		s.rmu.Unlock()
		if wait {
			s.idle()
		}
	}
}

// idle waits until somebody has read the record that watch cannot see behind. Now and then it tries
// whether the other side is still there.
func (s *stream) idle() {
	t := time.NewTimer(probeEvery)
	defer t.Stop()
	select {
	case <-s.eaten:
	case <-s.down:
	case <-t.C:
		if s.wmu.TryLock() {
			defer s.wmu.Unlock()
			if s.bye {
				return
			}
			if _, err := s.raw.Write(make([]byte, headSize)); err != nil {
				s.cut(noEOF(err))
			}
		}
	}
}

func shut(verb string) error {
	return shoal.E(shoal.Invalid, verb+" stream", "it was closed on this side", "")
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
