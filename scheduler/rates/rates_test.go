package rates

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

func at(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }

func TestStrikesFade(t *testing.T) {
	b := New()
	if b.Doubt("p", at(0)) != 0 {
		t.Fatal("a stranger is doubted")
	}
	b.Lost("p", at(0))
	for _, c := range []struct{ after, want float64 }{{0, 5}, {30, 2.5}, {60, 1.25}, {300, 0}} {
		if got := b.Doubt("p", at(c.after)); math.Abs(got-c.want) > 0.01 {
			t.Errorf("after %v s: %v, want %v", c.after, got, c.want)
		}
	}
	b.Lost("p", at(30))
	if got := b.Doubt("p", at(30)); got != 7.5 {
		t.Errorf("a second strike: %v", got)
	}
	b.Ran(Run{Peer: "p", Module: "m", Seconds: 1, Speed: 1000}, at(30))
	if got := b.Doubt("p", at(30)); got != 3.75 {
		t.Errorf("a run is worth half: %v", got)
	}
	for range 100 {
		b.Lost("p", at(31))
	}
	if got := b.Doubt("p", at(31)); got > maxStrikes*StrikeSeconds {
		t.Errorf("%v", got)
	}
}

// TestALiarIsFoundOut: of three peers that say they are equally fast one is ten times slower. Its factor says so, the
// others' stay near 1, and the module's effort is theirs. Left alone, it is forgiven.
func TestALiarIsFoundOut(t *testing.T) {
	b := New()
	now := 0.0
	for i := range 60 {
		seconds := 2.0
		if i%3 == 2 {
			seconds = 20
		}
		b.Ran(Run{Peer: shoal.PeerID(fmt.Sprint(i % 3)), Module: "m", Seconds: seconds, Speed: 1000, Gas: uint64(seconds * 1e6)}, at(now))
		now++
	}
	if f := b.Factor("2", at(now)); f < 5 || f > 12 {
		t.Errorf("the slow one's factor is %v", f)
	}
	for _, p := range []shoal.PeerID{"0", "1", "stranger"} {
		if f := b.Factor(p, at(now)); f < 0.6 || f > 1.5 {
			t.Errorf("%s: %v", p, f)
		}
	}
	if e := b.Effort("m"); e < 1500 || e > 3200 {
		t.Errorf("effort %v", e)
	}
	if g := b.Modules["m"].Gas; math.Abs(g-1e6) > 1 {
		t.Errorf("%v gas/s", g)
	}
	if f := b.Factor("2", at(now+7200)); f > 1.01 {
		t.Errorf("two hours later: %v", f)
	}
}

// TestCompilingTakesTimeBesides: the time that starting the compiler takes is learnt apart from what the size takes.
func TestCompilingTakesTimeBesides(t *testing.T) {
	b := New()
	for range 40 {
		b.Ran(Run{Peer: "p", Module: "m", Seconds: 1, Speed: 2000, Compile: 0.6, Code: 5e6}, at(0)) // 0.5 s by its size
	}
	b.Ran(Run{Peer: "p", Module: "m", Seconds: 1, Speed: 2000}, at(0)) // compiled before
	if math.Abs(b.Compile-0.1) > 1e-6 {
		t.Errorf("%v", b.Compile)
	}
}

func TestBounded(t *testing.T) {
	b := New()
	for i := range 3 * maxKept {
		b.Ran(Run{Peer: shoal.PeerID(fmt.Sprint(i)), Module: fmt.Sprint(i), Seconds: 1, Speed: 1}, at(float64(i)))
	}
	if len(b.Peers) != maxKept || len(b.Modules) != maxKept || b.Effort(fmt.Sprint(3*maxKept-1)) == 0 {
		t.Fatalf("%d peers, %d modules", len(b.Peers), len(b.Modules))
	}
	rapid.Check(t, func(t *rapid.T) {
		odd := rapid.SampledFrom([]float64{0, -1, math.NaN(), math.Inf(1), 1e-9, 1, 1e300})
		b := New()
		for range 30 {
			now := at(rapid.Float64Range(-1e6, 1e6).Draw(t, "at"))
			b.Ran(Run{
				"p", "m", odd.Draw(t, "s"), odd.Draw(t, "speed"), rapid.Uint64().Draw(t, "gas"), odd.Draw(t, "compile"), rapid.Uint64().Draw(t, "code"),
				rapid.Uint64().Draw(t, "moved"), odd.Draw(t, "fetch"),
			}, now)
			f, e := b.Factor("p", now), b.Effort("m")
			if !(f >= 1 && f <= maxFactor) || !finite(e) || !finite(b.Compile) || !finite(b.Doubt("p", now)) {
				t.Fatalf("factor %v effort %v", f, e)
			}
		}
		n := len(b.Peers)
		if b.Sane(); len(b.Peers) != n {
			t.Fatal("what was learnt is not sane")
		}
	})
}
