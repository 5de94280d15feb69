package group

import (
	"math"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Promise is what a member owes to a leader that it acknowledged: to vote for nobody for a while. It outlives
// the group in memory; the caller keeps it until it is Over, and gives it back to Open.
type Promise struct {
	Wait        Instant // to nobody in particular: a node that started may have promised anything before
	Until       Instant // to the leader of Term
	Term        uint64
	Leader      uint64 // member
	Incarnation uint64 // of the leader's node: a newer one ends the promise
}

// Booted is the promise of every group of a node that started at now, if no lease is longer than lease.
func Booted(now Instant, lease time.Duration) Promise { return Promise{Wait: now.Add(lease)} }

// Over reports whether nothing is owed any more.
func (p Promise) Over(now Instant) bool { return now >= p.Wait && now >= p.Until }

// vows is what this member has promised, and what it knows of promises that ended early.
type vows struct {
	promise  Promise
	released uint64 // the newest term whose leader gave up its lease
	ended    uint64 // the newest term whose leader said that it steps down
}

// lease is a leader's evidence, and a follower's part of it.
type lease struct {
	acked  map[uint64]Instant // by member: when the newest message was sent that it acknowledged
	quorum Instant            // the newest instant at or after which a quorum acknowledged
	alone  bool               // a quorum needs nobody else
	until  Instant

	echo struct{ to, asked, of uint64 } // of the leader's message that is being handled
}

// drift is the part of a lease by which clocks may differ over its length.
const drift = 32

// Promise returns what this member owes.
func (g *Group) Promise() Promise { return g.vows.promise }

// withheld returns the instant until which this member votes for nobody, itself included.
func (g *Group) withheld() Instant {
	end := g.vows.promise.Until
	if !g.cfg.off.noBoot {
		end = max(end, g.vows.promise.Wait)
	}
	if g.holds(g.now) && !g.lease.alone {
		end = max(end, g.lease.until) // it counts itself among those who acknowledged
	}
	return end
}

// released notes that the leader of a term gave up its lease.
func (g *Group) released(term uint64) {
	g.vows.released = max(g.vows.released, term)
	if g.vows.promise.Term <= g.vows.released {
		g.vows.promise.Until = 0
	}
}

// echoTo returns what an acknowledgement for a member repeats.
func (l *lease) echoTo(to uint64) (asked, of uint64) {
	if l.echo.to != to {
		return 0, 0
	}
	return l.echo.asked, l.echo.of
}

// mayAsk reports whether this member, as a leader, may have others acknowledge it: not if its disk is stuck.
// Whether they promise anything with that is theirs to see: every message names the newest term that was released.
func (g *Group) mayAsk() bool {
	return g.role == raft.StateLeader && !g.stuck(g.now)
}

// promises notes that a leader's message, which h came with, was acknowledged.
func (g *Group) promises(h header, term uint64) {
	if h.asked == 0 || term <= g.vows.released || g.cfg.off.noPromise {
		return
	}
	g.vows.promise = Promise{
		Wait: g.vows.promise.Wait, Until: max(g.vows.promise.Until, g.now.Add(g.cfg.Lease)),
		Term: term, Leader: h.from, Incarnation: h.incarnation,
	}
}

// acknowledged notes a member's acknowledgement: in this term, to this incarnation, of what was sent when.
func (g *Group) acknowledged(h header, m *raftpb.Message) {
	if g.role != raft.StateLeader || m.GetTerm() != g.term || h.echo == 0 || h.echoOf != g.cfg.Incarnation {
		return
	}
	at := Instant(h.echo - 1)
	if g.cfg.off.noSendTime {
		at = g.now
	}
	if at > g.lease.acked[h.from] {
		g.lease.acked[h.from] = at
		g.lease.count(g)
	}
}

// count finds the newest instant at or after which a quorum of each active configuration acknowledged.
func (l *lease) count(g *Group) {
	const always = Instant(math.MaxInt64)
	l.quorum = always
	var at []Instant
	for _, old := range []bool{false, true} {
		at = at[:0]
		for _, m := range g.conf.Members {
			switch {
			case !m.votes(old):
			case m.ID == g.cfg.Self:
				at = append(at, always)
			default:
				at = append(at, l.acked[m.ID])
			}
		}
		slices.Sort(at)
		l.quorum = min(l.quorum, at[(len(at)-1)/2]) // as many or more are at or after it as make a majority
	}
	l.alone = l.quorum == always
	l.until = l.quorum
	if !l.alone && l.quorum > 0 {
		l.until = l.quorum.Add(g.cfg.Lease - g.cfg.Lease/drift)
	}
}

// holds reports whether this member leads, and no other can.
func (g *Group) holds(now Instant) bool {
	if g.role != raft.StateLeader || g.vows.released >= g.term && !g.cfg.off.noTransferGap {
		return false
	}
	return now < g.lease.until || g.cfg.off.noClock && g.lease.until > 0
}

// Read reports whether the applied state may be read at now without asking anybody: it has all that was ever
// acknowledged.
func (g *Group) Read(now Instant) bool {
	return g.broken == nil && g.sealed == 0 && (g.led.open || g.cfg.off.noReadBarrier) && g.holds(now)
}
