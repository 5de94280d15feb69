package members

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// sealed is the record that c would have others keep.
func sealed(c *machine) []byte {
	_, b := c.m.Signed()
	return b
}

func TestFoundAndRestart(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		a := w.machine(0).boot()
		if err := a.m.Standing(); shoal.KindOf(err) != shoal.Refused || a.m.Fabric() != "" || sealed(a) != nil {
			t.Fatalf("before founding: %v", err)
		}
		if err := a.m.Admit(t.Context(), a.id); err == nil {
			t.Fatal("a node without a fabric admits")
		}
		if _, err := a.m.Invite(InviteOptions{}); shoal.KindOf(err) != shoal.Refused {
			t.Fatalf("invite without a fabric: %v", err)
		}
		w.must(a.m.Found())
		if err := a.m.Found(); shoal.KindOf(err) != shoal.Exists {
			t.Fatalf("founded twice: %v", err)
		}
		fabric, root := a.m.Fabric(), a.m.Root()
		last := uint64(0)
		for range 5 {
			a.run()
			time.Sleep(25 * time.Second) // some records
			a.halt()
			a.boot()
			if a.m.Fabric() != fabric || a.m.Root() != root || a.m.Standing() != nil {
				t.Fatal("the fabric was not kept")
			}
			self, _ := a.m.Lookup(a.id)
			if self.Seq <= last || self.State != shoal.Alive {
				t.Fatalf("sequence number %d after %d", self.Seq, last)
			}
			last = self.Seq
		}
		if _, err := a.m.RootKey(); err != nil {
			t.Fatal(err)
		}
		if err := a.m.Admit(t.Context(), a.id); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTableSpreads(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(5)
		took := w.within(10*time.Second, "all see all alive", all(list, shoal.Alive))
		t.Logf("five tables agree after %v", took)
		for _, c := range list {
			if n := len(c.m.Table()); n != 4 {
				t.Fatalf("%d rows", n)
			}
			r, _ := list[0].m.Lookup(c.id)
			if r.Attributes.CPUs == 0 || len(r.Addresses) != 1 || strings.Contains(r.Addresses[0], "p2p") ||
				strings.Contains(r.Addresses[0], "127.0") {
				t.Fatalf("row %+v", r)
			}
		}
		w.mu.Lock()
		list[3].load = shoal.Load{Slots: 4, Running: 3}
		w.mu.Unlock()
		took = w.within(5*time.Second, "the load spreads", func() bool {
			for _, c := range list {
				if r, _ := c.m.Lookup(list[3].id); r.Load.Running != 3 {
					return false
				}
			}
			return true
		})
		t.Logf("a load spreads in %v", took)
		// What an idle fabric costs, and that ages show.
		before := w.totals()
		time.Sleep(60 * time.Second)
		after := w.totals()
		t.Logf("idle, each of 5 nodes: %.1f messages and %.0f bytes a second",
			float64(after[0]-before[0])/60/5, float64(after[1]-before[1])/60/5)
		if r, _ := list[0].m.Lookup(list[1].id); time.Since(r.Seen) > 4*time.Second {
			t.Errorf("the last news is %v old", time.Since(r.Seen))
		}
	})
}

// TestNewsCostsWhatThreeTellings: a rumour ends when two knew it, so a node tells it about four times; those that are only asked whether they
// live are not told. Without load there is one rumour of each node every ten seconds.
func TestNewsCostsWhatThreeTellings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const n, minutes = 30, 2
		list := w.found(n)
		w.within(time.Minute, "all see all alive", all(list, shoal.Alive))
		time.Sleep(time.Minute) // the news of the beginning is old
		list[0].m.mu.Lock()
		it, _ := list[0].m.view.Item(list[1].id, time.Now())
		list[0].m.mu.Unlock()
		record, before := len(wire.Marshal(it)), w.totals()
		time.Sleep(minutes * time.Minute)
		bytes := w.totals()[1] - before[1]
		beats := minutes * 60 / 10 * n
		copies := float64(bytes) / float64(record*beats*n)
		t.Logf("a record of %d bytes crosses %.1f links for each node that has it", record, copies)
		if copies > 6 {
			t.Errorf("a record crosses %.1f links for each node that has it: it should be four, and what is asked besides", copies)
		}
	})
}

// totals returns messages and bytes.
func (w *world) totals() (n [2]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, b := range w.bytes {
		n[0] += w.count[k]
		n[1] += b
	}
	return n
}

// TestInviterGone: members find one another again without the node that invited them, after a
// restart of all, also when one has moved.
func TestInviterGone(t *testing.T) {
	for _, table := range []bool{true, false} {
		t.Run(fmt.Sprint("table ", table), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				list := w.found(1, func(c *Config) { c.Table = table })
				for i := range 3 { // without a table the founder introduces those it is in contact with
					time.Sleep(3 * time.Second)
					list = append(list, w.join(w.machine(i+1, func(c *Config) { c.Table = table }), list[0]))
				}
				w.within(10*time.Second, "all see all alive", all(list, shoal.Alive))
				time.Sleep(3 * time.Second)
				for _, c := range list {
					c.halt()
				}
				rest := list[1:]
				rest[2].addrs = []string{"/ip4/172.16.0.9/tcp/4171"}
				for _, c := range rest {
					c.boot()
					if c.m.Standing() != nil {
						t.Fatal("the membership was not kept")
					}
					c.run()
				}
				took := w.within(30*time.Second, "the rest find one another", func() bool {
					for _, c := range rest {
						if len(c.Connected()) < 2 {
							return false
						}
					}
					return all(rest, shoal.Alive)()
				})
				t.Logf("three find one another after %v", took)
				time.Sleep(3 * time.Second)
				if table {
					w.within(40*time.Second, "the founder is down", sees(rest, list[0], shoal.Down))
				}
				// And a new member comes in through them.
				d := w.join(w.machine(9, func(c *Config) { c.Table = table }), rest[1])
				w.within(20*time.Second, "a new member", all(append(rest, d), shoal.Alive))
			})
		})
	}
}

func TestKilledAndBack(t *testing.T) {
	for name, kill := range map[string]func(*machine){
		"killed": (*machine).halt,
		"frozen": func(c *machine) { c.freeze(true) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				list := w.found(5)
				w.within(10*time.Second, "all alive", all(list, shoal.Alive))
				time.Sleep(5 * time.Second)
				begin := time.Now()
				kill(list[2])
				rest := []*machine{list[0], list[1], list[3], list[4]}
				suspect := w.within(6*time.Second, "suspected", sees(rest, list[2], shoal.Suspect))
				w.within(40*time.Second, "down", sees(rest, list[2], shoal.Down))
				down := time.Since(begin)
				t.Logf("%s: suspect after %v, down after %v", name, suspect, down)
				if suspect < 2*time.Second || down < 28*time.Second {
					t.Error("too hasty")
				}
				if !all(rest, shoal.Alive)() {
					t.Error("the others suffer: " + w.states(list[0]))
				}
				if name == "frozen" {
					list[2].freeze(false)
				} else {
					list[2].boot().run()
				}
				took := w.within(15*time.Second, "back", all(list, shoal.Alive))
				t.Logf("%s: back after %v", name, took)
			})
		})
	}
}

// TestBackSoon: a restart in between is no reason to suspect anybody.
func TestBackSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(3)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		time.Sleep(5 * time.Second)
		changes := watch(list[0])
		list[1].halt()
		time.Sleep(time.Second)
		list[1].boot().run()
		time.Sleep(20 * time.Second)
		if got := changes.states(list[1].id); len(got) != 0 {
			t.Errorf("the restart made it %v", got)
		}
	})
}

// log notes the states that a node reports.
type log struct {
	mu   sync.Mutex
	last map[shoal.PeerID]shoal.MemberState
	got  map[shoal.PeerID][]shoal.MemberState
}

// watch notes changes of state from now on.
func watch(c *machine) *log {
	l := &log{last: map[shoal.PeerID]shoal.MemberState{}, got: map[shoal.PeerID][]shoal.MemberState{}}
	for _, r := range c.m.Table() {
		l.last[r.ID] = r.State
	}
	c.m.OnChange(func(r shoal.Member) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.last[r.ID] != r.State {
			l.last[r.ID] = r.State
			l.got[r.ID] = append(l.got[r.ID], r.State)
		}
	})
	return l
}

func (l *log) states(p shoal.PeerID) []shoal.MemberState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got[p])
}

// TestOneWayLink: nothing from 1 reaches 2 any more. The two lose one another, without wavering; the
// others notice nothing.
func TestOneWayLink(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(5)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		time.Sleep(5 * time.Second)
		var logs []*log
		for _, c := range list {
			logs = append(logs, watch(c))
		}
		w.oneWay(list[1], list[2], true)
		time.Sleep(3 * time.Minute)
		for i, l := range logs {
			for j, c := range list {
				got := fmt.Sprint(l.states(c.id))
				want := "[]"
				if i == 1 && j == 2 || i == 2 && j == 1 {
					want = "[suspect]"
				}
				if got != want {
					t.Errorf("node %d saw node %d as %s, want %s", i, j, got, want)
				}
			}
		}
		w.oneWay(list[1], list[2], false)
		took := w.within(70*time.Second, "healed", all(list, shoal.Alive))
		t.Logf("healed after %v", took)
	})
}

func TestPartition(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(5)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		time.Sleep(5 * time.Second)
		l := watch(list[0])
		w.split(list[:3], list[3:], true)
		w.within(70*time.Second, "down", func() bool {
			return sees(list[:3], list[3], shoal.Down)() && sees(list[:3], list[4], shoal.Down)() &&
				sees(list[3:], list[0], shoal.Down)()
		})
		if !all(list[:3], shoal.Alive)() || !all(list[3:], shoal.Alive)() {
			t.Fatal("the sides fell apart")
		}
		// A member is forgotten on one side, and a new one comes on the other.
		six := w.join(w.machine(6), list[3])
		w.must(list[0].m.Forget(t.Context(), list[2].id))
		time.Sleep(2 * time.Minute)
		w.split(list[:3], list[3:], false)
		took := w.within(70*time.Second, "healed", all([]*machine{list[0], list[1], list[3], list[4], six}, shoal.Alive))
		w.within(20*time.Second, "forgotten everywhere", sees([]*machine{list[3], list[4], six}, list[2], shoal.Forgotten))
		t.Logf("healed after %v", took)
		// On the way back it may hear of node 3 before it reaches it.
		got := strings.Replace(fmt.Sprint(l.states(list[3].id)), "down suspect", "down", 1)
		if got != "[suspect down alive]" {
			t.Errorf("node 0 saw node 3 as %s", got)
		}
	})
}

func TestWithoutTable(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(3, func(c *Config) { c.Table = false; c.Mesh = 1 })
		a, b := list[1], list[2]
		time.Sleep(5 * time.Second)
		a.Disconnect(b.id)
		w.oneWay(a, list[0], false)
		fresh := w.join(w.machine(8, func(c *Config) { c.Table = false; c.Mesh = 1 }), list[0])
		if r, err := fresh.m.Record(t.Context(), a.id); err == nil {
			if r.Attributes.CPUs != 2 {
				t.Errorf("record %+v", r)
			}
		} else {
			w.must(fresh.Connect(t.Context(), a.id, a.addrs))
			r, err := fresh.m.Record(t.Context(), a.id)
			w.must(err)
			if r.Attributes.CPUs != 2 || r.State != shoal.Alive {
				t.Errorf("record %+v", r)
			}
		}
		w.within(5*time.Second, "in contact", sees([]*machine{fresh}, a, shoal.Alive))
		w.mu.Lock()
		before := w.bytes["members.pull"]
		a.load.Running = 5
		w.mu.Unlock()
		w.within(8*time.Second, "the load reaches who is in contact", func() bool {
			r, _ := fresh.m.Lookup(a.id)
			return r.Load.Running == 5
		})
		time.Sleep(time.Minute)
		w.mu.Lock()
		t.Logf("%d bytes of pulls in a minute", w.bytes["members.pull"]-before)
		w.mu.Unlock()
		if _, err := fresh.m.Record(t.Context(), w.machine(60).id); err == nil {
			t.Error("a record of nobody")
		}
		w.must(a.m.Forget(t.Context(), b.id))
		w.within(20*time.Second, "departures spread", sees([]*machine{list[0], fresh}, b, shoal.Forgotten))
	})
}

func TestSkewIsMeasured(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(1)
		ahead := w.join(w.machine(1, func(c *Config) {
			c.Now = func() time.Time { return time.Now().Add(3 * time.Minute) }
		}), list[0])
		w.within(10*time.Second, "all alive", all([]*machine{list[0], ahead}, shoal.Alive))
		time.Sleep(time.Second)
		d, back := list[0].m.Skew()[ahead.id], ahead.m.Skew()[list[0].id]
		if (d-3*time.Minute).Abs() > 20*time.Millisecond || (back+3*time.Minute).Abs() > 20*time.Millisecond {
			t.Errorf("measured %v and %v", d, back)
		}
	})
}

// TestDiskFull: a node whose disk takes nothing goes on.
func TestDiskFull(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(3)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		list[0].kv.Fail(shoal.E(shoal.Full, "set", "no space left", ""))
		if err := list[0].m.Forget(t.Context(), list[2].id); shoal.KindOf(err) != shoal.Full {
			t.Errorf("forget: %v", err)
		}
		d := w.machine(8).boot()
		w.must(d.m.Join(t.Context(), w.invite(list[0], InviteOptions{})))
		d.run()
		w.within(10*time.Second, "a newcomer", all(append(list, d), shoal.Alive))
		list[0].kv.Fail(nil)
		time.Sleep(5 * time.Second)
		list[0].halt()
		list[0].boot()
		if n := len(list[0].m.Table()); n != 3 {
			t.Errorf("%d rows were kept", n)
		}
	})
}

// A record that others keep is read with its age, and only while its signer is a member.
func TestReadRecord(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		list := w.found(3)
		w.within(10*time.Second, "all alive", all(list, shoal.Alive))
		a, b, c := list[0], list[1], list[2]
		attributes := b.m.Self().Attributes
		attributes.Labels = map[string]string{"zone": "new"}
		b.m.SetAttributes(attributes)
		own, kept := b.m.Signed()
		m, err := a.m.ReadRecord(b.id, kept)
		if err != nil || m.ID != b.id || m.Attributes.Labels["zone"] != "new" || m.Seq != own.Seq || m.State != shoal.Suspect || !slices.Equal(m.Addresses, b.addrs) {
			t.Errorf("%+v, %v; want %+v", m, err, own)
		}
		w.within(5*time.Second, "the table has it too", func() bool {
			r, _ := a.m.Lookup(b.id)
			return r.Attributes.Labels["zone"] == "new"
		})
		if _, err := a.m.ReadRecord(c.id, kept); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("as another's record: %v", err)
		}
		for i := range kept {
			broken := slices.Clone(kept)
			broken[i] ^= 1
			if _, err := a.m.ReadRecord(b.id, broken); err == nil {
				t.Fatalf("read with byte %d altered", i)
			}
		}
		time.Sleep(time.Hour)
		if m, err = a.m.ReadRecord(b.id, kept); err != nil || m.State != shoal.Down || time.Since(m.Seen) < time.Hour {
			t.Errorf("an hour later: %+v, %v", m, err)
		}
		w.must(a.m.Forget(t.Context(), b.id))
		if _, err := a.m.ReadRecord(b.id, kept); shoal.KindOf(err) != shoal.Refused {
			t.Errorf("of one that was forgotten: %v", err)
		}
		w.within(10*time.Second, "it hears of it", func() bool { return b.m.Standing() != nil })
		if _, sealed := b.m.Signed(); sealed != nil {
			t.Error("a node that was forgotten still has a record to put")
		}
	})
}
