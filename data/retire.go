package data

import (
	"context"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/gravity"
)

// scarce is how many times faster a copy has to pay where the cache and the copies take more than what is free.
const scarce = 8

// of lists the extra copies of a dataset with what is known of why they are here.
func (k *copies) of(s *dataset, term time.Duration, now time.Time) (out []Extra) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range s.extras() {
		x := Extra{Partition: i, Why: "bought before the node was started"}
		for _, c := range []cid.Cid{s.m.Partitions[i].CID, s.m.Root} {
			if e := k.graphs[c]; e != nil && e.bought {
				x.Rent, x.Price, x.Worth, x.Uses = e.rent.Rent, e.stock.Price, e.stock.Left(term, now), e.uses
				x.Why = e.stock.Why(term, now)
				if e.why != "" {
					x.Why = e.why + "; " + x.Why
				}
				break
			}
		}
		out = append(out, x)
	}
	return out
}

// spent lists the extra copies of a dataset that do not pay any more. One that is not known, as the node was started since,
// begins anew.
func (k *copies) spent(s *dataset, term time.Duration, now time.Time) (out []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, i := range s.extras() {
		e := k.graphs[s.m.Partitions[i].CID]
		if e == nil || !e.bought {
			e = k.graphs[s.m.Root]
		}
		if e == nil || !e.bought {
			e = k.entry(s.m.Partitions[i].CID, now)
			e.bought, e.stock = true, gravity.Bought(max(e.fetch, 0)+tellPrice, now)
		}
		if e.stock.Left(term, now) <= 0 {
			out = append(out, i)
		}
	}
	return out
}

// due reports whether the other holders of a dataset should be asked again.
func (k *copies) due(root cid.Cid, every time.Duration, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.looked[root]) < every {
		return false
	}
	if k.looked == nil {
		k.looked = map[cid.Cid]time.Time{}
	}
	k.looked[root] = now
	return true
}

// retire looks at all extra copies: those that do not pay go, once as many others as the fabric wants have said that they keep
// the same for it.
func (d *Data) retire(ctx context.Context) {
	term := d.term()
	for _, s := range d.all() {
		if ctx.Err() != nil {
			return
		}
		if len(s.extras()) == 0 {
			continue
		}
		now := time.Now()
		spent := d.copies.spent(s, term, now)
		if d.cfg.NoExtra {
			spent = s.extras()
		}
		if len(spent) == 0 && !d.copies.due(s.m.Root, d.cfg.SurveyEvery, now) {
			continue
		}
		if err := d.retireOf(ctx, s, spent); err != nil && ctx.Err() == nil {
			d.log.Warn("retire copies", "root", s.m.Root, "err", err)
		}
	}
}

// term is in what time an extra copy has to save as much as it costs.
func (d *Data) term() time.Duration {
	var cache uint64
	for _, s := range d.all() {
		if s.Used > 0 || len(s.extras()) > 0 {
			cache += s.m.Bytes
		}
	}
	if free, err := d.freeBytes(); err == nil && free < cache {
		return d.cfg.KeepExtra / scarce
	}
	return d.cfg.KeepExtra
}

// retireOf drops spent copies of one dataset. Of partitions that nobody keeps for the fabric any more the extra holder with
// the lowest ID becomes a holder.
func (d *Data) retireOf(ctx context.Context, s *dataset, spent []int) error {
	kept, extra := nobody(len(s.m.Partitions)), nobody(len(s.m.Partitions))
	var released int64
	put := s.Put
	silent := d.survey(ctx, s.m.Root, func(h holding) {
		released, put = max(released, h.gone), max(put, h.put)
		for _, i := range h.kept {
			if i < len(kept) && h.peer != d.Peers.Self() {
				kept[i][h.peer] = true
			}
		}
		for _, i := range h.extra {
			if i < len(extra) {
				extra[i][h.peer] = true
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return err
	}
	if released > put {
		return d.release(ctx, s.m.Root, released)
	}
	var out, stay []int
	for _, i := range s.extras() {
		switch {
		case slices.Contains(spent, i) && len(kept[i]) >= s.m.Replicas: // they answered just now
			out = append(out, i)
		case len(kept[i]) == 0 && !d.away(silent) && lowest(extra[i]) == d.Peers.Self():
			stay = append(stay, i)
		}
	}
	if len(out)+len(stay) == 0 {
		return nil
	}
	next, err := d.update(s.m, func(r *role) {
		for _, i := range out {
			if r.extra(i) { // else it was made one of the fabric's meanwhile
				r.setExtra(i, false)
			}
		}
		for _, i := range stay {
			if r.extra(i) {
				r.set(i, true)
			}
		}
		if !r.Pinned && len(out) > 0 {
			r.Used, r.Shown = 0, false
		}
	})
	if err != nil {
		return err
	}
	if len(stay) > 0 {
		d.log.Info("extra copies are the fabric's now, which has no others", "root", s.m.Root, "partitions", stay)
	}
	if len(out) == 0 {
		return nil
	}
	d.copies.forget(s, out)
	d.log.Info("extra copies have retired", "root", s.m.Root, "partitions", out)
	d.withdraw(ctx, s)
	d.announce(ctx, next)
	return d.dropCached(ctx, s, out)
}

// away reports whether somebody who may keep something was silent, and not for long.
func (d *Data) away(silent []shoal.PeerID) bool {
	for _, p := range silent {
		d.repair.heard(p, false)
		if !d.repair.isGone(p, d.cfg.RepairAfter) {
			return true
		}
	}
	return false
}

func lowest(at map[shoal.PeerID]bool) (p shoal.PeerID) {
	for q := range at {
		if p == "" || q < p {
			p = q
		}
	}
	return p
}

// forget drops what was known of copies that have retired: the next use begins anew.
func (k *copies) forget(s *dataset, parts []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Gone += uint64(len(parts))
	for _, i := range parts {
		delete(k.graphs, s.m.Partitions[i].CID)
	}
	delete(k.graphs, s.m.Root)
}

// dropCached frees the blocks of partitions that retired, also where they are cached by themselves.
func (d *Data) dropCached(ctx context.Context, s *dataset, parts []int) error {
	var drop []cid.Cid
	for _, i := range parts {
		c := s.m.Partitions[i].CID
		if own := d.know(c); own != nil && own.Used > 0 && !c.Equals(s.m.Root) {
			if _, err := d.update(own.m, func(r *role) { r.Used, r.Shown = 0, false }); err != nil {
				return err
			}
		}
		drop = append(drop, c)
	}
	_, _, err := d.collect(ctx, drop, d.cfg.CacheBytes)
	return err
}

// promote names, for partitions that lack copies, who has an extra one: it is asked first, and has nothing to fetch.
func (c *count) promote(mine map[int]bool, want int) map[shoal.PeerID][]int {
	plan := map[shoal.PeerID][]int{}
	for i := range mine {
		need := want - len(c.kept[i])
		var at []shoal.PeerID
		for p := range c.extra[i] {
			at = append(at, p)
		}
		slices.Sort(at)
		for _, p := range at[:min(len(at), max(need, 0))] {
			plan[p] = append(plan[p], i)
		}
	}
	for _, parts := range plan {
		slices.Sort(parts)
	}
	return plan
}
