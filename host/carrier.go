package host

import (
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// Carrier builds the transport of a host in a simulated network. It stands in for TCP and QUIC and their security:
// its connections prove by themselves who is at the other end.
type Carrier func(key crypto.PrivKey, limits network.ResourceManager) (transport.Transport, error)

// carried are the options of a host on a Carrier. A thousand of them share a process, so what has no place in a
// simulated network is left out: sockets, the discovery of addresses as others see them and of reachability (it is told by
// Private), hole punching, and limits of resources. What counts bytes and what closes connections stays.
func (h *Host) carried(key crypto.PrivKey) ([]libp2p.Option, error) {
	conns, err := h.cfg.manager()
	if err != nil {
		return nil, err
	}
	o := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent("shoal"),
	}
	if h.cfg.Relays {
		o = append(o, libp2p.EnableRelay()) // before NoListenAddrs, which would turn it off
	} else {
		o = append(o, libp2p.DisableRelay())
	}
	if h.cfg.Private {
		o = append(o, libp2p.ForceReachabilityPrivate())
	} else {
		o = append(o, libp2p.ForceReachabilityPublic())
	}
	return append(o,
		libp2p.NoListenAddrs,
		libp2p.NoTransports,
		libp2p.Transport((func(crypto.PrivKey, network.ResourceManager) (transport.Transport, error))(h.cfg.Carrier)),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(shun(h.cfg.Shun)),
		libp2p.BandwidthReporter(h.traffic),
		libp2p.DisableMetrics(),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.WithDialTimeout(h.cfg.DialTimeout),
		libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(h.cfg.DialTimeout), swarm.WithDialRanker(rank)),
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.AddrsFactory(h.reserved.with),
	), nil
}
