package group

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// liveness is what the node knows of other nodes, and when this member wants to lead.
type liveness struct {
	peers    map[shoal.PeerID]peer
	heard    Instant // from the leader
	electAt  Instant // 0: not at all
	yieldTo  Instant // until then another's candidature has precedence; 0: nobody's
	attempts int
	stood    Instant // when it last asked whether there would be votes for it
	ballot   ballot  // who asked that of this member, and gets the answer later
	direct   bool    // the next attempt asks for votes at once, not first whether there would be any
	slept    uint64  // the newest term whose leader went to sleep
	askAt    Instant // when a removed member asks whether it may go; 0: not at all
}

type peer struct {
	suspect     bool
	incarnation uint64
}

// Suspect says that the node with peer is silent. The groups that it leads elect.
func (g *Group) Suspect(now Instant, p shoal.PeerID) {
	g.do(now, func() {
		x := g.alive.peers[p]
		x.suspect = true
		g.alive.peers[p] = x
		if g.peerOf(g.lead) == p && g.lead != g.cfg.Self {
			g.suspectLeader()
		}
	})
}

// Alive says that the node with peer answers, both ways, in an incarnation.
func (g *Group) Alive(now Instant, p shoal.PeerID, incarnation uint64) {
	g.do(now, func() {
		g.met(p, incarnation)
		x := g.alive.peers[p]
		if x.incarnation == incarnation {
			x.suspect = false
			g.alive.peers[p] = x
		}
	})
}

// met notes an incarnation. A new one ends all leaderships of its node, and with them what was promised: a
// process that is gone reads nothing. It reports false for one that is over.
func (g *Group) met(p shoal.PeerID, incarnation uint64) bool {
	x := g.alive.peers[p]
	if g.cfg.off.noIncarnation {
		return true
	}
	if incarnation <= x.incarnation {
		return incarnation == x.incarnation
	}
	known := x.incarnation > 0
	x.incarnation = incarnation
	g.alive.peers[p] = x
	if v := &g.vows.promise; g.peerOf(v.Leader) == p && v.Incarnation < incarnation {
		v.Until = 0
	}
	if known && g.role != raft.StateLeader && g.peerOf(g.lead) == p {
		g.suspectLeader()
	}
	return true
}

func (g *Group) peerOf(member uint64) shoal.PeerID {
	m, _ := g.conf.Member(member)
	return m.Peer
}

// suspectLeader gives the leader up: this member campaigns when its turn comes, unless it hears of a leader.
func (g *Group) suspectLeader() {
	last := g.lead
	if g.role == raft.StateFollower {
		_ = g.rn.ForgetLeader() // a local message is never refused
	}
	if !g.votes() {
		return
	}
	g.electBy(max(g.now, g.withheld()) + g.delay(last))
}

// yield gives precedence to a candidate who was promised this member's vote, once until this member's own turn comes: where a
// thousand groups elect at once, an answer takes longer than candidates are apart, and each would take the other's vote away.
func (g *Group) yield() {
	if g.alive.yieldTo == 0 {
		g.alive.yieldTo = g.now.Add(g.cfg.Lease/2) + Instant(g.rng.Int64N(int64(g.cfg.Stagger)))
		if g.alive.electAt > 0 {
			g.alive.electAt = max(g.alive.electAt, g.alive.yieldTo)
		}
	}
}

// electBy has this member campaign at t, or at what was set before if that is sooner.
func (g *Group) electBy(t Instant) {
	t = max(t, g.alive.yieldTo)
	if g.alive.electAt == 0 || t < g.alive.electAt {
		g.alive.electAt = t
	}
}

// delay spreads candidates: by rank after the last leader, those suspected left out, and a little by chance.
func (g *Group) delay(last uint64) Instant {
	rank, begun := 0, false
	for range 2 {
		for _, m := range g.conf.Members {
			switch {
			case m.ID == last:
				begun = true
			case m.ID == g.cfg.Self && (begun || !g.conf.has(last)):
				return Instant(rank)*Instant(g.cfg.Stagger) + Instant(g.rng.Int64N(int64(g.cfg.Stagger)/2+1))
			case (begun || !g.conf.has(last)) && m.Role != Learner && !g.alive.peers[m.Peer].suspect:
				rank++
			}
		}
		begun = true
	}
	return Instant(rank)*Instant(g.cfg.Stagger) + Instant(g.rng.Int64N(int64(g.cfg.Stagger)/2+1))
}

// votes reports whether this member may become leader.
func (g *Group) votes() bool {
	m, ok := g.conf.Member(g.cfg.Self)
	return ok && m.Role != Learner
}

// Campaign asks for leadership, because somebody calls the agent and no leader is known. It fails with
// NotLeader if one is. A group that sleeps is woken so: unless some member's node is suspected, votes are asked for
// at once.
func (g *Group) Campaign(now Instant) error {
	if err := g.usable("campaign"); err != nil {
		return err
	}
	if g.role == raft.StateLeader {
		return nil
	}
	if g.lead != 0 && !g.alive.peers[g.peerOf(g.lead)].suspect {
		return g.notLeader()
	}
	if !g.votes() || g.stuck(now) {
		return g.notLeader()
	}
	g.do(now, func() {
		if g.role == raft.StateFollower && g.alive.attempts == 0 {
			g.alive.electAt = g.now
			g.alive.direct = g.lead == 0 && !slices.ContainsFunc(g.conf.Members, func(m Member) bool { return g.alive.peers[m.Peer].suspect })
			g.elect()
		}
	})
	return g.broken
}

// elect campaigns, if it may.
func (g *Group) elect() {
	if !g.votes() {
		g.alive.electAt = 0
		return
	}
	if w := g.withheld(); g.now < w {
		g.alive.electAt, g.alive.direct = w+g.delay(g.lead), false
		return
	}
	if g.stuck(g.now) {
		g.alive.electAt, g.alive.direct = g.now.Add(g.cfg.Lease/2), false
		return
	}
	g.alive.attempts++
	g.alive.yieldTo = 0
	g.alive.electAt = g.now + g.delay(0) + Instant(min(g.alive.attempts, 4))*Instant(g.cfg.Lease/4)
	if g.alive.direct {
		g.alive.direct = false
		_ = g.rn.Step(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(g.cfg.Self), To: new(g.cfg.Self)}) // local
		return
	}
	g.alive.stood = g.now
	_ = g.rn.Campaign() // a local message is never refused
}

// heard notes a sign of life from the leader.
func (g *Group) heardLeader() {
	g.alive.heard, g.alive.attempts = g.now, 0
	g.alive.electAt, g.alive.yieldTo, g.alive.direct, g.alive.ballot = 0, 0, false, ballot{}
	if g.votes() {
		i := slices.IndexFunc(g.conf.Members, func(m Member) bool { return m.ID == g.cfg.Self })
		g.alive.electAt = g.now.Add(g.cfg.Silence) + Instant(i)*Instant(g.cfg.Stagger)
	}
}

// Next returns when Wake wants to be called, if at all.
func (g *Group) Next() (t Instant, ok bool) {
	if g.broken != nil || g.sealed > 0 {
		return 0, false
	}
	add := func(x Instant) {
		if x > 0 && (!ok || x < t) {
			t, ok = x, true
		}
	}
	add(g.alive.electAt)
	add(g.alive.askAt)
	add(g.lazy.sendAt)
	add(g.alive.ballot.at)
	if g.role == raft.StateLeader {
		add(g.led.beatAt)
		add(g.led.transferEnd)
		for _, x := range g.led.again {
			add(x)
		}
	}
	return t, ok
}

// Wake does what is due at now.
func (g *Group) Wake(now Instant) {
	g.do(now, func() {
		if g.alive.askAt > 0 && g.now >= g.alive.askAt {
			g.alive.askAt = g.now.Add(g.cfg.Silence)
			g.tell(mayIGo)
		}
		if g.lazy.sendAt > 0 && g.now >= g.lazy.sendAt {
			g.catchUp()
		}
		if b := g.alive.ballot; b.at > 0 && g.now >= b.at {
			g.answer()
		}
		if g.role == raft.StateLeader {
			g.beat()
			return
		}
		if g.alive.electAt > 0 && g.now >= g.alive.electAt {
			if g.lead != 0 {
				g.suspectLeader()
				g.alive.electAt = g.now
			}
			g.elect()
		}
	})
}

// beat is a leader's clockwork: heartbeats, a hand-over that did not come about, states to ship again.
func (g *Group) beat() {
	if g.led.transfer != 0 && g.now >= g.led.transferEnd {
		g.led.transfer, g.led.transferEnd = 0, 0
		g.rn.TransferLeader(g.cfg.Self) // to itself: that aborts it
	}
	for _, m := range g.conf.Members {
		if at, ok := g.led.again[m.ID]; ok && g.now >= at {
			g.ship(m.ID)
		}
	}
	for id := range g.led.again {
		if !g.conf.has(id) {
			delete(g.led.again, id)
		}
	}
	if g.now < g.led.beatAt {
		return
	}
	g.led.beatAt = g.now.Add(g.cfg.Lease / 3)
	if !g.lease.alone && (g.overdue(g.now, g.cfg.Lease) || g.now > max(g.alive.heard, g.lease.quorum).Add(g.cfg.Silence)) {
		g.resign() // the disk is stuck, or nobody follows
		return
	}
	_ = g.rn.Step(&raftpb.Message{Type: raftpb.MsgBeat.Enum(), From: new(raft.LocalAppendThread)}) // local
}
