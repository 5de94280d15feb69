package group

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Effects is what the caller must do after an event, in any order but that of each field's elements.
type Effects struct {
	Persist     *Batch
	Send        []Envelope
	Apply       []Entry
	Mark        Mark // of the state after Apply; zero if there is nothing to apply
	Leads       []Leadership
	Reads       []ReadDone
	Ship        []Member // to whom the applied state must be shipped; Shipped says how it went
	Sleep       bool     // the leader sleeps: the group may leave memory
	Removed     bool     // this member is no keeper any more, and its state is not needed
	Sealed      uint64   // the generation that follows this one: the state is to be kept, and not used
	Quarantined error    // the group is out of use on this node
}

// Batch is what must be on disk. Batches are written in the order of their IDs.
type Batch struct {
	ID      uint64
	Hard    *Hard // nil: unchanged
	Entries []Raw // to be appended, after removing all entries from the first one's index on
	Sync    bool  // fsync before calling Persisted: there are entries, or another term or vote
}

// Leadership says who leads. Leading begins when the barrier is applied, so that the state has all that came
// before; it has ended when a Leadership follows that is not Leading, and every turn that was proposed and
// not applied by then may or may not happen.
type Leadership struct {
	Leading bool
	Epoch   uint64 // the term
	Leader  Member // zero: unknown
}

// ReadDone answers ReadIndex: the state as it is now has all that was acknowledged before the read began, or
// (not OK) the leadership was lost meanwhile.
type ReadDone struct {
	ID uint64
	OK bool
}

// batch is a Batch that may still grow, and what waits for it.
type batch struct {
	Batch
	pieces    [][]*raftpb.Entry
	responses []response
	since     Instant // when it was taken
}

// response is a message that waits for the disk, for a member or for raft itself.
type response struct {
	m            *raftpb.Message
	echo, echoOf uint64
}

// Take returns what is to be done since the last call.
func (g *Group) Take() Effects {
	out := g.out
	g.out = Effects{}
	if b := g.pending; b != nil {
		g.pending = nil
		g.batches++
		b.ID, b.since = g.batches, g.now
		g.written = append(g.written, b)
		out.Persist = new(b.Batch)
	}
	return out
}

// Persisted says that all batches up to id are on disk (with an fsync, if their Sync is set).
func (g *Group) Persisted(now Instant, id uint64) {
	g.do(now, func() {
		for len(g.written) > 0 && g.written[0].ID <= id {
			b := g.written[0]
			g.written = g.written[1:]
			for _, es := range b.pieces {
				g.log.append(es)
			}
			g.queue = append(g.queue, b.responses...)
		}
	})
}

// overdue reports whether the disk has been busy with a batch for longer than d.
func (g *Group) overdue(now Instant, d time.Duration) bool {
	return len(g.written) > 0 && now > g.written[0].since.Add(d)
}

// stuck reports whether the disk has been busy for so long that this member should not lead.
func (g *Group) stuck(now Instant) bool { return g.overdue(now, g.cfg.Lease/2) }

// drain moves what raft has ready to the effects, until there is nothing left.
func (g *Group) drain() {
	for {
		for g.rn.HasReady() {
			g.ready(g.rn.Ready())
		}
		if len(g.queue) == 0 {
			return
		}
		r := g.queue[0]
		g.queue = g.queue[1:]
		if r.m.GetTo() == g.cfg.Self {
			_ = g.rn.Step(r.m) // raft refuses what a removed member says to itself
		} else {
			g.send(r)
		}
	}
}

func (g *Group) ready(rd raft.Ready) {
	if n := len(rd.Entries); n > 0 {
		g.last = rd.Entries[n-1].GetIndex()
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		g.term, g.vote, g.commit = rd.GetTerm(), rd.GetVote(), rd.GetCommit()
	}
	if rd.SoftState != nil {
		g.turned(rd.RaftState, rd.Lead)
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			g.persist(m)
		case raft.LocalApplyThread:
			g.give(m.GetEntries())
		default:
			g.send(response{m: m})
		}
	}
	for _, r := range rd.ReadStates {
		g.readAt(r)
	}
}

// persist puts a write of raft's into the batch.
func (g *Group) persist(m *raftpb.Message) {
	rs := make([]response, 0, len(m.GetResponses()))
	for _, r := range m.GetResponses() {
		x := response{m: r}
		if r.GetType() == raftpb.MsgAppResp {
			x.echo, x.echoOf = g.lease.echoTo(r.GetTo())
		}
		rs = append(rs, x)
	}
	content := len(m.GetEntries()) > 0 || m.Term != nil
	if h := (Hard{Term: m.GetTerm(), Vote: m.GetVote(), Commit: m.GetCommit()}); m.Term != nil && g.defers(h, m.GetEntries()) {
		content = false
	}
	if !content && g.pending == nil {
		if n := len(g.written); n > 0 {
			g.written[n-1].responses = append(g.written[n-1].responses, rs...)
		} else {
			g.queue = append(g.queue, rs...) // there is nothing to wait for
		}
		return
	}
	b := g.pending
	if b == nil {
		b = g.begin()
	}
	if m.Term != nil {
		b.Hard = &Hard{Term: m.GetTerm(), Vote: m.GetVote(), Commit: m.GetCommit()}
		if b.Hard.Term != g.saved.Term || b.Hard.Vote != g.saved.Vote {
			b.Sync = true // a commit index may be forgotten: it is on the same disk as the entries, and after them
		}
		g.saved = *b.Hard
		if g.cfg.off.noCommit {
			b.Hard.Commit = g.log.base.Index
		}
	}
	if es := m.GetEntries(); len(es) > 0 {
		b.Sync = true
		b.pieces = append(b.pieces, es)
		if n := len(b.Entries); n > 0 {
			keep := es[0].GetIndex() - min(es[0].GetIndex(), b.Entries[0].Index)
			b.Entries = b.Entries[:min(keep, uint64(n))]
		}
		for _, e := range es {
			b.Entries = append(b.Entries, rawOf(e))
		}
	}
	if g.cfg.off.noFsync {
		for _, es := range b.pieces {
			g.log.append(es)
		}
		b.pieces = nil
		g.queue = append(g.queue, rs...)
		return
	}
	b.responses = append(b.responses, rs...)
}

// begin begins a batch.
func (g *Group) begin() *batch {
	g.pending = &batch{}
	g.save()
	return g.pending
}

// send puts a message of raft's on its way.
func (g *Group) send(r response) {
	to := r.m.GetTo()
	if r.m.GetType() == raftpb.MsgSnap {
		g.ship(to)
		return
	}
	if !g.holdsBack(r) {
		g.dispatch(r)
	}
}

func (g *Group) dispatch(r response) {
	to := r.m.GetTo()
	h := g.header(to)
	h.echo, h.echoOf = r.echo, r.echoOf
	switch r.m.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		if g.mayAsk() && r.m.GetTerm() == g.term {
			h.asked = uint64(g.now) + 1
		}
	case raftpb.MsgHeartbeatResp:
		h.echo, h.echoOf = g.lease.echoTo(to)
	case raftpb.MsgPreVoteResp, raftpb.MsgVoteResp:
		if !r.m.GetReject() {
			g.yield()
		}
	}
	g.post(h, r.m)
}

func (g *Group) header(to uint64) header {
	return header{
		generation: g.generation, from: g.cfg.Self, to: to, incarnation: g.cfg.Incarnation,
		conf: g.conf.Index, released: g.vows.released,
	}
}

// post addresses a message. Who is not in the configuration, as this member knows it, may have asked.
func (g *Group) post(h header, m *raftpb.Message) {
	to, ok := g.conf.Member(h.to)
	if !ok {
		to = Member{ID: h.to, Keeper: Keeper{Peer: g.replies[h.to]}}
		if to.Peer == "" {
			return
		}
	}
	g.out.Send = append(g.out.Send, Envelope{To: to, Data: encode(h, m)})
}

// tell sends a notice to all other members.
func (g *Group) tell(n notice) {
	for _, m := range g.conf.Members {
		if m.ID != g.cfg.Self {
			h := g.header(m.ID)
			h.notice = n
			if n == mayIGo {
				h.echo, h.echoOf = g.conf.Index, g.conf.Term
			}
			g.post(h, nil)
		}
	}
}
