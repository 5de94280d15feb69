package model

import (
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

type links struct {
	c        *city
	yes, all uint64
}

func (c *city) buildLinks() error {
	c.links = &links{c: c}
	c.finishers = append(c.finishers, func(r *report.Run) {
		if c.links.all > 0 {
			r.Figures["availability"] = float64(c.links.yes) / float64(c.links.all)
		}
	})
	return nil
}

func (l *links) ended(_ event.Time, answered bool) {
	l.all++
	if answered {
		l.yes++
	}
}

func (c *city) wipe(n node) {
	for _, f := range c.onWipe {
		f(n)
	}
}

func (c *city) partKey(family, item, part int) uint64 {
	return uint64(family)<<48 ^ uint64(item)<<20 ^ uint64(part)
}

// loads has f called for each request of the loads that ask for one of some things, by nodes that are up then.
func (c *city) loads(f func(load int, q scenario.Request), asks ...string) {
	for i := range c.s.Load {
		if !slices.Contains(asks, c.s.Load[i].Ask) {
			continue
		}
		stream := c.s.NewRequests(c.seed, i)
		var next scenario.Request
		var kind event.Kind
		more := func() {
			var ok bool
			if next, ok = stream.Next(); ok {
				c.loop.Add(next.At-time.Duration(c.loop.Now()), kind, uint32(next.Node), uint64(i))
			}
		}
		kind = c.loop.Handle(func(event.Event) {
			q := next
			more()
			if c.up[q.Node] {
				f(i, q)
			}
		})
		more()
	}
}
