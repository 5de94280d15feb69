package host

import (
	"context"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

const (
	eagerBytes = 128 << 10 // of one read while much arrives
	eagerFrom  = 4 << 10   // a read that was filled to so much means that much arrives

	recordBytes = 16 << 10 // the most that a record of TLS carries
)

// eagerTLS is libp2p's TLS on sockets that are read and written in larger pieces: crypto/tls reads little more
// than a record of 16 KiB at a time and writes each record by itself, and in bulk each such call, and the waking of
// the other side that goes with it, costs as much as what it moves.
type eagerTLS struct {
	*libp2ptls.Transport
	buffers sync.Pool // of *[eagerBytes]byte, in use only while much arrives
}

func newTLS(id protocol.ID, key crypto.PrivKey, muxers []upgrader.StreamMuxer) (*eagerTLS, error) {
	t, err := libp2ptls.New(id, key, muxers)
	return &eagerTLS{Transport: t}, err
}

// SecureInbound implements sec.SecureTransport.
func (t *eagerTLS) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	e := &eager{Conn: insecure, buffers: &t.buffers}
	return whole(e)(t.Transport.SecureInbound(ctx, e, p))
}

// SecureOutbound implements sec.SecureTransport.
func (t *eagerTLS) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	e := &eager{Conn: insecure, buffers: &t.buffers}
	return whole(e)(t.Transport.SecureOutbound(ctx, e, p))
}

// whole makes the records of a Write leave in one piece.
func whole(e *eager) func(sec.SecureConn, error) (sec.SecureConn, error) {
	return func(c sec.SecureConn, err error) (sec.SecureConn, error) {
		if err != nil {
			return nil, err
		}
		return &wholeWrites{c, e}, nil
	}
}

// wholeWrites is the secured connection on an eager socket.
type wholeWrites struct {
	sec.SecureConn
	socket *eager
}

// Write implements net.Conn.
func (w *wholeWrites) Write(b []byte) (int, error) {
	if len(b) <= recordBytes {
		return w.SecureConn.Write(b)
	}
	w.socket.hold()
	n, err := w.SecureConn.Write(b)
	if failed := w.socket.release(); err == nil && failed != nil {
		return 0, failed
	}
	return n, err
}

// eager is a socket that reads ahead after a read which was filled: then there is more, as a rule, and the
// buffer is not held while waiting. One goroutine reads at a time.
type eager struct {
	net.Conn
	buffers *sync.Pool
	filled  bool
	ahead   *[eagerBytes]byte
	rest    []byte // of ahead, not handed out yet

	wmu   sync.Mutex
	holds int               // Writes whose records are being gathered
	held  *[eagerBytes]byte // nil: nothing was gathered
	full  int               // bytes of held
	lost  error             // a record did not go out: none may follow it
}

// Read implements net.Conn.
func (e *eager) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		if !e.filled || len(b) >= eagerBytes {
			e.drop()
			n, err := e.Conn.Read(b)
			e.filled = n == len(b) && n >= eagerFrom
			return n, err
		}
		if e.ahead == nil {
			var ok bool
			if e.ahead, ok = e.buffers.Get().(*[eagerBytes]byte); !ok {
				e.ahead = new([eagerBytes]byte)
			}
		}
		n, err := e.Conn.Read(e.ahead[:])
		e.filled, e.rest = n == eagerBytes, e.ahead[:n]
		if n == 0 {
			e.drop()
			return 0, err
		}
		// An error beside bytes comes again with the next read.
	}
	n := copy(b, e.rest)
	if e.rest = e.rest[n:]; len(e.rest) == 0 && !e.filled {
		e.drop()
	}
	return n, nil
}

// hold has the records written from now on gathered, until release.
func (e *eager) hold() {
	e.wmu.Lock()
	defer e.wmu.Unlock()
	e.holds++
}

// release writes what was gathered.
func (e *eager) release() error {
	e.wmu.Lock()
	defer e.wmu.Unlock()
	e.holds--
	return e.flush()
}

// Write implements net.Conn. What TLS itself has to say while records are gathered joins them, in its turn.
func (e *eager) Write(b []byte) (int, error) {
	e.wmu.Lock()
	defer e.wmu.Unlock()
	if e.holds == 0 || e.full+len(b) > eagerBytes {
		if err := e.flush(); err != nil {
			return 0, err
		}
	}
	if e.holds == 0 || len(b) > eagerBytes {
		return e.Conn.Write(b)
	}
	if e.held == nil {
		var ok bool
		if e.held, ok = e.buffers.Get().(*[eagerBytes]byte); !ok {
			e.held = new([eagerBytes]byte)
		}
	}
	e.full += copy(e.held[e.full:], b)
	return len(b), nil
}

// flush writes what was gathered. The lock is held, as for a Write of the socket: TLS writes one record at a time.
func (e *eager) flush() error {
	if e.held == nil || e.lost != nil {
		return e.lost
	}
	_, e.lost = e.Conn.Write(e.held[:e.full])
	e.buffers.Put(e.held)
	e.held, e.full = nil, 0
	return e.lost
}

func (e *eager) drop() {
	if e.ahead != nil {
		e.buffers.Put(e.ahead)
		e.ahead, e.rest = nil, nil
	}
}
