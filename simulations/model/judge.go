package model

import (
	"crypto/ed25519"
	"encoding/binary"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/dht/record"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/wire"
)

// judge chooses among the records that the DHT's nodes have of a peer, by dht/record, as GetRecord does.
type judge struct {
	c     *city
	peers map[node]*sealed
}

// sealed is what a peer has said of itself, in two versions: some keepers missed the later one.
type sealed struct {
	key    string
	values [][]byte
}

// mostSealed bounds the peers whose records are kept: making them takes signatures.
const mostSealed = 1024

func newJudge(c *city) *judge { return &judge{c: c, peers: map[node]*sealed{}} }

// sees reports whether the latest record of n is found out of what the keepers have, and says that it has a GPU.
func (j *judge) sees(n node) bool {
	p := j.peers[n]
	if p == nil {
		if len(j.peers) >= mostSealed {
			clear(j.peers)
		}
		p = j.seal(n)
		j.peers[n] = p
	}
	*j.c.leaves["record"]++
	i, err := record.Validator{Fabric: simFabric}.Select(p.key, p.values)
	return err == nil && i == 1
}

const simFabric = "simulated"

// seal makes a node's records.
func (j *judge) seal(n node) *sealed {
	var seed [ed25519.SeedSize]byte
	binary.LittleEndian.PutUint64(seed[:], j.c.seed)
	binary.LittleEndian.PutUint32(seed[8:], n)
	key := ed25519.NewKeyFromSeed(seed[:])
	id := capability.PeerIDOf(key.Public().(ed25519.PublicKey))
	p := &sealed{key: record.Key(id)}
	for seq := range uint64(2) {
		r := view.Record{Fabric: simFabric, Life: 1, Seq: 1 + seq, At: 1, TTL: 30, Attributes: attributes(j.c.of(n)), Load: shoal.Load{Slots: j.c.of(n).Cores}}
		e, err := r.Seal(key)
		if err != nil {
			return p // too large to be said; nobody sees it
		}
		p.values = append(p.values, wire.Marshal(e))
	}
	return p
}
