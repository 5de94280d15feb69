package merge

import (
	"bytes"
	"flag"
	"fmt"
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
