package scenario

import (
	"testing"
	"time"
)

// TestPeers: up to 200 nodes each may have connections to all others, beyond as many as members keep up and half as many more.
func TestPeers(t *testing.T) {
	for _, c := range []struct {
		nodes int
		table bool
		want  Peers
	}{
		{5, true, Peers{256, 384, 20 * time.Second}},
		{200, false, Peers{256, 384, 20 * time.Second}},
		{201, false, Peers{24, 36, 5 * time.Second}},
		{201, true, Peers{48, 72, 5 * time.Second}},
	} {
		s := Scenario{Table: c.table, Classes: []Class{{Count: c.nodes - 1}, {Count: 1}}}
		if p := s.Peers(); p != c.want {
			t.Errorf("%d nodes, table %v: %+v", c.nodes, c.table, p)
		}
	}
}
