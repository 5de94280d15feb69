package kad_test

import (
	"crypto/rand"
	"testing"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/memnet"
)

func TestSizes(t *testing.T) {
	size := func(m *pb.Message) int { n := proto.Size(m); return n + protowire.SizeVarint(uint64(n)) }
	answer := func(n int) *pb.Message {
		var infos []peer.AddrInfo
		for i := range n {
			_, public, err := crypto.GenerateEd25519Key(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			id, err := peer.IDFromPublicKey(public)
			if err != nil {
				t.Fatal(err)
			}
			infos = append(infos, peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast(memnet.Address(i))}})
		}
		m := pb.NewMessage(pb.Message_FIND_NODE, nil, 0)
		m.CloserPeers = pb.RawPeerInfosToPBPeers(infos)
		for _, p := range m.CloserPeers {
			p.Connection = pb.ConnectionType(network.Connected)
		}
		return m
	}
	announce := pb.NewMessage(pb.Message_ADD_PROVIDER, make([]byte, 34), 0)
	announce.ProviderPeers = answer(1).CloserPeers
	announce.ProviderPeers[0].Connection = pb.ConnectionType(network.NotConnected)
	for what, v := range map[string][2]int{
		"FIND_NODE":         {kad.SizeAsk, size(pb.NewMessage(pb.Message_FIND_NODE, []byte(rand.Text()), 0))},
		"GET_PROVIDERS":     {kad.SizeSeek, size(pb.NewMessage(pb.Message_GET_PROVIDERS, make([]byte, 34), 0))},
		"answer":            {kad.SizeAnswer, size(answer(0))},
		"answer of 20":      {kad.SizeAnswer + 1 + 20*kad.SizePeer, size(answer(20))},
		"ADD_PROVIDER":      {kad.SizeAnnounce, size(announce)},
		"begin of a stream": {kad.SizeStream("/shoal/x"), 2 * (20 + 1 + len("/shoal/x/kad/1.0.0\n"))},
	} {
		if v[0] != v[1] {
			t.Errorf("%s: %d bytes, kad-dht writes %d", what, v[0], v[1])
		}
	}
}
