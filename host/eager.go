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
)

// eagerTLS is libp2p's TLS on sockets that are read eagerly: crypto/tls reads little more than a record of
// 16 KiB at a time, and in bulk each read costs as much as what it brings.
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
	return t.Transport.SecureInbound(ctx, &eager{Conn: insecure, buffers: &t.buffers}, p)
}

// SecureOutbound implements sec.SecureTransport.
func (t *eagerTLS) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	return t.Transport.SecureOutbound(ctx, &eager{Conn: insecure, buffers: &t.buffers}, p)
}

// eager is a socket that reads ahead after a read which was filled: then there is more, as a rule, and the
// buffer is not held while waiting. One goroutine reads at a time.
type eager struct {
	net.Conn
	buffers *sync.Pool
	filled  bool
	ahead   *[eagerBytes]byte
	rest    []byte // of ahead, not handed out yet
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

func (e *eager) drop() {
	if e.ahead != nil {
		e.buffers.Put(e.ahead)
		e.ahead, e.rest = nil, nil
	}
}
