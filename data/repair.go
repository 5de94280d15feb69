package data

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Stats say how the data that this node has a part in is doing, as last counted.
type Stats struct {
	Datasets int            // of which this node keeps something
	Pins     int            // of this node
	Below    int            // copies of partitions that are missing
	Lost     int            // partitions that nobody who can be reached keeps
	Repaired uint64         // copies this node has had made since it started
	Brought  uint64         // bytes that came here for copies that others, which put or repair, asked this node to keep
	Avoided  []shoal.PeerID // peers that sent wrong bytes of late
}

// repairState is what the repair loop remembers between its rounds.
type repairState struct {
	mu       sync.Mutex
	counts   map[cid.Cid]*count
	gone     map[shoal.PeerID]time.Time // since when a member has been away, as the table says
	silent   map[shoal.PeerID]time.Time // since when a peer has not answered this room
	repaired uint64

	brought atomic.Uint64 // bytes that came for copies that others asked this node to keep
}

// count is who keeps which partitions of a dataset, as of some time. Nobody changes one that stands in
// repairState.counts: it is read without the lock.
type count struct {
	at     time.Time
	looked time.Time // when the directory was last asked for more holders
	kept   []map[shoal.PeerID]bool
	extra  []map[shoal.PeerID]bool // who has a copy beyond those: it is not counted, and made one of them first
	unsure bool                    // somebody who may keep some was silent, and not for long
	below  int
	lost   int
}

func (r *repairState) forget(c cid.Cid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.counts, c)
}

// Stats returns what the repair loop found in its last rounds.
func (d *Data) Stats() Stats {
	st := Stats{Avoided: d.avoided.list(), Brought: d.repair.brought.Load()}
	for _, s := range d.all() {
		if s.kept() {
			st.Datasets++
		}
		if s.Pinned {
			st.Pins++
		}
	}
	d.repair.mu.Lock()
	defer d.repair.mu.Unlock()
	for _, c := range d.repair.counts {
		st.Below += c.below
		st.Lost += c.lost
	}
	st.Repaired = d.repair.repaired
	return st
}

// RestoreWithin is how long it takes at most until copies begin to be made anew once a holder is known to be away:
// the patience with it, and the time between two looks.
func (d *Data) RestoreWithin() time.Duration { return d.cfg.RepairAfter + d.cfg.RepairEvery*5/4 }

// mend looks at every dataset this node has a part of, and restores the copies that are its to
// restore.
func (d *Data) mend(ctx context.Context) {
	d.watch()
	d.visit(ctx)
	for _, s := range d.all() {
		if ctx.Err() != nil {
			return
		}
		if len(s.held()) == 0 {
			continue
		}
		if err := d.mendOne(ctx, s); err != nil && ctx.Err() == nil {
			d.log.Warn("repair", "root", s.m.Root, "err", err)
		}
	}
}

// watch notes since when members have been away.
func (d *Data) watch() {
	r := &d.repair
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone == nil {
		r.gone, r.silent = map[shoal.PeerID]time.Time{}, map[shoal.PeerID]time.Time{}
		r.counts = map[cid.Cid]*count{}
	}
	for _, m := range d.Members() {
		_, known := r.gone[m.ID]
		switch {
		case m.State == shoal.Alive || m.State == shoal.Suspect || m.ID == d.Peers.Self():
			delete(r.gone, m.ID)
		case !known:
			r.gone[m.ID] = time.Now()
		}
	}
}

// isGone reports whether a peer has been away for so long that its copies no longer count.
func (r *repairState) isGone(p shoal.PeerID, after time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, since := range []map[shoal.PeerID]time.Time{r.gone, r.silent} {
		if at, ok := since[p]; ok && time.Since(at) >= after {
			return true
		}
	}
	return false
}

// heard notes whether a peer answered.
func (r *repairState) heard(p shoal.PeerID, answered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if answered {
		delete(r.silent, p)
	} else if _, known := r.silent[p]; !known {
		r.silent[p] = time.Now()
	}
}

func (d *Data) mendOne(ctx context.Context, s *dataset) error {
	d.repair.mu.Lock()
	c := d.repair.counts[s.m.Root]
	d.repair.mu.Unlock()
	if c != nil && c.below == 0 && !c.unsure && time.Since(c.at) <= d.cfg.SurveyEvery && !d.lostSome(c) {
		return nil
	}
	look := c == nil || time.Since(c.looked) > d.cfg.SurveyEvery || c.below > 0 && time.Since(c.looked) > d.cfg.LookEvery
	old := c
	c, released := d.recount(ctx, s, old, look)
	mine := d.toMend(s, c)
	if len(mine) > 0 && !look && !c.unsure { // there may be copies that this node does not know of
		c, released = d.recount(ctx, s, old, true)
		mine = d.toMend(s, c)
	}
	if released > s.Put {
		return d.release(ctx, s.m.Root, released) // this node was away when that was said
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	if len(mine) > 0 && s.m.Replicas > 1 && !c.unsure {
		p := &placing{d: d, m: s.m, at: s.Put, want: s.m.Replicas, only: mine, kept: c.kept, first: c.promote(mine, s.m.Replicas)}
		before := p.short()
		err = p.place(ctx)
		made := uint64(before - p.short())
		if made > 0 {
			d.log.Info("copies restored", "root", s.m.Root, "copies", made)
			if _, err := d.update(s.m, func(r *role) { r.Peers = p.hints() }); err != nil {
				d.log.Warn("note holders", "root", s.m.Root, "err", err)
			}
		}
		d.repair.mu.Lock()
		d.repair.repaired += made
		d.repair.mu.Unlock()
	}
	for _, at := range c.kept {
		c.below += max(0, s.m.Replicas-len(at))
		if len(at) == 0 {
			c.lost++
		}
	}
	d.repair.mu.Lock()
	defer d.repair.mu.Unlock()
	if d.know(s.m.Root) != nil {
		d.repair.counts[s.m.Root] = c
	}
	return err
}

// toMend are the partitions that lack copies, and of whose holders this node is the first.
func (d *Data) toMend(s *dataset, c *count) map[int]bool {
	mine := map[int]bool{}
	for _, i := range s.held() {
		at := slices.Collect(maps.Keys(c.kept[i]))
		if len(at) > 0 && len(at) < s.m.Replicas && slices.Min(at) == d.Peers.Self() {
			mine[i] = true
		}
	}
	return mine
}

// lostSome reports whether a holder that was counted has gone.
func (d *Data) lostSome(c *count) bool {
	for _, at := range c.kept {
		for p := range at {
			if d.repair.isGone(p, d.cfg.RepairAfter) {
				return true
			}
		}
	}
	return false
}

// recount asks all holders of a dataset what they keep. One that does not answer counts as before,
// until it has been gone for long. released is when a holder heard that the dataset was released. look: the directory is asked for
// holders that are not known here.
func (d *Data) recount(ctx context.Context, s *dataset, old *count, look bool) (c *count, released int64) {
	c = &count{at: time.Now(), kept: nobody(len(s.m.Partitions)), extra: nobody(len(s.m.Partitions))}
	before := map[shoal.PeerID]bool{}
	if look {
		c.looked = c.at
	} else if old != nil {
		c.looked = old.looked
	}
	if old != nil {
		for _, at := range old.kept {
			maps.Copy(before, at)
		}
	}
	silent := d.askAll(ctx, s.m.Root, func(h holding) {
		d.repair.heard(h.peer, true)
		released = max(released, h.gone)
		for _, i := range h.kept {
			if i < len(c.kept) {
				c.kept[i][h.peer] = true
			}
		}
		for _, i := range h.extra {
			if i < len(c.extra) {
				c.extra[i][h.peer] = true
			}
		}
	}, look, slices.Collect(maps.Keys(before))...)
	for _, p := range silent {
		d.repair.heard(p, false)
		if d.repair.isGone(p, d.cfg.RepairAfter) {
			continue
		}
		if !before[p] {
			c.unsure = true
			continue
		}
		for i, at := range old.kept {
			if at[p] {
				c.kept[i][p] = true
			}
		}
	}
	return c, released
}

// Drain brings what only this node keeps, or too few others, to other members, so that this node may
// leave. Refused: some of it would be lost, which the error names; what could be moved has been moved
// then. Put nothing on this node while it drains.
func (d *Data) Drain(ctx context.Context, progress func(Progress)) error {
	type job struct {
		s    *dataset
		p    *placing
		size uint64
	}
	var (
		jobs  []job
		total uint64
	)
	d.watch()
	others := len(d.alive()) - 1
	for _, s := range d.all() {
		if !s.kept() {
			continue
		}
		d.repair.mu.Lock()
		old := d.repair.counts[s.m.Root]
		d.repair.mu.Unlock()
		c, _ := d.recount(ctx, s, old, true)
		if err := ctx.Err(); err != nil {
			return shoal.Wrap(shoal.Canceled, "drain", err)
		}
		p := &placing{d: d, m: s.m, at: s.Put, want: 1, only: map[int]bool{}, kept: c.kept}
		if s.replica() {
			p.want = max(1, min(s.m.Replicas, others))
		}
		var size uint64
		for i, part := range s.m.Partitions {
			delete(c.kept[i], d.Peers.Self())
			if (s.Pinned || s.holds(i)) && len(c.kept[i]) < p.want {
				p.only[i] = true
				size += part.Bytes
			}
		}
		jobs = append(jobs, job{s, p, size})
		total += size
	}
	var (
		done   uint64
		losses []string
	)
	for _, j := range jobs {
		if progress != nil {
			j.p.progress = func(pr Progress) { // of this dataset: a part of the whole
				part := uint64(0)
				if pr.Total > 0 {
					part = uint64(float64(j.size) * float64(pr.Done) / float64(pr.Total))
				}
				progress(Progress{"drain", done + part, total, j.s.m.Name})
			}
		}
		if err := j.p.place(ctx); err != nil {
			return shoal.Wrap(shoal.Internal, "drain", err)
		}
		done += j.size
		lost := 0
		for i := range j.s.m.Partitions {
			if (j.s.Pinned || j.s.holds(i)) && len(j.p.kept[i]) == 0 {
				lost++
			}
		}
		if lost > 0 {
			losses = append(losses, fmt.Sprintf("%d of %d partitions of %s (%s)",
				lost, len(j.s.m.Partitions), j.s.m.Root, j.s.m.Name))
		}
	}
	if len(losses) > 0 {
		return shoal.E(shoal.Refused, "drain", "nobody else can keep "+strings.Join(losses, ", "),
			"bring more members or space, or unpin what may go")
	}
	if progress != nil {
		progress(Progress{"drain", total, total, ""})
	}
	var all []shoal.Key
	for _, j := range jobs {
		all = append(all, keys(j.s)...)
	}
	if len(all) == 0 {
		return nil
	}
	return shoal.Wrap(shoal.Unavailable, "drain", d.Directory.Withdraw(ctx, all...))
}

// replica reports whether some of it is kept for the fabric, and not only pinned.
func (s *dataset) replica() bool { return len(s.held()) > 0 }
