package group

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// TestOpenRefusesContradictions damages a sound state in one place after another.
func TestOpenRefusesContradictions(t *testing.T) {
	x := newTrio(t, Config{})
	x.elect(0, 1)
	if _, err := x.groups[0].Propose(2, []byte("x"), []byte("y"), []byte("z")); err != nil {
		t.Fatal(err)
	}
	x.pump(3)
	for name, damage := range map[string]func(*Stored){
		"sound":                      func(*Stored) {},
		"log ends early":             func(s *Stored) { s.Entries = s.Entries[:1] },
		"log is gone":                func(s *Stored) { s.Entries = nil },
		"hole in the log":            func(s *Stored) { s.Entries = slices.Delete(s.Entries, 1, 2) },
		"terms go back":              func(s *Stored) { s.Entries[1].Term = 1 },
		"entry of a later term":      func(s *Stored) { s.Entries[3].Term = 7 },
		"commit beyond the log":      func(s *Stored) { s.Hard.Commit = 99 },
		"term lost":                  func(s *Stored) { s.Hard.Term = 0 },
		"no beginning":               func(s *Stored) { s.Base = Position{} },
		"state of another entry":     func(s *Stored) { s.Mark.Term++ },
		"state of an entry to come":  func(s *Stored) { s.Mark.Index = 50 },
		"turn to come":               func(s *Stored) { s.Mark.Turn = 50 },
		"configuration to come":      func(s *Stored) { s.Mark.Conf.Index = 50 },
		"no members":                 func(s *Stored) { s.Mark.Conf.Members = nil },
		"member twice":               func(s *Stored) { s.Mark.Conf.Members[1].ID = 1 },
		"member ID not yet allotted": func(s *Stored) { s.Mark.Conf.Next = 3 },
		"unknown role":               func(s *Stored) { s.Mark.Conf.Members[0].Role = 9 },
		"no generation":              func(s *Stored) { s.Generation = 0 },
	} {
		s := x.states[0]
		s.Entries = slices.Clone(s.Entries)
		s.Mark.Conf.Members = slices.Clone(s.Mark.Conf.Members)
		damage(&s)
		_, err := Open(Config{Self: 1, Incarnation: 2}, s, Promise{}, 9)
		if want := name != "sound"; want != (shoal.KindOf(err) == shoal.Corrupt && err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyLearnersBeginWithNothing(t *testing.T) {
	conf := Birth([]Keeper{{"a", "1"}}).Mark.Conf
	conf, err := conf.next(Change{Learn: []Keeper{{"b", "1"}}}, switches{})
	if err != nil {
		t.Fatal(err)
	}
	m := Mark{Position: Position{5, 2}, Conf: conf}
	if s, err := Joined(1, m, 2); err != nil || s.check(2) != nil {
		t.Error(s, err)
	}
	for _, id := range []uint64{1, 3} {
		if _, err := Joined(1, m, id); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("member %d began with nothing: %v", id, err)
		}
	}
}

func TestRestoredKeepsWhatItAcknowledged(t *testing.T) {
	conf := Birth([]Keeper{{"a", "1"}}).Mark.Conf
	at := func(i, t uint64) Position { return Position{i, t} }
	s := Stored{
		Generation: 1, Hard: Hard{Term: 3, Vote: 1, Commit: 2}, Base: at(1, 1), Mark: Mark{Position: at(1, 1), Conf: conf},
		Entries: []Raw{{Position: at(2, 2)}, {Position: at(3, 2)}, {Position: at(4, 3)}},
	}
	if _, err := s.Restored(Mark{Position: at(1, 1), Conf: conf}); shoal.KindOf(err) != shoal.Refused {
		t.Error("an older state was taken:", err)
	}
	r, err := s.Restored(Mark{Position: at(3, 2), Conf: conf})
	if err != nil || len(r.Entries) != 1 || r.Entries[0].Index != 4 || r.Hard != (Hard{3, 1, 3}) || r.Base != at(3, 2) {
		t.Errorf("the log agrees, so what follows must stay: %+v %v", r, err)
	}
	r, err = s.Restored(Mark{Position: at(3, 3), Conf: conf})
	if err != nil || len(r.Entries) != 0 || r.Hard != (Hard{3, 1, 3}) {
		t.Errorf("the log contradicts, so it must go: %+v %v", r, err)
	}
	r, err = s.Restored(Mark{Position: at(9, 5), Conf: conf})
	if err != nil || len(r.Entries) != 0 || r.Hard != (Hard{5, 0, 9}) {
		t.Errorf("the state is ahead of the log: %+v %v", r, err)
	}
	for _, m := range []Mark{{Position: at(3, 2), Conf: conf}, {Position: at(3, 3), Conf: conf}, {Position: at(9, 5), Conf: conf}} {
		r, _ := s.Restored(m)
		if err := r.check(1); err != nil {
			t.Errorf("%v: %v", m.Position, err)
		}
	}
}

// TestRecoveredIsAnotherGeneration: the whole log counts, changes of membership in it do not, and IDs are new.
func TestRecoveredIsAnotherGeneration(t *testing.T) {
	x := newTrio(t, Config{})
	x.elect(0, 1)
	g := x.groups[0]
	x.drop = func(from, to int) bool { return true } // the rest stays uncommitted
	if _, err := g.Propose(2, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := g.Change(2, Change{Learn: []Keeper{{"d", "1"}}}); err != nil {
		t.Fatal(err)
	}
	x.pump(2)
	if _, err := x.states[0].Recovered(1, Keeper{"a", "1"}); err == nil {
		t.Fatal("a generation was used again")
	}
	s, err := x.states[0].Recovered(2, Keeper{"a", "1"})
	if err != nil {
		t.Fatal(err)
	}
	id, ok := s.Self(Keeper{"a", "1"})
	if !ok || id != 4 {
		t.Fatal(id)
	}
	r, err := Open(Config{Self: id, Incarnation: 1}, s, Promise{}, 5)
	if err != nil {
		t.Fatal(err)
	}
	x.groups[0], x.states[0] = r, s
	if err := r.Campaign(5); err != nil {
		t.Fatal(err)
	}
	x.pump(5)
	if st := r.Status(); !st.Leading || len(st.Conf.Members) != 1 || x.applied[0] != "x" || st.Generation != 2 {
		t.Fatalf("%+v, applied %q", st, x.applied[0])
	}
}

func TestChangesAreRefusedClearly(t *testing.T) {
	base := Birth([]Keeper{{"a", "1"}, {"b", "1"}, {"c", "1"}}).Mark.Conf
	learner, err := base.next(Change{Learn: []Keeper{{"d", "1"}}}, switches{})
	if err != nil {
		t.Fatal(err)
	}
	joint, err := learner.next(Change{Promote: []uint64{4}, Remove: []uint64{1}}, switches{})
	if err != nil || !joint.Joint() || learner.Joint() || !learner.Learners() {
		t.Fatal(joint, err)
	}
	if done := joint.settled(); done.has(1) || !done.has(4) || done.Next != 5 || done.Joint() || done.Learners() {
		t.Fatal(done)
	}
	single := Birth([]Keeper{{"a", "1"}}).Mark.Conf
	for _, c := range []struct {
		conf Conf
		ch   Change
		why  string
	}{
		{base, Change{}, "changes nothing"},
		{joint, Change{Remove: []uint64{2}}, "under way"},
		{base, Change{Learn: []Keeper{{"d", "1"}}, Remove: []uint64{1}}, "learn first"},
		{base, Change{Learn: []Keeper{{"d", "1"}, {"e", "1"}}}, "one at a time"},
		{base, Change{Learn: []Keeper{{"b", "1"}}}, "keeper already"},
		{base, Change{Promote: []uint64{1}}, "does not learn"},
		{base, Change{Promote: []uint64{9}}, "no member 9"},
		{base, Change{Remove: []uint64{9}}, "no member 9"},
		{learner, Change{Promote: []uint64{4}, Remove: []uint64{4}}, "at once"},
		{single, Change{Remove: []uint64{1}}, "no voter"},
	} {
		_, err := c.conf.next(c.ch, switches{})
		if shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%+v: got %v, want '%s'", c.ch, err, c.why)
		}
	}
	if again, err := learner.next(Change{Remove: []uint64{4}}, switches{}); err != nil || again.Next != 5 || again.has(4) {
		t.Error("a learner that leaves gives its ID back:", again, err)
	}
}

func FuzzStep(f *testing.F) {
	x := newTrio(f, Config{})
	x.elect(0, 1)
	_, _ = x.groups[0].Propose(2, []byte("x"))
	for i := range x.groups {
		for _, e := range x.groups[i].Take().Send {
			f.Add(e.Data)
		}
	}
	h := x.groups[0].header(2)
	h.notice = leaderSleeps
	f.Add(encode(h, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, m, err := decode(data)
		if err != nil {
			if shoal.KindOf(err) != shoal.Invalid {
				t.Fatal(err)
			}
			return
		}
		if again, m2, err := decode(encode(h, m)); err != nil || again != h || describe(m) != describe(m2) {
			t.Fatalf("%+v %v became %+v %v: %v", h, m, again, m2, err)
		}
		x := newTrio(t, Config{})
		x.elect(0, 1)
		for i, g := range x.groups {
			if err := g.Step(2, x.keepers[i].Peer, data); err != nil {
				t.Fatal(err)
			}
			g.Take() // it may be out of use now, but nothing else may have happened to the node
		}
	})
}

func FuzzEntry(f *testing.F) {
	f.Add(uint64(3), Raw{Position: Position{3, 2}, Data: wrap(2, 1, []byte("x"))}.AppendTo(nil))
	f.Add(uint64(3), []byte{3, 1})
	f.Fuzz(func(t *testing.T, index uint64, data []byte) {
		r, err := ParseRaw(index, data)
		if err != nil {
			if shoal.KindOf(err) != shoal.Corrupt {
				t.Fatal(err)
			}
			return
		}
		if again, err := ParseRaw(index, r.AppendTo(nil)); err != nil || again.Position != r.Position || !bytes.Equal(again.Data, r.Data) {
			t.Fatalf("%+v became %+v: %v", r, again, err)
		}
		// Whatever a committed entry says, applying it decides; it does not break anything.
		x := newTrio(t, Config{})
		x.elect(0, 1)
		e := r.entry()
		e.Index, e.Term = new(uint64(3)), new(uint64(2))
		m := &raftpb.Message{
			Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(2)), Index: new(uint64(2)),
			LogTerm: new(uint64(2)), Commit: new(uint64(3)), Entries: []*raftpb.Entry{e},
		}
		if err := x.groups[1].Step(2, "a", encode(x.groups[0].header(2), m)); err != nil {
			t.Fatal(err)
		}
		x.pump(2)
		if s := x.groups[1].Status(); s.Applied != 3 || s.Err != nil {
			t.Fatalf("%+v", s)
		}
	})
}

func TestUnwrap(t *testing.T) {
	term, prev, data, ok := unwrap(wrap(7, 9, []byte("x")))
	if !ok || term != 7 || prev != 9 || string(data) != "x" {
		t.Fatal(term, prev, data, ok)
	}
	for _, b := range [][]byte{nil, {wrapper}, {2, 1, 1}, {wrapper, 0x80}, binary.AppendUvarint([]byte{wrapper}, 5)} {
		if _, _, _, ok := unwrap(b); ok {
			t.Errorf("%v was taken", b)
		}
	}
}
