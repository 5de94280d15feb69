package agents

import (
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/keepers"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/scheduler/gravity"
)

// What a move costs, in seconds, beside the transport of the state: how long calls wait while another keeper takes over, and
// what it takes besides to make a stranger a keeper. On one machine the longest call meanwhile took 13 to 50 ms, and a move
// to a stranger 170 ms in all; between machines, and with code that is slow to start, it is rather more.
const (
	costLead  = 0.05
	costLearn = 0.15
)

const (
	pullEvery   = time.Second      // between looks at whether a move pays
	pullTime    = 30 * time.Second // for one
	maxPaid     = 1 << 12          // agents that sleep and of which a node knows what they paid
	unknownRate = 50e6             // bytes per second of a link over which nothing has gone yet
)

// pull is what an agent has paid for the distance to what it reads, and to the agents it calls, since it lives here: the leader's node alone has it, in
// memory, also while the agent sleeps. When the node stops, or another takes over, it begins anew: what was paid is lost,
// and at most that much is paid once more before the agent moves. The actor's mu guards it.
type pull struct {
	ledger *gravity.Ledger
	paid   bool // something, since it was looked at last
	going  bool // a move is under way
	looked group.Instant
	pinned time.Time // until then it stays where somebody had moved it
	bytes  float64   // that came from peers, and how long that took, the latest counting most
	took   float64
	call   float64                  // seconds that the last call of an agent elsewhere took for the distance
	prices map[shoal.PeerID]float64 // as of looked
}

// reading is the shoal.Data of an agent's turns.
type reading struct{ x *actor }

// Read implements shoal.Data.
func (r reading) Read(ctx context.Context, dataset, path string, offset int64, b []byte) (int, error) {
	return r.x.a.Data.Read(ctx, dataset, path, offset, b, r.x.way())
}

// Files implements shoal.Data.
func (r reading) Files(ctx context.Context, dataset, path, after string, limit int) ([]shoal.File, error) {
	return r.x.a.Data.Files(ctx, dataset, path, after, limit, r.x.way())
}

// way has the agent read rather from those who could have it: keepers first, then whoever could become one.
func (x *actor) way() Way {
	ranks := map[shoal.PeerID]int{}
	return Way{Read: x.paid, Rank: func(p shoal.PeerID) int {
		rank, ok := ranks[p]
		if !ok {
			x.mu.Lock()
			switch {
			case x.keeps(p):
			case x.price(p) > 0:
				rank = 1
			default:
				rank = 2
			}
			x.mu.Unlock()
			ranks[p] = rank
		}
		return rank
	}}
}

// paid notes that so many bytes were read of what a peer has, and how long that took; of what is here nothing.
func (x *actor) paid(from shoal.PeerID, bytes int, took time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p, here := x.pull, from == x.a.Peers.Self()
	if x.a.cfg.NoGravity || !x.open || here && p == nil { // who never paid is not drawn
		return
	}
	if p == nil {
		p = x.newPull()
	}
	if here { // what it would have taken from where the rest came from
		if p.bytes == 0 {
			return
		}
		p.ledger.Pay(from, float64(bytes)*p.took/p.bytes, 0)
		return
	}
	const fade = 0.95
	p.bytes, p.took = p.bytes*fade+float64(bytes), p.took*fade+took.Seconds()
	p.ledger.Pay(from, took.Seconds(), x.price(from))
	p.paid = true
}

// called notes that the agent has called another, and so many bytes went to and fro. Of two that call one another one alone
// counts that, always the same: it comes to the other, which stays.
func (x *actor) called(key shoal.Key, bytes int) {
	if x.a.cfg.NoGravity || !gravity.Follows(string(x.key), string(key)) {
		return
	}
	at, ok := x.a.places.get(key)
	if !ok || at.Leader == "" {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	p, here := x.pull, at.Leader == x.a.Peers.Self()
	if !x.open || here && p == nil {
		return
	}
	if here {
		p.ledger.Pay(at.Leader, p.call, 0)
		return
	}
	rtt, rate := x.a.link(at.Leader)
	if rtt <= 0 { // nothing is known of the way: it cannot be far
		return
	}
	if p == nil {
		p = x.newPull()
	}
	p.call = rtt.Seconds() + float64(bytes)/rate
	p.ledger.Pay(at.Leader, p.call, x.price(at.Leader))
	p.paid = true
}

// link is what is known of the way to a peer, and what is assumed of what is not.
func (a *Agents) link(p shoal.PeerID) (rtt time.Duration, rate float64) {
	if a.Link != nil {
		rtt, rate = a.Link(p)
	}
	if rate <= 0 {
		rate = unknownRate
	}
	return rtt, rate
}

// newPull opens the account. The caller holds mu.
func (x *actor) newPull() *pull {
	x.a.mu.Lock()
	p, ok := x.a.paid.Peek(x.key)
	x.a.paid.Remove(x.key)
	x.a.mu.Unlock()
	if ok { // it has slept
		clear(p.prices)
		x.pull = p
		return p
	}
	x.pull = &pull{ledger: gravity.At(x.a.Peers.Self()), looked: x.a.instant(), prices: map[shoal.PeerID]float64{}}
	list, err := turn.History(x.state)
	if err != nil {
		x.a.cfg.Log.Error("agent: its history cannot be read", "agent", KeyText(x.key), "err", err)
	}
	for _, e := range list {
		if e.What == turn.Moved {
			x.pull.pinned = time.UnixMilli(e.At).Add(x.a.cfg.Stay)
		}
	}
	return x.pull
}

// forgetPaid forgets what was paid before another led the agent. The caller holds mu.
func (x *actor) forgetPaid() {
	x.a.mu.Lock()
	defer x.a.mu.Unlock()
	x.a.paid.Remove(x.key)
}

func (x *actor) keeps(p shoal.PeerID) bool {
	return slices.ContainsFunc(x.mark.Conf.Members, func(m group.Member) bool {
		return m.Peer == p && m.Role != group.Learner && m.Role != group.Outgoing
	})
}

// price is what having the agent live on a peer costs, in seconds; 0: it cannot, or must not. The caller holds mu.
func (x *actor) price(to shoal.PeerID) float64 {
	if p := x.pull; p != nil {
		if v, ok := p.prices[to]; ok {
			return v
		}
		v := x.appraise(to)
		p.prices[to] = v
		return v
	}
	return x.appraise(to)
}

func (x *actor) appraise(to shoal.PeerID) float64 {
	f := x.a.look()
	if f[to] != shoal.Alive || x.a.departs(to) || to == x.a.Peers.Self() {
		return 0
	}
	if x.keeps(to) {
		return costLead
	}
	members := append(x.a.Members.Table(), x.a.self())
	zones := map[shoal.PeerID]string{}
	for _, m := range members {
		if zones[m.ID] = m.Attributes.Labels["zone"]; m.ID == to && x.a.unfit(x.genesis.Needs, m) != "" {
			return 0
		}
	}
	zone := func(p shoal.PeerID) string { return zones[p] }
	if c := x.mark.Conf; keepers.Spread(c, zone, 0, "") > keepers.Spread(c, zone, keepers.Leaves(c, x.self, x.gonePeers(f), x.a.like(to)), zone(to)) {
		return 0
	}
	var bytes uint64
	if m, err := turn.ReadMeta(x.state); err == nil {
		bytes = m.Bytes
	}
	_, rate := x.a.link(to)
	return costLead + costLearn + float64(bytes)/rate
}

// like says which peers are in the same zone as one, so that of them one should make room for it.
func (a *Agents) like(p shoal.PeerID) func(shoal.PeerID) bool {
	zones := map[shoal.PeerID]string{}
	for _, m := range append(a.Members.Table(), a.self()) {
		zones[m.ID] = m.Attributes.Labels["zone"]
	}
	return func(q shoal.PeerID) bool { return zones[p] != "" && zones[q] == zones[p] }
}

// attract has the agent move to what it reads, once that pays.
func (x *actor) attract() {
	x.mu.Lock()
	defer x.mu.Unlock()
	p, now := x.pull, x.a.instant()
	if p == nil || !p.paid || p.going || !x.open || x.maintaining || x.mark.Conf.Joint() || now < p.looked.Add(pullEvery) {
		return
	}
	p.paid, p.looked = false, now
	clear(p.prices)
	if x.a.cfg.Now().Before(p.pinned) {
		return
	}
	var fit []gravity.Place
	for _, s := range p.ledger.Sites {
		fit = append(fit, gravity.Place{Peer: s.Peer, Price: x.price(s.Peer)})
	}
	d := p.ledger.Decide(fit)
	x.a.cfg.Log.Debug("agent: where it should be", "agent", x.genesis.Name, "move", d.Move, "why", d)
	if d.Move {
		p.going = true
		x.a.work.Go(func() { x.follow(p, d) })
	}
}

// follow moves the agent as was decided.
func (x *actor) follow(p *pull, d gravity.Decision) {
	ctx, cancel := context.WithTimeout(x.a.ctx, pullTime)
	defer cancel()
	err := x.a.fits(ctx, d.To)
	if err == nil {
		x.a.cfg.Log.Info("agent: it moves to what it reads", "agent", x.genesis.Name, "to", d.To.Short(), "why", d)
		x.record(turn.Event{What: turn.Drawn, To: d.To, Pull: &turn.Pull{Here: d.Here, There: d.There, Price: d.Price, Why: d.String()}})
		if err = x.move(ctx, d.To); err == nil {
			x.a.drawn.Add(1)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if p.going = false; err != nil {
		p.ledger.Spoil(d.To)
		x.a.cfg.Log.Warn("agent: it could not move to what it reads", "agent", x.genesis.Name, "to", d.To.Short(), "err", err)
	}
}
