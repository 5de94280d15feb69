package group

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// trio is three groups on nodes a, b and c, without clock, disk or network: what one wants done is done at once.
type trio struct {
	t       testing.TB
	keepers []Keeper
	groups  []*Group
	states  []Stored
	note    bool // what is applied
	applied []string
	outs    []Effects
	drop    func(from, to int) bool
}

func newTrio(t testing.TB, cfg Config) *trio {
	x := &trio{t: t, note: true, keepers: []Keeper{{"a", "1"}, {"b", "1"}, {"c", "1"}}, applied: make([]string, 3), outs: make([]Effects, 3)}
	for i := range x.keepers {
		cfg.Self, cfg.Incarnation = uint64(i+1), 1
		x.states = append(x.states, Birth(x.keepers))
		g, err := Open(cfg, x.states[i], Promise{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		x.groups = append(x.groups, g)
	}
	return x
}

// pump does what the groups want done until none wants anything.
func (x *trio) pump(now Instant) {
	for again := true; again; {
		again = false
		for i, g := range x.groups {
			out := g.Take()
			x.outs[i].Leads = append(x.outs[i].Leads, out.Leads...)
			x.outs[i].Reads = append(x.outs[i].Reads, out.Reads...)
			x.outs[i].Ship = append(x.outs[i].Ship, out.Ship...)
			if b := out.Persist; b != nil {
				again = true
				if b.Hard != nil {
					x.states[i].Hard = *b.Hard
				}
				if n := len(b.Entries); n > 0 {
					es := slices.DeleteFunc(x.states[i].Entries, func(r Raw) bool { return r.Index >= b.Entries[0].Index })
					x.states[i].Entries = append(es, b.Entries...)
				}
				g.Persisted(now, b.ID)
			}
			for _, e := range out.Apply {
				again = true
				if x.note {
					x.applied[i] += string(e.Data)
				}
			}
			if n := len(out.Apply); n > 0 {
				x.states[i].Mark = out.Mark
				g.Applied(now, out.Apply[n-1].Index)
				g.Synced(out.Apply[n-1].Index)
			}
			for _, e := range out.Send {
				again = true
				to := int(e.To.Peer[0] - 'a')
				if x.drop != nil && x.drop(i, to) {
					continue
				}
				if err := x.groups[to].Step(now, x.keepers[i].Peer, e.Data); err != nil {
					x.t.Fatal(err)
				}
			}
			if out.Quarantined != nil {
				x.t.Fatal(out.Quarantined)
			}
		}
	}
}

func (x *trio) elect(i int, now Instant) {
	if err := x.groups[i].Campaign(now); err != nil {
		x.t.Fatal(err)
	}
	x.pump(now)
	if !x.groups[i].Status().Leading {
		x.t.Fatalf("not elected: %+v", x.groups[i].Status())
	}
}

func TestBirthElectionTurn(t *testing.T) {
	x := newTrio(t, Config{})
	x.elect(0, 1)
	if !x.groups[0].Read(3) {
		t.Fatal("no lease after the barrier")
	}
	at, err := x.groups[0].Propose(3, []byte("x"), []byte("y"))
	if err != nil || at != (Position{3, 2}) {
		t.Fatal(at, err)
	}
	_, err = x.groups[1].Propose(3, []byte("z"))
	var nl *NotLeader
	if !errors.As(err, &nl) || nl.Leader.Peer != "a" || nl.Epoch != 2 || shoal.KindOf(err) != shoal.Unavailable {
		t.Fatal("a follower proposed, or says not who leads:", err)
	}
	x.pump(4)
	if x.applied[0] != "xy" || x.applied[1]+x.applied[2] != "" {
		t.Fatalf("the leader applied %q; nothing told the others: %q, %q", x.applied[0], x.applied[1], x.applied[2])
	}
	// The next turn tells the others that those before it are final, and the clock does where there is none.
	if _, err := x.groups[0].Propose(5, []byte("z")); err != nil {
		t.Fatal(err)
	}
	x.pump(5)
	if x.applied[0] != "xyz" || x.applied[1] != "xy" || x.applied[2] != "xy" {
		t.Fatalf("after the next turn: %q", x.applied)
	}
	due, ok := x.groups[0].Next()
	if !ok || due > Instant(100*time.Millisecond) {
		t.Fatal("nothing is due:", due, ok)
	}
	x.groups[0].Wake(due)
	x.pump(due)
	for i := range x.groups {
		if x.applied[i] != "xyz" {
			t.Fatalf("%d applied %q", i, x.applied[i])
		}
	}
}

func TestLeaseEndsByTheClockAndReadsByQuorumGoOn(t *testing.T) {
	x := newTrio(t, Config{Lease: time.Second})
	x.elect(0, 1)
	g := x.groups[0]
	end := g.Status().Lease
	if end < Instant(900*time.Millisecond) || end > Instant(time.Second) {
		t.Fatal(end)
	}
	if !g.Read(end-1) || g.Read(end) {
		t.Fatal("the lease does not end at its end")
	}
	id, err := g.ReadIndex(end)
	if err != nil {
		t.Fatal(err)
	}
	x.pump(end)
	if !slices.Contains(x.outs[0].Reads, ReadDone{id, true}) {
		t.Fatal(x.outs[0].Reads)
	}
	if !g.Read(end + 1) {
		t.Fatal("the round did not renew the lease")
	}
}

func TestReadsFailWithTheLeadership(t *testing.T) {
	x := newTrio(t, Config{})
	x.elect(0, 1)
	x.drop = func(from, to int) bool { return from == 0 || to == 0 }
	id, err := x.groups[0].ReadIndex(2)
	if err != nil {
		t.Fatal(err)
	}
	x.groups[0].Resign(3)
	x.pump(3)
	if !slices.Contains(x.outs[0].Reads, ReadDone{id, false}) {
		t.Fatal(x.outs[0].Reads)
	}
}

// TestVotesAreWithheld asks a follower that promised for its vote, in every way there is.
func TestVotesAreWithheld(t *testing.T) {
	for _, kind := range []raftpb.MessageType{raftpb.MsgVote, raftpb.MsgPreVote} {
		for _, force := range []string{"", "CampaignTransfer"} {
			x := newTrio(t, Config{Lease: time.Second})
			x.elect(0, 1)
			ask := func(now Instant) bool {
				h := x.groups[2].header(2)
				m := &raftpb.Message{
					Type: kind.Enum(), From: new(uint64(3)), To: new(uint64(2)), Term: new(uint64(9)), Index: new(uint64(9)),
					LogTerm: new(uint64(9)), Context: []byte(force),
				}
				if err := x.groups[1].Step(now, "c", encode(h, m)); err != nil {
					t.Fatal(err)
				}
				out := x.groups[1].Take()
				return out.Persist != nil || len(out.Send) > 0
			}
			end := x.groups[1].Promise().Until
			if ask(end - 1) {
				t.Errorf("%v %s: answered while the promise holds", kind, force)
			}
			if !ask(end) {
				t.Errorf("%v %s: not answered when the promise is over", kind, force)
			}
		}
	}
}

func TestProposalsDoNotTravel(t *testing.T) {
	x := newTrio(t, Config{})
	x.elect(0, 1)
	m := &raftpb.Message{
		Type: raftpb.MsgProp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Entries: []*raftpb.Entry{{Data: wrap(2, 0, []byte("x"))}},
	}
	if err := x.groups[0].Step(2, "b", encode(x.groups[1].header(1), m)); err != nil {
		t.Fatal(err)
	}
	if out := x.groups[0].Take(); out.Persist != nil || len(out.Send) > 0 {
		t.Fatalf("a proposal came in from the network: %+v", out)
	}
}

func TestPromiseIsKeptThroughReload(t *testing.T) {
	x := newTrio(t, Config{Lease: time.Second})
	x.elect(0, 1)
	p := x.groups[1].Promise()
	if p.Over(5) || p.Leader != 1 || p.Term != 2 {
		t.Fatalf("%+v", p)
	}
	g, err := Open(Config{Self: 2, Incarnation: 1, Lease: time.Second}, x.states[1], p, 5)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Campaign(5); err != nil {
		t.Fatal(err)
	}
	if out := g.Take(); out.Persist != nil || len(out.Send) > 0 {
		t.Fatalf("it campaigns against its promise: %+v", out)
	}
	if at, ok := g.Next(); !ok || at < p.Until {
		t.Fatalf("it wants to be woken at %v, %v; promised until %v", at, ok, p.Until)
	}
	if b := Booted(7, time.Second); b.Over(7) || !b.Over(Instant(time.Second)+7) {
		t.Fatalf("%+v", b)
	}
}

// TestPanicsQuarantine has raft panic: a leader says that more is committed than this member, which has lost its
// log, ever had.
func TestPanicsQuarantine(t *testing.T) {
	x := newTrio(t, Config{})
	x.elect(0, 1)
	m := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(2)), Commit: new(uint64(99))}
	g := x.groups[1]
	if err := g.Step(2, "a", encode(x.groups[0].header(2), m)); err != nil {
		t.Fatal(err)
	}
	out := g.Take()
	if shoal.KindOf(out.Quarantined) != shoal.Corrupt || len(out.Send) > 0 || out.Persist != nil {
		t.Fatalf("%+v", out)
	}
	if again := g.Take(); again.Quarantined != nil {
		t.Fatal("said twice")
	}
	g.Wake(Instant(time.Hour))
	g.Suspect(3, "a")
	if _, err := g.Propose(3, []byte("x")); shoal.KindOf(err) != shoal.Corrupt || g.Read(3) || !g.Quiet() || g.Status().Err == nil {
		t.Fatal(err)
	}
}

// TestPressure: a leader that commits nothing refuses turns at some point, and takes them again later.
func TestPressure(t *testing.T) {
	x := newTrio(t, Config{Uncommitted: 1000})
	x.elect(0, 1)
	x.drop = func(from, to int) bool { return true }
	var err error
	n := 0
	for ; n < 100 && err == nil; n++ {
		_, err = x.groups[0].Propose(2, bytes.Repeat([]byte("x"), 100))
		x.pump(2)
	}
	if shoal.KindOf(err) != shoal.Overloaded || n < 5 || n > 15 {
		t.Fatal(n, err)
	}
	x.drop = nil
	for now := Instant(1e9); now < 5e9; now += 5e8 {
		x.groups[0].Wake(now)
		x.pump(now)
	}
	if at, err := x.groups[0].Propose(6e9, []byte("y")); err != nil || len(x.applied[1]) != (n-1)*100 {
		t.Fatal(at, err, len(x.applied[1]))
	}
}

// TestStuckDiskLeadsNobody: a leader whose write is overdue neither renews its lease nor asks to be followed.
func TestStuckDiskLeadsNobody(t *testing.T) {
	x := newTrio(t, Config{Lease: time.Second})
	x.elect(0, 1)
	g := x.groups[0]
	if _, err := g.Propose(2, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if out := g.Take(); out.Persist == nil {
		t.Fatal("nothing to write")
	}
	for now := Instant(5e8); now < 3e9; now += 1e8 {
		g.Wake(now)
		for _, e := range g.Take().Send {
			if h, _, err := decode(e.Data); err != nil || now > Instant(1.1e9) && h.asked > 0 {
				t.Fatalf("at %v it asks: %v", now, err)
			}
		}
	}
}

// BenchmarkTurn commits and applies one turn on three groups, without disk and network.
func BenchmarkTurn(b *testing.B) {
	x := newTrio(b, Config{})
	x.elect(0, 1)
	x.note = false
	data := bytes.Repeat([]byte("x"), 1024)
	b.ReportAllocs()
	for i := range b.N {
		if _, err := x.groups[0].Propose(2, data); err != nil {
			b.Fatal(err)
		}
		x.pump(2)
		if i%64 == 0 {
			for j, g := range x.groups {
				x.states[j].Base = g.Compact(x.states[j].Mark.Index)
				x.states[j].Entries = nil
			}
		}
	}
}

// BenchmarkRead reads under the lease.
func BenchmarkRead(b *testing.B) {
	x := newTrio(b, Config{})
	x.elect(0, 1)
	for range b.N {
		if !x.groups[0].Read(2) {
			b.Fatal("no lease")
		}
	}
}

// BenchmarkOpen loads a group as a call to a sleeping agent does.
func BenchmarkOpen(b *testing.B) {
	s := Birth([]Keeper{{"a", "1"}, {"b", "1"}, {"c", "1"}})
	b.ReportAllocs()
	for i := range b.N {
		if _, err := Open(Config{Self: 1, Incarnation: 1, Seed: uint64(i)}, s, Promise{}, 1); err != nil {
			b.Fatal(fmt.Sprint(err))
		}
	}
}
