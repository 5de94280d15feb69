package merge

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

var (
	seed  = flag.Uint64("seed", 1, "of the first schedule")
	seeds = flag.Int("seeds", 400, "schedules to run")
)

// twin is the dumb version: every operation that was ever made, and what follows from those that a node has seen.
type twin struct{ ops map[Dot]*Op }

// live returns the operations in effect.
func (w *twin) live(seen Seen) map[Dot]*Op {
	out := map[Dot]*Op{}
	known := func(d Dot) bool { return d.Seq <= seen[d.Replica] }
	for d, o := range w.ops {
		if !known(d) || o.Gone {
			continue
		}
		gone := false
		for e, p := range w.ops {
			if !known(e) {
				continue
			}
			if p.Key != o.Key || p.slot() != o.slot() && !p.Whole {
				continue
			}
			own := e.Replica == d.Replica && e.Seq > d.Seq
			if own || slices.ContainsFunc(p.Drop, func(x Dot) bool { return x.Replica == d.Replica && x.Seq >= d.Seq }) {
				gone = true
				break
			}
		}
		if !gone {
			out[d] = o
		}
	}
	return out
}

func (w *twin) values(seen Seen) map[Key]Value {
	out := map[Key]Value{}
	best := map[Key]Dot{}
	items := map[Key]map[string]bool{}
	for d, o := range w.live(seen) {
		v, had := out[o.Key]
		switch o.Key.Kind {
		case Counter, Tally:
			v.Number += int64(o.Up) - int64(o.Down)
		case Register:
			if b, ok := best[o.Key]; !had || !ok || cmp.Or(o.At.compare(w.ops[b].At), d.compare(b)) > 0 {
				best[o.Key], v.Text = d, o.Text
			}
			if had {
				v.Rivals++
			}
		default:
			if items[o.Key] == nil {
				items[o.Key] = map[string]bool{}
			}
			items[o.Key][o.Item] = true
		}
		out[o.Key] = v
	}
	for k, set := range items {
		v := out[k]
		v.Items = slices.Sorted(maps.Keys(set))
		out[k] = v
	}
	return out
}

func values(s *Space) map[Key]Value {
	out := map[Key]Value{}
	for _, k := range s.Keys("") {
		out[k], _ = s.Get(k)
	}
	return out
}

// disk is what a node has written.
type disk struct {
	rows  map[Dot][]byte
	marks map[Replica]Mark
}

func (d *disk) write(t testing.TB, s *Space) []Row {
	rows, marks, _ := s.Drain()
	for _, r := range rows {
		if r.Op == nil {
			delete(d.rows, r.Dot)
			continue
		}
		d.rows[r.Dot] = wire.Marshal(r.Op)
	}
	for _, m := range marks {
		d.marks[m.Replica] = m
	}
	return rows
}

func (d *disk) load(t testing.TB, self Replica) *Space {
	s := New(self)
	for _, m := range d.marks {
		s.Load(m)
	}
	for _, dot := range slices.SortedFunc(maps.Keys(d.rows), Dot.compare) {
		var o Op
		if err := wire.Unmarshal("row", d.rows[dot], &o); err != nil {
			t.Fatal(err)
		}
		s.LoadRow(dot, &o)
	}
	return s
}

type node struct {
	*Space
	disk disk
}

func replica(i int) Replica { return Replica(fmt.Sprintf("replica-%014d", i)) }

func newNode(i int) *node {
	return &node{New(replica(i)), disk{map[Dot][]byte{}, map[Replica]Mark{}}}
}

// world is a schedule: nodes change, tell one another in bits and pieces, restart, come and go.
type world struct {
	t     testing.TB
	r     *rand.Rand
	twin  twin
	nodes []*node
	made  int
	now   int64
	old   []Seen // stale requests
	away  *node  // one that nobody hears, nor waits for
}

func (w *world) save(n *node) {
	for _, row := range w.changed(n) {
		if row.Op != nil && row.Dot.Replica == n.Self() && w.twin.ops[row.Dot] == nil {
			w.twin.ops[row.Dot] = row.Op
		}
	}
}

func (w *world) changed(n *node) []Row {
	return n.disk.write(w.t, n.Space)
}

func (w *world) change() {
	n := w.nodes[w.r.IntN(len(w.nodes))]
	k := Key{Name: fmt.Sprint("o", w.r.IntN(2)), Kind: Kind(1 + w.r.IntN(5))}
	if w.r.IntN(3) == 0 {
		k.Field = "f"
	}
	item := fmt.Sprint("i", w.r.IntN(4))
	var err error
	w.now += int64(w.r.IntN(3))
	skew := int64(w.r.IntN(2000) - 1000)
	switch k.Kind {
	case Counter:
		err = n.Add(k, w.r.Int64N(5))
	case Tally:
		if w.r.IntN(5) == 0 {
			_, err = n.Clear(k)
		} else {
			err = n.Add(k, w.r.Int64N(9)-4)
		}
	case Register:
		if w.r.IntN(5) == 0 {
			_, err = n.Clear(k)
		} else {
			err = n.Put(k, []byte(fmt.Sprint(w.r.IntN(1000))), w.now+skew)
		}
	case GrowSet:
		_, err = n.Insert(k, item)
	case Set:
		switch w.r.IntN(8) {
		case 0:
			_, err = n.Clear(k)
		case 1, 2, 3:
			_, err = n.Remove(k, item)
		default:
			_, err = n.Insert(k, item)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.save(n)
}

// tell brings a part of what one node knows to another: some replicas', up to some number, perhaps for an old request.
func (w *world) tell(from, to *node) {
	seen := to.Seen()
	if len(w.old) > 0 && w.r.IntN(4) == 0 {
		seen = w.old[w.r.IntN(len(w.old))]
	}
	list, whole := from.Since(seen)
	if whole {
		if w.r.IntN(2) == 0 {
			w.take(to.Join(copied(w.t, list)))
			w.changed(to)
		}
		return
	}
	w.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, d := range copied(w.t, list) {
		if w.r.IntN(4) == 0 {
			continue
		}
		w.take(to.Take(d))
	}
	w.changed(to)
}

func (w *world) take(err error) {
	if err != nil && shoal.KindOf(err) != shoal.Unavailable {
		w.t.Fatal(err)
	}
}

// copied is what a list is after it has crossed the wire.
func copied(t testing.TB, list []Delta) (out []Delta) {
	if err := wire.Unmarshal("deltas", wire.Marshal(list), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// check holds what a node has against what follows from what it has seen. On the way, what another has taken away may be
// missing before that is seen: it is left out of deltas. What only grows is never behind.
func (w *world) check(n *node, atEnd bool) {
	w.t.Helper()
	got, want := values(n.Space), w.twin.values(n.seen)
	for k := range want {
		if !atEnd && k.Kind != Counter {
			delete(got, k)
			delete(want, k)
		}
	}
	bytes := 0
	for _, l := range n.lanes {
		for _, p := range l.list {
			if p.e != nil {
				bytes += p.e.op.cost()
			}
		}
	}
	if bytes != n.Bytes() {
		w.t.Fatalf("%s has %d bytes, and says %d", n.self, bytes, n.Bytes())
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Fatalf("%s has\n%v\nwant\n%v", n.self, got, want)
	}
}

func (w *world) same(n *node, before map[Key]Value) {
	w.t.Helper()
	if got := values(n.Space); !reflect.DeepEqual(got, before) {
		w.t.Fatalf("%s had\n%v\nand has\n%v", n.self, before, got)
	}
}

// least is what all nodes have seen.
func (w *world) least() Seen {
	out := w.nodes[0].Seen()
	for _, n := range w.nodes[1:] {
		if n == w.away {
			continue
		}
		for r := range out {
			out[r] = min(out[r], n.seen[r])
		}
	}
	return out
}

func (w *world) join() {
	w.made++
	w.nodes = append(w.nodes, newNode(w.made))
}

func (w *world) step() {
	pick := func() *node { return w.nodes[w.r.IntN(len(w.nodes))] }
	switch w.r.IntN(20) {
	default:
		w.change()
	case 7, 8, 9, 10, 11, 12, 13, 14, 15:
		if from, to := pick(), pick(); from != to && from != w.away && to != w.away {
			w.tell(from, to)
			w.check(to, false)
		}
	case 16:
		if w.old = append(w.old, pick().Seen()); len(w.old) > 4 {
			w.old = w.old[1:]
		}
	case 17:
		n := pick()
		before := values(n.Space)
		n.Forget(w.least())
		w.changed(n)
		w.same(n, before)
	case 18:
		n := pick()
		before := values(n.Space)
		n.Space = n.disk.load(w.t, n.self)
		w.same(n, before)
	case 19:
		switch {
		case len(w.nodes) < 6 && w.r.IntN(8) == 0:
			w.join()
		case w.away != nil:
			w.away = nil
		default:
			w.away = w.nodes[1+w.r.IntN(len(w.nodes)-1)]
		}
	}
}

// settle has everybody hear everything.
func (w *world) settle() {
	w.away = nil
	for range 3 {
		for _, to := range w.nodes {
			for _, from := range w.nodes {
				if from == to {
					continue
				}
				list, whole := from.Since(to.seen)
				if whole {
					w.take(to.Join(copied(w.t, list)))
				} else {
					for _, d := range copied(w.t, list) {
						w.take(to.Take(d))
					}
				}
				w.changed(to)
			}
		}
	}
	for _, n := range w.nodes {
		w.check(n, true)
		if !maps.Equal(n.seen, w.nodes[0].seen) {
			w.t.Fatalf("%v and %v", n.seen, w.nodes[0].seen)
		}
		if !reflect.DeepEqual(values(n.Space), values(w.nodes[0].Space)) {
			w.t.Fatalf("%s and %s differ", n.self, w.nodes[0].self)
		}
		n.Forget(w.least())
		w.changed(n)
		if _, _, gone := n.Len(); gone > 0 {
			w.t.Fatalf("%d operations that only take away are left", gone)
		}
		if len(n.early) > 0 {
			w.t.Fatalf("%d early removals are left", len(n.early))
		}
	}
}

// TestSchedules holds spaces against the twin, in seeded schedules.
func TestSchedules(t *testing.T) {
	for i := range *seeds {
		if !t.Run(fmt.Sprint(*seed+uint64(i)), func(t *testing.T) {
			w := &world{t: t, r: rand.New(rand.NewPCG(*seed+uint64(i), 7)), twin: twin{map[Dot]*Op{}}, now: 1000}
			for range 2 + w.r.IntN(3) {
				w.join()
			}
			for range 120 {
				w.step()
			}
			w.settle()
		}) {
			t.Fatalf("replay with -seed %d -seeds 1", *seed+uint64(i))
		}
	}
}

// TestLaws: merging is commutative, associative and idempotent: whatever the order of deltas, and however often.
func TestLaws(t *testing.T) {
	for i := range 200 {
		w := &world{t: t, r: rand.New(rand.NewPCG(uint64(i), 9)), twin: twin{map[Dot]*Op{}}, now: 1000}
		for range 3 {
			w.join()
		}
		for range 60 {
			w.change()
		}
		var deltas []Delta
		for _, n := range w.nodes {
			list, _ := n.Since(nil)
			deltas = append(deltas, list...)
		}
		var first map[Key]Value
		for order := range 4 {
			n := newNode(99)
			list := slices.Concat(deltas, deltas)
			w.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			for _, d := range list {
				if err := n.Take(d); err != nil {
					t.Fatal(err)
				}
			}
			if got := values(n.Space); order == 0 {
				first = got
			} else if !reflect.DeepEqual(got, first) {
				t.Fatalf("seed %d: %v and %v", i, got, first)
			}
		}
	}
}

func TestChanges(t *testing.T) {
	s := New(replica(1))
	hits, level, name, seen, open := Key{Name: "hits", Kind: Counter}, Key{Name: "level", Kind: Tally}, Key{Name: "name", Kind: Register}, Key{Name: "seen", Kind: GrowSet}, Key{Name: "open", Kind: Set}
	for _, err := range []error{
		s.Add(hits, 3), s.Add(hits, 4), s.Add(level, -9), s.Add(level, 2), s.Put(name, []byte("a"), 100), s.Put(name, []byte("b"), 50),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		k    Key
		want Value
	}{{hits, Value{Number: 7}}, {level, Value{Number: -7}}, {name, Value{Text: []byte("b")}}} {
		if v, ok := s.Get(c.k); !ok || !reflect.DeepEqual(v, c.want) {
			t.Errorf("%v: %+v", c.k, v)
		}
	}
	for err, want := range map[string]error{
		"a counter only grows": s.Add(hits, -1), "nothing can be added up": s.Add(name, 1), "no single value": s.Put(hits, nil, 0),
		"more is more than": s.Add(hits, math.MaxInt64), "it only grows": second(s.Clear(hits)), "no elements": second(s.Insert(hits, "x")),
		"cannot be taken out": second(s.Remove(seen, "x")), "more than the limit": s.Put(name, make([]byte, MaxText+1), 0),
		"names have 1 to": s.Add(Key{Kind: Counter}, 1), "an element of": second(s.Insert(open, string(make([]byte, MaxItem+1)))),
	} {
		if shoal.KindOf(want) != shoal.Invalid || !bytes.Contains([]byte(want.Error()), []byte(err)) {
			t.Errorf("%v, not %q", want, err)
		}
	}
	if err := s.Add(level, math.MinInt64); err == nil {
		t.Error("the greatest step down went")
	}
	for i, want := range []bool{true, false} {
		if is, err := s.Insert(seen, "x"); is != want || err != nil {
			t.Error(i, is, err)
		}
		if is, err := s.Remove(open, "x"); is || err != nil {
			t.Error(i, is, err)
		}
		if is, err := s.Insert(open, "y"); is != want || err != nil {
			t.Error(i, is, err)
		}
	}
	if is, err := s.Clear(open); !is || err != nil || s.Has(open, "y") || s.Size(open) != 0 {
		t.Error(is, err)
	}
	if is, _ := s.Clear(open); is {
		t.Error("cleared twice")
	}
}

func second[T any](_ T, err error) error { return err }

// TestWhoAddsWins: an addition that the removal did not see stays.
func TestWhoAddsWins(t *testing.T) {
	a, b, k := newNode(1), newNode(2), Key{Name: "open", Kind: Set}
	tell := func(from, to *node) {
		list, _ := from.Since(to.seen)
		for _, d := range list {
			if err := to.Take(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, _ = a.Insert(k, "x")
	tell(a, b)
	_, _ = b.Remove(k, "x")
	_, _ = a.Insert(k, "x")
	tell(a, b)
	tell(b, a)
	if !a.Has(k, "x") || !b.Has(k, "x") {
		t.Error("the addition is lost")
	}
	_, _ = b.Remove(k, "x")
	tell(b, a)
	if a.Has(k, "x") {
		t.Error("the removal is lost")
	}
}

// TestRefused: what nobody sends.
func TestRefused(t *testing.T) {
	k := Key{Name: "a", Kind: Set}
	for name, d := range map[string]Delta{
		"no replica":  {Of: "x", To: 1},
		"backwards":   {Of: replica(2), After: 2, To: 1},
		"order":       {Of: replica(2), To: 3, Ops: []*Op{{Seq: 2, Key: k}, {Seq: 2, Key: k}}},
		"beyond":      {Of: replica(2), To: 3, Ops: []*Op{{Seq: 4, Key: k}}},
		"none":        {Of: replica(2), To: 3, Ops: []*Op{nil}},
		"no name":     {Of: replica(2), To: 3, Ops: []*Op{{Seq: 1, Key: Key{Kind: Set}}}},
		"no kind":     {Of: replica(2), To: 3, Ops: []*Op{{Seq: 1, Key: Key{Name: "a", Kind: 9}}}},
		"shrinks":     {Of: replica(2), To: 3, Ops: []*Op{{Seq: 1, Key: Key{Name: "a", Kind: Counter}, Down: 1}}},
		"ungrown":     {Of: replica(2), To: 3, Ops: []*Op{{Seq: 1, Key: Key{Name: "a", Kind: GrowSet}, Gone: true}}},
		"drops whose": {Of: replica(2), To: 3, Ops: []*Op{{Seq: 1, Key: k, Drop: []Dot{{"x", 1}}}}},
	} {
		s := New(replica(1))
		if err := s.Take(d); shoal.KindOf(err) != shoal.Invalid || len(s.seen) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := New(replica(1))
	if err := s.Take(Delta{Of: replica(2), After: 1, To: 2}); shoal.KindOf(err) != shoal.Unavailable {
		t.Error(err)
	}
	if err := s.Take(Delta{Of: replica(1), To: 2}); shoal.KindOf(err) != shoal.Corrupt {
		t.Error("a disk that was set back is not noticed:", err)
	}
}

// FuzzTake: whatever comes, a space stays whole.
func FuzzTake(f *testing.F) {
	w := &world{t: f, r: rand.New(rand.NewPCG(3, 7)), twin: twin{map[Dot]*Op{}}, now: 1000}
	w.join()
	w.join()
	for range 40 {
		w.step()
	}
	for _, n := range w.nodes {
		list, _ := n.Since(nil)
		f.Add(wire.Marshal(list))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []Delta
		if wire.Unmarshal("deltas", b, &list) != nil {
			return
		}
		s := newNode(7)
		_ = s.Add(Key{Name: "mine", Kind: Counter}, 5)
		for _, d := range list {
			_ = s.Take(d)
		}
		_ = s.Join(list)
		s.Forget(s.Seen())
		s.disk.write(t, s.Space)
		again := s.disk.load(t, s.self)
		if !reflect.DeepEqual(values(s.Space), values(again)) {
			t.Fatalf("%v and after a restart %v", values(s.Space), values(again))
		}
	})
}
