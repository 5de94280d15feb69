package services

import (
	"context"
	"math"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/gravity"
)

// rent is what calls have cost for the way to other hosts. An instance here is bought once they cost more than it does: at most
// twice what the best plan in hindsight would have paid.
type rent struct {
	paid   gravity.Copy
	price  float64   // seconds, of an instance here; 0: unknown, +Inf: there can be none
	looked time.Time // when the price was
	buying bool
}

// priceLife is how long a price holds.
const priceLife = 10 * time.Second

// pay notes that a call went to another host. The lock is held.
func (c *caller) pay(to shoal.PeerID, bytes int) {
	rtt, rate := c.s.Link(to)
	way := rtt.Seconds()
	if rate > 0 {
		way += float64(bytes) / rate
	}
	r := &c.rent
	if h := c.hosts[c.s.self]; r.buying || h != nil && h.state.Instances > 0 {
		return
	}
	if time.Since(r.looked) > priceLife {
		r.looked = time.Now()
		c.s.aside(c.lookPrice)
	}
	if r.price <= 0 || math.IsInf(r.price, 1) {
		_, _ = r.paid.Read(way, math.MaxFloat64) // it counts once there is a price
		return
	}
	if buy, why := r.paid.Read(way, r.price); buy {
		r.paid, r.buying = gravity.Copy{}, true
		c.s.cfg.Log.Debug("an instance comes to where a service is called", "service", c.name, "why", why)
		c.s.aside(c.buy)
	}
}

// lookPrice asks this node what an instance would cost here.
func (c *caller) lookPrice(ctx context.Context) {
	c.mu.Lock()
	spec, q := c.spec, askRequest{Key: []byte(c.key), Sealed: c.sealed}
	most := spec != nil && spec.Max > 0 && c.instances() >= spec.Max
	c.mu.Unlock()
	price := math.Inf(1)
	if a, err := c.s.say(ctx, c.s.self, &q); err == nil && spec != nil && !most {
		for _, o := range a.Offers {
			if o.Refusal == "" {
				t := cost.Of(cost.Peer{Self: true, Slots: 1, Code: o.Missing, Compiled: o.Compiled, HashMBs: a.Load.HashMBs}, cost.Facts{Code: o.Size})
				price = min(price, max(t.Total(), leastPrice))
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rent.price = price
}

// leastPrice is what an instance costs, in seconds, however little there is to fetch and compile: its memory stays for the idle
// time.
const leastPrice = 0.05

// buy opens an instance here.
func (c *caller) buy(ctx context.Context) {
	err := c.openAt(ctx, c.s.self, "", 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rent.buying = false; err != nil {
		c.rent.price = math.Inf(1) // until it is looked for again
	}
}
