package event

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestQueueTwin holds the queue against a list that is sorted each time.
func TestQueueTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q radix
		var twin []Event
		now, n := Time(0), uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				span := rapid.SampledFrom([]int64{1, 4, 1000, 1e9, 1e15}).Draw(t, "span")
				n++
				e := Event{At: now + Time(rapid.Int64Range(0, span).Draw(t, "after")), Arg: n}
				q.push(e)
				twin = append(twin, e)
				slices.SortStableFunc(twin, func(a, b Event) int { return int(min(max(a.At-b.At, -1), 1)) })
				continue
			}
			end := now + Time(rapid.Int64Range(0, 1e10).Draw(t, "end"))
			e, ok := q.pop(end)
			if want := len(twin) > 0 && twin[0].At <= end; ok != want || ok && e != twin[0] {
				t.Fatalf("got %v %v of %v until %d", e, ok, twin, end)
			}
			if now = end; ok {
				now, twin = e.At, twin[1:]
			}
			if q.n != len(twin) {
				t.Fatalf("%d events are left, of %d", q.n, len(twin))
			}
		}
	})
}

// TestOrder has events of one time happen in the order in which they were added, also those that events of that time add.
func TestOrder(t *testing.T) {
	l := New(1)
	var got []uint64
	var k Kind
	k = l.Handle(func(e Event) {
		got = append(got, e.Arg)
		if e.Arg < 3 {
			l.Add(0, k, 0, e.Arg+10)
		}
	})
	for i, at := range []time.Duration{5, 1, 1, -3, 5} {
		l.Add(at, k, 0, uint64(i))
	}
	if l.Run(At(3), 100) || l.Now() != 3 || !slices.Equal(got, []uint64{3, 1, 2, 11, 12}) {
		t.Fatalf("%v at %d", got, l.Now())
	}
	l.Add(1, k, 0, 7) // before those that wait
	if l.Run(At(9), 2) != true || l.Run(At(9), 100) || !slices.Equal(got[5:], []uint64{7, 0, 4, 10}) {
		t.Fatalf("%v", got)
	}
	if l.Events() != uint64(len(got)) {
		t.Errorf("%d events, %d happened", l.Events(), len(got))
	}
}

// chaos is a loop whose events draw what comes next.
func chaos(seed uint64, events int) uint64 {
	l := New(seed)
	r := l.Rand("chaos")
	var k Kind
	k = l.Handle(func(e Event) {
		for range r.IntN(3) {
			l.Add(time.Duration(r.IntN(1000)), k, r.Uint32(), r.Uint64())
		}
		if r.IntN(10) == 0 {
			l.After(time.Duration(r.IntN(1e6)), func() { l.Note(r.Uint64()); l.Add(1, k, 1, 1) })
		}
	})
	for range 10 {
		l.Add(time.Duration(r.IntN(100)), k, 0, 0)
	}
	l.Run(1<<62, events)
	return l.Hash()
}

func TestTheSameSeedGivesTheSameHash(t *testing.T) {
	first := chaos(1, 2000)
	for range 1000 {
		if got := chaos(1, 2000); got != first {
			t.Fatalf("%x, before it was %x", got, first)
		}
	}
	seen := map[uint64]bool{}
	for seed := range uint64(100) {
		seen[chaos(seed, 2000)] = true
	}
	if len(seen) != 100 {
		t.Errorf("100 seeds gave %d hashes", len(seen))
	}
}

// BenchmarkLoop handles events that each add one, with so many waiting.
func BenchmarkLoop(b *testing.B) {
	for _, n := range []int{1e3, 1e5, 1e6} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := New(1)
			r := l.Rand("")
			var k Kind
			k = l.Handle(func(e Event) { l.Add(time.Duration(r.Uint64()>>34), k, e.Who, 0) })
			for i := range n {
				l.Add(time.Duration(r.Uint64()>>34), k, uint32(i), 0)
			}
			l.Run(1<<62, 2*n)
			b.ResetTimer()
			l.Run(1<<62, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
