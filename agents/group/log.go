package group

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// memory is what of the log is on disk, as raft reads it. Entries that are still being written are raft's own.
type memory struct {
	base    Position
	entries []*raftpb.Entry // after base
	hard    *raftpb.HardState
	conf    *raftpb.ConfState // at opening
	mark    func() Mark       // of the state that would be shipped
}

func newMemory(s Stored) *memory {
	m := &memory{
		base: s.Base,
		hard: &raftpb.HardState{Term: new(s.Hard.Term), Vote: new(s.Hard.Vote), Commit: new(s.Hard.Commit)},
		conf: s.Mark.Conf.state(),
	}
	for _, e := range s.Entries {
		m.entries = append(m.entries, e.entry())
	}
	return m
}

func (m *memory) last() uint64 { return m.base.Index + uint64(len(m.entries)) }

// append adds entries that were written, in the place of those that they contradict.
func (m *memory) append(es []*raftpb.Entry) {
	for len(es) > 0 && es[0].GetIndex() <= m.base.Index {
		es = es[1:]
	}
	if len(es) == 0 {
		return
	}
	keep := es[0].GetIndex() - m.base.Index - 1
	if keep < uint64(len(m.entries)) {
		m.entries = m.entries[:keep:keep] // others may have been given what is there: it is not written over
	}
	m.entries = append(m.entries, es...)
}

// compact forgets entries up to index, which the log has.
func (m *memory) compact(index uint64) {
	term, err := m.Term(index)
	if index <= m.base.Index || err != nil {
		return
	}
	m.entries = append([]*raftpb.Entry(nil), m.entries[index-m.base.Index:]...)
	m.base = Position{index, term}
}

// InitialState is part of raft.Storage, as are the methods below.
func (m *memory) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return m.hard, m.conf, nil
}

func (m *memory) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= m.base.Index {
		return nil, raft.ErrCompacted
	}
	if hi > m.last()+1 {
		return nil, raft.ErrUnavailable
	}
	es := m.entries[lo-m.base.Index-1 : hi-m.base.Index-1]
	size, n := uint64(0), 0
	for n < len(es) {
		size += uint64(len(es[n].GetData())) + 16
		if n > 0 && size > maxSize {
			break
		}
		n++
	}
	return es[:n:n], nil
}

func (m *memory) Term(i uint64) (uint64, error) {
	switch {
	case i < m.base.Index:
		return 0, raft.ErrCompacted
	case i == m.base.Index:
		return m.base.Term, nil
	case i > m.last():
		return 0, raft.ErrUnavailable
	}
	return m.entries[i-m.base.Index-1].GetTerm(), nil
}

func (m *memory) LastIndex() (uint64, error)  { return m.last(), nil }
func (m *memory) FirstIndex() (uint64, error) { return m.base.Index + 1, nil }

// Snapshot names the state that the hand would ship; the state itself never passes through raft.
func (m *memory) Snapshot() (*raftpb.Snapshot, error) {
	k := m.mark()
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(k.Index), Term: new(k.Term), ConfState: k.Conf.state(),
	}}, nil
}
