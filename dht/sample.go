package dht

import (
	"context"
	"crypto/rand"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
)

// Sample returns up to n other peers from all over the key space: the routing table, then whoever is
// closest to random keys. It ends early when two lookups in a row meet nobody new, and with ctx.
func (d *DHT) Sample(ctx context.Context, n int) (list []shoal.PeerID) {
	d.settle(ctx)
	seen := map[peer.ID]bool{d.host.ID(): true}
	add := func(peers []peer.ID) (fresh bool) {
		for _, p := range peers {
			if !seen[p] && len(list) < n {
				seen[p], fresh = true, true
				list = append(list, shoal.PeerID(p.String()))
			}
		}
		return fresh
	}
	add(d.kad.RoutingTable().ListPeers())
	for idle := 0; idle < 2 && len(list) < n && ctx.Err() == nil; {
		peers, _ := d.kad.GetClosestPeers(ctx, rand.Text()) // who was met on the way counts, whatever came then
		if add(peers) {
			idle = 0
		} else {
			idle++
		}
	}
	return list
}
