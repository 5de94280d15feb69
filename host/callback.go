package host

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	callSoon  = time.Minute
	callAgain = 5 * time.Minute
)

// callBack has this node, which p has reached through a relay, dial p itself: most peers can be reached though this node cannot. What is
// opened between the two from then on goes that way. libp2p's hole punching does the same for peers with public addresses only; the machines of
// a lab, seen from another of its networks, have none.
func (h *Host) callBack(p peer.ID) {
	net := h.inner.Network()
	known := h.inner.Peerstore().Addrs(p)
	if direct(net, p) || !slices.ContainsFunc(known, func(a ma.Multiaddr) bool { return !has(a, ma.P_CIRCUIT) }) {
		return
	}
	if s, ok := net.(*swarm.Swarm); ok {
		s.Backoff().Clear(p) // that it failed before is why p came by a relay
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.DialTimeout)
	defer cancel()
	if _, err := net.DialPeer(network.WithForceDirectDial(ctx, "call back"), p); err != nil {
		h.cfg.Log.Debug("stays behind a relay", "peer", p, "error", err)
	}
}

// direct reports whether a connection to p goes through no relay.
func direct(net network.Network, p peer.ID) bool {
	return slices.ContainsFunc(net.ConnsToPeer(p), func(c network.Conn) bool { return !relayed(c) })
}

// relayed reports whether a connection goes through a relay.
func relayed(c network.Conn) bool { return has(c.RemoteMultiaddr(), ma.P_CIRCUIT) }

// tendCircuits closes connections that came through relays and carry nothing any more, as there is a direct one; where there is none it is tried
// again: every time in the first minute, as what kept the two apart may just be ending, then now and then.
func (h *Host) tendCircuits(now time.Time) {
	net := h.inner.Network()
	for _, c := range net.Conns() {
		p := c.RemotePeer()
		switch {
		case !relayed(c) || c.Stat().Direction != network.DirInbound:
		case !direct(net, p):
			if now.Sub(c.Stat().Opened) < callSoon || now.Sub(h.called[p]) >= callAgain {
				h.called[p] = now
				h.tasks.Go(func() { h.callBack(p) })
			}
		case len(c.GetStreams()) == 0:
			_ = c.Close() // it is gone already
		}
	}
	maps.DeleteFunc(h.called, func(_ peer.ID, at time.Time) bool { return now.Sub(at) >= callAgain })
}
