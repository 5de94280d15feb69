package agents

import (
	"fmt"
	"testing"

	"github.com/shoal-fabric/shoal"
)

// crowdOf is a table of n members, the odd ones down.
type crowdOf struct {
	Members
	n int
}

func (c crowdOf) Table() (out []shoal.Member) {
	for i := range c.n {
		m := shoal.Member{ID: shoal.PeerID(fmt.Sprint(i)), State: shoal.Alive}
		if i%2 == 1 {
			m.State = shoal.Down
		}
		out = append(out, m)
	}
	return out
}

// TestNear: of few members all that live are asked, of many those only that are connected.
func TestNear(t *testing.T) {
	open := func() []shoal.PeerID { return []shoal.PeerID{"2", "3", "4", "stranger"} }
	for _, c := range []struct {
		members   int
		connected func() []shoal.PeerID
		want      int
	}{
		{0, open, 0},
		{2 * small, open, small},
		{2*small + 2, open, 2},
		{2*small + 2, nil, small},
		{1000, open, 2},
		{1000, func() []shoal.PeerID { return nil }, 0},
	} {
		a := &Agents{Deps: Deps{Members: crowdOf{n: c.members}, Connected: c.connected}}
		if got := a.near(); len(got) != c.want {
			t.Errorf("of %d members %v are asked, not %d", c.members, got, c.want)
		}
	}
}
