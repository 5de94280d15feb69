package flow

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal/simulations/event"
)

// job is a transfer of a schedule.
type job struct {
	from, to uint32
	bytes    uint64
	at       time.Duration
	most     float64
}

// fluid is the dumb twin: at each change it computes all rates anew and walks to the next one.
func fluid(jobs []job, up, down []float64) (ends []float64) {
	left, ends := make([]float64, len(jobs)), make([]float64, len(jobs))
	for i, j := range jobs {
		left[i], ends[i] = float64(j.bytes), -1
	}
	now := 0.0
	for {
		out, in := make([]int, len(up)), make([]int, len(up))
		next := math.Inf(1)
		for i, j := range jobs {
			if ends[i] < 0 && j.at.Seconds() <= now {
				out[j.from]++
				in[j.to]++
			} else if ends[i] < 0 {
				next = min(next, j.at.Seconds()-now)
			}
		}
		rate := make([]float64, len(jobs))
		for i, j := range jobs {
			if ends[i] < 0 && j.at.Seconds() <= now {
				rate[i] = min(up[j.from]/float64(out[j.from]), down[j.to]/float64(in[j.to]))
				if j.most > 0 {
					rate[i] = min(rate[i], j.most)
				}
				next = min(next, left[i]/rate[i])
			}
		}
		if math.IsInf(next, 1) {
			return ends
		}
		now += next
		for i := range jobs {
			if left[i] -= rate[i] * next; rate[i] > 0 && left[i] <= rate[i]*1e-9 {
				ends[i] = now
			}
		}
	}
}

func TestAgainstTheTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(2, 6).Draw(t, "nodes")
		up, down := make([]float64, nodes), make([]float64, nodes)
		for i := range nodes {
			up[i] = float64(rapid.IntRange(1, 100).Draw(t, "up")) * 1e6
			down[i] = float64(rapid.IntRange(1, 100).Draw(t, "down")) * 1e6
		}
		jobs := make([]job, rapid.IntRange(1, 25).Draw(t, "jobs"))
		l := event.New(1)
		n := New(l, func(i uint32) (float64, float64) { return up[i], down[i] }, nil)
		got := make([]float64, len(jobs))
		var sent, moved uint64
		for i := range jobs {
			j := &jobs[i]
			j.from = uint32(rapid.IntRange(0, nodes-1).Draw(t, "from"))
			j.to = (j.from + 1 + uint32(rapid.IntRange(0, nodes-2).Draw(t, "to"))) % uint32(nodes)
			j.bytes = uint64(rapid.IntRange(1, 50e6).Draw(t, "bytes"))
			j.at = time.Duration(rapid.IntRange(0, 3000).Draw(t, "at")) * time.Millisecond
			if rapid.Bool().Draw(t, "bounded") {
				j.most = 3e6
			}
			sent += j.bytes
			n.Send(j.from, j.to, j.bytes, j.at, j.most, func(b uint64, all bool) {
				if got[i] != 0 || !all || b != j.bytes {
					t.Fatalf("transfer %d: %d of %d, %v", i, b, j.bytes, all)
				}
				got[i] = l.Now().Seconds()
				moved += b
			})
		}
		l.Run(event.At(time.Hour), 1<<30)
		want := fluid(jobs, up, down)
		for i := range jobs {
			if math.Abs(got[i]-want[i]) > 1e-6+1e-9*want[i] {
				t.Fatalf("transfer %d ends at %.9f, the twin's at %.9f", i, got[i], want[i])
			}
		}
		if moved != sent || len(n.ports) != 0 {
			t.Fatalf("%d of %d bytes, %d ports", moved, sent, len(n.ports))
		}
	})
}

func TestSharesAndCuts(t *testing.T) {
	l := event.New(1)
	down := map[uint32]bool{}
	n := New(l, func(uint32) (float64, float64) { return 10e6, 10e6 }, func(i uint32) bool { return !down[i] })
	type end struct {
		bytes uint64
		all   bool
		at    time.Duration
	}
	ends := make([]end, 4)
	note := func(i int) Moved {
		return func(b uint64, all bool) { ends[i] = end{b, all, time.Duration(l.Now())} }
	}
	n.Send(0, 1, 10e6, 5*time.Millisecond, 0, note(0)) // alone for a second, then half for what is left
	n.Send(0, 2, 10e6, 505*time.Millisecond, 0, note(1))
	n.Send(3, 3, 1e9, time.Millisecond, 0, note(2))
	third := n.Send(4, 5, 1e9, 0, 1e6, note(3))
	l.After(time.Second, func() { n.Stop(third) })
	l.After(2*time.Second, func() { n.Stop(third) }) // again: nothing
	l.Run(event.At(1200*time.Millisecond), 1<<20)
	down[2] = true
	n.Cut(2)
	l.Run(event.At(time.Minute), 1<<20)
	for i, want := range []end{
		// 5 MB alone until 505 ms; then 5 MB/s each until 1200 ms: 3.475 MB; the rest alone.
		{10e6, true, 1200*time.Millisecond + 152500*time.Microsecond},
		{3475000, false, 1200 * time.Millisecond},
		{1e9, true, time.Millisecond},
		{1e6, false, time.Second},
	} {
		if d := ends[i].at - want.at; ends[i].bytes != want.bytes || ends[i].all != want.all || d < -time.Microsecond || d > time.Microsecond {
			t.Errorf("transfer %d: %+v, want %+v", i, ends[i], want)
		}
	}
}

// BenchmarkFlow is a transfer among a hundred that go on.
func BenchmarkFlow(b *testing.B) {
	l := event.New(1)
	r := l.Rand("b")
	n := New(l, func(uint32) (float64, float64) { return 1e8, 1e8 }, nil)
	done := 0
	var again Moved
	again = func(uint64, bool) {
		if done++; done < b.N {
			from := uint32(r.IntN(100))
			n.Send(from, (from+1+uint32(r.IntN(99)))%100, 1e6, time.Millisecond, 0, again)
		}
	}
	for i := range uint32(100) {
		n.Send(i, (i+1)%100, 1e6, 0, 0, again)
	}
	b.ResetTimer()
	l.Run(event.At(1<<60), 1<<62)
}
