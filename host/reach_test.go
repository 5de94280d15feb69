package host

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

// only admits the peers whose hosts it is given.
func only(hosts ...*Host) func(context.Context, shoal.PeerID) error {
	return func(_ context.Context, p shoal.PeerID) error {
		if slices.ContainsFunc(hosts, func(h *Host) bool { return h.ID() == p }) {
			return nil
		}
		return shoal.E(shoal.Refused, "admission", "a stranger", "")
	}
}

// TestRelayServesMembersOnly has one member hide behind another, and a member and a stranger look
// for it there.
func TestRelayServesMembersOnly(t *testing.T) {
	relay := start(t, "relay", Config{})
	hidden := start(t, "hidden", Config{Listen: []string{loopTCP}, Admit: everybody})
	member, stranger := start(t, "member", Config{Admit: everybody}), start(t, "stranger", Config{})
	relay.SetAdmit(only(hidden, member))
	hidden.HandleDoor("echo", echo)
	id, _ := peer.Decode(string(relay.ID()))
	info := peer.AddrInfo{ID: id, Addrs: relay.inner.Addrs()}
	for _, h := range []*Host{hidden, member, stranger} {
		meet(t, h, relay)
	}
	if _, err := client.Reserve(t.Context(), stranger.inner, info); err == nil || !strings.Contains(err.Error(), "PERMISSION_DENIED") {
		t.Fatalf("a stranger's reservation: %v", err)
	}
	r, err := client.Reserve(t.Context(), hidden.inner, info)
	if err != nil {
		t.Fatal(err)
	}
	if r.LimitData != 0 || r.LimitDuration != 0 {
		t.Errorf("circuits are limited to %d bytes, %v", r.LimitData, r.LimitDuration)
	}
	through := relay.Addresses()[0] + "/p2p-circuit"
	err = stranger.Connect(t.Context(), hidden.ID(), []string{through})
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "PERMISSION_DENIED") {
		t.Fatalf("a stranger's circuit: %v", err)
	}
	t.Log(err)
	if err := member.Connect(t.Context(), hidden.ID(), []string{through}); err != nil {
		t.Fatalf("a member's circuit: %v", err)
	}
	if got, err := member.AskDoor(t.Context(), hidden.ID(), "echo", []byte("hi")); string(got) != "hi" {
		t.Fatalf("through the relay: %q, %v", got, err)
	}
}

// TestPrivateNodeFindsRelay wants a node that cannot be reached to show an address at a member.
func TestPrivateNodeFindsRelay(t *testing.T) {
	relay := start(t, "relay", Config{Admit: everybody})
	hidden := start(t, "hidden", Config{Listen: []string{loopTCP}, Admit: everybody, Private: true})
	meet(t, hidden, relay)
	var at string
	for end := time.Now().Add(2 * relayInterval); at == ""; time.Sleep(20 * time.Millisecond) {
		for _, a := range hidden.Addresses() {
			if strings.Contains(a, "/p2p-circuit/") && strings.Contains(a, string(relay.ID())) {
				at = a
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no relay found; addresses %v", hidden.Addresses())
		}
	}
	other := start(t, "other", Config{Admit: everybody})
	if err := other.Connect(t.Context(), hidden.ID(), []string{at}); err != nil {
		t.Fatal(err)
	}
}

// TestCalledBack has a node that can be reached through a relay only call back who came that way, and the way through the relay close once
// nothing is on it.
func TestCalledBack(t *testing.T) {
	relay := start(t, "relay", Config{Admit: everybody})
	hidden := start(t, "hidden", Config{Listen: []string{loopTCP}, Admit: everybody, Private: true})
	member := start(t, "member", Config{Admit: everybody})
	meet(t, hidden, relay)
	hidden.HandleDoor("echo", echo)
	within := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(3 * relayInterval); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not in time: %s; addresses %v", what, hidden.Addresses())
			}
		}
	}
	through := ""
	within("a place at the relay", func() bool {
		for _, a := range hidden.Addresses() {
			if strings.Contains(a, "/p2p-circuit") {
				through = a
			}
		}
		return through != ""
	})
	if err := member.Connect(t.Context(), hidden.ID(), []string{through}); err != nil {
		t.Fatal(err)
	}
	id, _ := peer.Decode(string(hidden.ID()))
	conns := func(want bool) (n int) {
		for _, c := range member.inner.Network().ConnsToPeer(id) {
			if relayed(c) == want {
				n++
			}
		}
		return n
	}
	within("a direct connection", func() bool { return conns(false) == 1 })
	within("the end of the one through the relay", func() bool { return conns(true) == 0 })
	if got, err := member.AskDoor(t.Context(), hidden.ID(), "echo", []byte("hi")); string(got) != "hi" {
		t.Fatalf("directly: %q, %v", got, err)
	}
}

func TestMDNS(t *testing.T) {
	if !multicast() {
		t.Skip("no interface here can multicast")
	}
	listen := []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}
	a := start(t, "a", Config{MDNS: true, Listen: listen})
	found := make(chan []string, 16)
	b, err := New(Config{Key: keyOf("b"), MDNS: true, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	time.Sleep(300 * time.Millisecond) // what is heard before somebody listens is not lost
	b.OnDiscover(func(p shoal.PeerID, addrs []string) {
		if p == a.ID() {
			found <- addrs
		}
	})
	select {
	case addrs := <-found:
		if err := b.Connect(t.Context(), a.ID(), addrs); err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Skip("multicast does not come back here")
	}
}

func multicast() bool {
	all, _ := net.Interfaces()
	return slices.ContainsFunc(all, func(i net.Interface) bool {
		return i.Flags&net.FlagMulticast != 0 && i.Flags&net.FlagUp != 0
	})
}

// TestRank checks the order of dials for any set of addresses.
func TestRank(t *testing.T) {
	kinds := []string{
		"/ip4/127.0.0.1/tcp/%d", "/ip4/10.0.0.1/tcp/%d", "/ip6/fd00::1/tcp/%d", "/ip4/8.8.8.8/tcp/%d", "/ip6/2600::1/tcp/%d",
		"/ip4/127.0.0.1/udp/%d/quic-v1", "/ip4/10.0.0.1/udp/%d/quic-v1", "/ip4/8.8.8.8/udp/%d/quic-v1",
		"/ip4/8.8.8.8/tcp/%d/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit",
	}
	rapid.Check(t, func(t *rapid.T) {
		var addrs []ma.Multiaddr
		for n, k := range rapid.SliceOfN(rapid.SampledFrom(kinds), 0, 12).Draw(t, "addrs") {
			addrs = append(addrs, ma.StringCast(fmt.Sprintf(k, 1000+n)))
		}
		want := slices.Clone(addrs)
		got := rank(addrs)
		if len(got) != len(want) {
			t.Fatalf("%d of %d", len(got), len(want))
		}
		class := func(a ma.Multiaddr) int {
			switch {
			case has(a, ma.P_CIRCUIT):
				return 2
			case has(a, ma.P_QUIC_V1):
				return 1
			}
			return 0
		}
		for i, r := range got {
			if !slices.ContainsFunc(want, r.Addr.Equal) {
				t.Fatalf("%s was not given", r.Addr)
			}
			if i > 0 && got[i-1].Delay > r.Delay {
				t.Fatalf("out of order: %v", got)
			}
			if i == 0 && r.Delay != 0 && class(r.Addr) != 1 {
				t.Fatalf("the first dial waits: %v", got)
			}
			for _, o := range got {
				if class(o.Addr) < class(r.Addr) && o.Delay >= r.Delay && class(o.Addr) == 0 && r.Delay < quicDelay {
					t.Fatalf("%s goes before %s", r.Addr, o.Addr)
				}
			}
			if r.Delay > quicDelayWAN || class(r.Addr) == 2 && r.Delay > relayDelay {
				t.Fatalf("%s waits %v", r.Addr, r.Delay)
			}
		}
	})
}

// TestManyStreams opens more streams at once than libp2p's defaults allow one peer.
func TestManyStreams(t *testing.T) {
	a, b := start(t, "a", Config{Admit: everybody, Listen: []string{loopTCP}}), start(t, "b", Config{Admit: everybody, Listen: []string{loopTCP}})
	stop := make(chan struct{})
	b.Libp2p().SetStreamHandler("/test/hold/1", func(s network.Stream) {
		defer s.Close()
		s.Write([]byte("x"))
		<-stop
	})
	meet(t, a, b)
	id, _ := peer.Decode(string(b.ID()))
	const n = 1500
	for i := range n {
		s, err := a.Libp2p().NewStream(t.Context(), id, "/test/hold/1")
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		defer s.Reset()
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
	close(stop)
}

// TestIdleCost says what an idle host costs, and fails when that grows out of bounds.
func TestIdleCost(t *testing.T) {
	const n = 5
	measure := func() (uint64, int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse, runtime.NumGoroutine()
	}
	bytes, goroutines := measure()
	hosts := make([]*Host, n)
	for i := range hosts {
		hosts[i] = start(t, fmt.Sprint(i), Config{})
	}
	after, now := measure()
	each, gos := (int64(after)-int64(bytes))/n, (now-goroutines)/n
	t.Logf("an idle host: %d KiB, %d goroutines", each>>10, gos)
	if each > 4<<20 || gos > 100 {
		t.Errorf("an idle host costs %d KiB and %d goroutines", each>>10, gos)
	}
}
