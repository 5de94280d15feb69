package scheduler

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/match"
)

// others adds members that fit and have short queues, a few random ones, and with a small or no
// table those that the directory finds.
func (p *placer) others(ctx context.Context, c *candidates) {
	rows := p.rows()
	fit, out := c.needs.Scan(rows, time.Now())
	for _, r := range out {
		if _, known := c.members[r.Peer]; !known && len(c.refused) < maxRefusals {
			c.members[r.Peer] = shoal.Member{ID: r.Peer}
			c.out(r.Peer, r.Why)
		}
	}
	for _, i := range p.sample(rows.List, fit) {
		m, ok := p.s.d.Members.Lookup(rows.List[i].ID) // when it was last heard of, the rows do not know
		if !ok {
			m = rows.List[i].Member
		}
		c.add(m)
	}
	if len(fit) > 0 || p.s.d.Directory == nil || c.needs.Any() {
		return
	}
	for _, m := range p.find(ctx, c) {
		c.add(m)
	}
}

// sample draws the members worth asking from the rows that fit.
func (p *placer) sample(rows []*match.Row, fit []int32) []int32 {
	rng := p.s.fork()
	p.mu.Lock()
	defer p.mu.Unlock()
	return cost.Draw(fit, func(i int32) float64 {
		m := &rows[i].Member
		busy := m.Load.Running + m.Load.Queued
		if len(p.flight) > 0 {
			busy = max(busy, p.flight[m.ID])
		}
		return cost.Seems(cost.Peer{Slots: m.Load.Slots, Queued: busy, TaskSecs: m.Load.TaskSecs, HashMBs: m.Attributes.HashMBs})
	}, rng.Float64)
}

// find looks peers up by what they announce of themselves, and asks those for their records.
func (p *placer) find(ctx context.Context, c *candidates) []shoal.Member {
	age := p.s.cfg.WhereAge
	found, err := p.found.get(ctx, match.Requirement(c.t.Module, c.t.Needs), age, age, func(ctx context.Context) ([]shoal.Member, error) {
		var out []shoal.Member
		for _, index := range c.needs.Indexes() {
			for id, err := range p.s.d.Directory.Find(ctx, index.Key(), findLimit) {
				if err != nil {
					break
				}
				if m, ok := p.member(ctx, id, false); ok {
					out = append(out, m)
				}
			}
			if len(out) > 0 {
				break // the first index is the most telling one
			}
		}
		return out, nil
	})
	if err != nil {
		return nil
	}
	return found
}
