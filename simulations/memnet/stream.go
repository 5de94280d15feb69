package memnet

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

var (
	errReadClosed  = errors.New("stream closed for reading")
	errWriteClosed = errors.New("stream closed for writing")
)

// pair is a stream with both its ends. Net.mu guards it and what it has.
type pair struct {
	ends   [2]stream // the one that opened it comes first
	halves [2]half   // what each end writes
	known  bool      // the other side has heard of it
	sniff  *sniff    // nil: the protocol is known
	bytes  *Bytes    // of its protocol
}

// stream is one side's end.
type stream struct {
	end     *end
	pair    *pair
	in, out *half
}

// half is one direction of a stream.
type half struct {
	pair     *pair
	from, to *end
	up, down lane  // at the sender's and the receiver's link
	first    int64 // when the first byte of the last packet comes to the receiver's link
	whole    int64 // when the last packet is there

	under  int   // bytes written and not known to be read
	werr   error // writing is over
	wlimit time.Time
	writer waiter

	inbox  queue[[]byte]
	ended  bool  // finish came
	rerr   error // reading is over
	rlimit time.Time
	owed   int // bytes read, of which the writer does not know
	reader waiter
}

func newPair(e *end) *pair {
	p := &pair{sniff: new(sniff), bytes: e.conn.net.protocol("")}
	for i := range p.ends {
		p.ends[i] = stream{pair: p, out: &p.halves[i], in: &p.halves[1-i]}
		p.halves[i].pair = p
	}
	p.ends[0].end, p.ends[1].end = e, e.other
	p.halves[0].from, p.halves[0].to = e, e.other
	p.halves[1].from, p.halves[1].to = e.other, e
	return p
}

// Read implements network.MuxedStream.
func (s *stream) Read(b []byte) (int, error) {
	h, n := s.in, s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case h.rerr != nil:
			return 0, h.rerr
		case h.inbox.len() > 0:
			return h.read(n, b), nil
		case h.ended:
			return 0, io.EOF
		case over(h.rlimit):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		n.wait(&h.reader, h.rlimit)
	}
}

// read takes from the inbox.
func (h *half) read(n *Net, b []byte) (count int) {
	for h.inbox.len() > 0 && count < len(b) {
		f := h.inbox.front()
		k := copy(b[count:], *f)
		count += k
		if *f = (*f)[k:]; len(*f) == 0 {
			h.inbox.pop()
		}
	}
	if h.owed += count; h.owed >= window/2 && !h.ended {
		p := &packet{half: h, to: h.from, kind: credit, n: h.owed}
		h.owed = 0
		if now := n.clock.now(); h.to.out.stalled() {
			h.to.out.hold(n, p, now)
		} else {
			n.fly(p, now)
		}
	}
	return count
}

// Write implements network.MuxedStream. It waits only when more than the window is on its way or unread.
func (s *stream) Write(b []byte) (int, error) {
	h, n := s.out, s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for done := 0; ; {
		switch {
		case h.werr != nil:
			return done, h.werr
		case over(h.wlimit):
			return done, os.ErrDeadlineExceeded
		case done == len(b):
			return done, nil
		}
		k := min(len(b)-done, window-h.under)
		if k == 0 {
			n.wait(&h.writer, h.wlimit)
			continue
		}
		h.write(n, append([]byte(nil), b[done:done+k]...))
		if done += k; done == len(b) {
			return done, nil
		}
	}
}

// write sends bytes that nobody else has.
func (h *half) write(n *Net, b []byte) {
	h.under += len(b)
	h.pair.listen(n, h, b)
	size := len(b)
	if h.from.node.up.rate > 0 || h.to.node.down.rate > 0 {
		size = piece
	}
	for len(b) > 0 {
		k := min(size, len(b))
		n.send(h, &packet{data: b[:k:k]})
		b = b[k:]
	}
}

// take has a packet arrive.
func (h *half) take(p *packet) {
	if p.kind == credit { // it comes to the writer
		h.under -= p.n
		h.writer.wake()
		return
	}
	pair, e := h.pair, h.to
	if !pair.known && e == pair.ends[1].end {
		if pair.known = true; p.kind == reset { // before anybody could take it
			pair.of(e).fail(network.ErrReset)
			return
		}
		e.join(&pair.ends[1])
		e.queue.push(&pair.ends[1])
		e.arrival.wake()
	}
	switch p.kind {
	case carry:
		if h.rerr != nil { // nobody reads; as with yamux, the writer hears nothing of it
			return
		}
		h.inbox.push(p.data)
	case finish:
		h.ended = true
	case reset:
		pair.of(e).fail(&network.StreamError{Remote: true, ErrorCode: network.StreamErrorCode(p.code)})
		return
	}
	h.reader.wake()
}

// of is the stream's end at one of the connection's.
func (p *pair) of(e *end) *stream {
	if e == p.ends[0].end {
		return &p.ends[0]
	}
	return &p.ends[1]
}

// fail ends both directions on this side.
func (s *stream) fail(why error) {
	if s.in.rerr == nil {
		s.in.rerr = why
	}
	if s.out.werr == nil {
		s.out.werr = why
	}
	s.in.inbox, s.out.up = queue[[]byte]{}, lane{}
	s.in.reader.wake()
	s.out.writer.wake()
}

// CloseWrite implements network.MuxedStream.
func (s *stream) CloseWrite() error {
	n := s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	s.closeWrite(n)
	return nil
}

func (s *stream) closeWrite(n *Net) {
	if s.out.werr == nil {
		s.out.werr = errWriteClosed
		s.out.writer.wake()
		n.send(s.out, &packet{kind: finish})
	}
}

// CloseRead implements network.MuxedStream.
func (s *stream) CloseRead() error {
	n := s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	s.closeRead()
	return nil
}

func (s *stream) closeRead() {
	if s.in.rerr == nil {
		s.in.rerr = errReadClosed
		s.in.inbox = queue[[]byte]{}
		s.in.reader.wake()
	}
}

// Close implements network.MuxedStream.
func (s *stream) Close() error {
	n := s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	s.closeWrite(n)
	s.closeRead()
	delete(s.end.streams, s)
	return nil
}

// Reset implements network.MuxedStream.
func (s *stream) Reset() error { return s.ResetWithError(network.StreamNoError) }

// ResetWithError implements network.MuxedStream. What was written and has not left is lost, and so is at the other end what
// has come and is not read.
func (s *stream) ResetWithError(code network.StreamErrorCode) error {
	n := s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	over := s.out.werr != nil && (s.in.rerr != nil || s.in.ended)
	delete(s.end.streams, s)
	if over {
		s.closeRead()
		return nil
	}
	s.fail(&network.StreamError{ErrorCode: code})
	p := &packet{half: s.out, to: s.end.other, kind: reset, code: uint32(code)}
	if now := n.clock.now(); s.end.out.stalled() {
		s.end.out.hold(n, p, now)
	} else {
		n.fly(p, now)
	}
	return nil
}

// over reports whether a deadline has passed.
func over(limit time.Time) bool { return !limit.IsZero() && !time.Now().Before(limit) }

// SetDeadline implements network.MuxedStream.
func (s *stream) SetDeadline(t time.Time) error {
	s.limit(&t, &t)
	return nil
}

// SetReadDeadline implements network.MuxedStream.
func (s *stream) SetReadDeadline(t time.Time) error {
	s.limit(&t, nil)
	return nil
}

// SetWriteDeadline implements network.MuxedStream.
func (s *stream) SetWriteDeadline(t time.Time) error {
	s.limit(nil, &t)
	return nil
}

func (s *stream) limit(read, write *time.Time) {
	n := s.end.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if read != nil {
		s.in.rlimit = *read
		s.in.reader.wake()
	}
	if write != nil {
		s.out.wlimit = *write
		s.out.writer.wake()
	}
}
