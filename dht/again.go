package dht

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/ipfs/go-cid"
	kb "github.com/libp2p/go-libp2p-kbucket"
	mh "github.com/multiformats/go-multihash"
)

// When what is announced is announced again because the fabric has turned out to be larger.
const (
	extentLook = 3 * time.Second
	growth     = 2.0  // times as large as when all was announced last
	still      = 1.25 // times as large as at the last look, at most: it grows no more
	fewKeys    = 64   // are announced one by one; more by the sweeper
	againPause = time.Minute
)

// again announces all that this node announces once more when the fabric is seen to be twice as large as it was the last time. A node that
// starts announces what it has before it has met anybody, and a young fabric grows: those who heard of a key then are no longer
// the closest to it. While all peers are in the table, each is told as it comes (tell); beyond, nobody else would do it before the
// next turn of the sweeper, hours later.
func (d *DHT) again() {
	tick := time.NewTicker(extentLook)
	defer tick.Stop()
	placed, last, after := 1.0, 1.0, time.Time{}
	if d.cfg.Warm {
		placed = math.Inf(1) // until its table is filled, from when on it is as large as it is
	}
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		if !d.beyond() {
			last = 1
			continue
		}
		now := d.extent()
		if math.IsInf(placed, 1) && time.Since(d.begun) >= warmTime {
			placed = now
		}
		if now >= growth*placed && now <= still*last && time.Now().After(after) {
			if err := d.announceAll(announcing(d.ctx)); err == nil {
				placed = now
			} else {
				d.cfg.Log.Debug("dht: announce again", "error", err)
				after = time.Now().Add(againPause)
			}
		}
		last = now
	}
}

// beyond reports whether there may be peers that the table has no room for.
func (d *DHT) beyond() bool {
	for cpl := range uint(16) {
		if d.kad.RoutingTable().NPeersForCpl(cpl) >= bucketSize {
			return true
		}
	}
	return false
}

// extent is about how many peers there are: as many as the table has, or how many those closest to this node are for if all lie as close to
// one another as they do.
func (d *DHT) extent() float64 {
	rt := d.kad.RoutingTable()
	self := kb.ConvertPeerID(d.host.ID())
	near := rt.NearestPeers(self, bucketSize)
	if len(near) < bucketSize {
		return float64(len(near))
	}
	var far uint64
	for _, p := range near {
		id := kb.ConvertPeerID(p)
		far = max(far, binary.BigEndian.Uint64(id)^binary.BigEndian.Uint64(self))
	}
	return max(bucketSize*math.Exp2(64)/float64(max(far, 1)), float64(len(near)))
}

// announceAll announces all keys anew.
func (d *DHT) announceAll(ctx context.Context) error {
	return d.announced(ctx, func(all int, keys []mh.Multihash) error {
		if all > fewKeys {
			return d.sweep.StartProviding(true, keys...)
		}
		return d.announceEach(ctx, keys)
	})
}

// announceEach announces keys one by one.
func (d *DHT) announceEach(ctx context.Context, keys []mh.Multihash) error {
	var errs []error
	for _, k := range keys {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, d.kad.Provide(ctx, cid.NewCidV1(cid.Raw, k), true))
	}
	return errors.Join(errs...)
}
