package scale

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is one host that does what Scale says, under a load.
type world struct {
	p         Policy
	s         Scale
	now       time.Duration
	here      Here
	elsewhere Elsewhere
	cost      time.Duration // of a call
	ends      ends          // of calls that run
	queue     []time.Duration
	opens     int
	closes    int
	full      int
	room      int // instances in all
}

type ends []time.Duration

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i] < e[j] }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(v any)        { *e = append(*e, v.(time.Duration)) }
func (e *ends) Pop() any {
	v := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return v
}

// step decides, and holds the decision against what may never be.
func (w *world) step(t interface {
	Helper()
	Fatalf(string, ...any)
},
) Step {
	t.Helper()
	w.here.Busy, w.here.Waiting, w.here.Each, w.here.Room = len(w.ends), len(w.queue), w.cost, w.room-w.here.Open
	w.here.Oldest = 0
	if len(w.queue) > 0 {
		w.here.Oldest = w.now - w.queue[0]
	}
	d := w.s.Next(w.p, w.now, w.here, w.elsewhere)
	before := w.here.Open + w.elsewhere.Instances
	switch {
	case d.Open < 0 || d.Close < 0 || d.Open > 0 && d.Close > 0:
		t.Fatalf("%+v", d)
	case d.Open > 0 && w.p.Max > 0 && before+d.Open > w.p.Max:
		t.Fatalf("%d more than %d, and %d is the most", d.Open, before, w.p.Max)
	case d.Open > w.here.Room:
		t.Fatalf("%d more, with room for %d", d.Open, w.here.Room)
	case d.Close > w.here.Open-w.here.Busy && w.elsewhere.Before+w.here.Open <= w.p.Max:
		t.Fatalf("%d closed, and %d of %d work", d.Close, w.here.Busy, w.here.Open)
	case d.Close > 0 && before-d.Close < w.p.Min && (w.p.Max == 0 || w.p.Max >= w.p.Min):
		t.Fatalf("%d of %d closed, and %d is the least", d.Close, before, w.p.Min)
	}
	if d.Open > 0 {
		w.opens++
	}
	if d.Close > 0 {
		w.closes++
	}
	if d.Full {
		w.full++
	}
	w.here.Open += d.Open - d.Close
	w.work()
	return d
}

// work has instances take what waits.
func (w *world) work() {
	for len(w.queue) > 0 && len(w.ends) < w.here.Open {
		w.queue = w.queue[1:]
		heap.Push(&w.ends, w.now+w.cost)
	}
}

// until lets time pass, with a look every quarter of a second.
func (w *world) until(t *rapid.T, end time.Duration) {
	for {
		next := w.now - w.now%(250*time.Millisecond) + 250*time.Millisecond
		if len(w.ends) > 0 && w.ends[0] < next {
			next = w.ends[0]
		}
		if next > end {
			w.now = end
			return
		}
		w.now = next
		if len(w.ends) > 0 && w.ends[0] <= w.now {
			heap.Pop(&w.ends)
			w.work()
		} else {
			w.step(t)
		}
	}
}

// load has calls come at random, so many a second.
func (w *world) load(t *rapid.T, dice *rand.Rand, rate float64, during time.Duration) {
	end := w.now + during
	for {
		at := w.now + time.Duration(dice.ExpFloat64()/rate*float64(time.Second))
		if at > end {
			w.until(t, end)
			return
		}
		w.until(t, at)
		w.queue = append(w.queue, w.now)
		w.step(t)
	}
}

func draw(t *rapid.T) (*world, *rand.Rand) {
	w := &world{room: 16}
	w.p = Policy{
		Target: time.Duration(rapid.IntRange(1, 100).Draw(t, "target ms")) * time.Millisecond,
		Idle:   time.Duration(rapid.IntRange(5, 60).Draw(t, "idle s")) * time.Second,
		Min:    rapid.IntRange(0, 3).Draw(t, "min"),
	}
	if rapid.Bool().Draw(t, "limited") {
		w.p.Max = w.p.Min + rapid.IntRange(1, 8).Draw(t, "max")
	}
	w.cost = time.Duration(rapid.IntRange(8, 200).Draw(t, "cost ms")) * time.Millisecond
	seed := rapid.Uint64().Draw(t, "seed")
	return w, rand.New(rand.NewPCG(seed, 1))
}

func TestLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, dice := draw(t)
		most := w.room
		if w.p.Max > 0 {
			most = min(most, w.p.Max)
		}
		rate := rapid.Float64Range(0.05, 0.7).Draw(t, "share of what the most can do") * float64(most) / w.cost.Seconds()
		w.load(t, dice, rate, 3*time.Second+w.p.Idle)
		if w.here.Open == 0 && rate > 1 {
			t.Fatalf("nothing is open under %.1f calls a second", rate)
		}
		w.until(t, w.now+10*time.Minute) // what waits is done, and the idle time passes
		if len(w.queue)+len(w.ends) > 0 {
			t.Fatalf("%d wait and %d run in the end", len(w.queue), len(w.ends))
		}
		if want := min(w.p.Min, w.here.Open); w.here.Open > max(w.p.Min, 0) || w.here.Open < want {
			t.Fatalf("%d are open in the end, and %d is the least", w.here.Open, w.p.Min)
		}
	})
}

// TestZeroAfterIdle wants zero once the idle time is over, and not before.
func TestZeroAfterIdle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, dice := draw(t)
		w.p.Min = 0
		w.load(t, dice, 5/w.cost.Seconds(), 2*time.Second)
		for w.now = w.now + 0; len(w.queue)+len(w.ends) > 0; {
			w.until(t, w.now+50*time.Millisecond)
		}
		w.step(t)
		had := w.here.Open
		w.until(t, w.now+w.p.Idle-time.Second)
		if had > 0 && w.here.Open == 0 {
			t.Fatalf("zero a second before the idle time of %v is over", w.p.Idle)
		}
		w.until(t, w.now+2*time.Second)
		if w.here.Open != 0 {
			t.Fatalf("%d are open after the idle time of %v", w.here.Open, w.p.Idle)
		}
	})
}

// TestNoFlapping wants a steady load to find its number of instances and leave it there.
func TestNoFlapping(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, dice := draw(t)
		rate := rapid.Float64Range(0.2, 0.6).Draw(t, "load") * float64(w.room) / w.cost.Seconds()
		w.p.Max, w.p.Idle = 0, min(w.p.Idle, 10*time.Second)
		w.load(t, dice, rate, w.p.Idle) // it finds it
		w.opens, w.closes = 0, 0
		w.load(t, dice, rate, 4*w.p.Idle)
		// Two closings in each idle time; and openings beyond those that make up for them are new greatest moments of
		// calls that come at random.
		if w.closes > 8 || w.opens > w.closes+w.room {
			t.Fatalf("%d openings and %d closings under a steady load, during four times the idle time", w.opens, w.closes)
		}
	})
}

// TestMostIsShared has the hosts behind give way when there are more than the most.
func TestMostIsShared(t *testing.T) {
	w := &world{p: Policy{Target: time.Millisecond, Idle: time.Minute, Max: 4}, room: 8, cost: time.Millisecond}
	w.here.Open, w.elsewhere = 3, Elsewhere{Instances: 3, Before: 3}
	if w.step(t); w.here.Open != 1 {
		t.Errorf("%d left, and 4 are allowed, of which 3 come first", w.here.Open)
	}
	w.here.Open, w.elsewhere = 3, Elsewhere{Instances: 3}
	w.s.Opened(w.now, 3)
	if w.step(t); w.here.Open != 3 {
		t.Errorf("%d left of those that come first", w.here.Open)
	}
}

func TestFull(t *testing.T) {
	p := Policy{Target: 20 * time.Millisecond, Idle: time.Minute, Max: 2}
	for _, c := range []struct {
		name string
		h    Here
		e    Elsewhere
		want Step
	}{
		{"from zero", Here{Waiting: 1, Room: 4}, Elsewhere{}, Step{Open: 1}},
		{"from zero without room", Here{Waiting: 1}, Elsewhere{}, Step{Full: true}},
		{"the most are elsewhere", Here{Waiting: 1, Room: 4}, Elsewhere{Instances: 2}, Step{Full: true}},
		{"within the target", Here{Open: 1, Busy: 1, Waiting: 1, Each: time.Millisecond, Room: 4}, Elsewhere{}, Step{}},
		{"beyond it", Here{Open: 1, Busy: 1, Waiting: 2, Each: 50 * time.Millisecond, Room: 4}, Elsewhere{}, Step{Open: 1}},
		{"beyond it, no room", Here{Open: 1, Busy: 1, Waiting: 2, Each: 50 * time.Millisecond}, Elsewhere{}, Step{Full: true}},
		{"beyond it, one comes", Here{Open: 1, Opening: 1, Busy: 1, Waiting: 8, Each: 50 * time.Millisecond}, Elsewhere{}, Step{}},
	} {
		var s Scale
		if got := s.Next(p, time.Hour, c.h, c.e); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
