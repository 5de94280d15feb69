package group

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// Position is a place in the log. Two entries with the same position are the same entry.
type Position struct {
	Index uint64 `cbor:"i"`
	Term  uint64 `cbor:"t"`
}

// Hard is what a member must not forget.
type Hard struct {
	Term   uint64 `cbor:"t"` // the newest seen
	Vote   uint64 `cbor:"v"` // the member voted for in it, 0: none
	Commit uint64 `cbor:"c"` // index up to which entries are known to be final
}

// Mark says of which log entries an applied state has the effect. It is written in one step with that state,
// and travels with it.
type Mark struct {
	Position        // of the last entry applied
	Turn     uint64 `cbor:"u"` // index of the last turn applied
	Conf     Conf   `cbor:"f"`
}

// Raw is a log entry as it is stored.
type Raw struct {
	Position
	Kind uint8 // raft's
	Data []byte
}

// AppendTo appends the entry to b, without its index, which is its key in the store.
func (r Raw) AppendTo(b []byte) []byte {
	b = append(b, r.Kind)
	b = binary.AppendUvarint(b, r.Term)
	return append(b, r.Data...)
}

// ParseRaw reads what AppendTo wrote. The entry shares b's memory.
func ParseRaw(index uint64, b []byte) (Raw, error) {
	if len(b) < 2 {
		return Raw{}, corrupt(fmt.Sprintf("log entry %d is cut short", index))
	}
	term, n := binary.Uvarint(b[1:])
	if n <= 0 || b[0] > uint8(raftpb.EntryConfChangeV2) {
		return Raw{}, corrupt(fmt.Sprintf("log entry %d is malformed", index))
	}
	return Raw{Position: Position{index, term}, Kind: b[0], Data: b[1+n:]}, nil
}

func (r Raw) entry() *raftpb.Entry {
	return &raftpb.Entry{Term: new(r.Term), Index: new(r.Index), Type: raftpb.EntryType(r.Kind).Enum(), Data: r.Data}
}

func rawOf(e *raftpb.Entry) Raw {
	return Raw{Position: Position{e.GetIndex(), e.GetTerm()}, Kind: uint8(e.GetType()), Data: e.GetData()}
}

// Stored is what the disk has of a group.
type Stored struct {
	Generation uint64
	Hard       Hard
	Base       Position // up to here the log is truncated
	Mark       Mark     // of the applied state on disk
	Entries    []Raw    // the log after Base
}

// Birth returns the first state of a group: the same on each of its first keepers, in the order of the genesis
// record. The caller has made sure that the agent is being born: that its name is pending and that this store
// never had the agent before.
func Birth(keepers []Keeper) Stored {
	c := Conf{Index: 1, Term: 1, Next: uint64(len(keepers)) + 1}
	for i, k := range keepers {
		c.Members = append(c.Members, Member{ID: uint64(i) + 1, Keeper: k})
	}
	at := Position{Index: 1, Term: 1}
	return Stored{Generation: 1, Hard: Hard{Term: 1, Commit: 1}, Base: at, Mark: Mark{Position: at, Conf: c}}
}

// Joined returns the first state of member self, of which this store has nothing, from a state that was shipped to
// it. It refuses one in which self votes: a voter that has nothing has lost what it promised. For the same reason
// the caller refuses a member of whom it has a note that it was removed here: a state may arrive late.
func Joined(generation uint64, m Mark, self uint64) (Stored, error) {
	if k, ok := m.Conf.Member(self); !ok || k.Role != Learner {
		return Stored{}, shoal.E(shoal.Refused, "shipped state", fmt.Sprintf("member %d does not learn, and there is nothing of it here", self), "")
	}
	return Stored{
		Generation: generation, Hard: Hard{Term: m.Term, Commit: m.Index}, Base: m.Position, Mark: m,
	}, nil
}

// Restored returns the state of a member after the agent's state was replaced by a shipped one with mark m.
// Votes stay, and so do log entries after the mark, if the log agrees with it. It refuses a state that is
// older than what the member has.
func (s Stored) Restored(m Mark) (Stored, error) {
	if m.Index <= s.Mark.Index {
		return Stored{}, shoal.E(shoal.Refused, "shipped state", fmt.Sprintf("it ends at entry %d, this member is at %d",
			m.Index, s.Mark.Index), "")
	}
	i := slices.IndexFunc(s.Entries, func(r Raw) bool { return r.Position == m.Position })
	if i >= 0 {
		s.Entries = slices.Clone(s.Entries[i+1:])
	} else {
		s.Entries = nil // what contradicts an applied entry was never committed
	}
	s.Base, s.Mark = m.Position, m
	s.Hard.Commit = max(s.Hard.Commit, m.Index)
	if i < 0 {
		s.Hard.Commit = m.Index
	}
	if s.Hard.Term < m.Term {
		s.Hard.Term, s.Hard.Vote = m.Term, 0
	}
	return s, nil
}

// Recovered returns the first state of a new generation, made from the best log that could be reached, with
// one keeper. Everything in that log counts as committed; changes of membership in it do not happen. The
// generation was won by compare-and-swap in the directory.
func (s Stored) Recovered(generation uint64, k Keeper) (Stored, error) {
	if generation <= s.Generation {
		return Stored{}, shoal.E(shoal.Refused, "recover", fmt.Sprintf("generation %d is not after %d", generation, s.Generation), "")
	}
	last := s.Mark.Position
	entries := slices.Clone(s.Entries)
	for i := range entries {
		if entries[i].Index > s.Mark.Index && entries[i].Kind != uint8(raftpb.EntryNormal) {
			entries[i].Kind, entries[i].Data = uint8(raftpb.EntryNormal), nil
		}
		if entries[i].Index > last.Index {
			last = entries[i].Position
		}
	}
	s.Entries = entries
	s.Generation = generation
	s.Hard = Hard{Term: max(s.Hard.Term, last.Term) + 1, Commit: last.Index}
	id := s.Mark.Conf.Next
	s.Mark.Conf = Conf{Index: s.Mark.Index, Term: s.Mark.Term, Next: id + 1, Members: []Member{{ID: id, Keeper: k}}}
	return s, nil
}

// Self returns the ID that a keeper has in the configuration of the mark.
func (s Stored) Self(k Keeper) (uint64, bool) {
	for _, m := range s.Mark.Conf.Members {
		if m.Keeper == k {
			return m.ID, true
		}
	}
	return 0, false
}

// check finds the contradictions that raft would panic at, and those that it would not notice.
func (s Stored) check(self uint64) error {
	bad := func(format string, args ...any) error { return corrupt(fmt.Sprintf(format, args...)) }
	if s.Generation == 0 || self == 0 || self >= maxID {
		return bad("generation %d, member %d", s.Generation, self)
	}
	if err := s.Mark.Conf.check(); err != nil {
		return bad("configuration: %v", err)
	}
	at := s.Base
	marked := at == s.Mark.Position
	for _, e := range s.Entries {
		if e.Index != at.Index+1 || e.Term < at.Term {
			return bad("log entry %d of term %d follows entry %d of term %d", e.Index, e.Term, at.Index, at.Term)
		}
		at = e.Position
		marked = marked || at == s.Mark.Position
	}
	switch {
	case s.Base.Index == 0 || s.Base.Term == 0:
		return bad("a log without a beginning")
	case !marked:
		return bad("the state is of entry %d (term %d), which is not in the log (%d to %d)", s.Mark.Index, s.Mark.Term, s.Base.Index, at.Index)
	case at.Term > s.Hard.Term:
		return bad("a log entry of term %d in term %d", at.Term, s.Hard.Term)
	case s.Hard.Commit > at.Index:
		return bad("committed to entry %d, the log ends at %d", s.Hard.Commit, at.Index)
	case s.Mark.Turn > s.Mark.Index || s.Mark.Conf.Index > s.Mark.Index:
		return bad("the state of entry %d knows of a later one", s.Mark.Index)
	}
	return nil
}
