package scheduler

import (
	"cmp"
	"context"
	"crypto/sha256"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/wire"
)

type offerKey struct {
	peer shoal.PeerID
	what string // the job, or the module, inputs, requirements and limits
}

// noted is an offer as this node remembers it. The zero value stands for a peer that was not asked.
type noted struct {
	offer
	answered bool
	flight   int           // tasks this node had sent there when it asked
	took     time.Duration // the wait for nothing
}

const (
	// An offer serves so many times longer than it is fresh, while a new one is asked for.
	staleOffers = 8
	fetchLimit  = 20 * time.Second // for whatever a memory looks up
	// However many tasks are refused at once, a peer is not asked again within so long.
	freshOffers = 5 * time.Millisecond
)

// ask gets offers of the best few candidates, in parallel, from memory where it is no older than fresh. Peers of
// which nothing came have no entry that is answered.
func (p *placer) ask(ctx context.Context, c *candidates, fresh time.Duration) map[shoal.PeerID]noted {
	q := offerRequest{Module: c.t.Module, Needs: c.t.Needs, Limits: c.t.Limits, Asked: min(len(c.list), maxAsked)}
	what := string(c.t.Job)
	if c.t.Job == "" || c.o.Holders == nil {
		h := sha256.New()
		h.Write(c.t.Module.Bytes())
		for _, in := range c.t.Inputs[:min(len(c.t.Inputs), maxOfferInputs)] {
			h.Write(in.CID.Bytes())
			q.Inputs = append(q.Inputs, in.CID)
		}
		h.Write([]byte(c.t.Needs))
		if c.t.Limits != (shoal.Limits{}) { // who refuses 8 GiB takes one that asks for less
			h.Write(wire.Marshal(c.t.Limits))
		}
		what = string(h.Sum(nil))
	}
	chosen := slices.Clone(c.list)
	doubts := make(map[shoal.PeerID]float64, len(chosen))
	for _, id := range chosen {
		doubts[id], _ = p.s.trust(id)
	}
	slices.SortStableFunc(chosen, func(a, b shoal.PeerID) int {
		return cmp.Or(cmp.Compare(doubts[a], doubts[b]), cmp.Compare(c.at.held[b], c.at.held[a]), cmp.Compare(p.queue(c, a), p.queue(c, b)))
	})
	chosen = chosen[:min(len(chosen), maxAsked)]
	out := make([]noted, len(chosen))
	var wait sync.WaitGroup
	for i, id := range chosen {
		if n, ok := p.offers.peek(offerKey{id, what}, fresh); ok {
			out[i] = n
			continue
		}
		wait.Go(func() { out[i] = p.askOne(ctx, id, what, q, fresh) })
	}
	wait.Wait()
	offers := make(map[shoal.PeerID]noted, len(chosen)+len(c.passed))
	for _, o := range c.passed { // only told: what is remembered will do, and of oneself one knows
		k := offerKey{o.Peer, what}
		if n, ok := p.offers.peek(k, p.s.cfg.OfferAge*staleOffers); ok {
			offers[o.Peer] = n
		} else if o.Peer == p.s.self {
			offers[o.Peer] = p.askOne(ctx, o.Peer, what, q, p.s.cfg.OfferAge)
		}
	}
	for i, id := range chosen {
		if id == p.s.self && out[i].answered { // what is asked of oneself is never old
			l := p.s.exec.loadFor(id)
			out[i].Running, out[i].Queued, out[i].TaskSecs = l.Running, l.Queued, l.TaskSecs
		}
		offers[id] = out[i]
	}
	return offers
}

// queue orders candidates that hold equally much.
func (p *placer) queue(c *candidates, id shoal.PeerID) float64 {
	l := c.members[id].Load
	return float64(l.Running+l.Queued) / float64(max(l.Slots, 1))
}

func (p *placer) askOne(ctx context.Context, id shoal.PeerID, what string, q offerRequest, fresh time.Duration) noted {
	stale := fresh * staleOffers
	if fresh < p.s.cfg.OfferAge { // what is older is known to be wrong
		stale = fresh
	}
	n, err := p.offers.get(ctx, offerKey{id, what}, fresh, stale, func(ctx context.Context) (noted, error) {
		n := noted{flight: p.inFlight(id)}
		ctx, cancel := context.WithTimeout(ctx, p.s.cfg.OfferWait)
		defer cancel()
		var err error
		if id == p.s.self {
			n.offer, err = p.s.offer(ctx, id, q)
		} else {
			n.offer, err = p.askPeer(ctx, id, q)
		}
		switch kind := shoal.KindOf(err); {
		case err == nil:
			n.answered = true
		case kind == shoal.Timeout || kind == shoal.Canceled: // busy, or gone: the others' facts decide
			n.took = p.s.cfg.OfferWait
		default:
			n.Refusal, n.Retry = "asked for an offer: "+err.Error(), shoal.Retryable(err)
		}
		return n, nil // a failure is remembered too, so that a thousand tasks do not repeat it
	})
	if err != nil {
		return noted{took: p.s.cfg.OfferWait}
	}
	return n
}

func (p *placer) askPeer(ctx context.Context, id shoal.PeerID, q offerRequest) (offer, error) {
	reply, err := p.s.d.Peers.Ask(ctx, id, "task.offer", wire.Marshal(q))
	if err != nil {
		return offer{}, err
	}
	return parseOffer(reply, len(q.Inputs))
}

// parseOffer decodes and checks an offer.
func parseOffer(b []byte, inputs int) (offer, error) {
	var o offer
	if err := wire.Unmarshal("offer", b, &o); err != nil {
		return offer{}, err
	}
	const many = 1 << 24
	if len(o.Has) != inputs || len(o.Lacks) != inputs || o.Slots < 1 || o.Slots > many ||
		o.Running < 0 || o.Running > many || o.Queued < 0 || o.Queued > many || o.After < 0 || o.After > int64(time.Hour/time.Millisecond) {
		return offer{}, shoal.E(shoal.Invalid, "offer", "figures out of range",
			"check that both nodes run the same version of shoal")
	}
	o.TaskSecs, o.HashMBs = rateable(o.TaskSecs), rateable(o.HashMBs)
	for i := range o.Lacks { // so that sums stay in range
		o.Lacks[i] = min(o.Lacks[i], 1<<50)
	}
	if len(o.Refusal) > maxWhy {
		o.Refusal = o.Refusal[:maxWhy]
	}
	return o, nil
}

// rateable is a number fit for sums.
func rateable(v float64) float64 {
	if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func (p *placer) inFlight(id shoal.PeerID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flight[id]
}

// locate says where the inputs of a task lie.
func (p *placer) locate(ctx context.Context, t shoal.Task, o job.Options) (inputsAt, error) {
	at := inputsAt{held: map[shoal.PeerID]uint64{}, age: map[shoal.PeerID]time.Duration{}}
	if o.Holders != nil || len(t.Inputs) == 0 {
		at.total = max(o.Bytes, uint64(min(len(t.Inputs), 1)))
		for _, id := range o.Holders {
			at.held[id] = at.total
		}
		return at, nil
	}
	for _, in := range t.Inputs {
		age := p.s.cfg.WhereAge
		where, err := p.where.get(ctx, in.CID, age, age, func(ctx context.Context) (located, error) {
			hs, m, err := p.s.d.Data.Where(ctx, in.CID)
			if err != nil {
				return located{}, err
			}
			return located{hs, max(m.Bytes, 1)}, nil
		})
		if err != nil {
			// Perhaps it is here, unannounced, or a runner knows more: the run will tell.
			have, missing, e := p.s.d.Data.Missing(ctx, in.CID)
			if e != nil || have == 0 {
				if shoal.KindOf(err) == shoal.NotFound || shoal.KindOf(err) == shoal.Invalid {
					return at, shoal.Wrap(shoal.NotFound, "input "+in.Name+" ("+in.CID.String()+")", err)
				}
				continue
			}
			where = located{[]shoal.Holder{{Peer: p.s.self, Bytes: have}}, have + missing}
		}
		at.total += where.bytes
		for _, h := range where.holders {
			held := h.Bytes
			if h.Bytes == 0 && where.bytes == 1 { // an empty dataset is held whole
				held = 1
			}
			at.held[h.Peer] += min(held, where.bytes)
			if !h.Asked.IsZero() {
				at.age[h.Peer] = max(at.age[h.Peer], time.Since(h.Asked))
			}
		}
	}
	return at, nil
}

// passOver takes in the peers that the caller has passed over, for the explanation: nobody is asked, so
// that telling why costs no more than a look at what is known.
func (p *placer) passOver(ctx context.Context, c *candidates) {
	for _, o := range c.o.Passed[:min(len(c.o.Passed), maxRefusals)] {
		if _, known := c.members[o.Peer]; known {
			continue
		}
		m, ok := shoal.Member{ID: o.Peer, State: shoal.Alive}, true
		if o.Peer == p.s.self {
			m, ok = p.member(ctx, o.Peer, true)
		} else if got, known := p.s.d.Members.Lookup(o.Peer); known {
			m = got
		} else if !c.needs.Any() {
			ok = false // its attributes matter, and only it could tell
		}
		if !ok {
			continue
		}
		c.members[m.ID] = m
		if o.Holds {
			c.at.held[m.ID] = c.at.total
		}
		if v := c.needs.Check(&m, time.Now()); v.OK {
			c.passed = append(c.passed, o)
		} else {
			c.told = append(c.told, cost.Choice{Peer: m.ID, Refusal: v.Reason, Retry: v.Retry})
		}
	}
}

// hashMBs is the speed of a peer's cores as this node knows it.
func (p *placer) hashMBs(id shoal.PeerID) float64 {
	if id == p.s.self {
		return p.s.d.Members.Self().Attributes.HashMBs
	}
	if m, ok := p.s.d.Members.Lookup(id); ok && m.Attributes.HashMBs > 0 {
		return m.Attributes.HashMBs
	}
	return cost.DefaultHashMBs
}

// memory remembers what was looked up, for a while, and looks a thing up once for all who want it
// at the same time.
type memory[K comparable, V any] struct {
	limit int
	mu    sync.Mutex
	known map[K]*remembered[V]
}

type remembered[V any] struct {
	v     V
	at    time.Time
	have  bool
	err   error         // of the last lookup
	ready chan struct{} // of the lookup under way; nil: none
}

func newMemory[K comparable, V any](limit int) *memory[K, V] {
	return &memory[K, V]{limit: limit, known: map[K]*remembered[V]{}}
}

// peek returns what is remembered and fresh.
func (m *memory[K, V]) peek(k K, fresh time.Duration) (v V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.known[k]; r != nil && r.have && time.Since(r.at) <= fresh {
		return r.v, true
	}
	return v, false
}

// get returns what is remembered if it is fresh; if it is only not stale, the same, while a new
// lookup begins; else it waits for a lookup.
func (m *memory[K, V]) get(
	ctx context.Context, k K, fresh, stale time.Duration, look func(context.Context) (V, error),
) (V, error) {
	m.mu.Lock()
	r := m.known[k]
	if r == nil {
		if len(m.known) >= m.limit {
			m.shrink(stale)
		}
		r = &remembered[V]{}
		m.known[k] = r
	}
	age := time.Since(r.at)
	if r.have && age <= fresh {
		defer m.mu.Unlock()
		return r.v, nil
	}
	ready := r.ready
	if ready == nil {
		ready = make(chan struct{})
		r.ready = ready
		go m.look(context.WithoutCancel(ctx), r, ready, look)
	}
	if r.have && age <= stale {
		defer m.mu.Unlock()
		return r.v, nil
	}
	m.mu.Unlock()
	select {
	case <-ready:
	case <-ctx.Done():
		var none V
		return none, shoal.Wrap(shoal.Canceled, "look up", ctx.Err())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.v, r.err
}

func (m *memory[K, V]) look(
	ctx context.Context, r *remembered[V], ready chan struct{}, look func(context.Context) (V, error),
) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	v, err := look(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.err = err; err == nil {
		r.v, r.have, r.at = v, true, time.Now()
	}
	r.ready = nil
	close(ready)
}

// shrink drops what is stale, or everything when that is not enough. The lock is held.
func (m *memory[K, V]) shrink(stale time.Duration) {
	for k, r := range m.known {
		if time.Since(r.at) > stale && r.ready == nil {
			delete(m.known, k)
		}
	}
	if len(m.known) >= m.limit {
		clear(m.known)
	}
}

// drop forgets the things that pass.
func (m *memory[K, V]) drop(pass func(K) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.known {
		if pass(k) {
			delete(m.known, k)
		}
	}
}
