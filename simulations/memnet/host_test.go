package memnet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

// seed is the i-th node's key.
func seed(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0], seed[1] = byte(i), byte(i>>8)
	return ed25519.NewKeyFromSeed(seed)
}

func everybody(context.Context, shoal.PeerID) error { return nil }

// room starts the host room on the network, the i-th. All but those in strangers are members to it.
func (n *Net) room(t testing.TB, i int, at Place, strangers ...shoal.PeerID) *host.Host {
	t.Helper()
	h, err := host.New(host.Config{
		Key: seed(i), Listen: []string{Address(i)}, Carrier: n.Carrier(at), Private: at.NAT, Relays: true,
		Admit: func(_ context.Context, p shoal.PeerID) error {
			for _, s := range strangers {
				if p == s {
					return shoal.E(shoal.Refused, "admission", "a stranger", "")
				}
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func same(d time.Duration) func(int, int) time.Duration {
	return func(int, int) time.Duration { return d }
}

// Two complete host rooms, gate and all, speak with each other in a bubble; a stranger is gated, a door answers it, and
// the network knows what was said by which protocol.
func TestHostRoom(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const lat = 20 * time.Millisecond
		n := New(Config{Latency: same(lat)})
		c := n.room(t, 3, Place{})
		a, b := n.room(t, 1, Place{}), n.room(t, 2, Place{}, c.ID())
		defer a.Close()
		defer b.Close()
		defer c.Close()
		b.Libp2p().SetStreamHandler("/echo/1", func(s network.Stream) {
			defer s.Close()
			_, _ = io.Copy(s, s)
		})
		b.HandleDoor("knock", func(context.Context, shoal.PeerID, []byte) ([]byte, error) { return []byte("who?"), nil })
		ctx := t.Context()

		begin := time.Now()
		if err := a.Connect(ctx, b.ID(), b.Addresses()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != HandshakeTrips*2*lat {
			t.Errorf("the dial took %v", took)
		}
		time.Sleep(time.Second) // identify
		if rtt, err := a.RTT(ctx, b.ID()); err != nil || rtt != 2*lat {
			t.Errorf("a ping took %v: %v", rtt, err)
		}
		say := func(from *host.Host) (string, error) {
			id, _ := peer.Decode(string(b.ID()))
			s, err := from.Libp2p().NewStream(ctx, id, "/echo/1")
			if err != nil {
				return "", err
			}
			defer s.Close()
			if _, err := s.Write([]byte("hello")); err != nil {
				return "", err
			}
			if err := s.CloseWrite(); err != nil {
				return "", err
			}
			got, err := io.ReadAll(s)
			return string(got), err
		}
		begin = time.Now()
		if got, err := say(a); got != "hello" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if took := time.Since(begin); took != 2*lat {
			t.Errorf("a question took %v", took)
		}
		if err := c.Connect(ctx, b.ID(), b.Addresses()); err != nil {
			t.Fatal(err)
		}
		var reset *network.StreamError
		if _, err := say(c); !errors.As(err, &reset) || reset.ErrorCode != network.StreamGated {
			t.Errorf("a stranger was answered: %v", err)
		}
		if got, err := c.AskDoor(ctx, b.ID(), "knock", nil); string(got) != "who?" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		echo := n.Bytes()["/echo/1"]
		line := uint64(len("\x13/multistream/1.0.0\n\x08/echo/1\n"))
		if want := (Bytes{Asked: 2*line + 10, Answered: 2*line + 5}); echo != want {
			t.Errorf("%+v of echo, %+v are right; all: %+v", echo, want, n.Bytes())
		}
		if n.Bytes()["/ipfs/id/1.0.0"].Answered == 0 || n.Bytes()[""] != (Bytes{}) {
			t.Errorf("%+v", n.Bytes())
		}
	})
}

// A node behind NAT is reached through a member that relays.
func TestRelay(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := New(Config{Latency: same(10 * time.Millisecond)})
		relay, b, hidden := n.room(t, 1, Place{}), n.room(t, 2, Place{}), n.room(t, 3, Place{NAT: true})
		defer relay.Close()
		defer b.Close()
		defer hidden.Close()
		if err := hidden.Connect(t.Context(), relay.ID(), relay.Addresses()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		begin := time.Now()
		if err := b.Connect(t.Context(), hidden.ID(), hidden.Addresses()); err != nil {
			t.Fatalf("%v: %v", hidden.Addresses(), err)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("the dial took %v", took)
		}
		if rtt, err := b.RTT(t.Context(), hidden.ID()); err != nil || rtt != 40*time.Millisecond {
			t.Errorf("%v, %v", rtt, err)
		}
	})
}

// A node that is killed is missed as a dead machine is, and takes up its life again at the same address.
func TestPowerLoss(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		n := New(Config{Latency: same(10 * time.Millisecond)})
		a, b := n.room(t, 1, Place{}), n.room(t, 2, Place{})
		defer a.Close()
		var downs []time.Time
		a.Notify(func(_ shoal.PeerID, up bool) {
			if !up {
				downs = append(downs, time.Now())
			}
		})
		if err := a.Connect(t.Context(), b.ID(), b.Addresses()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		id, _ := peer.Decode(string(b.ID()))
		killed := time.Now()
		n.Kill(id)
		b.Close()
		addrs := []string{Address(2)}
		time.Sleep(keepalive + keepaliveWait)
		synctest.Wait()
		if len(downs) != 1 || downs[0].Sub(killed) < keepaliveWait {
			t.Fatalf("missed at %v, killed at %v", downs, killed)
		}
		begin := time.Now()
		if err := a.Connect(t.Context(), b.ID(), addrs); err == nil || time.Since(begin) < 5*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		b = n.room(t, 2, Place{})
		defer b.Close()
		if err := a.Connect(t.Context(), b.ID(), addrs); err != nil {
			t.Fatal(err)
		}
		// Back before anybody has missed it: the first word is answered by a reset. If a word was on its way when the power went,
		// all that is said waits until that one is sent again, at pauses that double.
		n.Kill(id)
		b.Close()
		time.Sleep(time.Second)
		b = n.room(t, 2, Place{})
		defer b.Close()
		begin = time.Now()
		if rtt, err := a.RTT(t.Context(), b.ID()); err == nil && rtt < time.Second {
			t.Errorf("a dead connection answers")
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("the old connection was noticed after %v", took)
		}
		if err := a.Connect(t.Context(), b.ID(), addrs); err != nil {
			t.Fatal(err)
		}
		if _, err := a.RTT(t.Context(), b.ID()); err != nil {
			t.Fatal(err)
		}
	})
}

// Where the memory of hosts goes; see -v.
func TestHostsAreSmall(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const count = 50
		n := New(Config{Latency: same(time.Millisecond)})
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		threads := runtime.NumGoroutine()
		var all []*host.Host
		for i := range count {
			h := n.room(t, i, Place{})
			defer h.Close()
			all = append(all, h)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		bytes := (after.HeapAlloc - before.HeapAlloc + after.StackInuse - before.StackInuse) / count
		each := float64(runtime.NumGoroutine()-threads) / count
		t.Logf("a host: %d KB, %.1f goroutines", bytes>>10, each)
		if each > 25 {
			t.Errorf("a host has %.1f goroutines", each)
		}
		for _, h := range all[1:] {
			if err := h.Connect(t.Context(), all[0].ID(), all[0].Addresses()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if got := len(all[0].Connected()); got != count-1 {
			t.Errorf("%d connections", got)
		}
	})
}
