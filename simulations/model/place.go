package model

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/simulations/event"
)

// The figures of the room scheduler, by their names there.
const (
	maxAsked     = 8
	maxHolders   = 12
	findLimit    = 16
	offerWait    = 300 * time.Millisecond
	offerAge     = 250 * time.Millisecond
	staleOffers  = 8
	freshOffers  = 5 * time.Millisecond
	whereAge     = 5 * time.Second
	worthProbing = 256 << 10
	probeBytes   = 256 << 10        // rpc/probe.go
	probesAsked  = 1                // node/rooms.go: at once
	probeAgain   = 10 * time.Minute // rpc/probe.go

	suspectAfter = 3 * time.Second // members.Config
	gossiped     = 5 * time.Second // after which others know of a change of load
	contacts     = 32              // members that a node knows without a table: its mesh, and those that have it in theirs

	offerAsk, offerReply = 107, 97 // bytes of scheduler's offerRequest and offer of one input, encoded
)

type offerKey struct {
	peer node
	part uint32
	mod  uint32
}

const (
	maxPools = 64
	allKnown = 4096 // nodes that a member table is modelled for; where there are more, each knows as many
)

// gpuExecutor is the native executor that GPU tasks are for.
const gpuExecutor = "gpu"

// maxAskers bounds those of which is remembered what they learnt: of more, all that have no task under way begin anew.
const maxAskers = 1 << 16

// candidate is a peer that may take a task.
type candidate struct {
	n     node
	held  uint64
	load  shoal.Load // as the table says
	seen  bool       // in the table
	offer noted
	asked bool
	doubt float64
}

// choose finds a peer for a task and sends it there: scheduler's placer.choose, with the waits between its steps.
func (t *task) choose() {
	a, c := t.a, t.d.c
	w, ok := a.where[t.part]
	if !t.input() || ok && c.loop.Now()-w.at <= event.At(whereAge) {
		t.gather(w.holders)
		return
	}
	found, took := c.data.locate(a.n, t.part)
	n := t.tries.Count()
	c.loop.After(took, func() {
		if t.over || t.tries.Count() != n {
			return
		}
		if len(a.where) > 256 {
			clear(a.where)
		}
		a.where[t.part] = located{found, c.loop.Now()}
		if len(found) == 0 && !c.data.here(a.n, t.part) {
			t.failed(nil, shoal.E(shoal.NotFound, "input", "nobody has it", ""))
			return
		}
		t.gather(found)
	})
}

// input reports whether the task has one.
func (t *task) input() bool { return t.k.family >= 0 }

// gather makes the list of candidates and asks the best of them.
func (t *task) gather(holders []node) {
	d, a, c := t.d, t.a, t.d.c
	t.list, t.refusals, t.retry = t.list[:0], 0, false
	needs := t.needs()
	var rows match.Rows
	now := c.clock()
	add := func(n node, seen bool, load shoal.Load) {
		for i := range t.list {
			if t.list[i].n == n {
				return
			}
		}
		if !needs.Any() {
			*c.leaves["match"]++
			m := d.member(n)
			if v := needs.Check(&m, now); !v.OK {
				t.refusals++
				return
			}
		}
		x := candidate{n: n, seen: seen, load: load}
		if t.input() && (n == a.n && c.data.here(n, t.part) || slices.Contains(holders, n)) {
			x.held = t.bytes
		}
		t.list = append(t.list, x)
	}
	add(a.n, true, shoal.Load{})
	sorted := slices.Clone(holders)
	slices.SortFunc(sorted, func(x, y node) int { return cmp.Compare(peerID(x), peerID(y)) })
	for _, n := range sorted[:min(len(sorted), maxHolders)] {
		add(n, false, shoal.Load{})
	}
	p := d.pool(a.n)
	rows = d.rows(p)
	*c.leaves["match"]++
	fit, _ := needs.Scan(rows, now)
	drawn := cost.Draw(fit, func(i int32) float64 {
		m := &rows.List[i].Member
		busy := m.Load.Running + m.Load.Queued
		if len(a.flight) > 0 {
			busy = max(busy, a.flight[nodeOf(m.ID)])
		}
		return cost.Seems(cost.Peer{Slots: m.Load.Slots, Queued: busy, TaskSecs: m.Load.TaskSecs, HashMBs: m.Attributes.HashMBs})
	}, d.dice.Float64)
	for _, i := range drawn {
		add(nodeOf(rows.List[i].ID), true, rows.List[i].Load)
	}
	wait := time.Duration(0)
	if len(fit) == 0 && !needs.Any() { // those that the directory finds
		var found []node
		found, wait = d.findFit(a.n, t)
		for _, n := range found {
			add(n, true, d.member(n).Load)
		}
	}
	allBad := !slices.ContainsFunc(t.list, func(x candidate) bool { return !t.tries.Bad(peerID(x.n)) })
	if allBad {
		t.tries.Forgive()
	}
	t.list = slices.DeleteFunc(t.list, func(x candidate) bool {
		id := peerID(x.n)
		out := t.tries.Bad(id) || t.tries.Full(id) && (t.bytes == 0 || x.held < t.bytes)
		if out {
			t.refusals++
			t.retry = true
		}
		return out
	})
	n, asked := t.tries.Count()+t.tries.Nexts(), t.ask()
	c.loop.After(wait+asked, func() {
		if !t.over && t.tries.Count()+t.tries.Nexts() == n {
			t.decide()
		}
	})
}

// ask gets offers of the best few candidates, from memory where that is fresh, and returns how long that takes. What a peer
// answers is what is so when the asker hears it, which is half a round trip later than in fact.
func (t *task) ask() (wait time.Duration) {
	a, c, now := t.a, t.d.c, t.d.c.loop.Now()
	fresh := min(event.At(offerAge), max(now-t.refused, event.At(freshOffers)))
	stale := fresh * staleOffers
	if fresh < event.At(offerAge) {
		stale = fresh
	}
	for i := range t.list {
		t.list[i].doubt = a.rates.Doubt(peerID(t.list[i].n), c.clock())
	}
	slices.SortStableFunc(t.list, func(x, y candidate) int {
		busy := func(x candidate) float64 {
			return float64(x.load.Running+x.load.Queued) / float64(max(x.load.Slots, 1))
		}
		return cmp.Or(cmp.Compare(x.doubt, y.doubt), cmp.Compare(y.held, x.held), cmp.Compare(busy(x), busy(y)))
	})
	if len(a.offers) > 512 {
		clear(a.offers)
	}
	t.asked = min(len(t.list), maxAsked)
	for i := range t.list[:t.asked] {
		x := &t.list[i]
		x.asked = true
		key := offerKey{x.n, t.part, t.mod}
		if n, ok := a.offers[key]; ok && now-n.at <= stale {
			x.offer = n
			if now-n.at > fresh { // good enough, while a new one is asked for
				took, answers := c.ask(a.n, x.n, c.links.offers, offerAsk, offerReply)
				c.loop.After(took, func() { t.note(x.n, key, answers) })
			}
			continue
		}
		took, answers := c.ask(a.n, x.n, c.links.offers, offerAsk, offerReply)
		if !answers || took > offerWait {
			took, answers = offerWait, false
		}
		x.offer = noted{took: offerWait, at: -1}
		if answers {
			x.offer.at = -2 // to be looked at when it is here
		}
		wait = max(wait, took)
	}
	return wait
}

// note takes what a peer offers now into the asker's memory.
func (t *task) note(n node, key offerKey, answers bool) noted {
	o := noted{at: t.d.c.loop.Now(), took: offerWait, flight: t.a.flight[n]}
	if answers && t.d.c.up[n] {
		o = t.d.offer(t, n)
	}
	t.a.offers[key] = o
	return o
}

// offer is what a node says to a question for an offer: scheduler's offer.
func (d *tasks) offer(t *task, n node) noted {
	c := d.c
	x := c.machines.of(n)
	o := noted{answered: true, took: 0, at: c.loop.Now(), flight: t.a.flight[n], Load: c.machines.load(x, peerID(t.a.n))}
	if t.k.w.GPU {
		o.compiled, o.code = true, true
		o.refusal, o.retry = c.machines.room(x, &o.Load)
	} else if m := x.has(t.mod); m != nil {
		o.compiled, o.code = m.ready, true
	} else if n == t.a.n {
		o.code = true
	}
	o.has = t.input() && c.data.here(n, t.part)
	if o.refusal == "" && x.queue.Left(peerID(t.a.n)) == 0 {
		o.refusal, o.retry, o.after = "its queue is full", true, x.queue.RetryAfter(peerID(t.a.n))
	}
	if o.refusal == "" && n != t.a.n {
		x.holds.Add(peerID(t.a.n), t.asked, c.clock())
	}
	return o
}

// decide has the costs choose.
func (t *task) decide() {
	d, a, c := t.d, t.a, t.d.c
	var full *shoal.Error
	d.peers = d.peers[:0]
	best, reach := 0.0, time.Duration(0) // of the links to those that hold the input: scheduler's way
	for _, x := range t.list {
		if x.held > 0 && x.n != a.n {
			if rtt := c.rtt(a.n, x.n); reach == 0 || rtt < reach {
				reach = rtt
			}
			best = max(best, d.rate(a.n, x.n))
		}
	}
	for i := range t.list {
		x := &t.list[i]
		if x.asked && x.offer.at == -2 {
			x.offer = t.note(x.n, offerKey{x.n, t.part, t.mod}, true)
		} else if x.asked && x.offer.at == -1 {
			x.offer = t.note(x.n, offerKey{x.n, t.part, t.mod}, false)
		}
		if x.offer.refusal != "" {
			t.refusals++
			t.retry = t.retry || x.offer.retry
			if x.offer.retry {
				full = &shoal.Error{Kind: shoal.Overloaded, RetryAfter: x.offer.after}
			}
			continue
		}
		d.peers = append(d.peers, t.facts(x, reach, best))
	}
	size := uint64(t.k.w.Code)
	if t.k.w.GPU {
		size = 0
	}
	f := cost.Facts{Task: t.id, Code: size, Data: t.bytes, Seed: uint64(a.n) + c.seed, Policy: c.o.Policy, Base: a.rates.Compile}
	f.Work = a.rates.Effort(t.k.name(t.mod))
	*c.leaves["cost"]++
	e := cost.Decide(f, d.peers, nil)
	chosen, ok := e.Chosen()
	if !ok {
		err := shoal.E(shoal.Refused, "task", "no peer fits", "")
		switch {
		case full != nil:
			err = full
		case t.retry || t.refusals == 0:
			err.Kind = shoal.Unavailable
		}
		t.failed(nil, err)
		return
	}
	n := nodeOf(chosen.Peer)
	c.loop.Note(uint64(n) ^ math.Float64bits(chosen.Weighed))
	t.send(n, chosen, len(e.Open()))
}

// facts turns what is known of a peer into the terms of the costs: scheduler's facts, link and correct.
func (t *task) facts(x *candidate, reach time.Duration, best float64) cost.Peer {
	d, a, c, n := t.d, t.a, t.d.c, x.offer
	id := peerID(x.n)
	p := cost.Peer{ID: id, Self: x.n == a.n, HashMBs: t.d.classes[c.bodies[x.n].class].Attributes.HashMBs}
	fetched := a.rates.Fetches(id)
	if p.Self {
		p.Reach, p.Rate = reach, cmp.Or(fetched, best, d.usual(a.n))
	} else {
		p.RTT, p.Rate = c.rtt(a.n, x.n), cmp.Or(fetched, d.rate(a.n, x.n), d.usual(a.n))
	}
	p.Data = t.bytes - x.held
	size := uint64(t.k.w.Code)
	if t.k.w.GPU {
		size = 0
	}
	if !n.answered {
		p.Slots, p.Running, p.TaskSecs, p.Code = max(x.load.Slots, 0), x.load.Running, x.load.TaskSecs, size
		p.Queued = max(x.load.Queued, a.flight[x.n]-p.Running)
		if !p.Self {
			p.Silent = n.took
		}
		p.Compiled = t.k.w.GPU
	} else {
		p.Slots, p.Running, p.TaskSecs, p.Compiled = n.Slots, n.Running, n.TaskSecs, n.compiled
		p.Queued = max(0, n.Queued+a.flight[x.n]-n.flight)
		if p.Self {
			p.Queued = max(n.Queued, a.flight[x.n]-n.Running)
		}
		if !n.code {
			p.Code = size
		}
		switch {
		case !t.input():
		case n.has:
			p.Data = 0
		case x.held >= t.bytes: // it lost it
			p.Data = max(t.bytes, 1)
		default:
			p.Data = max(p.Data, 1)
		}
	}
	p.Doubt, p.HashMBs = x.doubt, cmp.Or(p.HashMBs, cost.DefaultHashMBs)/a.rates.Factor(id, c.clock())
	if !p.Self && p.Code+p.Data >= worthProbing && fetched == 0 && d.rate(a.n, x.n) == 0 {
		d.probe(a, x.n)
	}
	return p
}

// probe measures the rate of a link: rpc.Probe.
func (d *tasks) probe(a *asker, n node) {
	c, now := d.c, d.c.loop.Now()
	if at, ok := a.probed[n]; a.probes >= probesAsked || ok && now-at < event.At(probeAgain) || !c.up[n] {
		return
	}
	a.probed[n] = now
	a.probes++
	rate := min(orBoundless(float64(c.of(n).Up)), orBoundless(float64(c.of(a.n).Down)))
	c.links.send(n, a.n, probeBytes, c.trip(a.n, n), 0, func(moved uint64, all bool) {
		a.probes--
		*c.links.probes += moved
		if all {
			d.probed(a.n, n, rate) // the fastest window of it is what the link lets through
		}
	})
}

// findFit finds nodes by what they announce of themselves, and asks them for their records.
func (d *tasks) findFit(from node, t *task) (found []node, took time.Duration) {
	needs, all := t.needs(), 0
	var fit []node // first and last of the classes that do
	at := node(0)
	for i, cl := range d.c.s.Classes {
		m := d.classes[i]
		m.ID = shoal.PeerID("class " + cl.Name)
		if needs.Check(&m, d.c.clock()).OK && cl.Count > 0 {
			fit, all = append(fit, at, at+node(cl.Count)), all+cl.Count
		}
		at += node(cl.Count)
	}
	_, look, ok := d.c.find(from, d.c.hashed("attributes", uint64(t.load)), all)
	if !ok {
		return nil, look
	}
	for range min(all, findLimit) * 4 {
		k := node(d.dice.IntN(all))
		for i := 0; i < len(fit); i += 2 {
			if many := fit[i+1] - fit[i]; k < many {
				k += fit[i]
				break
			} else {
				k -= many
			}
		}
		if len(found) < findLimit && d.c.up[k] && !slices.Contains(found, k) {
			found = append(found, k)
		}
	}
	for _, n := range found {
		look += d.c.rtt(from, n) // one after the other
	}
	return found, look
}
