package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/wire"
)

// open are the protocols of a node that strangers may use, one for each reason. Whoever adds one says so
// here, and in SECURITY.md.
var open = []protocol.ID{
	"/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0",
	"/libp2p/autonat/1.0.0", "/libp2p/circuit/relay/0.2.0/hop", "/libp2p/circuit/relay/0.2.0/stop", "/libp2p/dcutr",
	"/shoal/door/hello/1", "/shoal/door/join/1", "/shoal/door/lan/1", "/shoal/door/fabric/1",
	"/ipfs/bitswap", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.2.0",
}

// outsider is a host that is in no fabric, and whose own gate lets every stream out.
func outsider(t *testing.T) *host.Host {
	t.Helper()
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	h, err := host.New(host.Config{
		Key: ed25519.NewKeyFromSeed(seed), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Open: []string{bitswapProtocols},
		Admit: func(context.Context, shoal.PeerID) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func served(t *testing.T, n *Node) (list []protocol.ID) {
	t.Helper()
	list = n.rooms.host.Libp2p().Mux().Protocols()
	fabric := "/shoal/" + n.Status().Fabric + "/"
	own := 0
	for _, p := range list {
		if strings.HasPrefix(string(p), fabric) {
			own++
		}
	}
	if own < 3 || !slices.Contains(list, protocol.ID(fabric+"kad/1.0.0")) {
		t.Fatalf("a node should serve the DHT, calls and streams under its fabric's name: %q", list)
	}
	return list
}

// exchange sends b on a stream of its own and reads until the other side ends it.
func exchange(ctx context.Context, from corehost.Host, to peer.ID, p protocol.ID, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	s, err := from.NewStream(ctx, to, p)
	if err != nil {
		return err
	}
	defer s.Reset()
	if err := s.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := s.Write(b); err != nil {
		return err
	}
	_ = s.CloseWrite() // if the stream was reset already, reading tells with which code; this would tell in yamux's words
	_, err = io.Copy(io.Discard, s)
	return err
}

// TestGateOfANode has a stranger, already connected, try every protocol that a complete node serves.
func TestGateOfANode(t *testing.T) {
	t.Parallel()
	n := nodes(t, 1, nil)[0]
	out := outsider(t)
	if err := out.Connect(t.Context(), n.ID(), n.Status().Addresses); err != nil {
		t.Fatal(err)
	}
	id, err := peer.Decode(string(n.ID()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	closed := 0
	for _, p := range served(t, n) {
		if slices.Contains(open, p) {
			if name := "`" + strings.TrimSuffix(strings.TrimSuffix(string(p), "/1"), "/1.0.0") + "`"; !strings.Contains(string(text), name) &&
				!strings.HasPrefix(string(p), bitswapProtocols+"/") {
				t.Errorf("SECURITY.md does not say that %s is open to strangers", name)
			}
			continue
		}
		closed++
		// The gate's own code: the handler, which would end the stream in another way, never saw it.
		var reset *network.StreamError
		if err := exchange(t.Context(), out.Libp2p(), id, p, []byte("hello")); !errors.As(err, &reset) || !reset.Remote ||
			reset.ErrorCode != network.StreamGated {
			t.Errorf("%s: %v, want a reset by the gate", p, err)
		}
	}
	if closed < 3 {
		t.Errorf("only %d protocols are closed to strangers", closed)
	}
	if err := exchange(t.Context(), out.Libp2p(), id, "/shoal/door/fabric/1", wire.AppendFrame(nil, nil)); err != nil {
		t.Errorf("an open protocol: %v", err)
	}
}

// TestConnectAsHeard: who is reached at an address that is known already is not looked for in the DHT, where nobody knows it; nor is
// that the end when the address is of old.
func TestConnectAsHeard(t *testing.T) {
	t.Parallel()
	n := nodes(t, 1, nil)[0]
	out := outsider(t)
	if err := n.connect(t.Context(), out.ID()); shoal.KindOf(err) != shoal.NotFound {
		t.Fatalf("somebody nobody has heard of: %v", err)
	}
	if err := n.rooms.host.Connect(t.Context(), out.ID(), out.Addresses()); err != nil {
		t.Fatal(err)
	}
	n.rooms.host.Disconnect(out.ID())
	if err := n.connect(t.Context(), out.ID()); err != nil {
		t.Errorf("at the address that it had a moment ago: %v", err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	n.rooms.host.Disconnect(out.ID()) // it may not have noticed
	if err := n.connect(t.Context(), out.ID()); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("when it is gone: %v", err)
	}
}

// garbage is what is no message: noise, and noise in the frames that protobuf and CBOR messages come in.
func garbage(r *rand.Rand) [][]byte {
	noise := make([]byte, 1+r.IntN(1<<r.IntN(15)))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	framed := append(binary.AppendUvarint(nil, uint64(len(noise))), noise...)
	return [][]byte{
		noise, framed, wire.AppendFrame(nil, noise),
		wire.AppendFrame(nil, wire.Marshal(map[string]any{"f": []int{1, 2}, "c": "no chain", "i": -1})), // CBOR of another type
		binary.AppendUvarint(nil, 1<<62),                      // a length and nothing else
		append([]byte{8}, 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f), // protobuf: a field longer than the message
	}
}

// TestGarbageToANode sends garbage on every protocol that a complete node serves, as a member and as a
// stranger. The node goes on.
func TestGarbageToANode(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	ns := nodes(t, 2, func(_ int, c *Config) { c.patient = true })
	out := outsider(t)
	if err := out.Connect(t.Context(), ns[0].ID(), ns[0].Status().Addresses); err != nil {
		t.Fatal(err)
	}
	id, err := peer.Decode(string(ns[0].ID()))
	if err != nil {
		t.Fatal(err)
	}
	protos := served(t, ns[0])
	for _, from := range []corehost.Host{out.Libp2p(), ns[1].rooms.host.Libp2p()} {
		var all sync.WaitGroup
		room := make(chan struct{}, 16)
		for _, p := range protos {
			for _, b := range garbage(r) {
				room <- struct{}{}
				all.Go(func() {
					defer func() { <-room }()
					_ = exchange(t.Context(), from, id, p, b) // however it answers
				})
			}
		}
		all.Wait()
	}
	t.Logf("%d protocols", len(protos))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if _, err := ns[1].rooms.host.RTT(ctx, ns[0].ID()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if _, err := ns[1].rooms.rpc.Ask(ctx, ns[0].ID(), "members.record", nil); err != nil {
		t.Errorf("a call: %v", err)
	}
	dir, _ := corpus(t, 4, 10)
	for i, n := range ns {
		if res, err := n.Put(ctx, dir, data.PutOptions{Replicas: 2}); err != nil || len(res.Holders) != 2 {
			t.Errorf("put on node %d: %+v, %v", i, res.Holders, err)
		}
	}
}
