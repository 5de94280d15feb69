package group

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// Step handles a message from the network, which from sent. An error (Invalid) means that it was malformed.
// Whoever is not addressed, is of another generation, or asks for a vote that was promised away, is ignored.
func (g *Group) Step(now Instant, from shoal.PeerID, data []byte) error {
	h, m, err := decode(data)
	if err != nil {
		return err
	}
	switch {
	case g.broken != nil:
	case h.generation < max(g.generation, g.sealed) && !g.cfg.off.noSeal:
		g.refer(from, h)
	default:
		g.do(now, func() { g.receive(from, h, m) })
	}
	return nil
}

// refer tells somebody of an older generation that there is a newer one.
func (g *Group) refer(from shoal.PeerID, h header) {
	back := g.header(h.from)
	back.generation, back.notice = max(g.generation, g.sealed), newerHistory
	to := Member{ID: h.from, Keeper: Keeper{Peer: from}}
	g.out.Send = append(g.out.Send, Envelope{To: to, Data: encode(back, nil)})
}

func (g *Group) receive(from shoal.PeerID, h header, m *raftpb.Message) {
	if h.generation > g.generation && !g.cfg.off.noSeal {
		g.sealed, g.out.Sealed = h.generation, h.generation
		return
	}
	if h.to != g.cfg.Self {
		return // of an earlier keeper in this place
	}
	sender, known := g.conf.Member(h.from)
	if known && sender.Peer != from {
		return
	}
	if !known {
		if len(g.replies) >= 16 {
			clear(g.replies)
		}
		g.replies[h.from] = from
	}
	if !g.met(from, h.incarnation) {
		return // sent before its node started anew
	}
	g.released(h.released)
	if m == nil {
		g.noticed(h)
		return
	}
	g.handle(from, h, m)
}

// noticed handles a message of this package's own.
func (g *Group) noticed(h header) {
	switch h.notice {
	case leaderResigns:
		g.vows.ended = max(g.vows.ended, h.released)
		if g.role == raft.StateFollower && (g.lead == h.from || g.lead == 0) {
			g.suspectLeader()
		}
	case leaderSleeps:
		if g.role == raft.StateFollower && g.lead == h.from {
			_ = g.rn.ForgetLeader() // a local message is never refused
			g.alive.electAt, g.alive.slept = 0, g.term
			g.out.Sleep = true
		}
	case notMember:
		if h.conf > g.conf.Index && g.role != raft.StateLeader {
			g.parted()
		}
	case mayIGo:
		g.final(h.from, Position{h.echo, h.echoOf})
		if g.role == raft.StateLeader && g.led.open && !g.conf.has(h.from) && h.conf <= g.conf.Index && g.apply.applied > g.led.seal {
			back := g.header(h.from)
			back.notice = dismissed
			g.post(back, nil)
		}
	case dismissed:
		if g.gone && h.conf >= g.conf.Index {
			g.alive.askAt = 0
			g.out.Removed = true
		}
	}
}

// final commits an entry of which a removed member knows that it is final, if this member has that very entry.
func (g *Group) final(from uint64, p Position) {
	if term, err := g.log.Term(p.Index); g.role == raft.StateLeader || p.Index <= g.commit || err != nil || term != p.Term {
		return
	}
	_ = g.rn.Step(&raftpb.Message{ // as a leader would say it
		Type: raftpb.MsgHeartbeat.Enum(), From: new(from), To: new(g.cfg.Self), Term: new(g.term), Commit: new(p.Index),
	})
	_ = g.rn.ForgetLeader() // a local message is never refused
}

// handle gives raft a message, if the house rules let it through.
func (g *Group) handle(from shoal.PeerID, h header, m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgProp:
		if !g.cfg.off.noForwardBan {
			return
		}
	case raftpb.MsgVote, raftpb.MsgPreVote:
		removed := !g.conf.has(h.from) && h.from < g.conf.Next && h.conf < g.conf.Index
		if !removed && g.putOff(from, h, m) { // who was removed is told so whomever this member has promised its vote
			return
		}
		if g.gone && h.conf < g.conf.Index && g.now >= g.alive.askAt-Instant(g.cfg.Silence-g.cfg.Stagger) {
			g.alive.askAt = g.now.Add(g.cfg.Silence) // it cannot know what this member knows
			g.tell(mayIGo)
		}
		if removed {
			back := g.header(h.from)
			back.notice = notMember
			g.post(back, nil)
			return
		}
	case raftpb.MsgTimeoutNow:
		if h.from != g.lead || m.GetTerm() != g.term || g.now < g.withheld() || !g.votes() {
			return
		}
	case raftpb.MsgAppResp, raftpb.MsgHeartbeatResp:
		g.acknowledged(h, m)
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		g.follow(from, h, m)
		return
	}
	vote, term := g.vote, g.term
	_ = g.rn.Step(m) // refused: from somebody who is not a member
	g.drain()
	if m.GetType() == raftpb.MsgVote && (g.vote != vote || g.term != term) && g.vote == h.from && g.alive.electAt == 0 && g.votes() {
		g.alive.electAt = g.now.Add(g.cfg.Silence) // whoever was voted for may not make it
	}
	if m.GetType() == raftpb.MsgTimeoutNow && g.role == raft.StateCandidate {
		g.alive.attempts++
		g.alive.electAt = g.now.Add(g.cfg.Lease / 2)
	}
}

// follow handles what a leader sends. This member promises, and then the answer repeats what was asked; not to a
// leader whose node is suspected here.
func (g *Group) follow(from shoal.PeerID, h header, m *raftpb.Message) {
	asks := h.asked > 0 && m.GetTerm() >= g.term && !g.alive.peers[from].suspect
	if asks {
		g.promises(h, m.GetTerm())
		g.lease.echo.to, g.lease.echo.asked, g.lease.echo.of = h.from, h.asked, h.incarnation
	}
	_ = g.rn.Step(m) // refused: from somebody who is not a member
	g.drain()
	g.lease.echo.to = 0
	if g.lead != h.from || g.term != m.GetTerm() {
		return
	}
	if m.GetTerm() <= g.vows.ended {
		_ = g.rn.ForgetLeader() // what it sent before it stepped down came late
		return
	}
	if late := m.GetTerm() <= g.alive.slept && len(m.GetEntries()) == 0; !late && !g.alive.peers[from].suspect {
		g.heardLeader()
	}
}
