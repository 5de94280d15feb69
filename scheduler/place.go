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
	maxRefusals = 32 // told in an explanation
	findLimit   = 16 // peers looked up by attribute
)

// placer chooses peers. What it knows of them are hints with an age.
type placer struct {
	s      *Scheduler
	offers *memory[offerKey, noted]
	where  *memory[cid.Cid, located]
	found  *memory[string, []shoal.Member]

	mu     sync.Mutex
	flight map[shoal.PeerID]int // tasks sent there that have not ended
	asked  map[needsKey]*match.Needs
	sizes  map[cid.Cid]extent // of modules

	median   float64 // of all measured rates
	medianAt time.Time

	look  sync.Mutex // at the member table
	table *match.Table
	mark  uint64 // of the table, up to which it is known
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
		table:  match.NewTable(),
		flight: map[shoal.PeerID]int{}, asked: map[needsKey]*match.Needs{}, sizes: map[cid.Cid]extent{},
	}
}

type needsKey struct {
	src    string
	memory uint64
}

// maxVerdicts bounds what all requirements remember of members; sixteen bytes each.
const maxVerdicts = 1 << 20

// needs compiles the requirements of tasks with some code, once for all tasks that have them.
func (p *placer) needs(code cid.Cid, src string, limits shoal.Limits) (*match.Needs, error) {
	all := match.Requirement(code, src)
	key := needsKey{all, limits.Memory}
	p.mu.Lock()
	n := p.asked[key]
	p.mu.Unlock()
	if n != nil {
		return n, nil
	}
	n, err := match.Compile(src, limits) // by itself, so that the error points at the fault
	if err == nil && all != src {
		n, err = match.Compile(all, limits)
	}
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "requirements", err)
	}
	members := len(p.rows().List)
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.asked { // any of them: those in use come back
		if len(p.asked) < 256 && len(p.asked)*members < maxVerdicts {
			break
		}
		delete(p.asked, k)
	}
	p.asked[key] = n
	return n, nil
}

// rows is the member table as it is now; only what changed since the last look is copied.
func (p *placer) rows() match.Rows {
	p.look.Lock()
	defer p.look.Unlock()
	rows, mark, all := p.s.d.Members.Since(p.mark)
	if p.mark = mark; all {
		keep := make(map[shoal.PeerID]bool, len(rows))
		for i := range rows {
			keep[rows[i].ID] = true
		}
		p.table.Keep(keep)
	}
	for i := range rows {
		p.table.Put(rows[i])
	}
	return p.table.Rows()
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
	needs   *match.Needs
	at      inputsAt
	way     way
	members map[shoal.PeerID]shoal.Member
	list    []shoal.PeerID
	refused []cost.Choice
	passed  []job.Passed  // that fit and were passed over by the caller
	told    []cost.Choice // that were, and would not fit
}

// choose picks the peer for a task and counts the task as sent there: the caller calls left when
// the attempt has ended. What peers said before since does not count.
func (p *placer) choose(
	ctx context.Context, t shoal.Task, o job.Options, tries *job.Tries, since time.Time,
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
		switch {
		case tries.Bad(id):
			c.refuse(id, "an attempt failed there", true)
		case tries.Full(id) && (c.at.total == 0 || c.at.held[id] < c.at.total): // for its data one may wait
			c.refuse(id, "it refused a moment ago", true)
		default:
			return false
		}
		return true
	})
	offers := p.ask(ctx, c, min(p.s.cfg.OfferAge, max(time.Since(since), freshOffers)))
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
	size := p.sizes[t.Module]
	f := cost.Facts{Task: t.ID, Code: size.bytes, Body: size.body, Data: c.at.total, Seed: p.s.cfg.Seed, Policy: p.s.cfg.Policy}
	f.Work, f.Base = p.s.effort(t.Module)
	refused := c.refused[:min(len(c.refused), maxRefusals)]
	e := cost.Decide(f, peers, slices.Concat(refused, c.told))
	chosen, ok := e.Chosen()
	if !ok {
		e.Out = p.excluded(c)
		return "", e, p.nobody(t, refused, offers, e.Out)
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
}

// nobody says why no peer takes the task.
func (p *placer) nobody(t shoal.Task, refused []cost.Choice, offers map[shoal.PeerID]noted, all []cost.Out) error {
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
	case n > len(reasons) && len(all) > 0:
		reasons = append(reasons, fmt.Sprintf("in all %d by %s", all[0].Peers, all[0].Clause))
	case n > len(reasons):
		reasons = append(reasons, fmt.Sprintf("and %d more", n-len(reasons)))
	}
	if len(reasons) > 0 {
		out.Why += " (" + strings.Join(reasons, "; ") + ")"
	}
	return out
}

// excluded counts what keeps members from a task, of those that may run it at all.
func (p *placer) excluded(c *candidates) (out []cost.Out) {
	members := func(yield func(*shoal.Member) bool) {
		if c.o.On != "" || c.o.Among != nil {
			for _, m := range c.members {
				if !yield(&m) {
					return
				}
			}
			return
		}
		self, _ := p.member(context.Background(), p.s.self, true)
		if !yield(&self) {
			return
		}
		for _, r := range p.rows().List {
			if !yield(&r.Member) {
				return
			}
		}
	}
	for _, o := range c.needs.Excluded(members, time.Now()) {
		out = append(out, cost.Out(o))
	}
	return out
}

// facts turns what is known of a peer into the terms of the cost model. The lock is held.
func (p *placer) facts(c *candidates, id shoal.PeerID, n noted) (out cost.Peer) {
	m := c.members[id]
	out = cost.Peer{ID: id, Self: id == p.s.self, HashMBs: m.Attributes.HashMBs}
	defer func() { p.correct(&out) }()
	p.link(&out, c.way)
	defer func() {
		if p.s.d.Probe != nil && !out.Self && out.Code+out.Data >= worthProbing && p.unknown(id) {
			p.s.d.Probe(id)
		}
	}()
	out.Data = c.at.total - min(c.at.held[id], c.at.total)
	size := p.sizes[c.t.Module].bytes
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
	if v := c.needs.Check(&m, time.Now()); !v.OK || slices.Contains(c.o.Exclude, m.ID) {
		c.out(m.ID, v)
		return
	}
	c.list = append(c.list, m.ID)
}

// out tells why a peer is no candidate.
func (c *candidates) out(id shoal.PeerID, v match.Verdict) {
	if slices.Contains(c.o.Exclude, id) {
		v.Reason, v.Retry = "excluded by the caller", false
	}
	c.refuse(id, v.Reason, v.Retry)
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
	c.way = p.way(c.at)
	p.sizeOf(ctx, t.Module)
	consider := func(id shoal.PeerID) {
		if m, ok := p.member(ctx, id, needs.Any()); ok {
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
