package agents

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// The table. Key lengths are fixed (a multihash of 34 bytes), so no key is the beginning of another's.
//
//	b            the store: its name, and how often the node began
//	i KEY        what this node keeps: the record of a group
//	g KEY h      the group's Hard      g KEY b   its Base      g KEY k   its Mark
//	g KEY e N    log entry N           g KEY s…  the agent's state, as package turn lays it out; or g KEY t…, as the
//	                                             record says: one that is taken in lies beside it until it is whole
//	d TIME KEY   when the group must be looked at next: a timer, or a message to send again
//	x KEY        the agent was removed, and never comes back
//	r KEY        the last member of the group that this node was, and is no more
//	o OWNER      the signed record of an owner
const keyLen = 34

const (
	atStore  = 'b'
	atIndex  = 'i'
	atGroup  = 'g'
	atDue    = 'd'
	atGone   = 'x'
	atOwner  = 'o'
	atLeft   = 'r'
	partHard = 'h'
	partBase = 'b'
	partMark = 'k'
	partLog  = 'e'
	partData = 's'
)

// store is this node's part of all groups, on disk.
type store struct {
	t    shoal.Table
	name string // a random word, made with the disk: a wiped disk is another store
	boot uint64 // how often the node began with it
}

type storeRecord struct {
	Name string `cbor:"n"`
	Boot uint64 `cbor:"b"`
}

// record is what is kept of a group beside raft's state.
type record struct {
	Genesis    []byte `cbor:"g"` // signed
	Generation uint64 `cbor:"r"`
	Slot       byte   `cbor:"t,omitempty"` // where the agent's state lies: 0 or 1
	Recovery   []byte `cbor:"y,omitempty"` // signed: how this generation began, if not by birth
	Sealed     uint64 `cbor:"s,omitempty"` // the generation that follows: the state is kept, and not used
}

// openStore counts this start: the number is durable before anybody hears of it.
func openStore(t shoal.Table) (*store, error) {
	b, ok, err := t.Get([]byte{atStore})
	if err != nil {
		return nil, err
	}
	var r storeRecord
	if ok {
		if err := wire.Unmarshal("store of agents", b, &r); err != nil {
			return nil, &shoal.Error{Kind: shoal.Corrupt, What: "store of agents", Why: err.Error(), Err: err}
		}
	} else {
		r.Name = hex.EncodeToString(random(12))
	}
	r.Boot++
	if err := t.Commit(true, shoal.Write{Key: []byte{atStore}, Value: wire.Marshal(r)}); err != nil {
		return nil, err
	}
	return &store{t: t, name: r.Name, boot: r.Boot}, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return b
}

func indexKey(k shoal.Key) []byte { return append([]byte{atIndex}, k...) }
func goneKey(k shoal.Key) []byte  { return append([]byte{atGone}, k...) }
func ownerKey(o shoal.PeerID) []byte {
	return append([]byte{atOwner}, o...)
}

func groupKey(k shoal.Key, part byte) []byte {
	b := make([]byte, 0, len(k)+10)
	b = append(b, atGroup)
	b = append(b, k...)
	return append(b, part)
}

func logKey(k shoal.Key, index uint64) []byte {
	return binary.BigEndian.AppendUint64(groupKey(k, partLog), index)
}

func dueKey(at int64, k shoal.Key) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{atDue}, uint64(at)), k...)
}

// next is the least key greater than all that begin with prefix, whose last byte is a letter.
func next(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	end[len(end)-1]++
	return end
}

func hardWrite(k shoal.Key, h group.Hard) shoal.Write {
	return shoal.Write{Key: groupKey(k, partHard), Value: wire.Marshal(h)}
}

func markWrite(k shoal.Key, m group.Mark) shoal.Write {
	return shoal.Write{Key: groupKey(k, partMark), Value: wire.Marshal(m)}
}

// all returns the writes that make s the group's whole state but for the agent's, in the place of one that was there
// before.
func (s *store) all(k shoal.Key, r record, st group.Stored) []shoal.Write {
	clear := shoal.Write{Key: logKey(k, 0), Delete: true, End: next(groupKey(k, partLog))}
	return append([]shoal.Write{clear}, s.born(k, r, st)...)
}

// born is all of a group of which there is nothing: a range deleted for each birth would slow every read of the table.
func (s *store) born(k shoal.Key, r record, st group.Stored) []shoal.Write {
	list := []shoal.Write{
		{Key: indexKey(k), Value: wire.Marshal(r)},
		hardWrite(k, st.Hard),
		{Key: groupKey(k, partBase), Value: wire.Marshal(st.Base)},
		markWrite(k, st.Mark),
	}
	for _, e := range st.Entries {
		list = append(list, shoal.Write{Key: logKey(k, e.Index), Value: e.AppendTo(nil)})
	}
	return list
}

// load reads a group. NotFound: this node does not keep it.
func (s *store) load(k shoal.Key) (r record, st group.Stored, err error) {
	b, ok, err := s.t.Get(indexKey(k))
	if err != nil {
		return r, st, err
	}
	if !ok {
		return r, st, shoal.E(shoal.NotFound, "agent "+KeyText(k), "this node does not keep it", "")
	}
	if err := stored(b, &r); err != nil {
		return r, st, err
	}
	if r.Sealed > 0 {
		return r, st, sealedOff(k, r)
	}
	return s.read(k, r)
}

func sealedOff(k shoal.Key, r record) error {
	return shoal.E(shoal.NotFound, "agent "+KeyText(k), fmt.Sprintf("it was recovered elsewhere: generation %d follows what this node keeps, %d",
		r.Sealed, r.Generation), "")
}

// read reads a group's state, whatever its record says.
func (s *store) read(k shoal.Key, r record) (_ record, st group.Stored, err error) {
	st.Generation = r.Generation
	for part, v := range map[byte]any{partHard: &st.Hard, partBase: &st.Base, partMark: &st.Mark} {
		b, ok, err := s.t.Get(groupKey(k, part))
		if err == nil && !ok {
			err = shoal.E(shoal.Corrupt, "agent "+KeyText(k), "a part of its group is missing", "")
		}
		if err == nil {
			err = stored(b, v)
		}
		if err != nil {
			return r, st, err
		}
	}
	for p, err := range s.t.Scan(logKey(k, 0), next(groupKey(k, partLog))) {
		if err != nil {
			return r, st, err
		}
		e, err := group.ParseRaw(binary.BigEndian.Uint64(p.Key[len(p.Key)-8:]), p.Value)
		if err != nil {
			return r, st, err
		}
		if e.Index > st.Base.Index { // what a truncation left is no part of the log
			st.Entries = append(st.Entries, e)
		}
	}
	return r, st, nil
}

// glance reads what there is to know of a group without its log. NotFound: this node does not keep it.
func (s *store) glance(k shoal.Key) (r record, term uint64, m group.Mark, err error) {
	var h group.Hard
	for _, x := range []struct {
		key []byte
		v   any
	}{{indexKey(k), &r}, {groupKey(k, partHard), &h}, {groupKey(k, partMark), &m}} {
		b, ok, err := s.t.Get(x.key)
		if err == nil && !ok {
			err = shoal.E(shoal.NotFound, "agent "+KeyText(k), "this node does not keep it", "")
		}
		if err == nil && r.Sealed > 0 {
			err = sealedOff(k, r)
		}
		if err == nil {
			err = stored(b, x.v)
		}
		if err != nil {
			return r, 0, m, err
		}
	}
	return r, h.Term, m, nil
}

func stored(b []byte, v any) error {
	if err := wire.Unmarshal("group", b, v); err != nil {
		return &shoal.Error{Kind: shoal.Corrupt, What: "group", Why: err.Error(), Err: err}
	}
	return nil
}

// leaving returns the writes that end this node's part in a group, as a member.
func (s *store) leaving(k shoal.Key, member uint64) []shoal.Write {
	return []shoal.Write{
		{Key: append([]byte{atLeft}, k...), Value: wire.Marshal(member)},
		{Key: indexKey(k), Delete: true},
		{Key: groupKey(k, 0), Delete: true, End: groupKey(k, 0xff)},
	}
}

// sealing returns the write that puts an older generation out of use.
func (s *store) sealing(k shoal.Key, r record, by uint64) []shoal.Write {
	r.Sealed = by
	return []shoal.Write{{Key: indexKey(k), Value: wire.Marshal(r)}}
}

// removed returns the last member that this node was, of a group that it left; 0 if it never did.
func (s *store) removed(k shoal.Key) (member uint64, err error) {
	b, ok, err := s.t.Get(append([]byte{atLeft}, k...))
	if err == nil && ok {
		err = stored(b, &member)
	}
	return member, err
}

// gone reports whether an agent was removed for good.
func (s *store) gone(k shoal.Key) (bool, error) {
	_, ok, err := s.t.Get(goneKey(k))
	return ok, err
}

// keys yields what this node keeps.
func (s *store) keys() iter.Seq2[shoal.Key, error] {
	return func(yield func(shoal.Key, error) bool) {
		for k, err := range s.records(indexKey("")) {
			if !yield(k.key, err) || err != nil {
				return
			}
		}
	}
}

// kept is an agent that this node keeps, and its record as it is on disk.
type kept struct {
	key    shoal.Key
	record []byte
}

// records yields what this node keeps, from a key of the index on.
func (s *store) records(from []byte) iter.Seq2[kept, error] {
	return func(yield func(kept, error) bool) {
		for p, err := range s.t.Scan(from, []byte{atIndex + 1}) {
			if err != nil {
				yield(kept{}, err)
				return
			}
			if !yield(kept{shoal.Key(p.Key[1:]), p.Value}, nil) {
				return
			}
		}
	}
}

// mark reads how far a group's state is, and who its keepers are.
func (s *store) mark(k shoal.Key) (m group.Mark, err error) {
	b, ok, err := s.t.Get(groupKey(k, partMark))
	if err == nil && !ok {
		err = shoal.E(shoal.NotFound, "agent "+KeyText(k), "this node does not keep it", "")
	}
	if err == nil {
		err = stored(b, &m)
	}
	return m, err
}

// state is an agent's applied state: in the table, as it is, or in a snapshot.
type state struct {
	t      reader
	prefix []byte
}

// reader is what a table and a snapshot of it have in common.
type reader interface {
	Get(key []byte) (value []byte, ok bool, err error)
	Scan(low, high []byte) iter.Seq2[shoal.Pair, error]
}

var _ turn.View = state{}

func (s *store) state(k shoal.Key, r record) state { return state{s.t, dataKey(k, r.Slot)} }

// dataKey begins the keys of an agent's state in a slot.
func dataKey(k shoal.Key, slot byte) []byte { return groupKey(k, partData+slot) }

func (s state) key(k []byte) []byte {
	return append(append(make([]byte, 0, len(s.prefix)+len(k)), s.prefix...), k...)
}

// Get implements turn.View.
func (s state) Get(key []byte) ([]byte, bool, error) { return s.t.Get(s.key(key)) }

// Scan implements turn.View.
func (s state) Scan(low, high []byte) iter.Seq2[[]byte, turn.Cell] {
	end := next(s.prefix)
	if high != nil {
		end = s.key(high)
	}
	return func(yield func([]byte, turn.Cell) bool) {
		for p, err := range s.t.Scan(s.key(low), end) {
			if err != nil {
				yield(nil, turn.Cell{Err: err})
				return
			}
			if !yield(p.Key[len(s.prefix):], turn.Cell{Value: p.Value}) {
				return
			}
		}
	}
}

// writes puts what an entry does under the agent's part of the table.
func (s state) writes(list []shoal.Write) []shoal.Write {
	out := make([]shoal.Write, len(list), len(list)+1)
	for i, w := range list {
		w.Key = s.key(w.Key)
		out[i] = w
	}
	return out
}
