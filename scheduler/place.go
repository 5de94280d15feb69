package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
	"github.com/shoal-fabric/shoal/scheduler/match"
)

const (
	maxAsked    = 8  // peers asked for an offer, per decision
	maxHolders  = 12 // holders considered
	someFitting = 6  // members with short queues considered
	someRandom  = 3  // others considered, an escape from herding
	maxRefusals = 32 // told in an explanation
	findLimit   = 16 // peers looked up by attribute
)

// placer chooses peers. What it knows of them are hints with an age.
type placer struct {
	s      *Scheduler
	offers *memory[offerKey, noted]
	where  *memory[cid.Cid, located]
	found  *memory[string, []shoal.Member]
	table  *memory[struct{}, []shoal.Member]

	mu     sync.Mutex
	flight map[shoal.PeerID]int // tasks sent there that have not ended
	asked  map[needsKey]*lockedNeeds
	sizes  map[cid.Cid]uint64 // of modules
}

// located is who holds a dataset.
type located struct {
	holders []shoal.Holder
	bytes   uint64
}

func newPlacer(s *Scheduler) *placer {
	return &placer{
		s:      s,
		offers: newMemory[offerKey, noted](1 << 14),
		where:  newMemory[cid.Cid, located](1 << 12),
		found:  newMemory[string, []shoal.Member](1 << 8),
		table:  newMemory[struct{}, []shoal.Member](1),
		flight: map[shoal.PeerID]int{}, asked: map[needsKey]*lockedNeeds{}, sizes: map[cid.Cid]uint64{},
	}
}

type needsKey struct {
	src    string
	memory uint64
}

// lockedNeeds makes requirements safe for concurrent use.
type lockedNeeds struct {
	mu sync.Mutex
	n  *match.Needs
}

func (l *lockedNeeds) check(m *shoal.Member) match.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n.Check(m, time.Now())
}

// needs compiles the requirements of tasks with some code, once for all tasks that have them.
func (p *placer) needs(code cid.Cid, src string, limits shoal.Limits) (*lockedNeeds, error) {
	all := match.Requirement(code, src)
	key := needsKey{all, limits.Memory}
	p.mu.Lock()
	l := p.asked[key]
	p.mu.Unlock()
	if l != nil {
		return l, nil
	}
	n, err := match.Compile(src, limits) // by itself, so that the error points at the fault
	if err == nil && all != src {
		n, err = match.Compile(all, limits)
	}
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "requirements", err)
	}
	l = &lockedNeeds{n: n}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) >= 256 {
		clear(p.asked)
	}
	p.asked[key] = l
	return l, nil
}

// inputsAt is what is known of where a task's inputs lie.
type inputsAt struct {
	total uint64
	held  map[shoal.PeerID]uint64
	age   map[shoal.PeerID]time.Duration
}

// candidates is the work of one decision.
type candidates struct {
	t       shoal.Task
	o       job.Options
	needs   *lockedNeeds
	at      inputsAt
	members map[shoal.PeerID]shoal.Member
	list    []shoal.PeerID
	refused []cost.Choice
	passed  []job.Passed  // that fit and were passed over by the caller
	told    []cost.Choice // that were, and would not fit
}

// choose picks the peer for a task and counts the task as sent there: the caller calls left when
// the attempt has ended.
func (p *placer) choose(
	ctx context.Context, t shoal.Task, o job.Options, tries *job.Tries,
) (shoal.PeerID, cost.Explain, error) {
	c, err := p.gather(ctx, t, o)
	if err != nil {
		return "", cost.Explain{Task: t.ID}, err
	}
	allBad := !slices.ContainsFunc(c.list, func(id shoal.PeerID) bool { return !tries.Bad(id) })
	if allBad {
		tries.Forgive()
	}
	c.list = slices.DeleteFunc(c.list, func(id shoal.PeerID) bool {
		if tries.Bad(id) {
			c.refuse(id, "an attempt failed there", true)
			return true
		}
		return false
	})
	offers := p.ask(ctx, c)
	p.mu.Lock()
	defer p.mu.Unlock()
	peers := make([]cost.Peer, 0, len(c.list))
	for _, id := range c.list {
		n := offers[id]
		if n.Refusal != "" {
			c.refuse(id, n.Refusal, n.Retry)
			continue
		}
		peers = append(peers, p.facts(c, id, n))
	}
	for _, o := range c.passed {
		n := offers[o.Peer]
		if n.Refusal != "" {
			c.told = append(c.told, cost.Choice{Peer: o.Peer, Refusal: n.Refusal, Retry: n.Retry})
			continue
		}
		q := p.facts(c, o.Peer, n)
		q.Passed = o.Why
		peers = append(peers, q)
	}
	f := cost.Facts{
		Task: t.ID, Code: p.sizes[t.Module], Data: c.at.total, Work: p.s.effort(t.Module), Seed: p.s.cfg.Seed,
	}
	refused := c.refused[:min(len(c.refused), maxRefusals)]
	e := cost.Decide(f, peers, slices.Concat(refused, c.told))
	chosen, ok := e.Chosen()
	if !ok {
		return "", e, p.nobody(t, refused, offers)
	}
	p.flight[chosen.Peer]++
	return chosen.Peer, e, nil
}

// left notes that a task sent to a peer has ended.
func (p *placer) left(id shoal.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flight[id]--; p.flight[id] <= 0 {
		delete(p.flight, id)
	}
}

// forget drops what was known of a peer that failed.
func (p *placer) forget(id shoal.PeerID) {
	p.offers.drop(func(k offerKey) bool { return k.peer == id })
	p.table.drop(func(struct{}) bool { return true })
}

// nobody says why no peer takes the task.
func (p *placer) nobody(t shoal.Task, refused []cost.Choice, offers map[shoal.PeerID]noted) error {
	out := shoal.E(shoal.Refused, "task "+string(t.ID), "no peer fits", "ask for less, or add a node that fits")
	var reasons []string
	for _, r := range refused {
		if len(reasons) < 3 {
			reasons = append(reasons, r.Peer.Short()+": "+r.Refusal)
		}
		if r.Retry {
			out.Kind, out.Try = shoal.Unavailable, "try again later"
		}
		if n, ok := offers[r.Peer]; ok && n.Retry {
			out.Kind = shoal.Overloaded
			if after := time.Duration(n.After) * time.Millisecond; after > 0 && (out.RetryAfter == 0 || after < out.RetryAfter) {
				out.RetryAfter = after
			}
		}
	}
	switch n := len(refused); {
	case n == 0:
		out.Kind, out.Why, out.Try = shoal.Unavailable, "no peer is known", "see 'shoal peers' and 'shoal doctor'"
	case n > len(reasons):
		reasons = append(reasons, fmt.Sprintf("and %d more", n-len(reasons)))
	}
	if len(reasons) > 0 {
		out.Why += " (" + strings.Join(reasons, "; ") + ")"
	}
	return out
}

// facts turns what is known of a peer into the terms of the cost model. The lock is held.
func (p *placer) facts(c *candidates, id shoal.PeerID, n noted) cost.Peer {
	m := c.members[id]
	out := cost.Peer{ID: id, Self: id == p.s.self, HashMBs: m.Attributes.HashMBs}
	if p.s.d.Link != nil && !out.Self {
		out.RTT, out.Rate = p.s.d.Link(id)
	}
	out.Data = c.at.total - min(c.at.held[id], c.at.total)
	size := p.sizes[c.t.Module]
	if !n.answered { // the table's word
		out.Slots, out.Running, out.Queued, out.TaskSecs = m.Load.Slots, m.Load.Running, m.Load.Queued, m.Load.TaskSecs
		out.Queued = max(out.Queued, p.flight[id]-out.Running)
		out.Code = size
		if !m.Seen.IsZero() {
			out.Age = time.Since(m.Seen)
		}
		if !out.Self {
			out.Silent = n.took
		}
		return out
	}
	out.Slots, out.Running, out.TaskSecs, out.Compiled = n.Slots, n.Running, n.TaskSecs, n.Compiled
	// What this node has sent there since, or what has ended there since, the offer does not know.
	out.Queued = max(0, n.Queued+p.flight[id]-n.flight)
	if out.Self {
		out.Queued = max(n.Queued, p.flight[id]-n.Running)
	}
	if n.HashMBs > 0 {
		out.HashMBs = n.HashMBs
	}
	if !n.Code {
		out.Code = size
	}
	out.Age = c.at.age[id]
	if len(n.Has) == len(c.t.Inputs) && len(n.Has) > 0 { // the peer's own word on its inputs
		var lacks uint64
		all := true
		for i, has := range n.Has {
			if !has {
				all = false
				lacks += n.Lacks[i]
			}
		}
		switch {
		case all:
			out.Data = 0
		case c.at.held[id] >= c.at.total || out.Data == 0: // it lost them
			out.Data = max(lacks, c.at.total/2, 1)
		default:
			out.Data = max(out.Data, 1)
		}
	}
	return out
}

func (c *candidates) refuse(id shoal.PeerID, why string, retry bool) {
	c.refused = append(c.refused, cost.Choice{Peer: id, Refusal: why, Retry: retry})
}

// add considers a peer, once: it becomes a candidate, or a refusal with its reason.
func (c *candidates) add(m shoal.Member) {
	if _, ok := c.members[m.ID]; ok {
		return
	}
	c.members[m.ID] = m
	switch v := c.needs.check(&m); {
	case slices.Contains(c.o.Exclude, m.ID):
		c.refuse(m.ID, "excluded by the caller", false)
	case !v.OK:
		c.refuse(m.ID, v.Reason, v.Retry)
	default:
		c.list = append(c.list, m.ID)
	}
}

// member returns what is known of a peer, asking it when only it can tell.
func (p *placer) member(ctx context.Context, id shoal.PeerID, any bool) (shoal.Member, bool) {
	if id == p.s.self {
		m := p.s.d.Members.Self()
		m.ID, m.State, m.Load, m.Seen = id, shoal.Alive, p.s.exec.load(), time.Time{}
		return m, true
	}
	if m, ok := p.s.d.Members.Lookup(id); ok {
		return m, true
	}
	if any { // its attributes do not matter
		return shoal.Member{ID: id, State: shoal.Alive}, true
	}
	ctx, cancel := context.WithTimeout(ctx, p.s.cfg.OfferWait)
	defer cancel()
	m, err := p.s.d.Members.Record(ctx, id)
	if err != nil {
		return shoal.Member{ID: id}, false
	}
	m.State = shoal.Alive
	return m, true
}

// gather finds the candidates of a task.
func (p *placer) gather(ctx context.Context, t shoal.Task, o job.Options) (*candidates, error) {
	needs, err := p.needs(t.Module, t.Needs, t.Limits)
	if err != nil {
		return nil, err
	}
	c := &candidates{t: t, o: o, needs: needs, members: map[shoal.PeerID]shoal.Member{}}
	if c.at, err = p.locate(ctx, t, o); err != nil {
		return nil, err
	}
	p.sizeOf(ctx, t.Module)
	consider := func(id shoal.PeerID) {
		if m, ok := p.member(ctx, id, needs.n.Any()); ok {
			c.add(m)
		} else if _, known := c.members[id]; !known {
			c.members[id] = m
			c.refuse(id, "it does not say what machine it is", true)
		}
	}
	if o.On != "" {
		consider(o.On)
		return c, nil
	}
	if o.Among != nil {
		for _, id := range o.Among {
			consider(id)
		}
		p.passOver(ctx, c)
		return c, nil
	}
	consider(p.s.self)
	holders := make([]shoal.PeerID, 0, len(c.at.held))
	for id := range c.at.held {
		holders = append(holders, id)
	}
	slices.SortFunc(holders, func(a, b shoal.PeerID) int {
		return cmp.Or(cmp.Compare(c.at.held[b], c.at.held[a]), cmp.Compare(a, b))
	})
	for _, id := range holders[:min(len(holders), maxHolders)] {
		consider(id)
	}
	p.others(ctx, c)
	return c, nil
}

// others adds members that fit and have short queues, a few random ones, and with a small or no
// table those that the directory finds.
func (p *placer) others(ctx context.Context, c *candidates) {
	table := p.members()
	var alive []shoal.Member
	for _, m := range table {
		if m.State == shoal.Alive || !c.needs.n.Any() {
			alive = append(alive, m)
		} else if len(c.refused) < maxRefusals {
			c.add(m) // as a refusal
		}
	}
	start := int(p.s.roll() * float64(len(alive)))
	fitting := 0
	for i := range alive {
		if fitting == someFitting+someRandom {
			break
		}
		m := alive[(start+i)%len(alive)] // a random start; the load decides among them
		if before := len(c.list); len(alive) <= someFitting+someRandom || m.Load.Queued == 0 || i > len(alive)/2 {
			if c.add(m); len(c.list) > before {
				fitting++
			}
		}
	}
	if fitting > 0 || p.s.d.Directory == nil || c.needs.n.Any() {
		return
	}
	for _, m := range p.find(ctx, c) {
		c.add(m)
	}
}

// members is the table, copied at most every so often.
func (p *placer) members() []shoal.Member {
	age := p.s.cfg.OfferAge
	t, _ := p.table.get(context.Background(), struct{}{}, age, age, func(context.Context) ([]shoal.Member, error) {
		return p.s.d.Members.Table(), nil
	})
	return t
}

// find looks peers up by what they announce of themselves, and asks those for their records.
func (p *placer) find(ctx context.Context, c *candidates) []shoal.Member {
	age := p.s.cfg.WhereAge
	found, err := p.found.get(ctx, match.Requirement(c.t.Module, c.t.Needs), age, age, func(ctx context.Context) ([]shoal.Member, error) {
		var out []shoal.Member
		for _, index := range c.needs.n.Indexes() {
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
