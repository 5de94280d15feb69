package dht_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/host"
)

// TestBehindTheGate runs the DHT on hosts as the house builds them, with a gate that takes longer to
// make up its mind than the DHT waits for a peer.
func TestBehindTheGate(t *testing.T) {
	f := newFabric(t, patient())
	f.cfg.Step = 0 // the default
	admit := func(ctx context.Context, p shoal.PeerID) error {
		select {
		case <-time.After(600 * time.Millisecond):
		case <-ctx.Done():
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.members[p] {
			return shoal.E(shoal.Refused, "peer", "a stranger", "")
		}
		return nil
	}
	f.cfg.IsMember = func(ctx context.Context, p shoal.PeerID) bool { return admit(ctx, p) == nil }
	verdicts := make(chan struct{}) // closed: the gate is as fast as it is with what it knows
	slow := admit
	admit = func(ctx context.Context, p shoal.PeerID) error {
		select {
		case <-verdicts:
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.members[p] {
				return nil
			}
		default:
		}
		return slow(ctx, p)
	}
	time.AfterFunc(time.Second, func() { close(verdicts) })
	var nodes []*node
	for i := range 3 {
		h, err := host.New(host.Config{
			Key:    ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, 32)),
			Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Fabric: fabricID,
			Admit: func(ctx context.Context, p shoal.PeerID) error { return admit(ctx, p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		nodes = append(nodes, f.start(h.Libp2p()))
	}
	start := time.Now()
	if err := nodes[0].Provide(t.Context(), testKey("gated")); err != nil {
		t.Fatal(err)
	}
	for i, a := range nodes {
		for _, b := range nodes[:i] {
			ai := peer.AddrInfo{ID: b.host.ID(), Addrs: b.host.Addrs()}
			if err := a.host.Connect(t.Context(), ai); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range nodes {
		f.until("a full table", func() bool { return len(n.Peers()) == 2 })
		f.heard(n, testKey("gated"), nodes[0])
	}
	t.Logf("ready after %v", time.Since(start).Round(time.Millisecond))
}
