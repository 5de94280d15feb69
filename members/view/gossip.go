package view

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

const (
	enough = 2                // peers that knew a rumour already end it
	hot    = 15 * time.Second // the age up to which a fact is worth a rumour
)

type rumourKey struct {
	id   shoal.PeerID
	kind uint8
}

type rumour struct{ sent, known int }

// News returns fresh facts to push, those pushed least first, of at most limit bytes on the wire.
// After the push the caller tells Settle.
func (v *View) News(limit int, now time.Time) []Item {
	keys := make([]rumourKey, 0, len(v.rumours))
	for k := range v.rumours {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b rumourKey) int {
		// Departures first: they are few and matter most.
		return cmp.Or(cmp.Compare(b.kind, a.kind), cmp.Compare(v.rumours[a].sent, v.rumours[b].sent),
			cmp.Compare(a.id, b.id))
	})
	var out []Item
	for _, k := range keys {
		e := v.rows[k.id]
		it := e.recordItem(now)
		if k.kind == KindDeparture {
			it = e.departureItem(now)
		}
		if limit -= it.size(); limit < 0 {
			break
		}
		out = append(out, it)
	}
	return out
}

// Settle notes that items were pushed to one peer. known says which it knew already: bit i of byte
// i/8 stands for item i; it may be too short. A rumour ends after two peers that knew it, or when as
// many were told as chance needs to reach everybody.
func (v *View) Settle(items []Item, known []byte) {
	most := 3 * (bits.Len(uint(v.live)) + 2)
	for i, it := range items {
		k, env := rumourKey{it.Fact.Signer, it.Kind}, it.Fact
		if it.Kind == KindDeparture {
			d, err := readDeparture(env, v.cfg.Fabric)
			if err != nil {
				continue
			}
			k.id = d.Subject
		}
		r := v.rumours[k]
		if r == nil || !v.same(k, it) {
			continue // there is newer news meanwhile
		}
		r.sent++
		if i/8 < len(known) && known[i/8]>>(i%8)&1 == 1 {
			r.known++
		}
		if r.known >= enough || r.sent >= most {
			delete(v.rumours, k)
		}
	}
}

func (v *View) same(k rumourKey, it Item) bool {
	e := v.rows[k.id]
	if k.kind == KindDeparture {
		return tie(it.Fact) == e.goneVer.tie
	}
	return tie(it.Fact) == e.recVer.tie
}

// HasNews reports whether News would return anything.
func (v *View) HasNews() bool { return len(v.rumours) > 0 }

// Mark is the version of one row in a digest.
type Mark struct {
	_       struct{} `cbor:",toarray"`
	Key     uint64
	Life    uint64
	Seq     uint64
	Tie     uint32
	Gone    uint64 // life of the departure
	Dead    bool   // it was forgotten
	GoneTie uint32
}

func (e *entry) mark(table bool) Mark {
	m := Mark{Key: e.key, Gone: e.goneVer.life, Dead: e.goneVer.seq == 1, GoneTie: e.goneVer.tie}
	if table && e.rec != nil {
		m.Life, m.Seq, m.Tie = e.recVer.life, e.recVer.seq, e.recVer.tie
	}
	return m
}

func (m Mark) record() version { return version{m.Life, m.Seq, m.Tie} }

func (m Mark) departure() version {
	v := version{m.Gone, 0, m.GoneTie}
	if m.Dead {
		v.seq = 1
	}
	return v
}

func (m Mark) empty() bool { return m.Life == 0 && m.Gone == 0 }

// hash mixes what a mark says into 64 bits; sums of views are the exclusive or of these.
func (e *entry) hash(table bool) uint64 {
	m := e.mark(table)
	if m.empty() {
		return 0
	}
	h := m.Key
	dead := m.Gone << 1
	if m.Dead {
		dead |= 1
	}
	for _, x := range [...]uint64{m.Life, m.Seq, uint64(m.Tie), dead, uint64(m.GoneTie)} {
		h = (h ^ x) * 0x9e3779b97f4a7c15 // the steps of splitmix64
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h ^= h >> 27
	}
	return h
}

// Sum is a checksum of all versions: two views that have the same facts have the same sum.
func (v *View) Sum() uint64 { return v.sum }

// marks returns the marks of keys from..to, both included, in key order.
func (v *View) marks(from, to uint64) []Mark {
	var out []Mark
	for _, e := range v.rows {
		if m := e.mark(v.cfg.Table); e.key >= from && e.key <= to && !m.empty() {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b Mark) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// Digest returns at most limit marks from key from on, in key order, and the last key of the range
// that they describe completely: the next range begins after it, unless it is the greatest uint64.
func (v *View) Digest(from uint64, limit int) (marks []Mark, to uint64) {
	marks = v.marks(from, 1<<64-1)
	if len(marks) <= limit {
		return marks, 1<<64 - 1
	}
	return marks[:limit], marks[limit-1].Key
}

// Compare holds the digest of another view for from..to against this one: items are the facts that
// the other lacks, of at most limit bytes, want the keys of rows where it knows more. more says
// that items were left out.
func (v *View) Compare(from, to uint64, theirs []Mark, limit int, now time.Time) (items []Item, want []uint64, more bool) {
	other := make(map[uint64]Mark, len(theirs))
	for _, m := range theirs {
		other[m.Key] = m
	}
	add := func(it Item) {
		if limit -= it.size(); limit < 0 && len(items) > 0 {
			more = true
			return
		}
		items = append(items, it)
	}
	byKey := v.byKey()
	for _, mine := range v.marks(from, to) {
		o := other[mine.Key]
		delete(other, mine.Key)
		if mine.departure().compare(o.departure()) > 0 {
			add(byKey[mine.Key].departureItem(now))
		}
		if mine.record().compare(o.record()) > 0 && mine.Life > o.Gone {
			add(byKey[mine.Key].recordItem(now))
		}
		if o.departure().compare(mine.departure()) > 0 ||
			o.record().compare(mine.record()) > 0 && o.Life > mine.Gone {
			want = append(want, mine.Key)
		}
	}
	for k, m := range other {
		if k >= from && k <= to && !m.empty() {
			want = append(want, k)
		}
	}
	slices.Sort(want)
	return items, want, more
}

func (v *View) byKey() map[uint64]*entry {
	out := make(map[uint64]*entry, len(v.rows))
	for _, e := range v.rows {
		out[e.key] = e
	}
	return out
}

// Rows returns the facts of the rows with these keys, of at most limit bytes. Unknown keys are
// passed over.
func (v *View) Rows(keys []uint64, limit int, now time.Time) (items []Item) {
	byKey := v.byKey()
	for _, k := range keys {
		e := byKey[k]
		if e == nil {
			continue
		}
		var row []Item
		if e.gone != nil {
			row = append(row, e.departureItem(now))
		}
		if e.rec != nil && v.cfg.Table {
			row = append(row, e.recordItem(now))
		}
		for _, it := range row {
			if limit -= it.size(); limit < 0 {
				return items
			}
			items = append(items, it)
		}
	}
	return items
}
