package merge

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
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
