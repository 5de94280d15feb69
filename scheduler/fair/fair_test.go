package fair

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

func owner(i int) shoal.PeerID { return shoal.PeerID(fmt.Sprintf("owner%d", i)) }

// twin is a queue that remembers all that happened and works everything out anew each time.
type twin struct {
	cfg    Config
	events []event
}

type event struct {
	kind    string // "push", "remove", "pop", "done"
	task    int
	owner   shoal.PeerID
	seconds float64
}

// replay says which tasks wait, by owner in order, and each owner's tag and the order among equals.
func (w *twin) replay() (lines map[shoal.PeerID][]int, end map[shoal.PeerID]float64, since map[shoal.PeerID]int) {
	lines, end, since = map[shoal.PeerID][]int{}, map[shoal.PeerID]float64{}, map[shoal.PeerID]int{}
	mean, all, charge := map[shoal.PeerID]float64{}, 0.0, map[int]float64{}
	done, charged := map[shoal.PeerID]float64{}, map[shoal.PeerID]float64{}
	serving := map[shoal.PeerID]int{}
	now, waits, busy := 0.0, 0, 0
	weight := func(o shoal.PeerID) float64 {
		if w, ok := w.cfg.Weights[o]; ok {
			return w
		}
		return 1
	}
	drop := func(task int, o shoal.PeerID) {
		lines[o] = slices.DeleteFunc(lines[o], func(i int) bool { return i == task })
		waits--
	}
	for n, e := range w.events {
		o := e.owner
		switch e.kind {
		case "push":
			if len(lines[o]) == 0 {
				done[o], since[o] = max(done[o], now-charged[o]/weight(o)), n
			}
			lines[o] = append(lines[o], e.task)
			waits++
		case "remove":
			drop(e.task, o)
		case "pop":
			drop(e.task, o)
			busy++
			serving[o]++
			charge[e.task] = 1
			if mean[o] > 0 {
				charge[e.task] = mean[o]
			} else if all > 0 {
				charge[e.task] = all
			}
			now = max(now, done[o])
			charged[o] += charge[e.task]
		case "done":
			done[o] += e.seconds / weight(o)
			charged[o] -= charge[e.task]
			busy--
			if serving[o]--; serving[o] == 0 {
				charged[o] = 0
			}
			if e.seconds > 0 {
				if mean[o] == 0 {
					mean[o] = e.seconds
				}
				mean[o] += (e.seconds - mean[o]) / 8
				if all == 0 {
					all = e.seconds
				}
				all += (e.seconds - all) / 8
			}
		}
		for id := range done { // whoever has nothing here and is owed nothing is forgotten
			if len(lines[id])+serving[id] == 0 && (waits+busy == 0 || (e.kind == "done" || e.kind == "remove") && len(lines[o])+serving[o] == 0 && done[id] <= now) {
				delete(done, id)
				delete(mean, id)
			}
		}
		if waits+busy == 0 {
			now = 0
		}
	}
	for id := range lines {
		end[id] = done[id] + charged[id]/weight(id)
	}
	return lines, end, since
}

// next is the task that must be served next; -1: none waits.
func (w *twin) next() int {
	lines, end, since := w.replay()
	best := shoal.PeerID("")
	for o, line := range lines {
		if len(line) > 0 && (best == "" || end[o] < end[best] || end[o] == end[best] && since[o] < since[best]) {
			best = o
		}
	}
	if best == "" {
		return -1
	}
	return lines[best][0]
}

// TestQueueAgainstTwin runs a random life of a queue beside the twin: who is next, who is refused and
// who makes way, and how long the lines are.
func TestQueueAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		cfg := Config{Total: 1 + r.IntN(30), Slots: 1 + r.IntN(4), Weights: map[shoal.PeerID]float64{owner(0): 2, owner(1): 0.5}}
		cfg.PerOwner = 1 + r.IntN(cfg.Total)
		q, w := New[int](cfg), &twin{cfg: cfg}
		var waits, serves []*Item[int]
		tasks := 0
		for step := range 60 {
			switch k := r.IntN(10); {
			case k < 5:
				o := owner(r.IntN(4))
				lines, _, since := w.replay()
				crowd := func(o shoal.PeerID) float64 { return float64(len(lines[o])) / q.Weight(o) }
				all, most := 0, shoal.PeerID("")
				for id, l := range lines {
					all += len(l)
					if len(l) > 0 && (most == "" || crowd(id) > crowd(most) || crowd(id) == crowd(most) && since[id] > since[most]) {
						most = id
					}
				}
				room := len(lines[o]) < cfg.PerOwner
				way := all == cfg.Total && most != o && float64(len(lines[o])+1)/q.Weight(o) < crowd(most)
				item, pushed := q.Push(o, tasks)
				if (item != nil) != (room && (all < cfg.Total || way)) || (pushed != nil) != (room && way) {
					t.Fatalf("%s with lines %v of %+v: admitted %v, made way %v", o, lines, cfg, item != nil, pushed != nil)
				}
				if pushed != nil {
					if line := lines[most]; pushed.Value != line[len(line)-1] {
						t.Fatalf("%d made way of %v", pushed.Value, line)
					}
					w.events = append(w.events, event{"remove", pushed.Value, pushed.Owner, 0})
					waits = slices.DeleteFunc(waits, func(i *Item[int]) bool { return i == pushed })
				}
				if item != nil {
					w.events = append(w.events, event{"push", tasks, o, 0})
					waits = append(waits, item)
					tasks++
				}
			case k < 8 && len(serves) < cfg.Slots:
				want := w.next()
				item := q.Pop()
				if (item == nil) != (want < 0) || item != nil && item.Value != want {
					t.Fatalf("%+v is next, not %d", item, want)
				}
				if item != nil {
					w.events = append(w.events, event{"pop", item.Value, item.Owner, 0})
					serves = append(serves, item)
					waits = slices.DeleteFunc(waits, func(i *Item[int]) bool { return i == item })
				}
			case k < 9 && len(serves) > 0:
				i := r.IntN(len(serves))
				item := serves[i]
				serves = slices.Delete(serves, i, i+1)
				seconds := float64(r.IntN(4)) * r.Float64()
				q.Done(item, seconds)
				w.events = append(w.events, event{"done", item.Value, item.Owner, seconds})
			case len(waits) > 0:
				i := r.IntN(len(waits))
				item := waits[i]
				waits = slices.Delete(waits, i, i+1)
				if !q.Remove(item) || q.Remove(item) {
					t.Fatal("a waiting task leaves once")
				}
				w.events = append(w.events, event{"remove", item.Value, item.Owner, 0})
			}
			if step%4 > 0 {
				continue
			}
			lines, _, _ := w.replay()
			n := 0
			for o, line := range lines {
				if n += len(line); q.Waiting(o) != len(line) {
					t.Fatalf("%d of %s wait, not %d", q.Waiting(o), o, len(line))
				}
			}
			if q.Len() != n || q.Len() > cfg.Total || len(q.flows) != len(q.order) {
				t.Fatalf("%d wait, not %d", q.Len(), n)
			}
		}
		for range 1000 { // nobody starves, nothing is left
			for _, item := range serves {
				q.Done(item, 1)
			}
			if serves = serves[:0]; q.Len() == 0 {
				break
			}
			serves = append(serves, q.Pop())
		}
		if q.Len() != 0 || q.busy != 0 || len(q.order) != 0 {
			t.Fatalf("%d wait, %d are served, %d owners are known at the end", q.Len(), q.busy, len(q.order))
		}
	})
}

// TestTextbook compares with the paper's definition, which tags tasks as they arrive, for tasks of equal
// and known length: S = max(v(arrival), F of the one before), F = S + 1/weight, lowest S first.
func TestTextbook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		weights := map[shoal.PeerID]float64{}
		for i := range 4 {
			weights[owner(i)] = float64(int(1) << r.IntN(4)) // so that sums are exact
		}
		q := New[int](Config{Total: 1000, PerOwner: 1000, Slots: 1, Weights: weights})
		type tagged struct {
			start float64
			task  int
			owner shoal.PeerID
		}
		var book []tagged
		finish, v := map[shoal.PeerID]float64{}, 0.0
		var serving *Item[int]
		for task := range 200 {
			if r.IntN(2) == 0 || task < 20 {
				o := owner(r.IntN(4))
				start := max(v, finish[o])
				finish[o] = start + 1/weights[o]
				book = append(book, tagged{start, task, o})
				q.Push(o, task)
				continue
			}
			if serving != nil {
				q.Done(serving, firstCharge)
				if serving = nil; q.Len() == 0 {
					v = 0
					clear(finish)
				}
			}
			item := q.Pop()
			if item == nil {
				continue
			}
			serving = item
			at := slices.IndexFunc(book, func(g tagged) bool { return g.task == item.Value })
			for _, g := range book { // equal tags: any order of owners, arrival within one
				if g.start < book[at].start || g.owner == item.Owner && g.task < item.Value {
					t.Fatalf("task %d with tag %v before %d with tag %v", item.Value, book[at].start, g.task, g.start)
				}
			}
			v = book[at].start
			book = slices.Delete(book, at, at+1)
		}
	})
}

// TestFairnessBound holds the queue against the theorem of SFQ(D): over any time in which two owners have
// tasks waiting, the seconds served per weight differ by at most (D+1) longest tasks of each per weight.
func TestFairnessBound(t *testing.T) {
	worst := 0.0
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		slots := 1 + r.IntN(4)
		weights, long := map[shoal.PeerID]float64{}, map[shoal.PeerID]float64{}
		const owners = 3
		q := New[float64](Config{Total: 1 << 20, PerOwner: 1 << 20, Slots: slots, Weights: weights})
		for i := range owners {
			weights[owner(i)], long[owner(i)] = 0.25+4*r.Float64(), 0.1+10*r.Float64()
		}
		for n := range 1500 {
			o := owner(n % owners)
			q.Push(o, long[o]*(0.01+0.99*r.Float64()))
		}
		for range owners { // one of each, so that nobody is charged what others took
			item := q.Pop()
			q.Done(item, item.Value)
		}
		type run struct {
			item *Item[float64]
			ends float64
		}
		var runs []run
		clock := 0.0
		served := map[shoal.PeerID]float64{}
		var history []map[shoal.PeerID]float64
		for q.Waiting(owner(0)) > 0 && q.Waiting(owner(1)) > 0 && q.Waiting(owner(2)) > 0 {
			for len(runs) < slots {
				item := q.Pop()
				if item == nil {
					t.Fatalf("a slot is free, %d tasks wait, and none is next", q.Len())
					return
				}
				runs = append(runs, run{item, clock + item.Value})
			}
			slices.SortFunc(runs, func(a, b run) int {
				if a.ends < b.ends {
					return -1
				}
				return 1
			})
			clock = runs[0].ends
			q.Done(runs[0].item, runs[0].item.Value)
			served[runs[0].item.Owner] += runs[0].item.Value
			runs = runs[1:]
			history = append(history, map[shoal.PeerID]float64{owner(0): served[owner(0)], owner(1): served[owner(1)], owner(2): served[owner(2)]})
		}
		for i := range owners {
			for j := range i {
				a, b := owner(i), owner(j)
				low, high := math.Inf(1), math.Inf(-1)
				for _, h := range history {
					gap := h[a]/weights[a] - h[b]/weights[b]
					low, high = min(low, gap), max(high, gap)
				}
				bound := float64(slots+1) * (long[a]/weights[a] + long[b]/weights[b])
				worst = max(worst, (high-low)/bound)
				if high-low > bound {
					t.Fatalf("%d slots: a gap of %v, the bound is %v", slots, high-low, bound)
				}
			}
		}
	})
	t.Logf("the widest gap is %.2f of the bound", worst)
}

// TestAhead compares the estimate with what then happens.
func TestAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		q := New[int](Config{Total: 1 << 20, PerOwner: 1 << 20, Slots: 2, Weights: map[shoal.PeerID]float64{owner(0): 3, owner(1): 0.5}})
		for range r.IntN(100) {
			q.Push(owner(r.IntN(4)), 0)
		}
		for range r.IntN(30) {
			if item := q.Pop(); item != nil {
				q.Done(item, r.Float64())
			}
		}
		for range r.IntN(2) {
			q.Pop()
		}
		o := owner(r.IntN(5))
		want, _ := q.Ahead(o)
		mine, _ := q.Push(o, 1)
		got := 0
		for q.Pop() != mine { // nothing ends meanwhile, so nothing new is learnt
			got++
		}
		if want != got {
			t.Fatalf("%d ahead, %d came first", want, got)
		}
	})
}

// TestANewcomerPaysForNoGuess has tasks that take far less than is guessed before any has ended.
func TestANewcomerPaysForNoGuess(t *testing.T) {
	q := New[int](Config{Total: 1000, PerOwner: 1000, Slots: 2})
	for i := range 500 {
		q.Push(owner(0), i)
	}
	serving := []*Item[int]{q.Pop(), q.Pop()}
	for range 10 {
		q.Done(serving[0], firstCharge/1000)
		serving = append(serving[1:], q.Pop())
	}
	mine, _ := q.Push(owner(1), 0)
	if next := q.Pop(); next != mine {
		t.Fatalf("task %d of the flood is before a newcomer's", next.Value)
	}
}

func TestAFloodAndAnother(t *testing.T) {
	q := New[int](Config{Total: 4096, PerOwner: 2048, Slots: 2})
	flood, other := owner(0), owner(1)
	for i := range 2048 {
		if item, _ := q.Push(flood, i); item == nil {
			t.Fatal("refused")
		}
	}
	if item, _ := q.Push(flood, 0); item != nil || q.Left(flood) != 0 || q.Left(other) != 2048 {
		t.Fatal("one owner's line has no end")
	}
	first := q.Pop()
	q.Done(first, 0.5)
	if n, s := q.Ahead(other); n > 1 || s > 0.5 {
		t.Errorf("%d tasks and %v seconds are ahead of whoever comes new", n, s)
	}
	if n, s := q.Ahead(flood); n != 2047 || s != 2047*0.5 {
		t.Errorf("%d tasks and %v seconds are ahead of the flood's next", n, s)
	}
	if a, b := q.RetryAfter(flood), q.RetryAfter(other); a != maxRetry || b != minRetry {
		t.Errorf("retry after %v, %v", a, b)
	}
	for i, want := range []shoal.PeerID{other, flood, other, flood} {
		q.Push(other, i)
		if item := q.Pop(); item.Owner != want && i > 0 {
			t.Errorf("%s is served in turn %d", item.Owner, i)
		}
	}
}

func BenchmarkPushPop(b *testing.B) {
	q := New[int](Config{Total: 4096, PerOwner: 2048, Slots: 8})
	for i := range 2000 {
		q.Push(owner(i%100), 0)
	}
	for i := range b.N {
		item := q.Pop()
		q.Push(owner(i%100), 0)
		q.Done(item, 0.1)
	}
}
