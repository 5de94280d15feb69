package view

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

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
