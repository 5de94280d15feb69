package rpc

import (
	"context"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// newHost is a bare libp2p host on loopback.
func newHost(t testing.TB, listen string, key ...crypto.PrivKey) corehost.Host {
	t.Helper()
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.InfiniteLimits))
	if err != nil {
		t.Fatal(err)
	}
	o := []libp2p.Option{
		libp2p.ListenAddrStrings(listen), libp2p.Security(tls.ID, tls.New),
		libp2p.ResourceManager(m), libp2p.DisableRelay(), libp2p.DisableMetrics(),
	}
	if len(key) > 0 {
		o = append(o, libp2p.Identity(key[0]))
	}
	h, err := libp2p.New(o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

const (
	tcp  = "/ip4/127.0.0.1/tcp/0"
	quic = "/ip4/127.0.0.1/udp/0/quic-v1"
)

// newPair is two nodes that know each other's address.
func newPair(t testing.TB, listen string, cfg Config) (a, b *RPC) {
	t.Helper()
	cfg.Fabric = "test"
	ha, hb := newHost(t, listen), newHost(t, listen)
	ha.Peerstore().AddAddrs(hb.ID(), hb.Addrs(), time.Hour)
	hb.Peerstore().AddAddrs(ha.ID(), ha.Addrs(), time.Hour)
	a, b = New(ha, cfg), New(hb, cfg)
	for _, r := range []*RPC{a, b} {
		t.Cleanup(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return a, b
}

func TestPeersOverTCP(t *testing.T) {
	shoaltest.TestPeers(t, func(t *testing.T) (a, b shoal.Peers) { return newPair(t, tcp, Config{}) })
}

func TestPeersOverQUIC(t *testing.T) {
	shoaltest.TestPeers(t, func(t *testing.T) (a, b shoal.Peers) { return newPair(t, quic, Config{}) })
}

// TestPeersConnecting has rpc dial by itself, through Config.Connect.
func TestPeersConnecting(t *testing.T) {
	shoaltest.TestPeers(t, func(t *testing.T) (a, b shoal.Peers) {
		ha, hb := newHost(t, tcp), newHost(t, tcp)
		connect := func(h corehost.Host) func(context.Context, shoal.PeerID) error {
			return func(ctx context.Context, p shoal.PeerID) error {
				for _, other := range []corehost.Host{ha, hb} {
					if string(p) == other.ID().String() {
						return h.Connect(ctx, peer.AddrInfo{ID: other.ID(), Addrs: other.Addrs()})
					}
				}
				return shoal.E(shoal.Unavailable, "connect to "+p.Short(), "no address is known", "")
			}
		}
		ra := New(ha, Config{Fabric: "test", Connect: connect(ha)})
		rb := New(hb, Config{Fabric: "test", Connect: connect(hb)})
		t.Cleanup(func() { ra.Close(); rb.Close() })
		return ra, rb
	})
}
