package group

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-fabric/shoal/wire"
)

// EntryKind says what a committed entry is.
type EntryKind uint8

// The kinds of entries.
const (
	Turn       EntryKind = 0 // a turn: apply its data
	Barrier    EntryKind = 1 // the first entry of a term: nothing to apply
	Membership EntryKind = 2 // the configuration changed; Mark has the new one
	Discarded  EntryKind = 3 // a turn that must not happen: nothing to apply
)

// Entry is a committed log entry. Whatever its kind, the state's Mark moves on to it.
type Entry struct {
	Kind EntryKind
	Position
	Data []byte // of a turn, as proposed; only read
	Why  string // of Discarded
}

// applying tracks how far the state machine is.
type applying struct {
	given   []*raftpb.Entry // and not yet applied
	applied uint64
	synced  uint64 // applied, and on disk
}

func (a *applying) reset(m Mark) { a.applied, a.synced = m.Index, m.Index }

// wrapper is the first byte of a turn in the log; term, predecessor and data follow.
const wrapper = 1

func wrap(term, prev uint64, data []byte) []byte {
	b := make([]byte, 0, 1+2*binary.MaxVarintLen64+len(data))
	b = append(b, wrapper)
	b = binary.AppendUvarint(b, term)
	b = binary.AppendUvarint(b, prev)
	return append(b, data...)
}

func unwrap(b []byte) (term, prev uint64, data []byte, ok bool) {
	if len(b) == 0 || b[0] != wrapper {
		return 0, 0, nil, false
	}
	b = b[1:]
	term, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, nil, false
	}
	b = b[n:]
	prev, n = binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, nil, false
	}
	return term, prev, b[n:], true
}

// give hands committed entries to the state machine.
func (g *Group) give(es []*raftpb.Entry) {
	g.apply.given = append(g.apply.given, es...)
	for _, e := range es {
		out := Entry{Position: Position{e.GetIndex(), e.GetTerm()}}
		switch {
		case e.GetType() != raftpb.EntryNormal:
			g.reconfigure(e, &out)
		case len(e.GetData()) == 0:
			out.Kind = Barrier
		default:
			g.judge(e, &out)
		}
		g.out.Apply = append(g.out.Apply, out)
		g.out.Mark = Mark{Position: out.Position, Turn: g.turn, Conf: g.conf}
	}
}

// judge lets a turn happen only over the state that it was computed from: its term is that of its entry, so
// nobody handed it on, and the turn before it is the last one that happened.
func (g *Group) judge(e *raftpb.Entry, out *Entry) {
	term, prev, data, ok := unwrap(e.GetData())
	out.Kind = Discarded
	switch {
	case !ok:
		out.Why = "it is malformed"
		return
	case term != e.GetTerm() && !g.cfg.off.noJudge:
		out.Why = "it was proposed in another term than it was appended in"
		return
	case prev != g.turn && !g.cfg.off.noJudge:
		out.Why = "the turn before it did not happen, or another did"
		return
	}
	out.Kind, out.Data = Turn, data
	g.turn = e.GetIndex()
}

// reconfigure puts a configuration in force.
func (g *Group) reconfigure(e *raftpb.Entry, out *Entry) {
	out.Kind = Membership
	old := g.conf
	var cc raftpb.ConfChangeV2
	if err := proto.Unmarshal(e.GetData(), &cc); err != nil || e.GetType() != raftpb.EntryConfChangeV2 {
		out.Kind, out.Why = Discarded, "it is malformed"
		return
	}
	if len(cc.GetChanges()) == 0 {
		if !old.Joint() {
			out.Kind, out.Why = Discarded, "there is no joint configuration to leave"
			return
		}
		g.conf = old.settled()
		g.conf.Index, g.conf.Term = e.GetIndex(), e.GetTerm()
		g.rn.ApplyConfChange(&raftpb.ConfChangeV2{})
	} else {
		var p proposal
		err := wire.Unmarshal("change of keepers", cc.GetContext(), &p)
		if err == nil {
			err = p.Conf.check()
		}
		if err != nil || p.Base != old.Index || old.Joint() || p.Conf.Next < old.Next {
			out.Kind, out.Why = Discarded, "it changes another configuration than the one in force"
			return
		}
		g.conf = p.Conf
		g.conf.Index, g.conf.Term = e.GetIndex(), e.GetTerm()
		g.rn.ApplyConfChange(old.change(p.Conf))
	}
	g.led.changing = max(g.led.changing, e.GetIndex())
	g.lease.count(g)
	g.newcomers(old)
	if !g.gone && !g.conf.has(g.cfg.Self) {
		g.parted()
	}
	if g.role == raft.StateLeader {
		g.led.seal, g.led.sealing = g.last, !g.conf.Joint()
	}
}

// parted: this member is no keeper any more. Its state and its vote may still be needed: if those who stay do not
// know yet that the joint configuration was left, they need a majority of the old half. So it stays, and asks,
// until the group has gone on without it; and asking, it says which entry is final, for it may be the only one who
// knows, and may refuse its vote for a longer log of its own.
func (g *Group) parted() {
	if !g.gone {
		g.gone = true
		g.alive.electAt = 0
		g.alive.askAt = g.now.Add(g.cfg.Stagger)
	}
}

// closeChange has an entry follow a change of membership: whoever has that entry knows that the change is final.
func (g *Group) closeChange() {
	if g.led.sealing && g.led.open && g.led.transfer == 0 && g.apply.applied >= g.conf.Index {
		g.led.sealing = false
		if g.last == g.led.seal {
			_ = g.rn.Propose(nil) // it takes no room, so it is not refused
		}
	}
}

// Applied says that the agent's state has the effect of all entries up to index.
func (g *Group) Applied(now Instant, index uint64) {
	g.do(now, func() {
		n := 0
		for n < len(g.apply.given) && g.apply.given[n].GetIndex() <= index {
			n++
		}
		if n == 0 {
			return
		}
		done := g.apply.given[:n:n]
		g.apply.given = g.apply.given[n:]
		g.apply.applied = done[n-1].GetIndex()
		_ = g.rn.Step(&raftpb.Message{ // a local message is never refused
			Type: raftpb.MsgStorageApplyResp.Enum(), To: new(g.cfg.Self), From: new(raft.LocalApplyThread), Entries: done,
		})
		g.drain()
		g.opened()
		g.readsDone()
		g.closeChange()
	})
}

// Synced says that the agent's state up to index, and its mark, are on disk and would be found undamaged.
func (g *Group) Synced(index uint64) {
	g.apply.synced = max(g.apply.synced, min(index, g.apply.applied))
}

// Compact forgets log entries up to index, but none that is not in the synced state, or that is needed after a
// state that is being shipped, and returns the new
// beginning of the log, which the caller stores as Stored.Base before it deletes the entries up to it.
func (g *Group) Compact(index uint64) Position {
	if !g.cfg.off.noSynced {
		index = min(index, g.apply.synced)
	}
	for _, least := range g.led.ships {
		index = min(index, least) // whoever gets the state needs what follows
	}
	g.log.compact(index)
	return g.log.base
}
