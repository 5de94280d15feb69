package dht_test

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/simulations/memnet"
)

// TestOtherContinent: a node whose peers are 340 ms away, so that a dial takes three steps, finds the closest to a key although it has
// connections to none of them, once it has learnt how long dials take. So are those asked whom kad-dht asks at
// the end, without dialling them before.
func TestOtherContinent(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const n = 16
		mem := memnet.New(memnet.Config{Latency: func(a, b int) time.Duration {
			if a != b && (a == 0 || b == 0) {
				return 170 * time.Millisecond
			}
			return time.Millisecond
		}})
		f := newFabric(t, dht.Config{IPGroup: 100})
		var nodes []*node
		for i := range n {
			seed := make([]byte, ed25519.SeedSize)
			seed[0] = byte(i + 1)
			key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
			if err != nil {
				t.Fatal(err)
			}
			place := memnet.Place{Region: 1}
			if i == 0 {
				place.Region = 0
			}
			carrier := mem.Carrier(place)
			h, err := libp2p.New(libp2p.Identity(key), libp2p.NoTransports, libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery(),
				libp2p.DisableMetrics(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.ListenAddrStrings(memnet.Address(i)),
				libp2p.Transport(func(k crypto.PrivKey, l network.ResourceManager) (transport.Transport, error) { return carrier(k, l) }))
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			nodes = append(nodes, f.start(h))
		}
		asker, others := nodes[0], nodes[1:]
		for i, a := range nodes {
			for _, b := range nodes[:i] {
				f.connect(a, b)
			}
		}
		for _, a := range nodes {
			f.until("a full table", func() bool { return len(a.Peers()) == n-1 })
		}
		// Nobody is near by connection, and all are in the table.
		leave := func() {
			time.Sleep(3 * time.Second) // dials go on when nobody waits for them any more
			for _, o := range others {
				if err := asker.host.Network().ClosePeer(o.host.ID()); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(3 * time.Second)
		}
		leave()
		if _, err := asker.Closest(t.Context(), "something"); err != nil {
			t.Logf("at first: %v", err) // it takes them all for dead
		}
		for i := range 4 {
			leave()
			key := fmt.Sprint("key ", i)
			slices.SortFunc(others, func(a, b *node) int { return byDistance(a.host.ID(), b.host.ID(), key) })
			l, err := asker.Closest(t.Context(), key)
			var want []shoal.PeerID
			for _, o := range others {
				want = append(want, o.id)
			}
			if err != nil || !slices.Equal(l.Peers, want) {
				t.Fatalf("%s: %d of %d found, or not in order; %v", key, len(l.Peers), len(want), err)
			}
			leave()
			answered, begun := map[shoal.PeerID]bool{}, time.Now()
			ctx := shoal.WithTrace(t.Context(), func(h shoal.Hop) {
				if h.Event == "answer" {
					answered[h.Peer] = true
				}
			})
			if got, err := shoaltest.Found(ctx, asker, testKey(i), 0); err != nil || len(got) > 0 {
				t.Fatal(got, err)
			}
			took := time.Since(begun)
			t.Logf("%s: %d of %d answered in %v", key, len(answered), len(others), took)
			if len(answered) < len(others) || took > 4*time.Second {
				t.Errorf("%s: %d of %d answered in %v", key, len(answered), len(others), took)
			}
		}
		for _, x := range nodes {
			x.DHT.Close()
		}
	})
}

func byDistance(a, b peer.ID, key string) int {
	x, y, to := kb.ConvertPeerID(a), kb.ConvertPeerID(b), kb.ConvertKey(key)
	for i := range to {
		if c := cmp.Compare(x[i]^to[i], y[i]^to[i]); c != 0 {
			return c
		}
	}
	return 0
}
