package group

import (
	"cmp"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// ballot is a question whether this member would vote for somebody that is answered a little later: a candidate who
// gets no answer asks again only after several times that.
type ballot struct {
	from shoal.PeerID
	h    header
	m    *raftpb.Message
	at   Instant
}

// putOff keeps a candidate's question until this member may answer it, and reports whether it did. That is once what it
// promised a leader is over; and where it stands itself, with a log as good and a lower ID, once it had time to be elected:
// of two who promise each other their votes, both lose.
func (g *Group) putOff(from shoal.PeerID, h header, m *raftpb.Message) bool {
	at, asks := g.withheld(), m.GetType() == raftpb.MsgPreVote // else it was promised enough votes
	if asks && g.role == raft.StatePreCandidate && g.cfg.Self < h.from && !g.behindOf(m) {
		at = max(at, g.alive.stood.Add(g.cfg.Stagger))
	}
	if g.now >= at {
		return false
	}
	if asks {
		g.alive.ballot = ballot{from, h, m, at}
	}
	return true
}

// behindOf reports whether a candidate's log has more than this member's.
func (g *Group) behindOf(m *raftpb.Message) bool {
	term, _ := g.log.Term(g.log.last())
	return cmp.Or(cmp.Compare(m.GetLogTerm(), term), cmp.Compare(m.GetIndex(), g.last)) > 0
}

// answer answers what was put off.
func (g *Group) answer() {
	b := g.alive.ballot
	g.alive.ballot = ballot{}
	if g.lead == 0 && b.m != nil {
		g.handle(b.from, b.h, b.m)
	}
}
