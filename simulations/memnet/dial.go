package memnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// patience is how long TCP tries when nobody answers and nobody gives up.
const patience = 127 * time.Second

// Address returns a public address for the i-th node of a network, to listen on.
func Address(i int) string {
	i += 1 << 8 // no .0.0
	return fmt.Sprintf("/ip4/%d.%d.%d.%d/tcp/4170", 20+i>>24, i>>16&255, i>>8&255, i&255)
}

// carrier is the transport of one node.
type carrier struct {
	node   *node
	limits network.ResourceManager
	own    ma.Multiaddr // the first address that it listened on
}

// Protocols implements transport.Transport.
func (c *carrier) Protocols() []int { return []int{ma.P_TCP} }

// Proxy implements transport.Transport.
func (c *carrier) Proxy() bool { return false }

// CanDial implements transport.Transport.
func (c *carrier) CanDial(a ma.Multiaddr) bool {
	return len(a) == 2 && (a[0].Code() == ma.P_IP4 || a[0].Code() == ma.P_IP6) && a[1].Code() == ma.P_TCP
}

// Listen implements transport.Transport. Port 0 is any.
func (c *carrier) Listen(a ma.Multiaddr) (transport.Listener, error) {
	n := c.node.net
	if !c.CanDial(a) || manet.IsIPUnspecified(a) {
		return nil, fmt.Errorf("memnet: cannot listen on %s: name an IP address and a TCP port", a)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if port, _ := a.ValueForProtocol(ma.P_TCP); port == "0" {
		n.port++
		a = ma.Join(a[:1], ma.StringCast(fmt.Sprintf("/tcp/%d", 1024+n.port%60000)))
	}
	if l := n.doors[a.String()]; l != nil && !l.closed && !l.carrier.node.dead {
		return nil, &net.OpError{Op: "listen", Net: "memnet", Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{carrier: c, addr: a}
	n.doors[a.String()] = l
	if c.own == nil {
		c.own = a
		n.revive(c.node)
	}
	return l, nil
}

// listener takes connections.
type listener struct {
	carrier *carrier
	addr    ma.Multiaddr
	queue   queue[*end]
	wake    waiter
	closed  bool
}

// Accept implements transport.Listener.
func (l *listener) Accept() (transport.CapableConn, error) {
	n := l.carrier.node.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		if l.closed {
			return nil, transport.ErrListenerClosed
		}
		if l.queue.len() > 0 {
			return l.queue.pop(), nil
		}
		n.wait(&l.wake, time.Time{})
	}
}

// Close implements transport.Listener. Connections that nobody has accepted are closed.
func (l *listener) Close() error {
	n := l.carrier.node.net
	n.mu.Lock()
	l.closed = true
	l.wake.wake()
	var left []*end
	for l.queue.len() > 0 {
		left = append(left, l.queue.pop())
	}
	n.mu.Unlock()
	for _, e := range left {
		e.Close()
	}
	return nil
}

// Addr implements transport.Listener.
func (l *listener) Addr() net.Addr {
	a, err := manet.ToNetAddr(l.addr)
	if err != nil {
		return &net.TCPAddr{}
	}
	return a
}

// Multiaddr implements transport.Listener.
func (l *listener) Multiaddr() ma.Multiaddr { return l.addr }

// knock is when a connection comes to a listener: the dialer's last word of the handshake is there.
type knock struct {
	l *listener
	e *end
}

func (k knock) fire(n *Net, now int64) {
	switch {
	case k.e.closed != nil:
	case k.l.closed:
		k.e.shut(&network.ConnError{TransportError: syscall.ECONNREFUSED})
		k.e.scope.Done()
		k.e.bye(network.ConnNoError)
	default:
		k.l.queue.push(k.e)
		k.l.wake.wake()
	}
}

// Dial implements transport.Transport.
func (c *carrier) Dial(ctx context.Context, a ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	if !c.CanDial(a) {
		return nil, fmt.Errorf("memnet: cannot dial %s", a)
	}
	n := c.node.net
	n.mu.Lock()
	n.stats.Dials++
	n.mu.Unlock()
	e, err := c.dial(ctx, a, p)
	if err != nil {
		n.mu.Lock()
		n.stats.Failed++
		n.mu.Unlock()
		var no syscall.Errno
		if errors.As(err, &no) {
			err = &net.OpError{Op: "dial", Net: "memnet", Err: os.NewSyscallError("connect", no)}
		}
		return nil, err
	}
	return e, nil
}

func (c *carrier) dial(ctx context.Context, a ma.Multiaddr, p peer.ID) (*end, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := c.node.net
	l, took, err := c.handshake(a)
	if err := sleep(ctx, took); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if id := l.carrier.node.id; id != p {
		return nil, sec.ErrPeerIDMismatch{Expected: p, Actual: id}
	}
	near, err := scope(c.limits, network.DirOutbound, a, p)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	if !n.reaches(c.node, l.carrier.node) { // since
		n.mu.Unlock()
		near.Done()
		if err := sleep(ctx, patience); err != nil {
			return nil, err
		}
		return nil, syscall.ETIMEDOUT
	}
	defer n.mu.Unlock()
	far, err := scope(l.carrier.limits, network.DirInbound, c.from(), c.node.id)
	if err != nil || l.closed {
		near.Done()
		if err == nil {
			far.Done()
		}
		return nil, syscall.ECONNRESET
	}
	k := n.open(c, l.carrier, c.from(), a, near, far)
	w := &k.ends[0].out
	n.at(n.clock.now()+int64(n.travel(w.lat(), w.rtt, w.loss)), knock{l, &k.ends[1]})
	return &k.ends[0], nil
}

// handshake says who answers at an address, after what time, or what error comes then.
func (c *carrier) handshake(a ma.Multiaddr) (*listener, time.Duration, error) {
	n := c.node.net
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.doors[a.String()]
	var there, back way
	switch {
	case c.node.dead:
		return nil, 0, syscall.ENETDOWN
	case l == nil: // a machine of the same region, where nothing listens
		there.set(n, c.node, c.node)
		return nil, there.rtt, syscall.ECONNREFUSED
	case !n.reaches(c.node, l.carrier.node):
		return nil, patience, syscall.ETIMEDOUT
	}
	there.set(n, c.node, l.carrier.node)
	back.set(n, l.carrier.node, c.node)
	trips := HandshakeTrips
	if l.closed {
		trips = 1
	}
	var took time.Duration
	for range trips {
		took += n.travel(there.lat(), there.rtt, there.loss) + n.travel(back.lat(), back.rtt, back.loss)
	}
	if l.closed {
		return nil, took, syscall.ECONNREFUSED
	}
	return l, took, nil
}

// reaches reports whether a dial comes through.
func (n *Net) reaches(from, to *node) bool {
	if from.dead || to.dead || n.cut != nil && (n.cut(from.id, to.id) || n.cut(to.id, from.id)) {
		return false
	}
	if !to.place.NAT {
		return true
	}
	for e := range to.ends {
		if e.other.node == from && e.other.closed == nil {
			return true
		}
	}
	return false
}

// from is where a dial comes from, as the other side sees it.
func (c *carrier) from() ma.Multiaddr {
	if c.own != nil {
		return c.own
	}
	return ma.StringCast("/ip4/20.0.0.1/tcp/1") // it listens nowhere
}

func scope(limits network.ResourceManager, dir network.Direction, a ma.Multiaddr, p peer.ID) (network.ConnManagementScope, error) {
	s, err := limits.OpenConnection(dir, true, a)
	if err != nil {
		return nil, err
	}
	if err := s.SetPeer(p); err != nil {
		s.Done()
		return nil, err
	}
	return s, nil
}

// sleep returns after d, or with the error of ctx when that ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
