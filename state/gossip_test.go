package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
)

type listed []shoal.Member

func (l listed) Table() []shoal.Member { return l }

// TestSome: of many members those that are connected are drawn, any now and then, and none twice.
func TestSome(t *testing.T) {
	var all listed
	var open []shoal.PeerID
	for i := range 40 {
		id := shoal.PeerID(fmt.Sprint("peer", i))
		all = append(all, shoal.Member{ID: id, State: shoal.Alive})
		if i%8 == 0 {
			open = append(open, id)
		}
	}
	all = append(all, shoal.Member{ID: "gone", State: shoal.Down})
	s := &State{Deps: Deps{Members: all, Connected: func() []shoal.PeerID { return append(open, "no member") }}}
	const draws = 6400
	far := 0
	for range draws {
		if got := s.some(1); len(got) != 1 || got[0] == "gone" || got[0] == "no member" {
			t.Fatal(got)
		} else if !slices.Contains(open, got[0]) {
			far++
		}
	}
	if want := draws * strangers * 35 / 40; float64(far) < want/2 || float64(far) > want*2 {
		t.Errorf("%d of %d were strangers, some %.0f wanted", far, draws, want)
	}
	with := 0
	for range 100 {
		got := s.some(8)
		if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != 8 {
			t.Fatal(got)
		}
		if !slices.ContainsFunc(open, func(p shoal.PeerID) bool { return !slices.Contains(got, p) }) {
			with++
		}
	}
	if with < 80 {
		t.Errorf("all that are connected were among eight in %d of 100 draws", with)
	}
	if got := s.some(50); len(got) != 40 {
		t.Errorf("%d of 40", len(got))
	}
}
