package memnet

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ttransport "github.com/libp2p/go-libp2p/p2p/transport/testsuite"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// member is a node without a host.
type member struct {
	transport.Transport
	id peer.ID
}

func (n *Net) member(t testing.TB, at Place) member {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return n.life(t, key, at)
}

func (n *Net) life(t testing.TB, key crypto.PrivKey, at Place) member {
	t.Helper()
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.Carrier(at)(key, &network.NullResourceManager{})
	if err != nil {
		t.Fatal(err)
	}
	return member{c, id}
}

// What libp2p asks of transports holds in real time and in a bubble, and with links of all kinds.
func TestTransportSuite(t *testing.T) {
	lat := func(int, int) time.Duration { return 2 * time.Millisecond }
	for name, c := range map[string]struct {
		cfg Config
		at  Place
	}{
		"bare":  {},
		"links": {Config{Latency: lat, Jitter: 0.5, Loss: func(int, int) float64 { return 0.001 }}, Place{Up: 1e8, Down: 2e8}},
	} {
		for _, sub := range ttransport.Subtests {
			run := func(t *testing.T) {
				n := New(c.cfg)
				a, b := n.member(t, c.at), n.member(t, c.at)
				sub(t, a.Transport, b.Transport, ma.StringCast("/ip4/127.0.0.1/tcp/0"), a.id)
			}
			t.Run(name, func(t *testing.T) { bubble.Test(t, run) })
			if name == "bare" {
				t.Run("real", run)
			}
		}
	}
}
