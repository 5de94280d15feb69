package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/shoal-fabric/shoal"
)

// leading is what a leader knows, and a follower does not.
type leading struct {
	term     uint64
	barrier  uint64 // index of the term's first entry
	open     bool   // the barrier is applied
	tail     uint64 // index of the last turn proposed, or applied before
	changing uint64 // index of the last change of membership
	seal     uint64 // an entry after this one was proposed by who knew that change to be final
	sealing  bool   // there is to be one
	beatAt   Instant

	transfer    uint64 // the member that leadership is handed to
	transferEnd Instant

	reads   uint64 // ID of the last ReadIndex
	asking  []uint64
	waiting []waiting // for the state to come up to their index

	ships map[uint64]uint64  // members that a state is on its way to, and the least index that it has
	again map[uint64]Instant // when to ship again what failed
}

type waiting struct{ id, index uint64 }

// NotLeader says who leads instead, as far as this member knows.
type NotLeader struct {
	Leader Member // zero: unknown
	Epoch  uint64
}

// Error reads as all errors of the fabric do.
func (e *NotLeader) Error() string {
	if e.Leader.ID == 0 {
		return fmt.Sprintf("agent: no leader is known in epoch %d: try again", e.Epoch)
	}
	return fmt.Sprintf("agent: it lives on %s in epoch %d: ask there", e.Leader.Peer.Short(), e.Epoch)
}

// As makes it a shoal.Error of kind Unavailable for those who do not care who leads.
func (e *NotLeader) As(target any) bool {
	t, ok := target.(**shoal.Error)
	if ok {
		*t = shoal.E(shoal.Unavailable, "agent", e.Error(), "")
	}
	return ok
}

// leads reports why this member cannot act as the activation, or nil.
func (g *Group) leads(what string, beforeBarrier bool) error {
	if err := g.usable(what); err != nil {
		return err
	}
	if g.role != raft.StateLeader || !g.led.open && !beforeBarrier {
		return g.notLeader()
	}
	return nil
}

func (g *Group) notLeader() *NotLeader {
	m, _ := g.conf.Member(g.lead)
	return &NotLeader{Leader: m, Epoch: g.term}
}

// turned notes what raft has become, and whom it follows.
func (g *Group) turned(role raft.StateType, lead uint64) {
	was := g.role == raft.StateLeader
	g.role = role
	switch is := role == raft.StateLeader; {
	case is && !was:
		g.lead = lead
		g.lazy.told, g.lazy.held = nil, nil
		g.lease = lease{acked: map[uint64]Instant{}}
		g.lease.count(g)
		g.led = leading{
			term: g.term, barrier: g.last, seal: g.last - 1, beatAt: g.now.Add(g.cfg.Lease / 3), reads: g.led.reads,
			ships: map[uint64]uint64{}, again: map[uint64]Instant{},
		}
		g.alive.heard, g.alive.electAt, g.alive.attempts = g.now, 0, 0
		if g.cfg.off.noTurnBarrier {
			g.led.tail = g.turn
		}
	case was && !is:
		for _, id := range g.led.asking {
			g.out.Reads = append(g.out.Reads, ReadDone{ID: id})
		}
		for _, w := range g.led.waiting {
			g.out.Reads = append(g.out.Reads, ReadDone{ID: w.id})
		}
		if g.gone { // it removed itself
			g.released(g.led.term)
			g.tell(leaderResigns)
		}
		g.led = leading{reads: g.led.reads}
		g.lazy.told, g.lazy.held = nil, nil
		g.lead = lead
		g.announce(lead)
		if lead == 0 && g.votes() {
			g.electBy(g.now.Add(g.cfg.Lease)) // after those who did not just fail
		}
	case lead != g.lead:
		g.lead = lead
		if lead != 0 {
			g.announce(lead)
		}
	}
}

// announce reports who leads.
func (g *Group) announce(lead uint64) {
	m, _ := g.conf.Member(lead)
	g.out.Leads = append(g.out.Leads, Leadership{Epoch: g.term, Leader: m})
}

// opened begins the activation, once the barrier is applied.
func (g *Group) opened() {
	if g.role != raft.StateLeader || g.led.open || g.apply.applied < g.led.barrier {
		return
	}
	g.led.open = true
	if !g.cfg.off.noTurnBarrier {
		g.led.tail = g.turn
	}
	m, _ := g.conf.Member(g.cfg.Self)
	g.out.Leads = append(g.out.Leads, Leadership{Leading: true, Epoch: g.term, Leader: m})
	g.newcomers(Conf{})
}

// Propose appends turns to the log, each computed from the state after the one before it, the first from the
// state after all that this leader proposed so far. It returns the position of the first. A turn has happened
// when Apply gives it back; until then it may or may not happen.
func (g *Group) Propose(now Instant, turns ...[]byte) (Position, error) {
	if g.cfg.off.noForwardBan && g.role != raft.StateLeader && g.broken == nil {
		return g.forward(now, turns)
	}
	if err := g.leads("turn", g.cfg.off.noTurnBarrier); err != nil {
		return Position{}, err
	}
	if g.led.transfer != 0 {
		return Position{}, &shoal.Error{
			Kind: shoal.Unavailable, What: "turn", Why: "leadership is being handed over", Try: "try again",
			RetryAfter: g.cfg.Stagger,
		}
	}
	at := Position{g.last + 1, g.term}
	tail := g.led.tail
	es := make([]*raftpb.Entry, len(turns))
	for i, t := range turns {
		es[i] = &raftpb.Entry{Data: wrap(g.term, tail, t)}
		tail = at.Index + uint64(i)
	}
	var err error
	g.do(now, func() {
		g.stir()
		if err = g.rn.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(g.cfg.Self), Entries: es}); err == nil {
			g.led.tail = tail
		}
	})
	if g.broken != nil {
		return Position{}, g.broken
	}
	if errors.Is(err, raft.ErrProposalDropped) {
		return Position{}, &shoal.Error{
			Kind: shoal.Overloaded, What: "turn", Why: "too much waits to be committed", Try: "try again",
			RetryAfter: g.cfg.Stagger,
		}
	}
	return at, err
}

// forward is what a group without the first house rule does.
func (g *Group) forward(now Instant, turns [][]byte) (Position, error) {
	var err error
	g.do(now, func() {
		for _, t := range turns {
			err = g.rn.Propose(wrap(g.term, g.turn, t))
		}
	})
	return Position{}, err
}

// ReadIndex begins a read that asks a quorum whether this member still leads, for when there is no lease.
// Effects.Reads answers by its ID.
func (g *Group) ReadIndex(now Instant) (uint64, error) {
	if err := g.leads("read", g.cfg.off.noReadBarrier); err != nil {
		return 0, err
	}
	g.led.reads++
	id := g.led.reads
	g.led.asking = append(g.led.asking, id)
	g.do(now, func() { g.stir(); g.rn.ReadIndex(binary.BigEndian.AppendUint64(nil, id)) })
	return id, g.broken
}

// readAt notes up to where a read must wait.
func (g *Group) readAt(r raft.ReadState) {
	id := binary.BigEndian.Uint64(r.RequestCtx)
	g.led.asking = slices.DeleteFunc(g.led.asking, func(x uint64) bool { return x == id })
	g.led.waiting = append(g.led.waiting, waiting{id, r.Index})
	g.readsDone()
}

func (g *Group) readsDone() {
	g.led.waiting = slices.DeleteFunc(g.led.waiting, func(w waiting) bool {
		if w.index > g.apply.applied {
			return false
		}
		g.out.Reads = append(g.out.Reads, ReadDone{ID: w.id, OK: true})
		return true
	})
}

// Change proposes a change of membership. It has happened when Mark has it; a joint configuration is left
// without further ado.
func (g *Group) Change(now Instant, ch Change) error {
	if err := g.leads("change of keepers", false); err != nil {
		return err
	}
	if g.led.transfer != 0 || g.led.changing > g.apply.applied {
		return shoal.E(shoal.Unavailable, "change of keepers", "another change is under way", "wait until it is done")
	}
	n, err := g.conf.next(ch, g.cfg.off)
	if err != nil {
		return err
	}
	for _, id := range ch.Promote {
		if by := g.behind(id); by > g.cfg.Behind || now > g.lease.acked[id].Add(g.cfg.Lease) { // its disk may be gone since
			return shoal.E(shoal.Unavailable, "change of keepers", fmt.Sprintf("member %d has not caught up", id), "wait, and try again")
		}
	}
	g.do(now, func() {
		if err = g.rn.ProposeConfChange(g.conf.change(n)); err == nil {
			g.led.changing = g.last + 1
		}
	})
	if g.broken != nil {
		return g.broken
	}
	if err != nil {
		return shoal.E(shoal.Overloaded, "change of keepers", err.Error(), "try again")
	}
	return nil
}

// behind returns by how many entries a member is behind.
func (g *Group) behind(id uint64) uint64 {
	by := g.last
	g.rn.WithProgress(func(m uint64, _ raft.ProgressType, p tracker.Progress) {
		if m == id {
			by = g.last - min(g.last, p.Match)
			if p.Match == 0 {
				by = max(by, g.cfg.Behind+1)
			}
		}
	})
	return by
}

// Transfer hands leadership to a voter. The lease is given up first, for the rest of the term, whether or not
// the transfer comes about; until then turns are refused.
func (g *Group) Transfer(now Instant, to uint64) error {
	if err := g.leads("transfer", false); err != nil {
		return err
	}
	m, ok := g.conf.Member(to)
	if !ok || m.Role != Voter || to == g.cfg.Self || g.conf.Joint() || g.led.changing > g.apply.applied {
		return shoal.E(shoal.Refused, "transfer", fmt.Sprintf("member %d cannot take over now", to), "")
	}
	g.do(now, func() {
		g.giveUp()
		g.led.transfer, g.led.transferEnd = to, g.now.Add(g.cfg.Lease)
		g.rn.TransferLeader(to)
	})
	return g.broken
}

// stir has heartbeats go on, should the group have been put to sleep.
func (g *Group) stir() {
	if g.led.beatAt == 0 {
		g.led.beatAt = g.now.Add(g.cfg.Lease / 3)
		g.alive.heard = g.now
	}
}

// giveUp ends the lease for the rest of the term; every message says so from now on. Whoever follows knows what is final.
func (g *Group) giveUp() {
	g.catchUp()
	g.released(g.led.term)
}

// Resign has a leader step down and tell its group, so that another follows at once.
func (g *Group) Resign(now Instant) {
	g.do(now, func() {
		if g.role == raft.StateLeader {
			g.resign()
		}
	})
}

func (g *Group) resign() {
	g.giveUp()
	g.tell(leaderResigns)
	// A message of the next term, from nobody, makes raft a follower.
	_ = g.rn.Step(&raftpb.Message{
		Type: raftpb.MsgAppResp.Enum(), From: new(raft.LocalAppendThread), To: new(g.cfg.Self), Term: new(g.term + 1),
	})
}

// newcomers ships the state to learners that the old configuration had not.
func (g *Group) newcomers(old Conf) {
	if g.role != raft.StateLeader || !g.led.open {
		return
	}
	for _, m := range g.conf.Members {
		if m.ID != g.cfg.Self && !old.has(m.ID) && (m.Role == Learner || g.cfg.off.noLearner && m.Role == Incoming) {
			g.ship(m.ID)
		}
	}
}

func (g *Group) ship(to uint64) {
	m, ok := g.conf.Member(to)
	if !ok || g.led.ships == nil || g.led.ships[to] > 0 {
		return
	}
	if g.apply.applied < g.conf.Index { // the state would not know its receiver
		g.led.again[to] = g.now.Add(g.cfg.Stagger)
		return
	}
	g.led.ships[to] = g.apply.applied
	delete(g.led.again, to)
	g.out.Ship = append(g.out.Ship, m)
}

// Shipped says how shipping the state to a member ended: it has the effect of entries up to index on its disk, or
// (0) it has not.
func (g *Group) Shipped(now Instant, to uint64, index uint64) {
	g.do(now, func() {
		if g.led.ships[to] == 0 {
			return
		}
		delete(g.led.ships, to)
		if index < g.log.base.Index { // what follows is gone
			g.led.again[to] = g.now.Add(g.cfg.Lease)
			g.rn.ReportSnapshot(to, raft.SnapshotFailure)
			return
		}
		g.rn.ReportSnapshot(to, raft.SnapshotFinish)
		_ = g.rn.Step(&raftpb.Message{ // it acknowledges what is committed; refused if it is no member any more
			Type: raftpb.MsgAppResp.Enum(), From: new(to), To: new(g.cfg.Self), Term: new(g.term), Index: new(min(index, g.apply.applied)),
		})
	})
}
