package scheduler

import (
	"context"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/module"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// extent is how large a module is.
type extent struct {
	bytes uint64
	body  uint64 // of them, code that is compiled; 0 unknown
}

// sizeOf learns the size of a module, when this node has it.
func (p *placer) sizeOf(ctx context.Context, c cid.Cid) {
	p.mu.Lock()
	_, known := p.sizes[c]
	p.mu.Unlock()
	if _, native := shoal.ExecName(c); known || native { // of a native executor nothing travels
		return
	}
	have, missing, err := p.s.d.Data.Missing(ctx, c)
	if err != nil || have == 0 {
		return
	}
	e := extent{bytes: have + missing}
	if missing == 0 {
		e.body = p.body(ctx, c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sizes) >= maxSizes {
		clear(p.sizes)
	}
	p.sizes[c] = e
}

// body looks how much of a module that is here is code.
func (p *placer) body(ctx context.Context, c cid.Cid) uint64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tree, err := p.s.d.Data.Open(ctx, c)
	if err != nil {
		return 0
	}
	entries, err := fs.ReadDir(tree, ".")
	if err != nil || len(entries) != 1 || entries[0].IsDir() {
		return 0
	}
	f, err := tree.Open(entries[0].Name())
	if err != nil {
		return 0
	}
	defer f.Close()
	info, err := f.Stat()
	r, ok := f.(io.ReaderAt)
	if err != nil || !ok {
		return 0
	}
	return uint64(module.CodeBytes(r, info.Size()))
}

// size is what is known of a module's size.
func (p *placer) size(c cid.Cid) extent {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sizes[c]
}

// way is what is known of the links that inputs would come over.
type way struct {
	reach time.Duration // the least round trip from here to a holder
	rate  float64       // the best rate from one of them to here
	usual float64       // the median of all rates that this node knows
}

// way looks at the links to the holders of a task's inputs. Zeros: unknown.
func (p *placer) way(at inputsAt) (w way) {
	if p.s.d.Link == nil {
		return w
	}
	for id := range at.held {
		if id == p.s.self {
			continue
		}
		rtt, rate := p.s.d.Link(id)
		if rtt > 0 && (w.reach == 0 || rtt < w.reach) {
			w.reach = rtt
		}
		w.rate = max(w.rate, rate)
	}
	w.usual = p.usual()
	return w
}

// usual is the median of the rates that this node has measured, looked up once in a while; 0: there is none.
func (p *placer) usual() float64 {
	p.mu.Lock()
	known, fresh := p.median, time.Since(p.medianAt) < medianAge
	p.mu.Unlock()
	if fresh {
		return known
	}
	var all []float64
	for _, r := range p.rows().List {
		if _, rate := p.s.d.Link(r.ID); rate > 0 {
			if all = append(all, rate); len(all) >= maxRates {
				break
			}
		}
	}
	var median float64
	if len(all) > 0 {
		slices.Sort(all)
		median = all[len(all)/2]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.median, p.medianAt = median, time.Now()
	return median
}

const (
	medianAge = 2 * time.Second // between looks at all links
	maxRates  = 32              // of those, at most
)

// link fills in over what a candidate would get what it lacks. Of links between others nothing is known but what they made of
// them in earlier tasks, and else that a machine has one way out, over which this node knows it.
func (p *placer) link(c *cost.Peer, w way) {
	fetch := p.s.fetches(c.ID)
	if c.Self {
		c.Reach, c.Rate = w.reach, first(fetch, w.rate, w.usual)
		return
	}
	var rate float64
	if p.s.d.Link != nil {
		c.RTT, rate = p.s.d.Link(c.ID)
	}
	c.Rate = first(fetch, rate, w.usual)
}

// worthProbing is how much has to move at least for its rate to matter to a decision.
const worthProbing = 256 << 10

// unknown reports whether nothing is known of the link to a peer.
func (p *placer) unknown(id shoal.PeerID) bool {
	if p.s.d.Link == nil || p.s.fetches(id) > 0 {
		return false
	}
	_, rate := p.s.d.Link(id)
	return rate == 0
}

// first returns the first that is known.
func first(rates ...float64) float64 {
	for _, r := range rates {
		if r > 0 {
			return r
		}
	}
	return 0
}

// holders are peers that have inputs of a task, as far as that was looked up of late: those that have all of one first.
func (p *placer) holders(t shoal.Task) (all []shoal.PeerID) {
	var some []shoal.PeerID
	for _, in := range t.Inputs[:min(len(t.Inputs), maxHolders)] {
		at, ok := p.where.peek(in.CID, staleWhere*p.s.cfg.WhereAge)
		if !ok {
			continue
		}
		for _, h := range at.holders {
			if h.Bytes >= at.bytes {
				all = append(all, h.Peer)
			} else {
				some = append(some, h.Peer)
			}
		}
	}
	return append(all, some...)
}

// staleWhere is how many times longer than it is fresh what is known of holders is good for a hint.
const staleWhere = 12
