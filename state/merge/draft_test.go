package merge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
)

// TestDraft holds what is seen through a draft, at each step, against a copy of the space on which each change was made at once; and in the
// end the space itself.
func TestDraft(t *testing.T) {
	for i := range *seeds {
		n := *seed + uint64(i)
		if !t.Run(fmt.Sprint(n), func(t *testing.T) { draft(t, rand.New(rand.NewPCG(n, 5))) }) {
			t.Fatalf("replay with -seed %d -seeds 1", n)
		}
	}
}

func draft(t *testing.T, r *rand.Rand) {
	space, other, twin := newNode(0), New(replica(1)), New(replica(0))
	now := int64(1)
	random := func() Change {
		c := Change{Name: fmt.Sprint("o", r.IntN(3)), By: r.Int64N(9) - 2, Text: []byte(fmt.Sprint(r.IntN(9))), Item: fmt.Sprint("i", r.IntN(4))}
		if r.IntN(2) == 0 {
			c.Field = fmt.Sprint("f", r.IntN(3))
		}
		c.Verb = []shoal.SharedVerb{shoal.SharedAdd, shoal.SharedPut, shoal.SharedInsert, shoal.SharedInsert, shoal.SharedRemove, shoal.SharedClear}[r.IntN(6)]
		if fit := fits[c.Verb]; r.IntN(4) == 0 {
			c.Kind = fit[r.IntN(len(fit))]
		}
		return c
	}
	for range r.IntN(20) { // what is there: of this replica's and another's
		now++
		if s := []*Space{space.Space, other}[r.IntN(2)]; true {
			_ = s.Do(random(), now)
		}
	}
	list, _ := other.Since(nil)
	for _, d := range list {
		if err := space.Take(d); err != nil {
			t.Fatal(err)
		}
	}
	all, _ := space.Since(nil)
	for _, d := range all { // twin has the same, as the same replica
		for _, o := range d.Ops {
			twin.apply(d.Of, o)
		}
		twin.see(d.Of, d.To)
	}
	var d Draft
	for range r.IntN(30) {
		c := random()
		now++
		got, want := d.Change(space.Space, &c), twin.Do(c, now)
		if shoal.KindOf(want) == shoal.NotFound && (c.Verb == shoal.SharedRemove || c.Verb == shoal.SharedClear) {
			want = nil // it need not be there
		}
		if shoal.KindOf(got) != shoal.KindOf(want) || (got == nil) != (want == nil) {
			t.Fatalf("%+v: %v, want %v", c, got, want)
		}
		seen(t, &d, space.Space, twin)
	}
	if err := d.Apply(space.Space, now); err != nil {
		t.Fatal(err)
	}
	if got, want := values(space.Space), values(twin); !reflect.DeepEqual(got, want) {
		t.Fatalf("made: %v, want %v", got, want)
	}
	seen(t, &Draft{}, space.Space, twin)
}

// seen compares what a draft shows of one space with another.
func seen(t *testing.T, d *Draft, s, twin *Space) {
	t.Helper()
	for name := range 3 {
		name := fmt.Sprint("o", name)
		var fields []Key
		for after, more := "", true; more; {
			page := d.Fields(s, name, after, 1)
			if more = len(page) > 0; more {
				after = page[len(page)-1].Field
			}
			fields = append(fields, page...)
		}
		var want []Key
		for _, k := range twin.Named(name) {
			if k.Field != "" {
				want = append(want, k)
			}
		}
		if !slices.Equal(fields, want) {
			t.Fatalf("fields of %s: %v, want %v", name, fields, want)
		}
		for _, field := range []string{"", "f0", "f1", "f2"} {
			for kind := Counter; kind <= Set; kind++ {
				k := Key{name, field, kind}
				v, ok := twin.Get(k)
				_, there := d.Find(s, name, field, kind)
				if ok != there {
					t.Fatalf("%v is there: %v, want %v", k, there, ok)
				}
				if !ok {
					continue
				}
				v.Rivals = 0
				if kind == Set || kind == GrowSet {
					var items []string
					for first := true; ; first = false {
						page := d.Items(s, k, strings.Join(items[max(0, len(items)-1):], ""), first, 2)
						if len(page) == 0 {
							break
						}
						items = append(items, page...)
					}
					if !slices.Equal(items, v.Items) {
						t.Fatalf("%v has %q, want %q", k, items, v.Items)
					}
					for i := range 4 {
						if item := fmt.Sprint("i", i); d.Has(s, k, item) != twin.Has(k, item) {
							t.Fatalf("%v has %s: %v", k, item, d.Has(s, k, item))
						}
					}
					v.Number, v.Items = int64(len(items)), nil
				}
				got := d.Get(s, k)
				if got.Rivals = 0; !reflect.DeepEqual(got, v) {
					t.Fatalf("%v is %v, want %v", k, got, v)
				}
			}
		}
	}
}

// TestDraftBounds: what a draft refuses, and that a refusal leaves it as it was.
func TestDraftBounds(t *testing.T) {
	s := New(replica(0))
	var d Draft
	stage := func(kind shoal.Kind, c Change) {
		t.Helper()
		if err := d.Change(s, &c); shoal.KindOf(err) != kind || (err == nil) != (kind == 0) {
			t.Fatalf("%.60v: %v", c, err)
		}
	}
	add := func(by int64) Change { return Change{Name: "n", Verb: shoal.SharedAdd, By: by} }
	stage(0, add(math.MaxInt64-1))
	stage(shoal.Invalid, add(2))
	stage(shoal.Invalid, add(-1))
	stage(0, add(1))
	stage(0, Change{Name: "t", Kind: Tally, Verb: shoal.SharedAdd, By: math.MinInt64 + 1})
	stage(shoal.Invalid, Change{Name: "t", Verb: shoal.SharedAdd, By: -1})
	if v := d.Get(s, Key{"t", "", Tally}); v.Number != math.MinInt64+1 {
		t.Error(v)
	}
	long := strings.Repeat("x", MaxText)
	for i := range MaxDraft / (MaxText + draftCost + 4) {
		stage(0, Change{Name: fmt.Sprintf("r%03d", i), Verb: shoal.SharedPut, Text: []byte(long)})
	}
	stage(shoal.Full, Change{Name: "more", Verb: shoal.SharedPut, Text: []byte(long)})
	stage(0, Change{Name: "r000", Verb: shoal.SharedPut, Text: []byte("short")})
	stage(0, Change{Name: "more", Verb: shoal.SharedPut, Text: []byte(long[:MaxText/2])})
	// What came between the two is held against the bounds again, and then nothing is made.
	if err := s.Add(Key{"n", "", Counter}, 1); err != nil {
		t.Fatal(err)
	}
	before := s.Seen()
	if err := d.Apply(s, 1); shoal.KindOf(err) != shoal.Invalid || !reflect.DeepEqual(before, s.Seen()) {
		t.Errorf("%v, %v", err, s.Seen())
	}
	boom := errors.New("no disk")
	turn := Turn{
		Peek: func(f func(*Space)) { f(s) }, Now: func() int64 { return 1 },
		Make: func(context.Context, func(*Space) error) error { return boom },
	}
	if err := turn.Commit(context.Background()); err != nil {
		t.Errorf("nothing to make: %v", err)
	}
	if err := turn.Change(add(0)); err != nil {
		t.Error(err)
	}
	if err := turn.Commit(context.Background()); !errors.Is(err, boom) {
		t.Error(err)
	}
}

// TestDraftIsOneChange: many additions to one counter are one operation.
func TestDraftIsOneChange(t *testing.T) {
	s := New(replica(0))
	var d Draft
	for range 1000 {
		if err := d.Change(s, &Change{Name: "n", Verb: shoal.SharedAdd, By: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Apply(s, 1); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Get(Key{"n", "", Counter}); v.Number != 1000 || s.Seen()[s.Self()] != 1 {
		t.Errorf("%v after %d operations", v, s.Seen()[s.Self()])
	}
}
