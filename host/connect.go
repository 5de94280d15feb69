package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-fabric/shoal"
)

// maxAddresses is how many addresses of a peer Connect takes; 8 are dialed at a time.
const maxAddresses = 64

// Connect makes a connection to p, at addrs (multiaddrs, with or without /p2p/ID) and those known
// from before, unless there is one. TCP with TLS is preferred. It takes DialTimeout and about a
// second at most, or until ctx ends. The error, Unavailable, has a line for each address.
func (h *Host) Connect(ctx context.Context, p shoal.PeerID, addrs []string) error {
	id, err := decode(p)
	if err != nil {
		return err
	}
	if id == h.inner.ID() {
		return shoal.E(shoal.Invalid, "connect to "+p.Short(), "that is this node itself", "")
	}
	if connected(h.inner.Network().Connectedness(id)) {
		return nil
	}
	var faults []string
	var good []ma.Multiaddr
	for i, s := range addrs {
		if i == maxAddresses {
			faults = append(faults, fmt.Sprintf("%d more addresses: not tried", len(addrs)-i))
			break
		}
		if a, err := address(s, id); err != nil {
			faults = append(faults, s+": "+err.Error())
		} else {
			good = append(good, a)
		}
	}
	net := h.inner.Network()
	h.inner.Peerstore().AddAddrs(id, good, peerstore.TempAddrTTL)
	if s, ok := net.(*swarm.Swarm); ok {
		s.Backoff().Clear(id) // who calls Connect wants a try now
	}
	// Addresses are dialed one after the other, the last within two seconds of the first.
	ctx, cancel := context.WithTimeout(ctx, h.cfg.DialTimeout+2*time.Second)
	defer cancel()
	if _, err = net.DialPeer(network.WithAllowLimitedConn(ctx, "connect"), id); err == nil {
		return nil
	}
	tried := h.inner.Peerstore().Addrs(id)
	for _, a := range tried {
		if !mentions(err, a) && len(tried) > 0 {
			faults = append(faults, a.String()+": no answer")
		}
	}
	return dialError("connect to "+string(p), faults, h.cfg.DialTimeout, err)
}

// address reads s as an address of id, without its /p2p part.
func address(s string, id peer.ID) (ma.Multiaddr, error) {
	a, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, errors.New("not a multiaddr")
	}
	bare, other := peer.SplitAddr(a)
	switch {
	case bare == nil:
		return nil, errors.New("names no place")
	case other != "" && other != id:
		return nil, errors.New("an address of another peer")
	}
	return bare, nil
}

// Disconnect closes all connections to p.
func (h *Host) Disconnect(p shoal.PeerID) {
	if id, err := decode(p); err == nil {
		if err := h.inner.Network().ClosePeer(id); err != nil {
			h.cfg.Log.Debug("disconnect", "peer", p, "error", err)
		}
	}
}

// Connected returns the peers there is a connection to, members or not, in no order.
func (h *Host) Connected() []shoal.PeerID {
	ids := h.inner.Network().Peers()
	out := make([]shoal.PeerID, len(ids))
	h.naming.Lock()
	defer h.naming.Unlock()
	if len(h.names) > 2*len(ids)+64 {
		clear(h.names)
	}
	for i, id := range ids {
		name, ok := h.names[id]
		if !ok {
			name = shoal.PeerID(id.String())
			h.names[id] = name
		}
		out[i] = name
	}
	return out
}

// Heard reports whether an address of p is known here: from its announcements, from peers that named it, or from a connection of the
// last quarter of an hour.
func (h *Host) Heard(p shoal.PeerID) bool {
	id, err := decode(p)
	return err == nil && len(h.inner.Peerstore().Addrs(id)) > 0
}

// IsConnected reports whether there is a connection to p.
func (h *Host) IsConnected(p shoal.PeerID) bool {
	id, err := decode(p)
	return err == nil && connected(h.inner.Network().Connectedness(id))
}

// RTT measures the round trip to p: the shorter of two pings. It connects if there is no connection
// and an address is known.
func (h *Host) RTT(ctx context.Context, p shoal.PeerID) (time.Duration, error) {
	id, err := decode(p)
	if err != nil {
		return 0, err
	}
	if id == h.inner.ID() {
		return 0, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := ping.Ping(ctx, h.inner, id)
	var rtts []time.Duration
	for range 2 { // the first carries the negotiation of the stream
		r, ok := <-results
		switch {
		case ctx.Err() != nil:
			return 0, shoal.Wrap(shoal.Timeout, "ping "+p.Short(), ctx.Err())
		case !ok || r.Error != nil:
			if r.Error == nil {
				r.Error = network.ErrReset
			}
			return 0, shoal.Wrap(shoal.Unavailable, "ping "+p.Short(), streamError(h.cfg.DialTimeout, r.Error))
		}
		rtts = append(rtts, r.RTT)
	}
	return slices.Min(rtts), nil
}

func decode(p shoal.PeerID) (peer.ID, error) {
	id, err := peer.Decode(string(p))
	if err != nil {
		return "", &shoal.Error{
			Kind: shoal.Invalid, What: "peer ID '" + p.Short() + "'", Why: "not a peer ID", Err: err,
			Try: "copy it whole; it begins with 12D3KooW",
		}
	}
	return id, nil
}

// Delays of dials after that of the first address. They overlap only where a dial gets no answer:
// when all of those under way have failed, the next ones start at once.
const (
	nextDelay    = 50 * time.Millisecond // between TCP addresses on a local network
	nextDelayWAN = 250 * time.Millisecond
	quicDelay    = 300 * time.Millisecond // for TCP and TLS to be done on a local network
	quicDelayWAN = time.Second
	relayDelay   = 300 * time.Millisecond // three round trips of 100 ms; holders of data are waited for for 700
)

// rank says in which order a peer's addresses are dialed: TCP, the likely first, then QUIC. Relays come soon after the first: who
// announces them cannot be reached otherwise, as a rule, and calls back if it was. libp2p's own ranking has QUIC first, which moves bulk data at a third of TCP's rate.
func rank(addrs []ma.Multiaddr) []network.AddrDelay {
	type ranked struct {
		class int
		network.AddrDelay
	}
	var out []ranked
	tcp := map[bool]int{} // how many so far, public or not
	slices.SortStableFunc(addrs, func(a, b ma.Multiaddr) int { return nearness(a) - nearness(b) })
	direct := slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return !has(a, ma.P_CIRCUIT) })
	for _, a := range addrs {
		public := !manet.IsPrivateAddr(a)
		r := ranked{AddrDelay: network.AddrDelay{Addr: a}}
		switch {
		case has(a, ma.P_CIRCUIT):
			if r.class = 2; direct {
				r.Delay = relayDelay
			}
		case has(a, ma.P_QUIC_V1):
			r.class = 1
		default:
			if r.Delay = time.Duration(min(tcp[public], 3)) * nextDelay; public {
				r.Delay = time.Duration(min(tcp[public], 3)) * nextDelayWAN
			}
			tcp[public]++
		}
		out = append(out, r)
	}
	for i, r := range out {
		if r.class == 1 && tcp[true]+tcp[false] > 0 {
			if out[i].Delay = quicDelay; !manet.IsPrivateAddr(r.Addr) {
				out[i].Delay = quicDelayWAN
			}
		}
	}
	slices.SortStableFunc(out, func(a, b ranked) int {
		if a.Delay != b.Delay {
			return int(a.Delay - b.Delay)
		}
		return a.class - b.class
	})
	delays := make([]network.AddrDelay, len(out))
	for i, r := range out {
		delays[i] = r.AddrDelay
	}
	return delays
}

// nearness orders addresses of one transport: loopback, local network, anything else; IPv4 first.
func nearness(a ma.Multiaddr) int {
	n := 4
	switch {
	case manet.IsIPLoopback(a):
		n = 0
	case manet.IsPrivateAddr(a):
		n = 2
	}
	if has(a, ma.P_IP6) {
		n++
	}
	return n
}

func has(a ma.Multiaddr, protocol int) bool {
	_, err := a.ValueForProtocol(protocol)
	return err == nil
}

// mentions reports whether err says what came of the dial of a.
func mentions(err error, a ma.Multiaddr) bool {
	var d *swarm.DialError
	return errors.As(err, &d) && slices.ContainsFunc(d.DialErrors,
		func(t swarm.TransportError) bool { return t.Address.Equal(a) })
}

// dialError makes libp2p's dial error readable: a line for each address, after those in faults.
func dialError(what string, faults []string, timeout time.Duration, err error) error {
	e := &shoal.Error{Kind: shoal.Unavailable, What: what, Err: err}
	var d *swarm.DialError
	if errors.As(err, &d) {
		for _, t := range d.DialErrors {
			faults = append(faults, t.Address.String()+": "+reason(t.Cause, timeout))
		}
		if d.Skipped > 0 {
			faults = append(faults, fmt.Sprintf("%d more addresses failed", d.Skipped))
		}
	}
	switch {
	case errors.Is(err, context.Canceled):
		e.Kind, e.Why = shoal.Canceled, "the caller gave up"
	case len(faults) == 0 && errors.Is(err, swarm.ErrNoAddresses):
		e.Why = "no address of it is known"
	case len(faults) == 0:
		e.Why = reason(err, timeout)
	case len(faults) == 1:
		e.Why = "it cannot be reached:\n  " + faults[0]
	default:
		e.Why = fmt.Sprintf("none of its %d addresses can be reached:\n  ", len(faults)) + strings.Join(faults, "\n  ")
	}
	return e
}

// reason says in a few words why a dial failed.
func reason(err error, timeout time.Duration) string {
	var mismatch sec.ErrPeerIDMismatch
	var op *net.OpError
	switch {
	case errors.As(err, &mismatch):
		return "another peer answers there (" + mismatch.Actual.String() + ")"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused (nothing listens there)"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to that host"
	case errors.Is(err, syscall.ENETUNREACH):
		return "no network leads there"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.ETIMEDOUT), strings.Contains(err.Error(), "no recent network activity"):
		return fmt.Sprintf("no answer within %v (switched off, or a firewall)", timeout)
	case errors.Is(err, swarm.ErrDialBackoff):
		return "failed a moment ago; not tried again yet"
	case errors.Is(err, swarm.ErrNoTransport):
		return "a kind of address that is not spoken here"
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

// isNotSupported reports whether err says that the peer speaks none of the protocols. The error's
// type is that of a library which only libp2p itself should need.
func isNotSupported(err error) bool { return strings.Contains(err.Error(), "protocols not supported") }
