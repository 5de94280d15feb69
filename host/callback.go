package host

import (
	"context"
	"slices"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
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

// closeSpare closes connections through relays that carry nothing any more, as there is a direct one.
func (h *Host) closeSpare() {
	net := h.inner.Network()
	for _, c := range net.Conns() {
		if relayed(c) && c.Stat().Direction == network.DirInbound && len(c.GetStreams()) == 0 && direct(net, c.RemotePeer()) {
			_ = c.Close() // it is gone already
		}
	}
}
