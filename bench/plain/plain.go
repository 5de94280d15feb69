// Package plain makes libp2p hosts as one would without Shoal: TLS over TCP, and nothing that costs time; and
// certificates for those that need some.
package plain

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// New returns a host on loopback, and its address for Connect. It has neither resource limits nor metrics.
func New() (host.Host, string, error) {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(),
	)
	if err != nil {
		return nil, "", err
	}
	at, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()})
	if err != nil {
		return nil, "", err
	}
	return h, at[0].String(), nil
}

// Connect connects h to a host, and makes sure that the connection is what is to be measured.
func Connect(ctx context.Context, h host.Host, address string) (peer.ID, error) {
	to, err := peer.AddrInfoFromString(address)
	if err != nil {
		return "", err
	}
	if err := h.Connect(ctx, *to); err != nil {
		return "", err
	}
	for _, c := range h.Network().ConnsToPeer(to.ID) {
		if s := c.ConnState(); s.Security != libp2ptls.ID || s.Transport != "tcp" {
			return "", fmt.Errorf("the connection is %v over %v, not TLS over TCP", s.Security, s.Transport)
		}
	}
	return to.ID, nil
}
