package view

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
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
