package kad

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLossesTwin holds losses against a map for each turn that is remembered, the oldest of which is dropped at each turn.
func TestLossesTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLosses(3)
		l.turn = 250 // turns come round
		type turn = map[[2]uint32]bool
		turns := []turn{{}}
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			a, b := rapid.Uint32Range(0, 2).Draw(t, "owner"), rapid.Uint32Range(0, 150).Draw(t, "contact")
			switch rapid.IntRange(0, 20).Draw(t, "what") {
			case 0:
				l.forget()
				turns = append(turns, turn{})
				turns = turns[max(0, len(turns)-1-lostTurns):]
			default:
				l.add(a, b)
				turns[len(turns)-1][[2]uint32{a, b}] = true
			}
			for a := range uint32(3) {
				for b := range uint32(151) {
					k := [2]uint32{a, b}
					want := slices.ContainsFunc(turns, func(x turn) bool { return x[k] })
					if got := l.has(a, b); got != want {
						t.Fatalf("of %d, %d: %v", a, b, got)
					}
				}
			}
		}
	})
}

// TestLossesUseTheirRoomAgain: after many turns there are as many pieces as those that are remembered need.
func TestLossesUseTheirRoomAgain(t *testing.T) {
	l := newLosses(1)
	for turn := range uint32(600) { // turns come round
		for b := range uint32(30) {
			l.add(0, turn*30%60+b)
		}
		l.forget()
	}
	if l.end > 1+2+4+8+16 { // as it grew to 64 entries, 256 at most with those that are old
		t.Errorf("%d lines", l.end)
	}
}
