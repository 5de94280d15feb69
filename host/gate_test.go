package host

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
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

// ungated are the protocols that strangers may use; whoever adds one says so here.
var ungated = []string{
	"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0",
	"/libp2p/autonat/1.0.0", "/libp2p/circuit/relay/0.2.0/hop", "/libp2p/circuit/relay/0.2.0/stop",
	"/shoal/door/hello/1", "/ipfs/bitswap/1.2.0",
	"/libp2p/dcutr", // served once the node has a public address
}

// gatedHandlers sets a handler in each way there is and counts the runs.
func gatedHandlers(h *Host) *atomic.Int32 {
	runs := &atomic.Int32{}
	f := func(s network.Stream) {
		runs.Add(1)
		bufio.NewReader(s).ReadString('\n') // on QUIC, closing before the peer has written would break its write
		io.WriteString(s, "welcome\n")
		s.Close()
	}
	any := func(prefix string) func(protocol.ID) bool {
		return func(id protocol.ID) bool { return strings.HasPrefix(string(id), prefix) }
	}
	raw := func(_ protocol.ID, rwc io.ReadWriteCloser) error { f(rwc.(network.Stream)); return nil }
	lib := h.Libp2p()
	lib.SetStreamHandler("/shoal/x/rpc/1", f)
	lib.SetStreamHandler("/shoal/x/stream/data.fetch/1", f)
	lib.SetStreamHandler("/shoal/x/kad/1.0.0", f)
	lib.SetStreamHandlerMatch("/match/1", any("/match/"), f)
	lib.SetStreamHandlerMatch("/ipfs/bitswap/sly", any("/sly/"), f) // an open name for a closed door
	lib.Mux().AddHandler("/mux/1", raw)
	lib.Mux().AddHandlerWithFunc("/muxmatch/1", any("/muxmatch/"), raw)
	lib.SetStreamHandler("/ipfs/bitswap/1.2.0", f)
	lib.SetStreamHandler("/ipfs/bitswapped/1", f) // shares letters with an open protocol, no more
	h.HandleDoor("hello", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
	return runs
}

// try opens a stream of proto as a peer without a gate of its own would, and returns the first line.
func try(t *testing.T, from, to *Host, proto protocol.ID) (string, error) {
	t.Helper()
	id, err := peer.Decode(string(to.ID()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := from.inner.NewStream(ctx, id, proto)
	if err != nil {
		return "", err
	}
	defer s.Reset()
	s.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := s.Write([]byte("hello\n")); err != nil {
		return "", err
	}
	return bufio.NewReader(s).ReadString('\n')
}

// TestGateEveryProtocol has a stranger, already connected, try every protocol that a host serves.
func TestGateEveryProtocol(t *testing.T) {
	for name, listen := range map[string]string{"tcp": loopTCP, "quic-v1": loopQUIC} {
		t.Run(name, func(t *testing.T) {
			var member atomic.Pointer[shoal.PeerID]
			h := start(t, "h", Config{
				Listen: []string{listen}, Open: []string{"/ipfs/bitswap"},
				Admit: func(_ context.Context, p shoal.PeerID) error {
					if m := member.Load(); m != nil && *m == p {
						return nil
					}
					return shoal.E(shoal.Refused, "admission", "a stranger", "")
				},
			})
			runs := gatedHandlers(h)
			stranger := start(t, "stranger", Config{Listen: []string{listen}})
			meet(t, stranger, h)
			if s := stranger.inner.Network().Conns()[0].ConnState().Transport; s != name {
				t.Fatalf("connected by %s", s)
			}

			protos := h.inner.Mux().Protocols()
			for _, want := range append(ungated[:len(ungated)-1:len(ungated)-1], "/shoal/x/rpc/1", "/match/1", "/mux/1", "/muxmatch/1") {
				if !slices.Contains(protos, protocol.ID(want)) {
					t.Errorf("%s is not served at all", want)
				}
			}
			protos = append(protos, "/match/else", "/muxmatch/else", "/sly/1")
			gated := 0
			for _, p := range protos {
				if slices.Contains(ungated, string(p)) {
					continue
				}
				gated++
				_, err := try(t, stranger, h, p)
				var reset *network.StreamError
				switch {
				case p == "/ipfs/bitswap/sly": // its matcher does not accept its own name
					if err == nil {
						t.Errorf("%s: answered", p)
					}
				case !errors.As(err, &reset) || !reset.Remote || reset.ErrorCode != network.StreamGated:
					t.Errorf("%s: %v, want a reset by the gate", p, err)
				}
			}
			if n := runs.Load(); n != 0 {
				t.Fatalf("%d handlers ran for a stranger", n)
			}
			if gated < 10 {
				t.Fatalf("only %d gated protocols of %d", gated, len(protos))
			}
			if got, err := try(t, stranger, h, "/ipfs/bitswap/1.2.0"); got != "welcome\n" {
				t.Errorf("open protocol: %q, %v", got, err)
			}
			if got, err := stranger.AskDoor(t.Context(), h.ID(), "hello", []byte("x")); string(got) != "x" {
				t.Errorf("door: %q, %v", got, err)
			}

			// The same peer on the same connection, once it is a member, and once it is none again.
			id := stranger.ID()
			member.Store(&id)
			for _, p := range protos {
				if !slices.Contains(ungated, string(p)) && p != "/ipfs/bitswap/sly" {
					if got, err := try(t, stranger, h, p); got != "welcome\n" {
						t.Errorf("%s, as a member: %q, %v", p, got, err)
					}
				}
			}
			member.Store(nil)
			if _, err := try(t, stranger, h, "/shoal/x/rpc/1"); err == nil {
				t.Error("answered one who is no member any more")
			}
		})
	}
}

func TestGateWithoutAdmitRefuses(t *testing.T) {
	h, other := start(t, "h", Config{}), start(t, "other", Config{})
	runs := gatedHandlers(h)
	meet(t, other, h)
	if _, err := try(t, other, h, "/shoal/x/rpc/1"); err == nil || runs.Load() != 0 {
		t.Fatalf("%v, %d runs", err, runs.Load())
	}
	h.SetAdmit(everybody)
	if got, err := try(t, other, h, "/shoal/x/rpc/1"); got != "welcome\n" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestGateOutbound(t *testing.T) {
	h := start(t, "h", Config{Admit: everybody})
	gatedHandlers(h)
	other := start(t, "other", Config{Open: []string{"/ipfs/bitswap"}})
	meet(t, other, h)
	id, _ := peer.Decode(string(h.ID()))
	if _, err := other.Libp2p().NewStream(t.Context(), id, "/shoal/x/rpc/1"); shoal.KindOf(err) != shoal.Refused {
		t.Errorf("to a stranger: %v, want Refused", err)
	}
	if _, err := other.Libp2p().NewStream(t.Context(), id, "/ipfs/bitswap/1.2.0", "/shoal/x/rpc/1"); shoal.KindOf(err) != shoal.Refused {
		t.Errorf("to a stranger, an open protocol and another: %v, want Refused", err)
	}
	if _, err := other.Libp2p().Network().NewStream(t.Context(), id); shoal.KindOf(err) != shoal.Refused {
		t.Errorf("to a stranger, without protocol: %v, want Refused", err)
	}
	s, err := other.Libp2p().NewStream(t.Context(), id, "/ipfs/bitswap/1.2.0")
	if err != nil {
		t.Fatalf("an open protocol: %v", err)
	}
	s.Reset()
	other.SetAdmit(everybody)
	if s, err = other.Libp2p().NewStream(t.Context(), id, "/shoal/x/rpc/1"); err != nil {
		t.Fatalf("to a member: %v", err)
	}
	s.Reset()
	defer func() {
		if recover() == nil {
			t.Error("the network's stream handler could be replaced")
		}
	}()
	h.Libp2p().Network().SetStreamHandler(func(network.Stream) {})
}

// TestShun wants no connection with who is shunned, whoever dials.
func TestShun(t *testing.T) {
	var shunned atomic.Pointer[shoal.PeerID]
	h := start(t, "h", Config{Shun: func(p shoal.PeerID) bool { s := shunned.Load(); return s != nil && *s == p }})
	other, third := start(t, "other", Config{}), start(t, "third", Config{})
	id := other.ID()
	shunned.Store(&id)
	if err := h.Connect(t.Context(), id, other.Addresses()); err == nil {
		t.Error("dialed")
	}
	// Who dials learns that it is cut off only when it uses the connection.
	if err := other.Connect(t.Context(), h.ID(), h.Addresses()); err == nil {
		if _, err := other.RTT(t.Context(), h.ID()); err == nil {
			t.Error("answered")
		}
	}
	if h.IsConnected(id) {
		t.Error("connected")
	}
	meet(t, third, h)
	shunned.Store(nil)
	meet(t, other, h)
}

// TestGatePendingIsBounded holds Admit up while a stranger opens streams.
func TestGatePendingIsBounded(t *testing.T) {
	release := make(chan struct{})
	var calls atomic.Int32
	h := start(t, "h", Config{Admit: func(ctx context.Context, _ shoal.PeerID) error {
		calls.Add(1)
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	runs := gatedHandlers(h)
	stranger := start(t, "stranger", Config{})
	meet(t, stranger, h)
	const extra = 40
	answers := make(chan error, maxWaiting+extra)
	var wg sync.WaitGroup
	for range maxWaiting + extra {
		wg.Go(func() {
			_, err := try(t, stranger, h, "/shoal/x/rpc/1")
			answers <- err
		})
	}
	for range extra { // those beyond the bound are refused while the others wait
		if err := <-answers; err == nil {
			t.Fatal("answered before the verdict")
		}
	}
	close(release)
	for range maxWaiting {
		if err := <-answers; err != nil {
			t.Fatalf("waited and was not answered: %v", err)
		}
	}
	wg.Wait()
	if runs.Load() != maxWaiting || calls.Load() != 1 {
		t.Fatalf("%d runs, %d calls of Admit; want %d and 1", runs.Load(), calls.Load(), maxWaiting)
	}
	h.gate.mu.Lock()
	defer h.gate.mu.Unlock()
	if len(h.gate.pending) != 0 {
		t.Fatalf("%d verdicts pending", len(h.gate.pending))
	}
}

func TestGateVerdictTimesOut(t *testing.T) {
	h := start(t, "h", Config{AdmitTimeout: 50 * time.Millisecond, Admit: func(ctx context.Context, _ shoal.PeerID) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	runs := gatedHandlers(h)
	stranger := start(t, "stranger", Config{})
	meet(t, stranger, h)
	if _, err := try(t, stranger, h, "/shoal/x/rpc/1"); err == nil || runs.Load() != 0 {
		t.Fatalf("%v, %d runs", err, runs.Load())
	}
	// A caller may give up sooner than the verdict comes.
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	id, _ := peer.Decode(string(stranger.ID()))
	if err := h.gate.admit(ctx, id); shoal.KindOf(err) != shoal.Timeout {
		t.Fatalf("got %v, want Timeout", err)
	}
}

// TestGarbage sends random bytes on every protocol, as a stranger and as a member, and wants the
// host to serve on.
func TestGarbage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	h, good := start(t, "h", Config{Open: []string{"/ipfs/bitswap"}}), start(t, "good", Config{})
	gatedHandlers(h)
	for round := range 2 {
		if round == 1 {
			h.SetAdmit(everybody)
		}
		bad := start(t, "bad"+string(rune('0'+round)), Config{})
		meet(t, bad, h)
		id, _ := peer.Decode(string(h.ID()))
		var wg sync.WaitGroup
		for _, p := range h.inner.Mux().Protocols() {
			for range 3 {
				junk := make([]byte, rng.IntN(1<<rng.IntN(17)))
				for i := range junk {
					junk[i] = byte(rng.Uint32())
				}
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					s, err := bad.inner.NewStream(ctx, id, p)
					if err != nil {
						return
					}
					defer s.Reset()
					s.SetDeadline(time.Now().Add(5 * time.Second))
					if _, err := s.Write(junk); err == nil && s.CloseWrite() == nil {
						io.Copy(io.Discard, s)
					}
				})
			}
			// And a stream that is no multistream at all.
			if s, err := bad.inner.Network().NewStream(t.Context(), id); err == nil {
				s.Write([]byte("\xff\xff\xff\xff\xff not a protocol"))
				s.Reset()
			}
		}
		wg.Wait()
	}
	meet(t, good, h)
	if got, err := good.AskDoor(t.Context(), h.ID(), "hello", []byte("x")); string(got) != "x" {
		t.Fatalf("after the garbage: %q, %v", got, err)
	}
	if got, err := try(t, good, h, "/shoal/x/rpc/1"); got != "welcome\n" {
		t.Fatalf("after the garbage: %q, %v", got, err)
	}
}

func BenchmarkAdmit(b *testing.B) {
	g := newGate(b.Context(), Config{Admit: everybody, AdmitTimeout: time.Second})
	for b.Loop() {
		if err := g.admit(b.Context(), "p"); err != nil {
			b.Fatal(err)
		}
	}
}
