package world

import (
	"context"
	"crypto/sha256"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"

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

// acquaint connects each node to some others, drawn among all, as one that has been around for a while is. With those who drew it
// there is about the mesh that members keep up without a table.
func (w *world) acquaint(ctx context.Context) {
	const draws = 12
	dice := scenario.Dice(w.seed, "acquaintances")
	var all sync.WaitGroup
	for _, m := range w.machines {
		own := rand.New(rand.NewPCG(dice.Uint64(), 0))
		all.Go(func() {
			n := m.live.Load().Backstage()
			for range draws {
				if o := w.machines[own.IntN(len(w.machines))]; o != m && !o.class.NAT {
					_ = n.Connect(ctx, o.id, []string{o.listen}) // one more or less
				}
			}
		})
	}
	all.Wait()
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
