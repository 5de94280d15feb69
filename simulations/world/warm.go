package world

import (
	"crypto/sha256"
	"math/bits"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// bucket is how many peers a bucket of a routing table has room for.
const bucket = 20

// fill puts into each routing table what a node that has been around for long has there: of each distance, up to a bucket of
// peers, drawn among all.
func (w *world) fill() {
	dice := scenario.Dice(w.seed, "tables")
	for _, m := range w.machines {
		peers, full := map[shoal.PeerID][]string{}, map[int]int{}
		for _, j := range dice.Perm(len(w.machines)) {
			o := w.machines[j]
			d := common(m.place, o.place)
			if o == m || full[d] >= bucket || o.class.NAT {
				continue
			}
			full[d]++
			peers[o.id] = []string{o.listen}
		}
		m.live.Load().Backstage().Fill(peers)
	}
}

// announce has the nodes closest to each key know who announced it, as all are.
func (w *world) announce() error {
	said := map[shoal.Key]map[shoal.PeerID][]string{}
	for _, m := range w.machines {
		for _, k := range m.live.Load().Backstage().Keys() {
			if said[k] == nil {
				said[k] = map[shoal.PeerID][]string{}
			}
			said[k][m.id] = []string{m.listen}
		}
	}
	for key, by := range said {
		at := sha256.Sum256([]byte(key))
		list := slices.DeleteFunc(slices.Clone(w.machines), func(m *machine) bool { return m.class.NAT })
		slices.SortFunc(list, func(a, b *machine) int {
			if nearer(at, a.place, b.place) {
				return -1
			}
			return 1
		})
		for _, m := range list[:min(bucket, len(list))] {
			if err := m.live.Load().Backstage().Note(key, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// place is where a peer stands in the key space.
func place(p shoal.PeerID) [32]byte { return sha256.Sum256([]byte(peerOf(p))) }

// peerOf is the peer's ID as libp2p has it.
func peerOf(p shoal.PeerID) peer.ID {
	id, err := peer.Decode(string(p))
	if err != nil {
		panic("world: " + err.Error()) // the world made it
	}
	return id
}

// common is how many bits two keys begin with alike.
func common(a, b [32]byte) (n int) {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return n + bits.LeadingZeros8(x)
		}
		n += 8
	}
	return n
}

// nearer reports whether a is nearer to key than b.
func nearer(key, a, b [32]byte) bool {
	for i := range key {
		if x, y := a[i]^key[i], b[i]^key[i]; x != y {
			return x < y
		}
	}
	return false
}
