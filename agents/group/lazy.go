package group

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// lazy is what may wait for something else to go with, because nothing depends on it: how far the log is final. The
// next turn's message tells followers, and its write has it; where no turn follows, the clock does it. That halves
// a turn's messages and writes.
type lazy struct {
	hard   bool                // the commit index is not on its way to the disk
	told   map[uint64]uint64   // commit indexes that members were sent
	held   map[uint64]response // and messages that only tell a newer one
	sendAt Instant             // when that is done in any case; 0: nothing waits
}

// defers reports whether a write is of a commit index alone, and then keeps it for later.
func (g *Group) defers(h Hard, es []*raftpb.Entry) bool {
	if g.pending != nil || len(es) > 0 || h.Term != g.saved.Term || h.Vote != g.saved.Vote || g.cfg.off.noCommit {
		return false
	}
	g.saved, g.lazy.hard = h, true
	g.later()
	return true
}

// save puts the commit index into the batch.
func (g *Group) save() {
	if g.lazy.hard {
		g.pending.Hard, g.lazy.hard = new(g.saved), false
		g.nothingWaits()
	}
}

// holdsBack reports whether a leader's message can wait: it tells an open group's follower, that is up to date, how far
// the turns are final, and nothing more.
func (g *Group) holdsBack(r response) bool {
	to, m := r.m.GetTo(), r.m
	if g.role != raft.StateLeader || m.GetTerm() != g.term {
		return false
	}
	if len(m.GetEntries()) == 0 && m.GetType() == raftpb.MsgApp && m.GetCommit() > g.lazy.told[to] && g.led.open &&
		g.led.transfer == 0 && g.led.changing <= g.apply.applied && !g.conf.Joint() && g.follows(to) {
		if g.lazy.held == nil {
			g.lazy.held = map[uint64]response{}
		}
		g.lazy.held[to] = r
		g.later()
		return true
	}
	if g.lazy.told == nil {
		g.lazy.told = map[uint64]uint64{}
	}
	if c := m.GetCommit(); c >= g.lazy.told[to] {
		g.lazy.told[to] = c
		if h, ok := g.lazy.held[to]; ok && h.m.GetCommit() <= c {
			delete(g.lazy.held, to)
			g.nothingWaits()
		}
	}
	return false
}

// follows reports whether a member takes entries as they come.
func (g *Group) follows(id uint64) (ok bool) {
	g.rn.WithProgress(func(m uint64, _ raft.ProgressType, p tracker.Progress) {
		ok = ok || m == id && p.State == tracker.StateReplicate
	})
	return ok
}

func (g *Group) later() {
	if g.lazy.sendAt == 0 {
		g.lazy.sendAt = g.now.Add(g.cfg.Stagger / 2)
	}
}

// nothingWaits stops the clock, if that is so.
func (g *Group) nothingWaits() {
	if !g.lazy.hard && len(g.lazy.held) == 0 {
		g.lazy.sendAt = 0
	}
}

// catchUp does what waits.
func (g *Group) catchUp() {
	held := g.lazy.held
	g.lazy.held, g.lazy.sendAt = nil, 0
	for _, m := range g.conf.Members {
		if r, ok := held[m.ID]; ok {
			g.lazy.told[m.ID] = r.m.GetCommit()
			g.dispatch(r)
		}
	}
	if g.lazy.hard {
		if g.pending == nil {
			g.begin()
		} else {
			g.save()
		}
	}
}
