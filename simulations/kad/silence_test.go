package kad

import (
	"fmt"
	"testing"
	"time"
)

// TestSilence: who was asked in vain is passed over, for longer each time.
func TestSilence(t *testing.T) {
	var v silence
	now := time.Minute
	for _, span := range []time.Duration{2, 4, 8, 16, 30, 30} {
		v.failed(now)
		v.failed(now + time.Second) // steps that began together
		if v.until != now+span*time.Second || v.lost != time.Minute {
			t.Fatalf("%+v, not passed over for %d s", v, span)
		}
		now = v.until
	}
}

// TestADialThatGoesOn: who waited for a dial in vain waits for no other one until it has failed, and until libp2p would make one: five
// seconds, and then five and the squares of one, two, three.
func TestADialThatGoesOn(t *testing.T) {
	var v silence
	now := time.Minute
	for tries := range time.Duration(4) {
		if wait := v.dialled(now, Step); wait != Step {
			t.Fatalf("after %d failed dials the next is waited for %v", tries, wait)
		}
		if wait := v.dialled(now+Step/4, Step); wait != 3*Step/4 {
			t.Fatalf("who joins a dial waits for it %v", wait)
		}
		v.failed(now + Step)
		free := now + dialTime + backoffBase + tries*tries*backoffCoef
		for at := now + Step; at < free; at += 100 * time.Millisecond {
			v.at(at, 0, true)
			if wait := v.dialled(at, Step); wait > 0 {
				t.Fatalf("after %d failed dials it is waited for %v, %v after the last began", tries, wait, at-now)
			}
			if v.until < at { // somebody asks
				v.failed(at)
			}
		}
		now = free
		v.at(now, 0, true)
	}
}

// TestTries: what an asker does by itself about whom it lost, on a connection that hangs for half a minute and then by dials. The times are
// those of a world (a home lab, seed 2): its tries ended after 18.1, 21.6, 25.3, 29.5, 34.7, 41.9 and 53.1 seconds.
func TestTries(t *testing.T) {
	var ends []time.Duration
	var v silence
	v.failed(14900 * time.Millisecond)
	v.next = 14900 * time.Millisecond
	for at := 14900 * time.Millisecond; at < time.Minute; at += 10 * time.Millisecond {
		was := v
		v.at(at, 45*time.Second, true)
		if was.end > 0 && was.end != v.end {
			ends = append(ends, was.end.Round(100*time.Millisecond))
		}
	}
	const want = "[18.1s 21.6s 25.3s 29.5s 34.7s 41.9s 53.1s]"
	if got := fmt.Sprint(ends); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// TestALoss: in a table that has room for all, whom a node lost it tries again by itself: as long as a connection hangs, and for ever if it knows
// it as a member, until it is back. In a bucket that is full another has taken the place, and nobody tries.
func TestALoss(t *testing.T) {
	for _, x := range []struct {
		nodes         int
		members       bool
		hanging, dead bool // tried then
	}{{10, true, true, true}, {10, false, true, false}, {1000, true, false, false}} {
		s := NewSpace(x.nodes, 0, 1)
		a := searcher(s, NewImplied(s))
		a.Members, a.from = x.members, 0
		gone, down := uint32(x.nodes-1), time.Hour // in the first bucket
		a.Links.Dial(0, gone)
		s.Set(gone, false, down)
		a.Links.Down(gone)
		a.vain(gone, down+time.Second, silence{})
		v, _ := a.silence(gone, down+hangTime)
		tries := v.tries
		if tries > 2 != x.hanging {
			t.Errorf("%+v: tried %d times while the connection hung", x, tries)
		}
		if v, _ = a.silence(gone, down+5*time.Minute); v.tries > tries+2 != x.dead {
			t.Errorf("%+v: tried %d times after it", x, v.tries-tries)
		}
		s.Set(gone, true, down+6*time.Minute)
		s.Set(gone, false, down+7*time.Minute)
		if v, _ = a.silence(gone, down+8*time.Minute); x.members && v != (silence{}) {
			t.Errorf("%+v: remembered from before it was back: %+v", x, v)
		}
	}
}

// TestAHangingConnection: who had a connection to a node that went down waits for answers on it, until it finds out.
func TestAHangingConnection(t *testing.T) {
	s := NewSpace(10, 0, 1)
	a := searcher(s, NewImplied(s))
	a.from = 0
	a.Links.Dial(0, 9)
	down := time.Minute
	s.Set(9, false, down)
	a.Links.Down(9)
	if _, hangs := a.silence(9, down); hangs != down+hangTime {
		t.Errorf("it hangs until %v", hangs)
	}
	if _, hangs := a.silence(8, down); hangs != 0 {
		t.Error("nothing hangs there")
	}
	a.from = 1
	if _, hangs := a.silence(9, down); hangs != 0 {
		t.Error("there was no connection")
	}
}
