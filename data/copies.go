package data

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/gravity"
)

// Copies towards demand. What tasks fetch lies in the cache, which nobody hears of and which goes when space is wanted. Where
// the same is used again and again the node buys a copy (gravity.Copy): it records and announces it, so that others' tasks find it,
// too. It is beyond the R copies that the fabric keeps: repair does not count it, and the node may retire it by itself
// (gravity.Stock). Only such copies retire: whatever several holders do at once, the R copies are not touched. When
// one of those is lost, repair asks a holder of an extra copy first, and with that it is one of the R (role.set).

const (
	maxWanted  = 64   // copies waiting to be bought
	maxDemands = 4096 // graphs of which is remembered what was paid
	tellPrice  = 1.0  // seconds that it takes to record and announce a copy, besides its transfer
	freeShare  = 4    // a copy takes at most one part in so many of the free space
)

// copies is what this node knows of the demand for graphs it does not keep for the fabric.
type copies struct {
	mu     sync.Mutex
	graphs map[cid.Cid]*demand
	wanted chan cid.Cid
	looked map[cid.Cid]time.Time // when the other holders of an extra copy were last asked for
	Bought uint64
	Gone   uint64
}

// demand is what tasks on this node have paid for one graph.
type demand struct {
	rent   gravity.Copy
	fetch  float64 // seconds that the last fetch took
	uses   int
	why    string        // it was bought
	stock  gravity.Stock // of a copy that was
	bought bool
	used   time.Time
}

// Extra is a copy of a partition beyond the fabric's replicas, and why it is here.
type Extra struct {
	Partition int     `json:"partition"`
	Rent      float64 `json:"rent_s"`  // seconds that fetches took here, or would have taken without the cache, before it was bought
	Price     float64 `json:"price_s"` // seconds that a copy takes
	Worth     float64 `json:"worth_s"` // seconds that it still is worth: it goes with none left
	Uses      int     `json:"uses"`    // by tasks, since the node started
	Why       string  `json:"why"`
}

// Demand notes that a task here has read all of c, whose fetch took so long; 0: it was here. It may have a copy bought, which
// goes on in the background.
func (d *Data) Demand(c cid.Cid, took time.Duration) {
	if d.cfg.NoExtra || d.regular(c) {
		return
	}
	d.copies.mu.Lock()
	defer d.copies.mu.Unlock()
	e := d.copies.entry(c, time.Now())
	e.uses++
	if took > 0 {
		e.fetch = took.Seconds()
	}
	if e.bought {
		e.stock.Saved(e.fetch, d.cfg.KeepExtra, e.used)
		return
	}
	// What the cache saved counts as if it had been fetched: it may go at any time, and nobody else knows of it.
	buy, why := e.rent.Read(e.fetch, e.fetch+tellPrice)
	if !buy {
		return
	}
	e.why = why
	select {
	case d.copies.wanted <- c:
	default: // the next use asks again
	}
}

// entry returns what is known of the demand for c. The lock is held.
func (k *copies) entry(c cid.Cid, now time.Time) *demand {
	e := k.graphs[c]
	if e == nil {
		if k.graphs == nil {
			k.graphs, k.looked = map[cid.Cid]*demand{}, map[cid.Cid]time.Time{}
		}
		if len(k.graphs) >= maxDemands { // the one that was used the longest ago
			var least cid.Cid
			for c, e := range k.graphs {
				if l := k.graphs[least]; !e.bought && (l == nil || e.used.Before(l.used)) {
					least = c
				}
			}
			delete(k.graphs, least)
		}
		e = &demand{}
		k.graphs[c] = e
	}
	e.used = now
	return e
}

// regular reports whether all of c is kept here for the fabric or a pin.
func (d *Data) regular(c cid.Cid) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s := d.sets[c]; s != nil && s.kept() {
		all := true
		for i := range s.m.Partitions {
			all = all && (s.Pinned || s.holds(i))
		}
		if all {
			return true
		}
	}
	for _, at := range d.parts[c] {
		if s := d.sets[at.root]; s.Pinned || s.holds(at.index) {
			return true
		}
	}
	return false
}

// buyWanted buys one copy after the other.
func (d *Data) buyWanted(ctx context.Context) {
	for {
		select {
		case c := <-d.copies.wanted:
			if err := d.buy(ctx, c); err != nil && ctx.Err() == nil {
				d.log.Debug("a copy is not bought", "cid", c, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// buy makes this node a holder of c beyond the fabric's replicas.
func (d *Data) buy(ctx context.Context, c cid.Cid) error {
	m, parts, err := d.belongs(ctx, c)
	if err != nil {
		return err
	}
	var (
		put, gone int64
		peers     []shoal.PeerID
		size      uint64
	)
	d.survey(ctx, m.Root, func(h holding) {
		put, gone = max(put, h.put), max(gone, h.gone)
		if len(h.kept) > 0 && h.peer != d.Peers.Self() {
			peers = append(peers, h.peer)
		}
	})
	if len(peers) == 0 || gone > put {
		return shoal.E(shoal.NotFound, "copy "+c.String(), "nobody keeps it for the fabric", "")
	}
	for _, i := range parts {
		size += m.Partitions[i].Bytes
	}
	if free, err := d.freeBytes(); err != nil || size > free/freeShare {
		return shoal.E(shoal.Full, "copy "+c.String(), "there is too little space for copies that nobody asked for", "")
	}
	defer d.Store.begin()()
	if _, err := d.inner(ctx, m, peers); err != nil {
		return err
	}
	for _, i := range parts {
		if _, err := d.part(ctx, m.Partitions[i].CID, peers); err != nil {
			return err
		}
	}
	s, err := d.update(m, func(r *role) {
		r.Bare, r.Gone, r.Put = false, 0, max(r.Put, put)
		for _, i := range parts {
			if !r.holds(i) {
				r.setExtra(i, true)
			}
		}
		for _, p := range peers {
			if !slices.Contains(r.Peers, string(p)) && len(r.Peers) < maxPeers {
				r.Peers = append(slices.Clone(r.Peers), string(p))
			}
		}
	})
	if err != nil {
		return err
	}
	d.copies.mu.Lock()
	e := d.copies.entry(c, time.Now())
	e.bought, e.stock = true, gravity.Bought(e.fetch+tellPrice, time.Now())
	d.copies.Bought++
	why := e.why
	d.copies.mu.Unlock()
	d.log.Info("a copy is kept here beyond the replicas", "root", m.Root, "partitions", parts, "why", why)
	d.announce(ctx, s)
	if s.m.Public {
		d.publicise(ctx, s.m)
	}
	return nil
}

// belongs finds the dataset that c is, or is a partition of, and which partitions that are.
func (d *Data) belongs(ctx context.Context, c cid.Cid) (*shoal.Manifest, []int, error) {
	var m *shoal.Manifest
	d.mu.RLock()
	for _, at := range d.parts[c] {
		if s := d.sets[at.root]; m == nil && at.root != c && !s.Bare && s.Gone == 0 {
			m = s.m
		}
	}
	if s := d.sets[c]; m == nil && s != nil && s.Put > 0 && !s.Bare && s.Gone == 0 {
		m = s.m
	}
	d.mu.RUnlock()
	if m == nil {
		ask := map[shoal.PeerID]cid.Cid{}
		d.survey(ctx, c, func(h holding) {
			switch {
			case h.peer == d.Peers.Self():
			case h.root.Defined():
				ask[h.peer] = h.root
			case h.known && h.put > 0:
				ask[h.peer] = c
			}
		})
		for _, p := range slices.Sorted(maps.Keys(ask)) {
			if got, err := d.askManifest(ctx, p, ask[p]); err == nil {
				m = got
				break
			}
		}
	}
	if m == nil {
		return nil, nil, shoal.E(shoal.NotFound, "copy "+c.String(), "it belongs to no dataset that anybody tells of", "")
	}
	var parts []int
	for i, p := range m.Partitions {
		if m.Root.Equals(c) || p.CID.Equals(c) {
			parts = append(parts, i)
		}
	}
	return m, parts, nil
}

// Extras counts the copies kept here beyond the fabric's, and their bytes of content.
func (d *Data) Extras() (copies int, bytes uint64) {
	for _, s := range d.all() {
		for _, i := range s.extras() {
			copies++
			bytes += s.m.Partitions[i].Bytes
		}
	}
	return copies, bytes
}
