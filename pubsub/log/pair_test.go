package log

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// pair is a log and its twin.
type pair struct {
	t    *testing.T
	r    *rand.Rand
	kept *agenttest.Kept
	now  int64
	log  *Log
	twin twin
}

// open begins a turn.
func (p *pair) open() {
	var err error
	if p.log, err = Open(p.kept, p.twin.rules, p.now); err != nil {
		p.t.Fatal(err)
	}
}

// close ends a turn: what was dropped had to be old, or too much, and held by nobody.
func (p *pair) close(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	l, w := p.log, &p.twin
	if err := l.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.kept.Commit()
	if l.First < w.first || l.Next != w.next() {
		p.t.Fatalf("the log goes from %d to %d, it was from %d to %d", l.First, l.Next, w.first, w.next())
	}
	for o := w.first; o < l.First; o++ {
		for name, f := range w.followers {
			if f.holds && f.least() <= o {
				p.t.Fatalf("%d was dropped, and %s holds it", o, name)
			}
		}
		bytes := uint64(0) // with those that were appended together with it
		for i := max(o, 5) - 5; i < uint64(len(w.size)); i++ {
			bytes += w.size[i]
		}
		if w.at[o-1]+w.rules.Retain >= p.now && bytes+20*uint64(len(w.size)) < w.rules.Bytes {
			p.t.Fatalf("%d of %d was dropped at %d, and it is neither old nor too much (%d bytes of %d)", o, w.at[o-1], p.now, bytes, w.rules.Bytes)
		}
	}
	w.first = l.First
}

func (p *pair) append() {
	p.open()
	entries := make([][]byte, 1+p.r.IntN(5))
	for i := range entries {
		entries[i] = fmt.Append(nil, "e", int(p.twin.next())+i, "-", p.r.IntN(1000))
	}
	if p.r.IntN(20) == 0 {
		entries[0] = append(entries[0], make([]byte, 2000)...)
	}
	first, err := p.log.Append(entries)
	if shoal.KindOf(err) == shoal.Overloaded {
		held := false
		for _, f := range p.twin.followers { // somebody must hold the oldest chunk
			held = held || f.holds && f.least() < p.log.First+8
		}
		if !held {
			p.t.Fatal(err)
		}
		p.kept.Revert()
		return
	}
	if err == nil && first != p.twin.next() {
		p.t.Fatalf("appended at %d, want %d", first, p.twin.next())
	}
	for _, e := range entries {
		p.twin.text = append(p.twin.text, string(e))
		p.twin.at = append(p.twin.at, p.now)
		p.twin.size = append(p.twin.size, uint64(len(e)))
	}
	p.close(err)
}

func (p *pair) read() {
	p.open()
	from, limit := uint64(p.r.IntN(int(p.twin.next())+2)), 1+p.r.IntN(20)
	if p.r.IntN(2) == 0 { // by time
		at := p.now - int64(p.r.IntN(30_000))
		got, err := p.log.Since(at)
		if err != nil {
			p.t.Fatal(err)
		}
		want := p.twin.first
		for want < p.twin.next() && p.twin.at[want-1] < at {
			want++
		}
		if got != want {
			p.t.Fatalf("since %d is %d, want %d", at, got, want)
		}
		from = got
	}
	list, err := p.log.Read(from, limit, 1<<20)
	o := max(from, p.twin.first)
	for _, e := range list {
		if e.Offset != o || string(e.Bytes) != p.twin.text[o-1] || e.At != p.twin.at[o-1] {
			p.t.Fatalf("entry %d of %d: %q, want %d of %d: %q", e.Offset, e.At, e.Bytes, o, p.twin.at[o-1], p.twin.text[o-1])
		}
		o++
	}
	if len(list) < limit && o < p.twin.next() {
		p.t.Fatalf("read %d from %d, and the log ends at %d", len(list), from, p.twin.next())
	}
	p.close(err)
}

// consumer returns one, made when it is new.
func (p *pair) consumer() (*Cursor, *follower) {
	names := []string{"held", "also", "a", "b"}
	name := names[p.r.IntN(len(names))]
	c, err := p.log.Cursor(name)
	if err != nil {
		p.t.Fatal(err)
	}
	if c == nil {
		start := uint64(p.r.IntN(int(p.twin.next()) + 3))
		holds := name == "held" || name == "also"
		if c, err = p.log.Make(name, start, holds); err != nil {
			p.t.Fatal(err)
		}
		if start == 0 || start > p.twin.next() {
			start = p.twin.next()
		}
		start = max(start, p.twin.first)
		p.twin.followers[name] = &follower{holds: holds, front: start, floor: start, marks: map[uint64]*mark{}, dead: map[uint64]*copied{}}
	}
	return c, p.twin.followers[name]
}

func (p *pair) fetch() {
	p.open()
	c, f := p.consumer()
	q := Settle{Worker: []string{"w", "v"}[p.r.IntN(2)], Over: p.r.IntN(10) == 0, Lost: p.r.IntN(10) == 0, Sole: p.r.IntN(2) == 0, Limit: p.r.IntN(6)}
	for o := range f.marks {
		p.settle(&q, o)
	}
	for o := range f.dead {
		p.settle(&q, o)
	}
	for range p.r.IntN(3) { // anything
		p.settle(&q, uint64(p.r.IntN(int(p.twin.next())+3)))
	}
	res, err := p.log.Fetch(c, q)
	if !q.Over && f.sole != "" && f.sole != q.Worker {
		if shoal.KindOf(err) != shoal.Refused {
			p.t.Fatalf("%s has a sole worker, and another gets %+v, %v", c.name, res, err)
		}
		p.close(nil)
		return
	}
	if err != nil {
		p.t.Fatal(err)
	}
	list, due := res.Given, res.Due
	var got []string
	for _, g := range list {
		got = append(got, fmt.Sprintf("%d:%s/%d@%d", g.Offset, g.Bytes, g.Try, g.Begun))
	}
	before := f.alive()
	want := p.twin.fetch(f, q, p.now)
	for _, o := range res.Died {
		if !before[o] || f.alive()[o] || f.dead[o] == nil {
			p.t.Fatalf("%s is told that %d was given up", c.name, o)
		}
		delete(before, o)
	}
	for o := range before {
		if d := f.dead[o]; d != nil && !d.again {
			p.t.Fatalf("%s is not told that %d was given up", c.name, o)
		}
	}
	if !slices.Equal(got, want) {
		p.t.Fatalf("%s: %+v gave\n%q\nwant\n%q", c.name, q, got, want)
	}
	p.look(c, f)
	if q.Limit > 0 && len(list) < q.Limit { // nothing more now, and what is next is known
		want := int64(0)
		for _, m := range f.marks {
			want = earlier(want, m.due)
		}
		for _, d := range f.dead {
			if d.again {
				want = earlier(want, d.redelivery.due)
			}
		}
		if due != want {
			p.t.Fatalf("%s has more at %d, want %d", c.name, due, want)
		}
	}
	p.close(nil)
}

func earlier(a, b int64) int64 {
	if b == never {
		return a
	}
	if a == 0 {
		return b
	}
	return min(a, b)
}

func (p *pair) settle(q *Settle, o uint64) {
	switch p.r.IntN(4) {
	case 0, 1:
		q.Ack = append(q.Ack, o)
	case 2:
		q.Fail = append(q.Fail, Failure{Offset: o, Why: "why", After: int64(p.r.IntN(3000)), Final: p.r.IntN(5) == 0, Back: p.r.IntN(5) == 0})
	}
}

// look compares a consumer with its twin.
func (p *pair) look(c *Cursor, f *follower) {
	p.t.Helper()
	if c.Floor() != f.least() || c.Front != f.front || c.Pending() != f.pending() || c.Dead != len(f.dead) || c.Missed != f.missed || c.Holds != f.holds {
		p.t.Fatalf("%s is %+v, want %+v", c.name, c, f)
	}
	if c.Floor() < f.floor {
		p.t.Fatalf("%s went back from %d to %d", c.name, f.floor, c.Floor())
	}
	if want := f.pending() + p.twin.next() - max(f.front, p.twin.first); c.Lag(p.log) != want {
		p.t.Fatalf("%s lags %d, want %d", c.name, c.Lag(p.log), want)
	}
	f.floor = c.Floor()
	list, err := p.log.ReadDead(c, 0, 1000, 1<<20)
	if err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, o := range slices.Sorted(maps.Keys(f.dead)) {
		if d := f.dead[o]; !d.again {
			if n >= len(list) || list[n].Offset != o || string(list[n].Bytes) != d.text || list[n].Why != d.why || list[n].Try != d.try || list[n].At != d.at || list[n].Begun != d.begun {
				p.t.Fatalf("%s has given up %+v, want %d: %+v", c.name, list, o, d)
			}
			n++
		}
	}
	if n != len(list) || n != c.GivenUp() {
		p.t.Fatalf("%s has given up %d, want %d", c.name, len(list), n)
	}
}

func (p *pair) resend() {
	p.open()
	c, f := p.consumer()
	var offsets []uint64
	for o := range f.dead {
		if p.r.IntN(2) == 0 {
			offsets = append(offsets, o)
		}
	}
	drop := p.r.IntN(3) == 0
	n, err := p.log.Resend(c, offsets, drop)
	want := 0
	for o, d := range f.dead {
		if d.again || len(offsets) > 0 && !slices.Contains(offsets, o) {
			continue
		}
		want++
		if drop {
			delete(f.dead, o)
			continue
		}
		d.again, d.redelivery = true, mark{begun: d.begun}
		if d.begun+renew < p.now {
			d.redelivery.begun = 0
		}
	}
	if n != want {
		p.t.Fatalf("%d sent again, want %d", n, want)
	}
	p.look(c, f)
	p.close(err)
}

func (p *pair) forget() {
	p.open()
	c, _ := p.consumer()
	err := p.log.Forget(c)
	delete(p.twin.followers, c.name)
	if left := len(p.kept.Keys(string(deadPrefix(c.name)))); left > 0 {
		p.t.Fatalf("%d copies stay of a consumer that is gone", left)
	}
	p.close(err)
}

// count recounts what the head says.
func (p *pair) count() {
	p.open()
	bytes, dead := uint64(0), uint64(0)
	for _, k := range p.kept.Keys("l") {
		v, _, _ := p.kept.Get([]byte(k))
		bytes += uint64(len(v))
	}
	for _, k := range p.kept.Keys("d") {
		v, _, _ := p.kept.Get([]byte(k))
		dead += uint64(len(v))
	}
	held, others := 0, 0
	for _, f := range p.twin.followers {
		if f.holds {
			held++
		} else {
			others++
		}
	}
	if l := p.log; l.Bytes != bytes || l.Dead != dead || l.Held != held || l.Others != others {
		p.t.Fatalf("the head says %+v, and there are %d bytes, %d given up, %d and %d consumers", l.Head, bytes, dead, held, others)
	}
}

// TestTwin runs schedules on a log and on its twin.
func TestTwin(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n = min(n, 60)
	}
	for i := range n {
		s := *seed + uint64(i)
		ok := t.Run(fmt.Sprint("seed=", s), func(t *testing.T) {
			r := rand.New(rand.NewPCG(s, 6))
			p := &pair{t: t, r: r, kept: agenttest.NewKept(), now: 1_800_000_000_000, twin: twin{
				rules: Rules{Retain: 20_000, Bytes: 8000, Wait: 3000, Tries: 1 + r.IntN(4)}, first: 1, followers: map[string]*follower{},
			}}
			for range 400 {
				p.now += int64(r.IntN(500))
				switch r.IntN(24) {
				default:
					p.append()
				case 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18:
					p.fetch()
				case 19, 20:
					p.read()
				case 21:
					p.resend()
				case 22:
					if r.IntN(8) == 0 {
						p.forget()
					}
					if r.IntN(10) == 0 { // a day later
						p.now += 86400_000
					}
				case 23:
					p.open()
					_, err := p.log.Drop(1 + r.IntN(40))
					p.close(err)
				}
			}
			p.count()
		})
		if !ok {
			t.Fatalf("go test ./pubsub/log -run TestTwin -seed %d -seeds 1", s)
		}
	}
}
