package kad

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// flat is a network in which all packets take as long, and those to dead nodes do not arrive.
type flat struct {
	s   *Space
	way time.Duration
}

func (f flat) Trips(a, b uint32, n int) (time.Duration, bool) {
	return 2 * time.Duration(n) * f.way, f.s.Up(a) && f.s.Up(b)
}

func searcher(s *Space, t Tables) *Searcher {
	return &Searcher{Space: s, Tables: t, Links: NewLinks(s.Len(), 48, 64, true), Net: flat{s, 10 * time.Millisecond}, Handshake: 2}
}

// exact is the nearest node that is up, without the asker.
func exact(s *Space, from uint32, key uint64) (best uint32) {
	dist := ^uint64(0)
	for p := range uint32(s.Len()) {
		if d := s.ID(p) ^ key; p != from && s.Up(p) && d <= dist {
			best, dist = p, d
		}
	}
	return best
}

func TestSharingAndNearest(t *testing.T) {
	for _, n := range []int{1, 2, 3, 19, 20, 21, 100, 1000, 1 << 12} {
		s := NewSpace(n, 0, uint64(n))
		r := rand.New(rand.NewPCG(1, uint64(n)))
		for range 300 {
			id, depth := r.Uint64(), r.IntN(66)
			if r.IntN(2) == 0 {
				id = s.ID(uint32(r.IntN(n)))
			}
			low, high := s.sharing(id, depth)
			for p := range uint32(n) {
				in := depth == 0 || depth < 64 && s.ID(p)>>(64-depth) == id>>(64-depth) || depth >= 64 && s.ID(p) == id
				if in != (p >= low && p < high) {
					t.Fatalf("%d nodes, id %x: place %d (%x) shares %d bits: %v, but the range is %d to %d", n, id, p, s.ID(p), depth, in, low, high)
				}
			}
			all := make([]uint32, n)
			for p := range all {
				all[p] = uint32(p)
			}
			slices.SortFunc(all, func(a, b uint32) int { return cmp.Compare(s.ID(a)^id, s.ID(b)^id) })
			k := r.IntN(30)
			if got := s.Nearest(id, k, nil, nil); !slices.Equal(got, all[:min(k, n)]) && k > 0 {
				t.Fatalf("%d nodes: nearest %d to %x: %v, not %v", n, k, id, got, all[:min(k, n)])
			}
		}
	}
}

// TestLastBucket grows kept tables by everybody and compares where the last bucket begins, and what is near.
func TestTablesOfAll(t *testing.T) {
	s := NewSpace(500, 0, 3)
	kept, implied := NewKept(s), NewImplied(s)
	r := rand.New(rand.NewPCG(1, 1))
	for a := range uint32(500) {
		for _, b := range r.Perm(500) {
			kept.Add(a, uint32(b), false, 0)
		}
		if got, want := s.last(a), len(kept.tables[a])-1; got != want {
			t.Fatalf("node %d: the last bucket is %d, %d in a table that met all", a, got, want)
		}
		if got := implied.all(a, 0, s.last(a), 0, nil); len(got) != kept.Size(a) {
			t.Fatalf("node %d: %d contacts, %d in a table that met all", a, len(got), kept.Size(a))
		}
		for range 20 {
			key := r.Uint64()
			if r.IntN(2) == 0 {
				key = s.ID(a) ^ r.Uint64()>>r.IntN(12)
			}
			x, y := implied.Closest(a, key, K, 0, nil), kept.Closest(a, key, K, 0, nil)
			if len(x) != len(y) {
				t.Fatalf("node %d: %d contacts near a key, %d in a table that met all", a, len(x), len(y))
			}
			slices.Sort(x)
			if len(slices.Compact(x)) != len(y) {
				t.Fatalf("node %d names somebody twice", a)
			}
			for _, b := range x {
				if !implied.Has(a, b, 0) {
					t.Fatalf("node %d names %d, which is not in its table", a, b)
				}
			}
		}
	}
}

// TestDraws checks that contacts are drawn uniformly from their range, whatever its size.
func TestDraws(t *testing.T) {
	for _, n := range []int{45, 150, 700} { // half of it is a bucket's range
		s := NewSpace(n, 0, 9)
		tables := NewImplied(s)
		low, high := s.sharing(1<<63, 1)
		counts := make([]float64, n)
		draws := 0
		for seed := range uint64(400) {
			s.seed = mix(seed)
			for a := range low {
				for _, v := range tables.draw(a, 0, low, high, 0, nil) {
					counts[v]++
					draws++
				}
			}
		}
		mean := float64(draws) / float64(high-low)
		for v := low; v < high; v++ {
			if d := math.Abs(counts[v]-mean) / math.Sqrt(mean); d > 5 {
				t.Errorf("%d nodes: place %d was drawn %v times, %.1f is the mean: %.1f standard deviations", n, v, counts[v], mean, d)
			}
		}
	}
}

func TestFindsTheClosest(t *testing.T) {
	for _, n := range []int{2, 5, 30, 300, 3000, 30000} {
		s := NewSpace(n, 0, 7)
		x := searcher(s, NewImplied(s))
		r := rand.New(rand.NewPCG(2, 2))
		const runs = 2000
		hits := 0
		for i := range runs {
			from, key := uint32(r.IntN(n)), r.Uint64()
			res := x.Find(from, key, time.Duration(i)*time.Second, nil)
			if len(res.Found) != min(K, n-1) {
				t.Fatalf("%d nodes: %d found", n, len(res.Found))
			}
			if res.Found[0] == exact(s, from, key) {
				hits++
			}
		}
		if hits < runs*995/1000 {
			t.Errorf("%d nodes: %d of %d lookups found the closest", n, hits, runs)
		}
	}
}

// TestDeadNodes has a tenth of the nodes die at once: lookups pay for whom they ask in vain, and find the closest of the others.
func TestDeadNodes(t *testing.T) {
	const n = 2000
	s := NewSpace(n, 0, 7)
	x := searcher(s, NewImplied(s))
	r := rand.New(rand.NewPCG(3, 3))
	now := 20 * time.Minute
	for p := range uint32(n) {
		if r.IntN(10) == 0 {
			s.Set(p, false, now)
		}
	}
	measure := func(now time.Duration) (hits, silent int, slow time.Duration) {
		for range 1000 {
			from := uint32(r.IntN(n))
			for !s.Up(from) {
				from = uint32(r.IntN(n))
			}
			key := r.Uint64()
			res := x.Find(from, key, now, nil)
			if len(res.Found) > 0 && res.Found[0] == exact(s, from, key) {
				hits++
			}
			silent += res.Silent
			slow = max(slow, res.Time)
		}
		return
	}
	hits, silent, slow := measure(now)
	if hits < 980 || silent < 1500 || slow < Step {
		t.Errorf("right after: %d of 1000 exact, %d asked in vain, slowest %v", hits, silent, slow)
	}
	was := silent
	if _, silent, _ = measure(now + 21*time.Minute); silent > was*19/20 || silent < was/20 { // who is near a key is named by many, until all of them know
		t.Errorf("when tables have been refreshed twice: %d asked in vain, %d before", silent, was)
	}
	hits, silent, slow = measure(now + lastWord + 11*time.Minute)
	if hits < 990 || silent > 0 || slow >= Step {
		t.Errorf("when all tables are new: %d of 1000 exact, %d asked in vain, slowest %v", hits, silent, slow)
	}
}

// TestTwin compares lookups over implied tables with those of a plain implementation over tables that were filled by chance.
func TestTwin(t *testing.T) {
	const n, runs = 1500, 1500
	s := NewSpace(n, 0, 11)
	kept := NewKept(s)
	r := rand.New(rand.NewPCG(5, 5))
	for a := range uint32(n) {
		for _, b := range r.Perm(n) {
			kept.Add(a, uint32(b), false, 0)
		}
	}
	// Links are closed again before each lookup, so that the two do not diverge by chance.
	var ours, twin [3]float64
	x, y := searcher(s, NewImplied(s)), searcher(s, kept)
	for range runs {
		from, key := uint32(r.IntN(n)), r.Uint64()
		x.Links, y.Links = NewLinks(n, 48, 64, true), NewLinks(n, 48, 64, true)
		a := *x.Find(from, key, 0, nil)
		hops, asked, took := plain(s, kept, from, key, 20*time.Millisecond)
		for i, v := range []float64{float64(a.Hops), float64(a.Asked), float64(a.Time)} {
			ours[i] += v / runs
		}
		for i, v := range []float64{float64(hops), float64(asked), float64(took)} {
			twin[i] += v / runs
		}
		b := *y.Find(from, key, 0, nil) // the same tables: the very same lookup
		if b.Hops != hops || b.Asked != asked || b.Time != took {
			t.Fatalf("hops %d asked %d in %v; the plain one %d %d %v", b.Hops, b.Asked, b.Time, hops, asked, took)
		}
	}
	for i, what := range []string{"hops", "requests", "time"} {
		if d := math.Abs(ours[i]/twin[i] - 1); d > 0.02 {
			t.Errorf("%s: %.3f, by a plain implementation %.3f: %.1f %%", what, ours[i], twin[i], 100*d)
		}
	}
	t.Logf("hops %.3f %.3f, requests %.2f %.2f, time %v %v", ours[0], twin[0], ours[1], twin[1], time.Duration(ours[2]), time.Duration(twin[2]))
}

// plain is a lookup written as kad-dht's source reads: maps, sorted lists, no connection open before it, nobody dead.
func plain(s *Space, t *Kept, from uint32, key uint64, rtt time.Duration) (hops, asked int, took time.Duration) {
	state, depth := map[uint32]int{}, map[uint32]int{}
	var all []uint32
	dist := func(v uint32) uint64 { return s.ID(v) ^ key }
	nearest := func(list []uint32, n int) []uint32 {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b uint32) int { return cmp.Compare(dist(a), dist(b)) })
		return list[:min(n, len(list))]
	}
	in := func(n int, states ...int) []uint32 {
		var list []uint32
		for _, v := range all {
			if slices.Contains(states, state[v]) {
				list = append(list, v)
			}
		}
		return nearest(list, n)
	}
	const heard, waiting, queried = 1, 2, 3
	hear := func(list []uint32, d int) {
		for _, v := range list {
			if state[v] == 0 && v != from {
				state[v], depth[v], all = heard, d, append(all, v)
			}
		}
	}
	type call struct {
		v      uint32
		linked time.Duration
		answer time.Duration
	}
	var calls []call
	hear(nearest(t.Closest(from, key, K, 0, nil), K), 1)
	now := time.Duration(0)
	for {
		done := true
		for _, v := range in(Beta, heard, waiting, queried) {
			done = done && state[v] == queried
		}
		if done {
			break
		}
		for _, v := range in(Alpha-len(in(len(all), waiting)), heard) {
			state[v] = waiting
			calls = append(calls, call{v, now + 3*rtt, now + 4*rtt})
		}
		next := 0
		for i, c := range calls {
			if c.answer < calls[next].answer {
				next = i
			}
		}
		c := calls[next]
		calls = slices.Delete(calls, next, next+1)
		now, state[c.v], asked = c.answer, queried, asked+1
		list := slices.DeleteFunc(nearest(t.Closest(c.v, key, K+1, 0, nil), K+1), func(v uint32) bool { return v == from })
		hear(nearest(list, K), depth[c.v]+1)
	}
	end := now
	linked := map[uint32]time.Duration{}
	for _, c := range calls {
		linked[c.v] = c.linked
		if c.linked <= now {
			asked++
			end = max(end, c.answer)
		}
	}
	took = end
	found := in(K, heard, waiting, queried)
	for _, v := range found {
		if state[v] == queried {
			continue
		}
		asked++
		at, was := linked[v]
		switch {
		case !was:
			took = max(took, end+4*rtt)
		case at <= now:
			took = max(took, end+rtt)
		default:
			took = max(took, max(at, end)+rtt)
		}
	}
	return depth[found[0]], asked, took
}

// TestClients has a third of the nodes ask only: nobody hears of them, and they find what others find.
func TestClients(t *testing.T) {
	const n, clients = 600, 300
	s := NewSpace(n, clients, 5)
	r := rand.New(rand.NewPCG(4, 4))
	for _, tables := range []Tables{NewImplied(s), NewKept(s)} {
		x := searcher(s, tables)
		if kept, ok := tables.(*Kept); ok {
			for a := uint32(1); a < n+clients; a++ {
				kept.Join(x, a, 0, 0, r.Uint64)
			}
		}
		hits := 0
		for range 500 {
			from, key := uint32(n+r.IntN(clients)), r.Uint64()
			res := x.Find(from, key, time.Minute, nil)
			if res.Found[0] == s.Nearest(key, 1, nil, nil)[0] {
				hits++
			}
			for _, p := range res.Found {
				if p >= n {
					t.Fatal("a client was found")
				}
			}
		}
		if hits < 490 {
			t.Errorf("%T: %d of 500 lookups of clients found the closest", tables, hits)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := NewSpace(n, 0, 7)
			x := searcher(s, NewImplied(s))
			x.Links = NewLinks(n, 48, 64, n < 1<<16)
			r := rand.New(rand.NewPCG(2, 2))
			var hops, asked, exactly int
			var took time.Duration
			i := 0
			for b.Loop() {
				i++
				from, key := uint32(r.IntN(n)), r.Uint64()
				res := x.Find(from, key, time.Duration(i)*time.Millisecond, nil)
				hops, asked, took = hops+res.Hops, asked+res.Asked, took+res.Time
				if res.Found[0] == s.Nearest(key, 1, nil, nil)[0] {
					exactly++
				}
			}
			b.ReportMetric(float64(hops)/float64(i), "hops")
			b.ReportMetric(float64(asked)/float64(i), "requests")
			b.ReportMetric(took.Seconds()*1000/float64(i), "ms")
			b.ReportMetric(float64(exactly)/float64(i), "exact")
		})
	}
}

// TestGrow: a node that has just begun fills its table by a few lookups; the others' tables stay as they were.
func TestGrow(t *testing.T) {
	s := NewSpace(300, 0, 4)
	all := NewImplied(s)
	x := searcher(s, all)
	const me = 7
	var before []uint32
	before = all.Closest(me, s.ID(me), K, 0, before)
	g := NewGrowing(s, all)
	g.Begin(200, []uint32{1, 2}, 0)
	g.Begin(me, []uint32{3, 90, 250}, 0)
	x.Tables = g
	r := rand.New(rand.NewPCG(1, 1))
	if n, _ := g.Size(); n != 3 || !g.Has(me, 90, 0) || g.Has(me, 91, 0) {
		t.Fatalf("it begins with %d", n)
	}
	x.Find(me, s.ID(me), 0, nil)
	few, _ := g.Size()
	for range 20 {
		x.Find(me, r.Uint64(), 0, nil)
	}
	many, buckets := g.Size()
	if few < K || many <= few || many > K*buckets || buckets < 3 {
		t.Errorf("%d peers after one lookup, %d in %d buckets after 21", few, many, buckets)
	}
	found := x.Find(me, s.ID(200), 0, nil)
	if found.Found[0] != 200 {
		t.Errorf("it does not find a node: %v", found.Found)
	}
	if after := all.Closest(me, s.ID(me), K, 0, nil); !slices.Equal(before, after) {
		t.Error("the tables below have changed")
	}
	g.Lost(me, 90, 0)
	if g.Has(me, 90, 0) {
		t.Error("who did not answer stays in the table")
	}
}
