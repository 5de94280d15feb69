package memnet

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
)

// conn is a connection: two ends. Net.mu guards it and what it has.
type conn struct {
	net  *Net
	ends [2]end // the one that dialed comes first
}

// end is one side's view of a connection: what libp2p gets.
type end struct {
	conn          *conn
	node          *node
	other         *end
	out           way // to the other end
	carrier       *carrier
	local, remote ma.Multiaddr
	scope         network.ConnManagementScope

	streams map[*stream]struct{}
	queue   queue[*stream] // to be accepted
	arrival waiter
	closed  error // nil: open

	heard   int64 // when something came
	watched bool  // a keepalive is due
}

// way is one direction of a connection.
type way struct {
	from, to  *node
	base, rev time.Duration // latency there and back
	factor    float64
	rtt       time.Duration
	loss      float64
	cut       bool
	held      []*packet // not there yet, for it was cut
	since     int64     // when the first of them was lost
	again     bool      // they are about to be sent once more
	last      int64     // when the last byte comes that is under way
}

func (w *way) lat() time.Duration { return time.Duration(float64(w.base) * w.factor) }

// survey takes in what holds between the nodes now.
func (w *way) survey(n *Net) {
	w.factor = 1
	if n.slow != nil {
		w.factor = n.slow(w.from.id, w.to.id)
	}
	w.rtt = w.lat() + time.Duration(float64(w.rev)*w.factor)
	w.cut = w.from.dead || w.to.dead || n.cut != nil && n.cut(w.from.id, w.to.id)
}

func (w *way) set(n *Net, from, to *node) {
	a, b := from.place.Region, to.place.Region
	w.from, w.to, w.base, w.rev, w.loss = from, to, n.latency(a, b), n.latency(b, a), n.loss(a, b)
	w.survey(n)
}

// open makes a connection between two carriers; from dialed.
func (n *Net) open(from, to *carrier, local, remote ma.Multiaddr, near, far network.ConnManagementScope) *conn {
	c := &conn{net: n}
	now := n.clock.now()
	for i := range c.ends {
		c.ends[i] = end{conn: c, other: &c.ends[1-i], heard: now}
	}
	a, b := &c.ends[0], &c.ends[1]
	a.node, a.carrier, a.local, a.remote, a.scope = from.node, from, local, remote, near
	b.node, b.carrier, b.local, b.remote, b.scope = to.node, to, remote, local, far
	a.out.set(n, a.node, b.node)
	b.out.set(n, b.node, a.node)
	a.node.ends[a], b.node.ends[b] = struct{}{}, struct{}{}
	n.conns[c] = struct{}{}
	n.stats.Opened++
	return c
}

// shut closes this end, for a reason. Its streams end at once. It reports whether it was open.
func (e *end) shut(why error) bool {
	if e.closed != nil {
		return false
	}
	e.closed = why
	for s := range e.streams {
		s.fail(why)
	}
	e.streams, e.queue = nil, queue[*stream]{}
	e.arrival.wake()
	delete(e.node.ends, e)
	if e.other.closed != nil {
		delete(e.conn.net.conns, e.conn)
		e.out.held, e.other.out.held = nil, nil
	}
	return true
}

// bye tells the other end.
func (e *end) bye(code network.ConnErrorCode) {
	n, now := e.conn.net, e.conn.net.clock.now()
	p := &packet{to: e.other, kind: hangup, code: uint32(code)}
	if e.out.stalled() {
		e.out.hold(n, p, now)
		return
	}
	n.fly(p, now)
}

// take has a packet come to this end.
func (e *end) take(n *Net, p *packet, now int64) {
	e.heard = now
	if e.node.dead {
		return
	}
	if e.closed != nil {
		if p.kind != hangup && e.other.closed == nil && !e.out.stalled() { // it knows of no such connection
			n.fly(&packet{to: e.other, kind: hangup}, now)
		}
		return
	}
	if p.kind == hangup {
		e.shut(&network.ConnError{Remote: true, ErrorCode: network.ConnErrorCode(p.code)})
		e.scope.Done()
		return
	}
	p.half.take(p)
}

// CloseWithError implements network.MuxedConn.
func (e *end) CloseWithError(code network.ConnErrorCode) error {
	n := e.conn.net
	n.mu.Lock()
	was := e.shut(&network.ConnError{ErrorCode: code})
	if was {
		e.bye(code)
	}
	n.mu.Unlock()
	if was {
		e.scope.Done()
	}
	return nil
}

// Close implements network.MuxedConn.
func (e *end) Close() error { return e.CloseWithError(network.ConnNoError) }

// IsClosed implements network.MuxedConn.
func (e *end) IsClosed() bool {
	e.conn.net.mu.Lock()
	defer e.conn.net.mu.Unlock()
	return e.closed != nil
}

// OpenStream implements network.MuxedConn. The other side hears of the stream with the first packet.
func (e *end) OpenStream(context.Context) (network.MuxedStream, error) {
	n := e.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed != nil {
		return nil, e.closed
	}
	n.stats.Streams++
	p := newPair(e)
	e.join(&p.ends[0])
	return &p.ends[0], nil
}

func (e *end) join(s *stream) {
	if e.streams == nil {
		e.streams = map[*stream]struct{}{}
	}
	e.streams[s] = struct{}{}
}

// AcceptStream implements network.MuxedConn.
func (e *end) AcceptStream() (network.MuxedStream, error) {
	n := e.conn.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if e.closed != nil {
			return nil, e.closed
		}
		if e.queue.len() > 0 {
			return e.queue.pop(), nil
		}
		n.wait(&e.arrival, time.Time{})
	}
}

// What libp2p wants to know of a connection.

func (e *end) As(any) bool                    { return false }
func (e *end) Transport() transport.Transport { return e.carrier }
func (e *end) LocalPeer() peer.ID             { return e.node.id }
func (e *end) RemotePeer() peer.ID            { return e.other.node.id }
func (e *end) RemotePublicKey() crypto.PubKey { return e.other.node.public }
func (e *end) LocalMultiaddr() ma.Multiaddr   { return e.local }
func (e *end) RemoteMultiaddr() ma.Multiaddr  { return e.remote }
func (e *end) Scope() network.ConnScope       { return e.scope }
func (e *end) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "memnet"}
}

var _ transport.CapableConn = (*end)(nil)

var errKeepalive = &network.ConnError{TransportError: errTimeout{errors.New("no answer to a keepalive")}}

// errTimeout is an error of the kind that net.Error calls a timeout.
type errTimeout struct{ error }

func (errTimeout) Timeout() bool        { return true }
func (errTimeout) Temporary() bool      { return true }
func (errTimeout) Is(target error) bool { return target == os.ErrDeadlineExceeded }
