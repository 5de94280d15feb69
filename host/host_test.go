package host

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
)

// Loopback addresses for tests, on any free port.
const (
	loopTCP  = "/ip4/127.0.0.1/tcp/0"
	loopQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
)

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func everybody(context.Context, shoal.PeerID) error { return nil }

// start returns a host of the test's, on TCP and QUIC at loopback unless cfg says otherwise.
func start(t testing.TB, name string, cfg Config) *Host {
	t.Helper()
	cfg.Key = keyOf(t.Name() + name)
	if cfg.Listen == nil && cfg.Port == 0 {
		cfg.Listen = []string{loopTCP, loopQUIC}
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

// meet connects a to b.
func meet(t testing.TB, a, b *Host) {
	t.Helper()
	if err := a.Connect(t.Context(), b.ID(), b.Addresses()); err != nil {
		t.Fatal(err)
	}
}

// eventually polls until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s: " + what)
		}
	}
}

func TestConnect(t *testing.T) {
	a, b := start(t, "a", Config{}), start(t, "b", Config{})
	type change struct {
		p  shoal.PeerID
		up bool
	}
	seen := make(chan change, 10)
	b.Notify(func(p shoal.PeerID, up bool) { seen <- change{p, up} })
	meet(t, a, b)
	if c := <-seen; c != (change{a.ID(), true}) {
		t.Fatalf("got %v, want %s up", c, a.ID())
	}
	if !a.IsConnected(b.ID()) || len(a.Connected()) != 1 || a.Connected()[0] != b.ID() {
		t.Fatalf("connected to %v, want %s", a.Connected(), b.ID())
	}
	if rtt, err := a.RTT(t.Context(), b.ID()); err != nil || rtt <= 0 || rtt > time.Second {
		t.Fatalf("RTT %v, %v", rtt, err)
	}
	if rtt, err := a.RTT(t.Context(), a.ID()); err != nil || rtt != 0 {
		t.Fatalf("RTT to itself %v, %v", rtt, err)
	}
	meet(t, a, b) // again: nothing to do
	a.Disconnect(b.ID())
	if c := <-seen; c != (change{a.ID(), false}) {
		t.Fatalf("got %v, want %s down", c, a.ID())
	}
	if a.IsConnected(b.ID()) {
		t.Fatal("still connected")
	}
}

func TestAddresses(t *testing.T) {
	h := start(t, "a", Config{Listen: []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}})
	if len(h.inner.Addrs()) == 0 {
		t.Error("peers that connect now hear of no address")
	}
	addrs := h.Addresses()
	if len(addrs) < 2 {
		t.Fatalf("got %v", addrs)
	}
	for _, a := range addrs {
		if strings.Contains(a, "0.0.0.0") || !strings.HasSuffix(a, "/p2p/"+string(h.ID())) || strings.Contains(a, "/0/") {
			t.Errorf("address %s", a)
		}
	}
}

// TestTLSOverTCPPreferred dials in both directions, with the addresses in either order.
func TestTLSOverTCPPreferred(t *testing.T) {
	for round := range 4 {
		a, b := start(t, fmt.Sprint("a", round), Config{}), start(t, fmt.Sprint("b", round), Config{})
		addrs := b.Addresses()
		if round%2 == 1 {
			for i, j := 0, len(addrs)-1; i < j; i, j = i+1, j-1 {
				addrs[i], addrs[j] = addrs[j], addrs[i]
			}
		}
		if err := a.Connect(t.Context(), b.ID(), addrs); err != nil {
			t.Fatal(err)
		}
		for _, c := range a.inner.Network().Conns() {
			if s := c.ConnState(); s.Transport != "tcp" || s.Security != "/tls/1.0.0" || s.StreamMultiplexer != "/yamux/1.0.0" || !s.UsedEarlyMuxerNegotiation {
				t.Errorf("round %d: connected by %+v, want TCP with TLS", round, s)
			}
		}
	}
}

func TestQUICWhereThereIsNoTCP(t *testing.T) {
	a, b := start(t, "a", Config{}), start(t, "b", Config{Listen: []string{loopQUIC}})
	// An address of TCP where nothing listens must not hold it up.
	dead := deadTCP(t)
	began := time.Now()
	if err := a.Connect(t.Context(), b.ID(), append(b.Addresses(), dead)); err != nil {
		t.Fatal(err)
	}
	if s := a.inner.Network().Conns()[0].ConnState(); s.Transport != "quic-v1" {
		t.Fatalf("connected by %+v", s)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

// deadTCP returns an address that refuses connections.
func deadTCP(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
}

// silent returns an address that takes connections and says nothing.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	done := make(chan struct{})
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { <-done; c.Close() })
		}
	})
	t.Cleanup(func() { close(done); l.Close(); conns.Wait() })
	return fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", l.Addr().(*net.TCPAddr).Port)
}

func TestConnectErrorNamesEachAddress(t *testing.T) {
	a, b := start(t, "a", Config{DialTimeout: 500 * time.Millisecond}), start(t, "b", Config{Listen: []string{loopTCP}})
	nobody := start(t, "nobody", Config{})
	dead, mute := deadTCP(t), silent(t)
	bare, _, _ := strings.Cut(b.Addresses()[0], "/p2p/")
	foreign := dead + "/p2p/" + string(b.ID())
	began := time.Now()
	err := a.Connect(t.Context(), nobody.ID(), []string{dead, mute, bare, "tcp:1234", foreign})
	if d := time.Since(began); d > 4*time.Second {
		t.Errorf("took %v", d)
	}
	if shoal.KindOf(err) != shoal.Unavailable {
		t.Fatalf("got %v, want Unavailable", err)
	}
	t.Log(err)
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"connect to " + string(nobody.ID()) + ": none of its 5 addresses can be reached:",
		"  tcp:1234: not a multiaddr",
		"  " + foreign + ": an address of another peer",
		"  " + dead + ": connection refused (nothing listens there)",
		"  " + mute + ": no answer within 500ms (switched off, or a firewall)",
		"  " + bare + ": another peer answers there (" + string(b.ID()) + ")",
	} {
		found := false
		for _, l := range lines {
			found = found || l == want
		}
		if !found {
			t.Errorf("no line %q", want)
		}
	}
	if len(lines) != 6 {
		t.Errorf("%d lines, want 6", len(lines))
	}
	// At once again: no backoff hides the reason.
	if err := a.Connect(t.Context(), nobody.ID(), []string{dead}); !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("the second time: %v", err)
	}
}

func TestConnectRefusesNonsense(t *testing.T) {
	a := start(t, "a", Config{})
	if err := a.Connect(t.Context(), a.ID(), a.Addresses()); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("itself: %v", err)
	}
	if err := a.Connect(t.Context(), "nobody", nil); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("bad ID: %v", err)
	}
	err := a.Connect(t.Context(), start(t, "b", Config{}).ID(), nil)
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "no address of it is known") {
		t.Errorf("no address: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Connect(ctx, start(t, "c", Config{}).ID(), []string{silent(t)}); shoal.KindOf(err) != shoal.Canceled {
		t.Errorf("canceled: %v", err)
	}
}

// TestPortMoves starts three nodes on one machine with the default addresses.
func TestPortMoves(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0") // by another program, on one address, TCP only
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	used := map[int]bool{port: true}
	for i := range 3 {
		h := start(t, fmt.Sprint(i), Config{Port: port})
		ports := map[string]int{}
		for _, a := range h.inner.Network().ListenAddresses() {
			for _, kind := range []string{"tcp", "udp"} {
				if _, rest, ok := strings.Cut(a.String(), "/"+kind+"/"); ok {
					var n int
					fmt.Sscan(strings.SplitN(rest, "/", 2)[0], &n)
					ports[kind] = n
				}
			}
		}
		if ports["tcp"] == 0 || ports["tcp"] != ports["udp"] || used[ports["tcp"]] || ports["tcp"] < port || ports["tcp"] >= port+portTries {
			t.Fatalf("node %d listens on %v; from %d on these are taken: %v", i, ports, port, used)
		}
		used[ports["tcp"]] = true
	}
}

func TestExplicitPortInUse(t *testing.T) {
	a := start(t, "a", Config{})
	for _, addr := range a.inner.Network().ListenAddresses() {
		if addr.String() == "/p2p-circuit" {
			continue
		}
		h, err := New(Config{Key: keyOf("b"), Listen: []string{loopTCP, addr.String()}})
		if err == nil {
			h.Close()
			t.Fatalf("%s was taken twice", addr)
		}
		want := "listen on " + addr.String() + ": the port is in use: choose another port, or stop the program that has it"
		if shoal.KindOf(err) != shoal.Unavailable || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	for _, bad := range []string{"", "4170", "/ip4/1.2.3.4", "/ip4/192.0.2.1/tcp/0", "/ip4/127.0.0.1/sctp/5"} {
		h, err := New(Config{Key: keyOf("b"), Listen: []string{bad}})
		if err == nil {
			h.Close()
			t.Errorf("listens on %q", bad)
		} else {
			t.Log(err)
		}
	}
}

func TestTrafficIsExact(t *testing.T) {
	a, b := start(t, "a", Config{Admit: everybody}), start(t, "b", Config{Admit: everybody})
	const proto, up, down = "/test/traffic/1", 100_000, 3_000_000
	b.Libp2p().SetStreamHandler(proto, func(s network.Stream) {
		defer s.Close()
		if _, err := io.CopyN(io.Discard, s, up); err == nil {
			s.Write(make([]byte, down))
		}
	})
	meet(t, a, b)
	id, err := peer.Decode(string(b.ID()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Libp2p().NewStream(t.Context(), id, proto)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(make([]byte, up)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, s); n != down || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	s.Close()
	// The handshake of the protocol itself may be counted along: some dozens of bytes.
	check := func(who string, got Traffic, in, out uint64) {
		if got.In < in || got.In > in+200 || got.Out < out || got.Out > out+200 {
			t.Errorf("%s counted %+v, want in %d, out %d", who, got, in, out)
		}
	}
	check("a", a.Traffic()[proto], down, up)
	eventually(t, "b's count", func() bool { return b.Traffic()[proto].Out >= down })
	check("b", b.Traffic()[proto], up, down)
	if a.Traffic()[negotiation].Out == 0 {
		t.Error("no negotiation was counted")
	}
}

func TestTrafficIsBounded(t *testing.T) {
	c := newTraffic()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 2 * maxProtocols {
				c.LogRecvMessageStream(1, protocol.ID(fmt.Sprint("/", i, "/", n)), "")
			}
		})
	}
	wg.Wait()
	if n := len(*c.counters.Load()); n > maxProtocols {
		t.Fatalf("%d counters", n)
	}
	if got := c.GetBandwidthTotals().TotalIn; got != 8*maxProtocols {
		t.Fatalf("counted %d of %d", got, 8*maxProtocols)
	}
}

func TestCloseTwice(t *testing.T) {
	h := start(t, "a", Config{})
	var calls atomic.Int32
	h.Notify(func(shoal.PeerID, bool) { calls.Add(1) })
	if err := h.Libp2p().Close(); err != nil {
		t.Fatal(err)
	}
	meet(t, start(t, "b", Config{}), h) // the gated host's Close did nothing
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func bufReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }
