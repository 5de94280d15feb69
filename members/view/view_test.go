package view

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

var noon = time.UnixMilli(1_800_000_000_000)

func key(n int) ed25519.PrivateKey {
	seed := sha256.Sum256(fmt.Append(nil, "view test key ", n))
	return ed25519.NewKeyFromSeed(seed[:])
}

func id(n int) shoal.PeerID { return capability.PeerIDOf(key(n).Public().(ed25519.PublicKey)) }

// The root of the tests' fabric is key 1000.
var fabric = capability.FabricID(id(1000))

func chain(n int) capability.Chain {
	c, err := capability.Chain(nil).Extend(key(1000), capability.Grant{
		Fabric: fabric, Subject: id(n), Role: capability.RoleMember,
	})
	if err != nil {
		panic(err)
	}
	return c
}

func record(n int, life, seq uint64, change ...func(*Record)) Item {
	r := Record{
		Fabric: fabric, Life: life, Seq: seq, At: noon.UnixMilli(), TTL: 30,
		Addresses:  []string{fmt.Sprintf("/ip4/10.0.0.%d/tcp/4170", n)},
		Attributes: shoal.Attributes{OS: "linux", CPUs: 4, Labels: map[string]string{"zone": "a"}},
	}
	for _, f := range change {
		f(&r)
	}
	env, err := r.Seal(key(n))
	if err != nil {
		panic(err)
	}
	return Item{Kind: KindRecord, Fact: env}
}

func departed(n int, life uint64, by int) Item {
	d := Departure{Fabric: fabric, Subject: id(n), Life: life, At: noon.UnixMilli()}
	if by != n {
		d.Forgotten, d.Chain = true, chain(by)
	}
	return Item{Kind: KindDeparture, Fact: d.Seal(key(by))}
}

func table(self int) *View { return New(Config{Self: id(self), Fabric: fabric, Table: true}) }

func offer(t interface{ Fatal(...any) }, v *View, items ...Item) {
	for _, it := range items {
		if _, err := v.Offer(it, false, noon); err != nil {
			t.Fatal(err)
		}
	}
}

// facts is all that merging is about: the sealed facts of each row.
func (v *View) facts() map[string]string {
	out := map[string]string{}
	for _, e := range v.rows {
		if e.rec != nil {
			out["r"+string(e.id)] = string(wire.Marshal(e.recEnv))
		}
		if e.gone != nil {
			out["d"+string(e.id)] = string(wire.Marshal(e.goneEnv))
		}
	}
	return out
}

// all is the facts as items, to merge one view into another.
func (v *View) all() (out []Item) {
	for _, e := range v.rows {
		if e.rec != nil {
			out = append(out, e.recordItem(noon))
		}
		if e.gone != nil {
			out = append(out, e.departureItem(noon))
		}
	}
	return out
}

// pool is every fact that the tests of merging draw from: three members, two or three lives, ties.
func pool() (out []Item) {
	for n := range 3 {
		for life := uint64(1); life <= 3; life++ {
			for seq := uint64(1); seq <= 2; seq++ {
				out = append(out, record(n, life, seq))
			}
			out = append(out, record(n, life, 2, func(r *Record) { r.Load.Running = 7 }))
			out = append(out, departed(n, life, n), departed(n, life, 5), departed(n, life, 6))
		}
	}
	return out
}

// twin is the dumb model: it keeps all facts and finds the greatest by looking at every one.
func twin(items []Item) map[string]string {
	type best struct {
		life, rank uint64
		tie        []byte
		bytes      string
	}
	out := map[string]best{}
	greater := func(a, b best) bool {
		if a.life != b.life {
			return a.life > b.life
		}
		if a.rank != b.rank {
			return a.rank > b.rank
		}
		return bytes.Compare(a.tie, b.tie) > 0
	}
	for _, it := range items {
		h := sha256.Sum256(append([]byte(it.Fact.Signer), it.Fact.Payload...))
		b := best{tie: h[:4], bytes: string(wire.Marshal(it.Fact))}
		var at string
		if it.Kind == KindRecord {
			r, _ := readRecord(it.Fact, fabric)
			b.life, b.rank, at = r.Life, r.Seq, "r"+string(it.Fact.Signer)
		} else {
			d, _ := readDeparture(it.Fact, fabric)
			b.life, at = d.Life, "d"+string(d.Subject)
			if d.Forgotten {
				b.rank = 1
			}
		}
		if old, ok := out[at]; !ok || greater(b, old) {
			out[at] = b
		}
	}
	facts := map[string]string{}
	for at, b := range out {
		if d, ok := out["d"+at[1:]]; ok && at[0] == 'r' && d.life >= b.life {
			continue
		}
		facts[at] = b.bytes
	}
	return facts
}

// TestMergeIsALattice holds merging against the dumb twin, in any order, grouping and repetition.
func TestMergeIsALattice(t *testing.T) {
	all := pool()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.SampledFrom(all), 0, 20).Draw(t, "a")
		b := rapid.SliceOfN(rapid.SampledFrom(all), 0, 20).Draw(t, "b")
		c := rapid.SliceOfN(rapid.SampledFrom(all), 0, 20).Draw(t, "c")
		of := func(lists ...[]Item) *View {
			v := table(9)
			for _, l := range lists {
				offer(t, v, l...)
			}
			return v
		}
		ab, ba := of(a, b), of(b, a)
		left := of(of(a, b).all(), c)
		right := of(a, of(b, c).all())
		twice := of(a, b, a, of(a, b).all(), b)
		want := twin(slices.Concat(a, b))
		for name, got := range map[string]*View{"commutative": ba, "idempotent": twice, "twin": ab} {
			if !maps.Equal(got.facts(), want) || got.Sum() != ab.Sum() {
				t.Fatalf("%s: %d facts, want %d; sums %x %x", name, len(got.facts()), len(want), got.Sum(), ab.Sum())
			}
		}
		if !maps.Equal(left.facts(), right.facts()) || left.Sum() != right.Sum() {
			t.Fatal("not associative")
		}
		if !maps.Equal(left.facts(), twin(slices.Concat(a, b, c))) {
			t.Fatal("three views merged differ from the twin")
		}
		if (left.Sum() == ab.Sum()) != maps.Equal(left.facts(), ab.facts()) {
			t.Fatal("sums do not tell views apart")
		}
		live := 0
		for k := range ab.facts() {
			if k[0] == 'r' {
				live++
			}
		}
		if ab.Count() != live || len(ab.Members(noon)) != live {
			t.Fatalf("%d live, Count says %d", live, ab.Count())
		}
	})
}

func TestOfferReportsNews(t *testing.T) {
	v := table(9)
	for i, c := range []struct {
		it   Item
		news bool
	}{
		{record(1, 5, 2), true},
		{record(1, 5, 2), false},
		{record(1, 5, 1), false},
		{record(1, 4, 9), false},
		{record(1, 5, 3), true},
		{departed(1, 4, 2), true},
		{departed(1, 5, 1), true},
		{record(1, 5, 4), false},
		{departed(1, 5, 2), true},
		{departed(1, 5, 1), false},
		{record(1, 6, 1), true},
	} {
		if news, err := v.Offer(c.it, false, noon); news != c.news || err != nil {
			t.Fatalf("step %d: news %v, %v", i, news, err)
		}
	}
	if _, d, ok := v.Barred(id(1), 5); !ok || d.State() != shoal.Forgotten {
		t.Error("the ended life is not barred")
	}
	if _, _, ok := v.Barred(id(1), 6); ok {
		t.Error("the new life is barred")
	}
	if v.LastLife(id(1)) != 6 || v.LastLife(id(2)) != 0 {
		t.Error("LastLife")
	}
}

func TestOfferRefuses(t *testing.T) {
	good := record(1, 1, 1)
	forged := good
	forged.Fact.Sig = bytes.Clone(forged.Fact.Sig)
	forged.Fact.Sig[0] ^= 1
	other := Record{Fabric: "other", Life: 1, Seq: 1, TTL: 30}
	otherEnv, err := other.Seal(key(1))
	if err != nil {
		t.Fatal(err)
	}
	raw := func(r Record) Item {
		return Item{Kind: KindRecord, Fact: capability.Seal(key(1), recordDomain, wire.Marshal(r))}
	}
	with := func(f func(*Record)) Item {
		r, _ := readRecord(good.Fact, fabric)
		f(&r)
		return raw(r)
	}
	dep := func(d Departure, by int) Item {
		d.Fabric = fabric
		return Item{Kind: KindDeparture, Fact: d.Seal(key(by))}
	}
	for name, c := range map[string]struct {
		it   Item
		kind shoal.Kind
	}{
		"forged":           {forged, shoal.Refused},
		"other fabric":     {Item{Kind: KindRecord, Fact: otherEnv}, shoal.Refused},
		"kind":             {Item{Kind: 3, Fact: good.Fact}, shoal.Invalid},
		"record as gone":   {Item{Kind: KindDeparture, Fact: good.Fact}, shoal.Invalid},
		"garbage":          {Item{Kind: KindRecord, Fact: capability.Seal(key(1), recordDomain, []byte("x"))}, shoal.Invalid},
		"huge":             {Item{Kind: KindRecord, Fact: capability.Seal(key(1), recordDomain, make([]byte, 1<<20))}, shoal.Invalid},
		"no life":          {with(func(r *Record) { r.Life = 0 }), shoal.Invalid},
		"ttl":              {with(func(r *Record) { r.TTL = 1 << 30 }), shoal.Invalid},
		"escape in label":  {with(func(r *Record) { r.Attributes.Labels = map[string]string{"a": "\x1b[2J"} }), shoal.Invalid},
		"bad address":      {with(func(r *Record) { r.Addresses = []string{"10.0.0.1"} }), shoal.Invalid},
		"many addresses":   {with(func(r *Record) { r.Addresses = slices.Repeat([]string{"/a"}, 99) }), shoal.Invalid},
		"negative":         {with(func(r *Record) { r.Load.Slots = -1 }), shoal.Invalid},
		"left by another":  {dep(Departure{Subject: id(1), Life: 1, At: noon.UnixMilli()}, 2), shoal.Refused},
		"forgot, no chain": {dep(Departure{Subject: id(1), Life: 1, Forgotten: true}, 2), shoal.Refused},
		"stranger's chain": {dep(Departure{Subject: id(1), Life: 1, Forgotten: true, Chain: chain(3)}, 2), shoal.Refused},
		"bad subject":      {dep(Departure{Subject: "me", Life: 1}, 2), shoal.Invalid},
	} {
		v := table(9)
		news, err := v.Offer(c.it, true, noon)
		if news || shoal.KindOf(err) != c.kind || len(v.rows) != 0 {
			t.Errorf("%s: got %v, %v (%v), %d rows", name, news, err, shoal.KindOf(err), len(v.rows))
		}
	}
	if _, err := (Record{Fabric: fabric, Life: 1, Seq: 1, TTL: 30, Attributes: shoal.Attributes{
		Labels: map[string]string{"long": strings.Repeat("x", 300)},
	}}).Seal(key(1)); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("sealing what others refuse: %v", err)
	}
}

func TestLimit(t *testing.T) {
	v := New(Config{Self: id(9), Fabric: fabric, Table: true, Limit: 2})
	offer(t, v, record(1, 1, 1), record(2, 1, 1))
	if _, err := v.Offer(record(3, 1, 1), false, noon); shoal.KindOf(err) != shoal.Full {
		t.Fatalf("got %v", err)
	}
	offer(t, v, record(2, 1, 2))
}

func TestSelf(t *testing.T) {
	v := table(1)
	self := func(seq uint64) {
		it := record(1, 3, seq)
		r, err := OpenRecord(it.Fact, fabric)
		if err != nil {
			t.Fatal(err)
		}
		v.SetSelf(r, it.Fact, noon)
	}
	self(5)
	offer(t, v, record(1, 3, 4))
	if v.Outdone() != 0 {
		t.Error("an older record outdid this node's")
	}
	offer(t, v, record(1, 3, 77), record(1, 2, 99))
	if v.Outdone() != 77 || v.rows[id(1)].rec.Seq != 5 {
		t.Errorf("outdone by %d", v.Outdone())
	}
	self(78)
	if v.Outdone() != 0 {
		t.Error("still outdone")
	}
	if m, _ := v.Lookup(id(1), noon.Add(time.Hour)); m.State != shoal.Alive || m.Seen != noon.Add(time.Hour) {
		t.Errorf("this node is %v", m.State)
	}
	offer(t, v, departed(1, 3, 2))
	if _, _, ok := v.Barred(id(1), 3); !ok {
		t.Error("this node does not see that it was forgotten")
	}
}

func TestLiveness(t *testing.T) {
	v, r := table(9), rand.New(rand.NewPCG(1, 1))
	at := func(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }
	want := func(s float64, state shoal.MemberState) {
		t.Helper()
		if m, _ := v.Lookup(id(1), at(s)); m.State != state {
			t.Errorf("at %v s: %s, want %s", s, m.State, state)
		}
	}
	offer(t, v, record(1, 1, 1)) // holds 30 s
	want(0, shoal.Alive)
	want(30, shoal.Alive)
	want(31, shoal.Suspect)
	want(61, shoal.Down)
	v.Contact(id(1), at(100))
	want(100, shoal.Alive)
	v.Failed(id(1), r, at(101))
	want(102.9, shoal.Alive) // one lost answer is no reason
	want(103, shoal.Suspect)
	want(130, shoal.Down)
	v.Contact(id(1), at(131))
	want(131, shoal.Alive)
	// The way is broken, yet others hear of it: never Down while they do.
	v.Failed(id(1), r, at(132))
	for s := 134.0; s < 300; s += 10 {
		if _, err := v.Offer(record(1, 1, uint64(s)), false, at(s)); err != nil {
			t.Fatal(err)
		}
		want(s, shoal.Suspect)
	}
	want(330, shoal.Down)
	// A restarted node that knows an old record: Down stays Down when the call fails.
	v = table(9)
	if _, err := v.Offer(Item{Kind: KindRecord, Fact: record(1, 1, 1).Fact, Age: 3_600_000}, true, noon); err != nil {
		t.Fatal(err)
	}
	want(0, shoal.Down)
	v.Failed(id(1), r, at(1))
	want(1, shoal.Down)
	m, _ := v.Lookup(id(1), at(1))
	if got := at(0).Sub(m.Seen); got != time.Hour {
		t.Errorf("age is %v, want an hour", got)
	}
}

func TestChanges(t *testing.T) {
	v := table(9)
	states := func(now time.Time) (out []string) {
		for _, m := range v.Changes(now) {
			out = append(out, fmt.Sprintf("%d %s %d", slices.Index([]shoal.PeerID{id(1), id(2)}, m.ID)+1, m.State, m.Seq))
		}
		slices.Sort(out)
		return out
	}
	check := func(now time.Time, want ...string) {
		t.Helper()
		if got := states(now); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	offer(t, v, record(1, 1, 1), record(2, 1, 1))
	check(noon, "1 alive 1", "2 alive 1")
	check(noon)
	offer(t, v, record(1, 1, 2), departed(2, 1, 2))
	check(noon, "1 alive 2", "2 left 0")
	check(noon.Add(40*time.Second), "1 suspect 2")
	check(noon.Add(90*time.Second), "1 down 2")
	offer(t, v, record(2, 2, 1))
	check(noon, "1 alive 2", "2 alive 1")
}

// TestSince keeps a copy of the table by what Since tells, through any sequence of facts, silences and prunings,
// and by several readers at different times: it is always the table.
func TestSince(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		v, now := table(9), noon
		type reader struct {
			mark uint64
			rows map[shoal.PeerID]shoal.Member
		}
		readers := []*reader{{}, {}, {}}
		told := 0
		for range 120 {
			if r.IntN(4) > 0 { // else what happens at the same moment is told at once
				now = now.Add(sweepEvery + time.Duration(r.Int64N(int64(20*time.Second))))
			}
			switch who := 1 + r.IntN(6); r.IntN(12) {
			case 0:
				if _, err := v.Offer(departed(who, 1+r.Uint64N(3), who), true, now); err != nil {
					t.Fatal(err)
				}
			case 1, 2, 3, 4, 5:
				if _, err := v.Offer(record(who, uint64(1+r.IntN(4)), r.Uint64N(50)+1), true, now); err != nil {
					t.Fatal(err)
				}
			case 6:
				v.Failed(id(who), r, now)
			case 7:
				v.Contact(id(who), now)
			case 8:
				v.Prune(now.Add(time.Duration(r.Int64N(40)) * 24 * time.Hour))
			}
			for _, rd := range readers[:1+r.IntN(3)] {
				rows, mark, all := v.Since(rd.mark, now)
				if all {
					rd.rows = map[shoal.PeerID]shoal.Member{}
				}
				for _, m := range rows {
					if rd.rows[m.ID] = m; m.State == shoal.Left || m.State == shoal.Forgotten {
						delete(rd.rows, m.ID)
					}
				}
				told += len(rows)
				if again, next, _ := v.Since(mark, now); len(again) > 0 || next != mark {
					t.Fatalf("seed %d: %d rows again", seed, len(again))
				}
				rd.mark = mark
				want := v.Members(now)
				if len(want) != len(rd.rows) {
					t.Fatalf("seed %d: %d rows, the table has %d", seed, len(rd.rows), len(want))
				}
				for _, m := range want {
					if got := rd.rows[m.ID]; got.State != m.State || got.Seq != m.Seq {
						t.Fatalf("seed %d: %s is %s %d, want %s %d", seed, m.ID, got.State, got.Seq, m.State, m.Seq)
					}
				}
			}
		}
		if told == 0 {
			t.Fatal("nothing was told")
		}
	}
	busy := table(9)
	offer(t, busy, record(1, 1, 1), record(2, 1, 1))
	for i := range 1000 { // nobody reads, and then one does
		busy.Contact(id(1+i%2), noon)
		busy.Failed(id(1+i%2), rand.New(rand.NewPCG(1, 1)), noon)
	}
	if rows, _, _ := busy.Since(0, noon); len(rows) != 2 || len(busy.since.log) > 200 || cap(busy.since.fresh) > 200 {
		t.Fatalf("%d rows, %d logged, room for %d", len(rows), len(busy.since.log), cap(busy.since.fresh))
	}
	old := table(9)
	offer(t, old, record(1, 1, 1), record(2, 1, 1))
	_, mark, _ := old.Since(0, noon)
	v := New(Config{Self: id(9), Fabric: old.cfg.Fabric, Table: true, Mark: old.Mark()})
	offer(t, v, record(3, 1, 1))
	if rows, _, all := v.Since(mark, noon); !all || len(rows) != 1 {
		t.Fatalf("a mark of the view before: %v, %v", rows, all)
	}
}

func TestPrune(t *testing.T) {
	v := table(9)
	offer(t, v, record(1, 1, 1), departed(2, 1, 2), departed(3, 1, 4), record(5, 1, 1))
	sum := func() uint64 {
		w := table(9)
		offer(t, w, v.all()...)
		return w.Sum()
	}
	if got := v.Prune(noon.Add(29 * 24 * time.Hour)); len(got) != 0 {
		t.Fatalf("dropped %v", got)
	}
	v.Contact(id(5), noon.Add(30*24*time.Hour))
	got := v.Prune(noon.Add(31 * 24 * time.Hour))
	want := []shoal.PeerID{id(1), id(2)}
	slices.Sort(want)
	if !slices.Equal(got, want) || v.Count() != 1 || v.Sum() != sum() {
		t.Fatalf("dropped %v, want %v", got, want)
	}
	if _, _, ok := v.Barred(id(3), 1); !ok {
		t.Error("the forgotten are to be remembered")
	}
	if news, _ := v.Offer(departed(2, 1, 2), false, noon.Add(31*24*time.Hour)); news {
		t.Error("a dropped departure came back")
	}
}

func TestWithoutTable(t *testing.T) {
	v := New(Config{Self: id(9), Fabric: fabric})
	offer(t, v, record(1, 1, 1))
	if v.Count() != 0 {
		t.Error("kept hearsay")
	}
	for n := 20; n < 40; n++ {
		if news, err := v.Offer(record(n, 1, 1), true, noon); !news || err != nil {
			t.Fatal(news, err)
		}
	}
	offer(t, v, departed(20, 1, 2))
	if len(v.News(1<<20, noon)) != 1 || v.Sum() == 0 || len(v.marks(0, 1<<64-1)) != 1 {
		t.Error("departures spread, records do not")
	}
	v.Prune(noon.Add(11 * time.Minute))
	if v.Count() != 16 {
		t.Errorf("%d rows left, want 16", v.Count())
	}
}

func TestDigestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := pool()
		a, b := table(9), table(9)
		offer(t, a, rapid.SliceOfN(rapid.SampledFrom(all), 0, 20).Draw(t, "a")...)
		offer(t, b, rapid.SliceOfN(rapid.SampledFrom(all), 0, 20).Draw(t, "b")...)
		want := twin(slices.Concat(a.all(), b.all()))
		page, limit := rapid.IntRange(1, 4).Draw(t, "page"), rapid.IntRange(1, 4000).Draw(t, "limit")
		for rounds := 0; ; rounds++ {
			var from uint64
			again := false
			for {
				marks, to := a.Digest(from, page)
				items, keys, more := b.Compare(from, to, marks, limit, noon)
				again = again || more
				back := a.Rows(keys, 1<<20, noon)
				offer(t, a, items...)
				offer(t, b, back...)
				if to == 1<<64-1 {
					break
				}
				from = to + 1
			}
			if !again {
				break
			}
			if rounds > 40 {
				t.Fatal("no end")
			}
		}
		if a.Sum() != b.Sum() || !maps.Equal(a.facts(), want) || !maps.Equal(b.facts(), want) {
			t.Fatal("a pull in pages did not make the views equal")
		}
	})
}

func TestChoose(t *testing.T) {
	v, r := table(9), rand.New(rand.NewPCG(2, 2))
	for n := range 6 {
		offer(t, v, record(n, 1, 1))
	}
	connected := []shoal.PeerID{id(0), id(1), id(2), id(9), id(77)}
	if got := v.Targets(connected, 10, r); len(got) != 3 {
		t.Errorf("targets %v", got)
	}
	v.Contact(id(0), noon)
	first := v.Probes(connected, 2, time.Second, noon.Add(500*time.Millisecond))
	if len(first) != 2 || slices.Contains(first, id(0)) {
		t.Errorf("probes %v", first)
	}
	if got := v.Probes(connected, 2, time.Second, noon.Add(700*time.Millisecond)); len(got) != 0 {
		t.Errorf("asked again: %v", got)
	}
	calls := v.Calls(connected, 10, r, noon)
	if len(calls) != 3 || len(v.Calls(connected, 10, r, noon)) != 0 {
		t.Errorf("calls %v", calls)
	}
	// Failing calls come ever more rarely; a broken connection or a new address is tried at once.
	wait := time.Duration(0)
	now := noon
	for range 12 {
		v.Failed(id(4), r, now)
		wait = v.rows[id(4)].next.Sub(now)
		now = now.Add(wait)
	}
	if wait < 45*time.Second || wait > 75*time.Second {
		t.Errorf("at last it waits %v", wait)
	}
	offer(t, v, record(4, 1, 2, func(r *Record) { r.Addresses = []string{"/ip4/1.2.3.4/tcp/1"} }))
	if got := v.Calls(connected, 10, r, now); !slices.Contains(got, id(4)) {
		t.Errorf("calls %v", got)
	}
	if a, ok := v.Broke(id(0), now); !ok || len(a) != 1 {
		t.Errorf("broken: %v, %v", a, ok)
	}
	if got := v.Calls([]shoal.PeerID{id(1), id(2)}, 10, r, now); slices.Contains(got, id(0)) {
		t.Errorf("picked twice: %v", got)
	}
	if _, ok := v.Broke(id(77), now); ok {
		t.Error("a stranger's connection is nobody's business")
	}
	v.Contact(id(1), now)
	v.Failed(id(1), r, now.Add(time.Second))
	if got := v.Late(connected, now.Add(20*time.Second)); len(got) != 0 {
		t.Errorf("late %v", got)
	}
	if got := v.Late(connected, now.Add(31*time.Second)); !slices.Equal(got, []shoal.PeerID{id(1)}) {
		t.Errorf("late %v", got)
	}
}

// TestGossipConverges runs N views over a lossy network by the rules that members follows, with
// records changing, departures and a partition, and wants all to agree soon after the last change.
func TestGossipConverges(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		converge(t, uint64(seed)+1)
	}
}

func converge(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	n := 4 + r.IntN(40)
	views, seqs := make([]*View, n), make([]uint64, n)
	ids := make([]shoal.PeerID, n)
	now := noon
	own := func(i int) {
		seqs[i]++
		it := record(i, 1, seqs[i], func(rec *Record) { rec.Load.Running = int(seqs[i]) })
		rec, _ := readRecord(it.Fact, fabric)
		views[i].SetSelf(rec, it.Fact, now)
	}
	for i := range views {
		views[i], ids[i] = table(i), id(i)
		own(i)
		if i > 0 { // it joined through another
			for _, it := range views[r.IntN(i)].all() {
				if _, err := views[i].Offer(it, false, now); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	index := map[shoal.PeerID]int{}
	for i, p := range ids {
		index[p] = i
	}
	loss, cut := 0.2*r.Float64(), false
	lost := func(a, b int) bool { return r.Float64() < loss || cut && (a < n/2) != (b < n/2) }
	sent := 0
	step := func() {
		now = now.Add(time.Second)
		for i, v := range views {
			items := v.News(4096, now)
			if len(items) > 0 {
				for _, p := range v.Targets(ids, 3, r) {
					j := index[p]
					if lost(i, j) {
						continue
					}
					sent += len(items)
					known := make([]byte, len(items)/8+1)
					for k, it := range items {
						news, err := views[j].Offer(it, false, now)
						if err != nil {
							t.Fatal(err)
						}
						if !news {
							known[k/8] |= 1 << (k % 8)
						}
					}
					if !lost(j, i) {
						v.Settle(items, known)
					}
				}
			}
			if r.IntN(15) > 0 {
				continue
			}
			j := r.IntN(n)
			if j == i || lost(i, j) || v.Sum() == views[j].Sum() {
				continue
			}
			marks, to := v.Digest(0, 4096)
			got, want, _ := views[j].Compare(0, to, marks, 1<<20, now)
			if lost(j, i) {
				continue
			}
			for _, it := range got {
				if _, err := v.Offer(it, false, now); err != nil {
					t.Fatal(err)
				}
			}
			for _, it := range v.Rows(want, 1<<20, now) {
				if _, err := views[j].Offer(it, false, now); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	changes := 0
	for s := range 60 {
		cut = s >= 20 && s < 50
		for range r.IntN(4) {
			own(r.IntN(n))
			changes++
		}
		if s == 30 { // forgotten on one side of the partition, busy on the other
			offer(t, views[0], departed(n-1, 1, 0))
		}
		step()
	}
	cut = false
	agree := func() bool {
		for _, v := range views[1 : n-1] { // the last one still signs records of its old life
			if v.Sum() != views[0].Sum() {
				return false
			}
		}
		return true
	}
	rounds := 0
	for ; !agree(); rounds++ {
		if rounds > 200 {
			t.Fatalf("seed %d: %d views do not agree 200 s after the last change", seed, n)
		}
		step()
	}
	for i, v := range views[:n-1] {
		if m, _ := v.Lookup(ids[n-1], now); m.State != shoal.Forgotten {
			t.Fatalf("seed %d: view %d has the forgotten one as %s", seed, i, m.State)
		}
		if len(v.Members(now)) != n-1 || !reflect.DeepEqual(v.facts(), views[0].facts()) {
			t.Fatalf("seed %d: view %d differs", seed, i)
		}
	}
	t.Logf("seed %d: %d views, loss %.0f %%: agreed %d s after %d changes; %.1f items sent per change and view",
		seed, n, 100*loss, rounds, changes, float64(sent)/float64(changes)/float64(n))
}

func FuzzOffer(f *testing.F) {
	for _, it := range []Item{record(1, 1, 1), departed(1, 1, 1), departed(1, 1, 2)} {
		f.Add(wire.Marshal(it), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, direct bool) {
		var it Item
		if wire.Unmarshal("item", b, &it) != nil {
			return
		}
		v := table(9)
		news, err := v.Offer(it, direct, noon)
		if err != nil && shoal.KindOf(err) != shoal.Invalid && shoal.KindOf(err) != shoal.Refused {
			t.Fatalf("kind %v: %v", shoal.KindOf(err), err)
		}
		if news == (len(v.rows) == 0) {
			t.Fatalf("news %v with %d rows", news, len(v.rows))
		}
	})
}

// FuzzPayload signs garbage properly: what a broken or hostile member could send.
func FuzzPayload(f *testing.F) {
	f.Add(record(1, 1, 1).Fact.Payload, uint8(KindRecord), uint64(0))
	f.Add(departed(1, 1, 2).Fact.Payload, uint8(KindDeparture), uint64(1<<63))
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, age uint64) {
		domain := recordDomain
		if kind == KindDeparture {
			domain = departureDomain
		}
		v := table(9)
		_, err := v.Offer(Item{Kind: kind, Fact: capability.Seal(key(1), domain, b), Age: age}, true, noon)
		if k := shoal.KindOf(err); err != nil && k != shoal.Invalid && k != shoal.Refused {
			t.Fatalf("kind %v: %v", k, err)
		}
		v.Changes(noon)
		v.Members(noon)
		v.Prune(noon)
	})
}
