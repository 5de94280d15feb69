package data

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

// GC drops all blocks that no pin, kept partition, lease or use needs, the whole cache among them,
// and returns how much that freed. Puts and fetches may go on meanwhile.
func (d *Data) GC(ctx context.Context) (freed uint64, blocks int, err error) {
	freed, blocks, err = d.collect(ctx, nil, 0)
	return freed, blocks, shoal.Wrap(shoal.Internal, "collect garbage", err)
}

// tidy frees the oldest of the cache when there is too much of it, or too little space.
func (d *Data) tidy(ctx context.Context) error {
	var cache uint64
	for _, s := range d.all() {
		if s.Used > 0 && !s.kept() {
			cache += s.m.Bytes
		}
	}
	budget := d.cfg.CacheBytes
	if free, err := d.freeBytes(); err == nil && free < budget {
		budget = min(budget, (cache+free)/2) // the cache never takes more than half of what is left
	}
	if !d.dirty.Swap(false) && cache <= budget {
		return nil
	}
	_, _, err := d.collect(ctx, nil, budget)
	return err
}

// collect drops blocks that nothing needs: those of the graphs in only, or any if that is nil. Of the
// cache it leaves the most recently used, up to budget bytes.
func (d *Data) collect(ctx context.Context, only []cid.Cid, budget uint64) (freed uint64, blocks int, err error) {
	d.collecting.Lock()
	defer d.collecting.Unlock()
	defer d.Store.begin()() // from now on, what anybody touches stays
	if err := d.expire(ctx, budget); err != nil {
		return 0, 0, err
	}
	need, err := d.need(ctx)
	if err != nil {
		return 0, 0, err
	}
	d.complete.clear()
	defer d.complete.clear()
	var batch []cid.Cid
	flush := func() error {
		n, b, spared, err := d.Store.sweep(ctx, batch)
		freed, blocks, batch = freed+n, blocks+b, batch[:0]
		if only != nil && spared > 0 { // Run looks again when whoever uses them may be done
			d.dirty.Store(true)
		}
		return err
	}
	drop := func(c cid.Cid) error {
		if _, ok := need[markOf(c)]; ok {
			return nil
		}
		if batch = append(batch, c); len(batch) < 64 {
			return nil
		}
		return flush()
	}
	if only == nil {
		for c, err := range d.Store.All(ctx) {
			if err == nil {
				err = drop(c)
			}
			if err != nil {
				return freed, blocks, err
			}
		}
	}
	for _, root := range only {
		err := d.Graph.Walk(ctx, root, d.Store.Get, func(c cid.Cid, _ int, _ bool) error { return drop(c) })
		if err != nil && ctx.Err() != nil {
			return freed, blocks, err
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			d.log.Debug("walk of a dropped graph", "root", root, "err", err)
		}
	}
	return freed, blocks, flush()
}

// expire forgets leases that ran out and cached graphs beyond the budget, the oldest first, and then
// records that say nothing any more.
func (d *Data) expire(ctx context.Context, budget uint64) error {
	now := time.Now()
	sets := d.all()
	slices.SortStableFunc(sets, func(a, b *dataset) int { return int(b.Used - a.Used) })
	inUse := map[cid.Cid]bool{}
	for _, c := range d.holds.list() {
		inUse[c] = true
	}
	var cache uint64
	for _, s := range sets {
		if s.Used > 0 && !s.kept() {
			cache += s.m.Bytes
		}
		old := s.Used > 0 && !inUse[s.m.Root] && (budget == 0 || !s.kept() && cache > budget)
		out := s.Lease > 0 && s.Lease <= now.Unix()
		var err error
		if next := s; old || out {
			next, err = d.update(s.m, func(r *role) {
				if old {
					r.Used, r.Shown = 0, false
				}
				if out {
					r.Lease = 0
				}
			})
			if err != nil {
				return err
			}
			if old && s.Shown {
				d.withdraw(ctx, s)
			}
			s = next
		}
		if s.kept() || s.Used > 0 || s.Lease > 0 || now.Sub(time.UnixMilli(s.Gone)) < keepGone {
			continue
		}
		if err := d.forget(s); err != nil {
			return err
		}
		d.unpublicise(s.m)
	}
	return nil
}

// keepGone is how long a node remembers that a dataset was released, to tell holders that were away.
const keepGone = 30 * 24 * time.Hour

// need lists the blocks that must stay.
func (d *Data) need(ctx context.Context) (map[mark]struct{}, error) {
	need := map[mark]struct{}{}
	add := func(root cid.Cid, leaves, must bool) error {
		visit := func(c cid.Cid, _ int, leaf bool) error {
			if !leaf || leaves {
				need[markOf(c)] = struct{}{}
			}
			return nil
		}
		err := d.Graph.Walk(ctx, root, d.Store.Get, visit)
		if err != nil && must && ctx.Err() == nil { // a node is damaged or gone: what hangs below it?
			err = d.Graph.Walk(ctx, root, d.reader(root), visit)
		}
		if err != nil && (must || ctx.Err() != nil) {
			return &shoal.Error{
				Kind: shoal.KindOf(err), What: "find out what " + root.String() + " needs", Why: err.Error(),
				Try: "bring its holders back, or unpin it", Err: err,
			}
		}
		return nil
	}
	now := time.Now()
	for _, s := range d.all() {
		whole := s.whole(now)
		if whole || s.kept() {
			if err := add(s.m.Root, whole, s.kept()); err != nil {
				return nil, err
			}
		}
		for i, p := range s.m.Partitions {
			if (whole || s.keeps(i)) && (p.CID != s.m.Root || !whole) { // the only partition may be the root
				if err := add(p.CID, true, s.kept()); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, c := range d.holds.list() {
		if err := add(c, true, false); err != nil {
			return nil, err
		}
		if m := d.know(c); m != nil {
			for _, p := range m.m.Partitions {
				if err := add(p.CID, true, false); err != nil {
					return nil, err
				}
			}
		}
	}
	return need, nil
}

// Pin brings all of c here, keeps it and announces it, until Unpin.
func (d *Data) Pin(ctx context.Context, c cid.Cid) error {
	what := "pin " + c.String()
	defer d.Store.begin()()
	m, err := d.Manifest(ctx, c)
	if err != nil {
		return shoal.Wrap(shoal.NotFound, what, err)
	}
	if _, err := d.Ensure(ctx, c, Content, nil); err != nil {
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	made := m.Name == ""
	s, err := d.update(&m, func(r *role) {
		r.Pinned, r.Bare = true, r.Bare && made
		if r.Gone > 0 {
			r.Gone = 0
		}
	})
	if err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	for _, p := range s.m.Partitions { // their nodes are not those of the whole
		if _, err := d.part(ctx, p.CID, nil); err != nil {
			return shoal.Wrap(shoal.Unavailable, what, err)
		}
	}
	if s.m.Public {
		d.publicise(ctx, s.m)
	}
	d.announce(ctx, s)
	return nil
}

// Pins lists what this node was asked to pin.
func (d *Data) Pins() (out []shoal.Manifest) {
	for _, s := range d.all() {
		if s.Pinned {
			out = append(out, *s.m)
		}
	}
	return out
}

// Unpin takes this node's pin of c away; other peers keep what they keep. If this node has no pin, c
// is released on the whole fabric: all its holders stop keeping it, but for those that pinned it. The
// space is free after garbage collection. NotFound: nobody keeps it.
func (d *Data) Unpin(ctx context.Context, c cid.Cid) error {
	what := "unpin " + c.String()
	if s := d.know(c); s != nil && s.Pinned {
		next, err := d.update(s.m, func(r *role) { r.Pinned = false })
		if err != nil {
			return shoal.Wrap(shoal.Internal, what, err)
		}
		d.holds.drop(c)
		d.withdraw(ctx, s)
		d.announce(ctx, next)
		return nil
	}
	at := time.Now().UnixMilli()
	var (
		wg       sync.WaitGroup
		released atomic.Int32
		failures = make(chan error, maxPeers)
	)
	d.survey(ctx, c, func(h holding) {
		if len(h.kept)+len(h.extra) == 0 && h.peer != d.Peers.Self() {
			return
		}
		wg.Go(func() {
			err := d.askRelease(ctx, h.peer, c, at)
			switch {
			case err == nil && len(h.kept) > 0:
				released.Add(1)
			case err != nil && shoal.KindOf(err) != shoal.NotFound && len(failures) < cap(failures):
				failures <- shoal.Wrap(shoal.Unavailable, what+" at "+h.peer.Short(), err)
			}
		})
	})
	wg.Wait()
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	if len(errs) == 0 && released.Load() == 0 {
		return shoal.E(shoal.NotFound, what, "nobody who could be reached keeps it", "check the CID")
	}
	if len(errs) > 0 {
		return shoal.Wrap(shoal.Unavailable, what, errors.Join(errs...))
	}
	return nil
}

// releaseRequest asks a holder to stop keeping a dataset.
type releaseRequest struct {
	Root []byte `cbor:"c"`
	At   int64  `cbor:"t"` // Unix milliseconds
}

func (d *Data) askRelease(ctx context.Context, p shoal.PeerID, c cid.Cid, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Stall)
	defer cancel()
	_, err := d.Peers.Ask(ctx, p, "data.release", wire.Marshal(releaseRequest{c.Bytes(), at}))
	return err
}

func (d *Data) serveRelease(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	var q releaseRequest
	if err := wire.Unmarshal("request to release", req, &q); err != nil {
		return nil, err
	}
	c, err := pieces.ParseCID(q.Root)
	if err != nil {
		return nil, err
	}
	return nil, d.release(ctx, c, q.At)
}

// release stops keeping a dataset for the fabric. A pin of this node stays.
func (d *Data) release(ctx context.Context, c cid.Cid, at int64) error {
	s := d.know(c)
	if s == nil || len(s.held())+len(s.extras()) == 0 {
		return shoal.E(shoal.NotFound, "release "+c.String(), "not kept here", "")
	}
	next, err := d.update(s.m, func(r *role) {
		r.Held, r.Extra, r.Peers, r.Used, r.Shown = nil, nil, nil, 0, false
		if !r.Pinned && r.Lease == 0 {
			r.Gone = max(at, r.Put)
		}
	})
	if err != nil {
		return err
	}
	d.repair.forget(c)
	d.holds.drop(c)
	d.withdraw(ctx, s)
	d.announce(ctx, next)
	return nil
}
