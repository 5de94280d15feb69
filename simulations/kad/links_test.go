package kad

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestLinks(t *testing.T) {
	l := NewLinks(100, 4, 6, true)
	for i := range uint32(7) {
		l.Dial(1, 10+i)
	}
	for i, want := range []bool{false, false, true, true, true, true, true} {
		if l.Open(1, 10+uint32(i)) != want {
			t.Errorf("connection %d is open: %v", i, !want)
		}
	}
	if !l.Open(12, 1) || l.Open(10, 1) {
		t.Error("the other end is not as this one")
	}
	if l.Count(1) != 5 || l.Count(10) != 0 || l.Count(12) != 1 || l.Opened != 7 {
		t.Errorf("%d connections, %d and %d, %d opened", l.Count(1), l.Count(10), l.Count(12), l.Opened)
	}
	l.Down(12)
	if l.Noted(1) != 5 || l.Count(1) != 4 {
		t.Errorf("%d connections after one node is gone", l.Count(1))
	}
	if l.Open(1, 12) || l.Open(12, 1) {
		t.Error("a connection to a dead node is open")
	}
	l.Dial(1, 12)
	if !l.Open(1, 12) {
		t.Error("it cannot be dialled again")
	}
}

// TestLinksKept: against a list that keeps everything.
func TestLinksKept(t *testing.T) {
	var now time.Duration
	const low, high, grace, pause = 4, 6, 20 * time.Second, 10 * time.Second
	l := NewLinks(400, low, high, false)
	l.Keep(grace, pause, func() time.Duration { return now })
	type one struct {
		to   uint32
		born time.Duration
	}
	var open []one
	looked := time.Duration(0)
	r := rand.New(rand.NewPCG(3, 3))
	most := 0
	for i := range uint32(390) {
		now += time.Duration(r.IntN(3000)) * time.Millisecond
		if i == 200 {
			now += time.Minute
		}
		old := 0
		for old < len(open) && now-open[old].born >= grace {
			old++
		}
		if len(open) >= high && now-looked >= pause {
			looked = now
			open = open[max(0, old-low):]
		}
		l.Dial(1, 2+i)
		open = append(open, one{2 + i, now})
		if most = max(most, len(open)); l.Count(1) != len(open) {
			t.Fatalf("%v: %d connections, want %d", now, l.Count(1), len(open))
		}
		for j := range uint32(390) {
			is := slices.ContainsFunc(open, func(o one) bool { return o.to == 2+j })
			if l.Open(1, 2+j) != is {
				t.Fatalf("%v: the connection to %d is open: %v", now, 2+j, !is)
			}
		}
	}
	if most <= high {
		t.Errorf("never more than %d", most)
	}
	m := NewLinks(400, low, high, false)
	m.Keep(grace, pause, func() time.Duration { return 0 })
	for i := range uint32(300) {
		m.Dial(1, 2+i)
	}
	if m.Count(1) != mostOpen || m.Open(1, 2) || !m.Open(1, 301) {
		t.Errorf("%d connections at once, of 300 that are young", m.Count(1))
	}
	if list := m.Of(0, 5, nil); len(list) != 0 {
		t.Errorf("who never had a connection has them to %v", list)
	}
}

// TestLinksWorth: what is in no table is closed first, the oldest of it first, and what is protected never and not counted.
func TestLinksWorth(t *testing.T) {
	var now time.Duration
	l := NewLinks(100, 4, 6, true)
	l.Keep(20*time.Second, 10*time.Second, func() time.Duration { return now })
	l.Worth = func(_, b uint32) Worth { return Worth(b % 3) } // Passing, Useful, Protected
	for b := range uint32(12) {
		l.Dial(50, b)
	}
	now = time.Minute
	l.Dial(50, 60)
	// Eight of the twelve are not protected, and four of them too many: 0, 3, 6 and 9 pass.
	for b := range uint32(12) {
		if want := b%3 != 0; l.Open(50, b) != want || l.Open(b, 50) != want {
			t.Errorf("%d is open: %v, at its end %v, want %v", b, l.Open(50, b), l.Open(b, 50), want)
		}
	}
	now += time.Minute
	l.Dial(50, 61)
	if l.Open(50, 60) || !l.Open(50, 61) || l.Count(50) != 9 {
		t.Errorf("%d connections after a minute more", l.Count(50))
	}
}
