package rpc

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal"
)

// TestCallsLeaveTheRelay has a node call another through a relay; as soon as there is a direct connection calls go over that, and none is lost,
// neither one that waits nor any of a crowd's.
func TestCallsLeaveTheRelay(t *testing.T) {
	middle := newHost(t, tcp)
	if _, err := relay.New(middle, relay.WithInfiniteLimits()); err != nil {
		t.Fatal(err)
	}
	near, err := libp2p.New(libp2p.EnableRelay(), libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	far, err := libp2p.New(libp2p.EnableRelay(), libp2p.ListenAddrStrings(tcp))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	info := peer.AddrInfo{ID: middle.ID(), Addrs: middle.Addrs()}
	for _, h := range []interface {
		Connect(context.Context, peer.AddrInfo) error
	}{near, far} {
		if err := h.Connect(t.Context(), info); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := circuit.Reserve(t.Context(), far, info); err != nil {
		t.Fatal(err)
	}
	through := middle.Addrs()[0].Encapsulate(ma.StringCast("/p2p/" + middle.ID().String() + "/p2p-circuit"))
	if err := near.Connect(t.Context(), peer.AddrInfo{ID: far.ID(), Addrs: []ma.Multiaddr{through}}); err != nil {
		t.Fatal(err)
	}
	a, b := New(near, Config{Fabric: "test"}), New(far, Config{Fabric: "test"})
	t.Cleanup(func() {
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	held := make(chan struct{})
	b.Handle("wait", func(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
		select {
		case <-held:
			return req, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	b.Handle("echo", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
	streams := func(through bool) (n int) {
		for _, c := range near.Network().ConnsToPeer(far.ID()) {
			for _, s := range c.GetStreams() {
				if relayed(c) == through && s.Protocol() == a.protocol() {
					n++
				}
			}
		}
		return n
	}

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	ask := func(method string) {
		all.Go(func() {
			if got, err := a.Ask(ctx, b.Self(), method, []byte("x")); err != nil || string(got) != "x" {
				t.Errorf("%s: %q, %v", method, got, err)
			}
		})
	}
	ask("wait")
	until(t, "a call waits on the relayed connection", func() bool { return streams(true) == 1 })
	var busy sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if got, err := a.Ask(ctx, b.Self(), "echo", []byte("y")); err != nil || string(got) != "y" {
						t.Errorf("echo: %q, %v", got, err)
						return
					}
				}
			}
		})
	}
	near.Peerstore().AddAddrs(far.ID(), far.Addrs(), time.Hour)
	if _, err := near.Network().DialPeer(network.WithForceDirectDial(ctx, "test"), far.ID()); err != nil {
		t.Fatal(err)
	}
	until(t, "calls go directly", func() bool { return streams(false) == 1 })
	if n := streams(true); n != 1 {
		t.Errorf("%d shared streams are left on the relayed connection, where one call waits", n)
	}
	close(held)
	all.Wait()
	until(t, "the relayed connection carries nothing", func() bool { return streams(true) == 0 })
	close(stop)
	busy.Wait()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}
