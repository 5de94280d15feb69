package gossip

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/host"
	"github.com/shoal-fabric/shoal/pubsub/cast"
)

const name = "topic/test"

// party is one node on a real socket.
type party struct {
	*host.Host
	*Gossip
	key ed25519.PrivateKey
	ch  cast.Channel

	mu  sync.Mutex
	got map[string]int
}

func newParty(t *testing.T, cfg Config) *party {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.New(host.Config{
		Key: key, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Admit: func(context.Context, shoal.PeerID) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	cfg.Fabric = "f"
	p := &party{Host: h, Gossip: New(h.Libp2p(), cfg), key: key, got: map[string]int{}}
	t.Cleanup(func() { p.Gossip.Close() })
	return p
}

// join takes part. Messages that begin with x are to be rejected.
func (p *party) join(t *testing.T) {
	t.Helper()
	var err error
	p.ch, err = p.Join(name, func(_ shoal.PeerID, b []byte) cast.Verdict {
		if len(b) == 0 || b[0] == 'x' {
			return cast.Reject
		}
		return cast.Accept
	}, func(from shoal.PeerID, b []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.got[string(from)+" "+string(b)]++
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *party) has(from *party, text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[string(from.ID())+" "+text]
}

func meet(t *testing.T, all []*party) {
	t.Helper()
	for i, a := range all {
		for _, b := range all[:i] {
			if err := a.Connect(t.Context(), b.ID(), b.Addresses()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// villain speaks the protocol by hand.
type villain struct {
	*party
	streams []network.Stream
}

func newVillain(t *testing.T, victims []*party) *villain {
	t.Helper()
	v := &villain{party: newParty(t, Config{})}
	v.Libp2p().SetStreamHandler("/meshsub/1.2.0", func(s network.Stream) { // listens, and says nothing
		b := make([]byte, 4096)
		for {
			if _, err := s.Read(b); err != nil {
				return
			}
		}
	})
	meet(t, append(slices.Clone(victims), v.party))
	for _, p := range victims {
		id, err := peer.Decode(string(p.ID()))
		if err != nil {
			t.Fatal(err)
		}
		s, err := v.Libp2p().NewStream(t.Context(), id, "/meshsub/1.2.0")
		if err != nil {
			t.Fatal(err)
		}
		v.streams = append(v.streams, s)
	}
	v.send(&pb.RPC{
		Subscriptions: []*pb.RPC_SubOpts{{Subscribe: proto.Bool(true), Topicid: proto.String("shoal/f/" + name)}},
		Control:       &pb.ControlMessage{Graft: []*pb.ControlGraft{{TopicID: proto.String("shoal/f/" + name)}}},
	})
	return v
}

// send sends to all victims; what they do not take is lost.
func (v *villain) send(rpc *pb.RPC) {
	b, err := proto.Marshal(rpc)
	if err != nil {
		panic(err)
	}
	b = append(binary.AppendUvarint(nil, uint64(len(b))), b...)
	for _, s := range v.streams {
		_ = s.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = s.Write(b)
	}
}

// message makes a message that is signed as it should be.
func (v *villain) message(seq uint64, data []byte) *pb.Message {
	id, err := peer.Decode(string(v.ID()))
	if err != nil {
		panic(err)
	}
	m := &pb.Message{From: []byte(id), Data: data, Topic: proto.String("shoal/f/" + name), Seqno: binary.BigEndian.AppendUint64(nil, seq)}
	v.sign(m)
	return m
}

func (v *villain) sign(m *pb.Message) {
	m.Signature, m.Key = nil, nil
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(v.key)
	if err != nil {
		panic(err)
	}
	if m.Signature, err = key.Sign(append([]byte("libp2p-pubsub:"), b...)); err != nil {
		panic(err)
	}
}

func TestMessagesReachAll(t *testing.T) {
	all := []*party{newParty(t, Config{}), newParty(t, Config{}), newParty(t, Config{})}
	meet(t, all)
	for _, p := range all {
		p.join(t)
	}
	eventually(t, "they know of each other", func() bool {
		return !slices.ContainsFunc(all, func(p *party) bool { return p.ch.Peers() < 2 })
	})
	time.Sleep(2 * time.Second) // the mesh stands after a heartbeat or two
	large := make([]byte, cast.MaxEnvelope)
	large[0] = 'l'
	for i, p := range all {
		if err := p.ch.Publish(t.Context(), fmt.Append(nil, "hello ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := all[0].ch.Publish(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	for i, from := range all {
		for j, p := range all {
			if i != j {
				eventually(t, fmt.Sprint(i, " reaches ", j), func() bool { return p.has(from, fmt.Sprint("hello ", i)) == 1 })
			}
		}
		if from.has(from, fmt.Sprint("hello ", i)) != 0 {
			t.Error("it hears itself")
		}
	}
	eventually(t, "the largest arrives", func() bool { return all[2].has(all[0], string(large)) == 1 })
	if _, err := all[0].Join(name, nil, nil); shoal.KindOf(err) != shoal.Exists {
		t.Errorf("joined twice: %v", err)
	}
	for range 3 { // left and joined again
		if err := all[0].ch.Close(); err != nil {
			t.Fatal(err)
		}
		all[0].join(t)
	}
	eventually(t, "it is back", func() bool { return all[0].ch.Peers() == 2 })
}

// Peers that mean no good do not keep the others from hearing each other, and are not listened to soon.
func TestVillains(t *testing.T) {
	var all []*party
	for range 5 {
		all = append(all, newParty(t, Config{PeerCount: 500, Author: 100}))
	}
	meet(t, all)
	for _, p := range all {
		p.join(t)
	}
	eventually(t, "they know of each other", func() bool {
		return !slices.ContainsFunc(all, func(p *party) bool { return p.ch.Peers() < 4 })
	})
	time.Sleep(2 * time.Second)
	silent, spams, replays, forges, signs, large, malformed := newVillain(t, all), newVillain(t, all), newVillain(t, all), newVillain(t, all), newVillain(t, all), newVillain(t, all), newVillain(t, all)
	old := malformed.message(1, []byte("old news"))
	seq := uint64(time.Now().UnixNano())
	round := func(i int) {
		seq++
		spam := &pb.RPC{}
		for range 200 {
			seq++
			spam.Publish = append(spam.Publish, spams.message(seq, fmt.Append(nil, "spam ", seq)))
		}
		spams.send(spam)
		again := &pb.RPC{}
		for range 300 {
			again.Publish = append(again.Publish, old)
		}
		replays.send(again)
		forged := forges.message(seq, []byte("forged"))
		id, _ := peer.Decode(string(all[0].ID()))
		forged.From = []byte(id)
		forges.sign(forged)
		forges.send(&pb.RPC{Publish: []*pb.Message{forged}})
		bad := signs.message(seq, []byte("unsigned"))
		bad.Signature[i%len(bad.Signature)] ^= 1
		signs.send(&pb.RPC{Publish: []*pb.Message{bad}})
		large.send(&pb.RPC{Publish: []*pb.Message{large.message(seq, append([]byte("x"), make([]byte, cast.MaxEnvelope+1)...))}})
		malformed.send(&pb.RPC{Publish: []*pb.Message{malformed.message(seq, []byte("x"))}})
	}
	for i := range 15 {
		round(i)
		text := fmt.Sprint("round ", i)
		for _, p := range all {
			if err := p.ch.Publish(t.Context(), []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		for _, from := range all {
			for _, p := range all {
				if from != p {
					eventually(t, text, func() bool { return p.has(from, text) == 1 })
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(1500 * time.Millisecond) // the scores are noted
	for _, p := range all {
		scores := p.Scores()
		for _, other := range all {
			if s := scores[other.ID()]; other != p && s < 0 {
				t.Errorf("a good neighbour has %.1f", s)
			}
			if other != p && scores[silent.ID()] > scores[other.ID()] {
				t.Errorf("who is silent has %.1f, who speaks %.1f", scores[silent.ID()], scores[other.ID()])
			}
		}
		for _, v := range []struct {
			name string
			v    *villain
			most float64
		}{{"spams", spams, noGossip}, {"replays", replays, noGossip}, {"forges", forges, unheard}, {"signs badly", signs, unheard}, {"sends what is too large", large, unheard}, {"sends what is malformed", malformed, unheard}} {
			if s := scores[v.v.ID()]; s > v.most {
				t.Errorf("who %s has %.1f", v.name, s)
			}
		}
		p.mu.Lock()
		for text := range p.got {
			if slices.Contains([]string{"forged", "unsigned"}, text[len(text)-min(len(text), 8):]) || len(text) > 1000 {
				t.Errorf("it took %.80q", text)
			}
		}
		p.mu.Unlock()
	}
}
