package agenttest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func behaviourShared(t *testing.T, g *behaviourRig) {
	number := func(k shoal.Kind) string { return fmt.Sprint("error ", int(k)) }
	g.wants(t, "share", "add hits - 0 1", number(shoal.Refused))
	g.shared = NewShared()
	for _, step := range [][2]string{
		{"get hits - 0", number(shoal.NotFound)},
		{"add hits - 0 1", ""},
		{"add hits - 0 41", ""},
		{"get hits - 0", "1 42"},
		{"get hits - 2", number(shoal.NotFound)},
		{"add hits - 0 -1", number(shoal.Invalid)},
		{"add hits - 2 1", number(shoal.Exists)},
		{"add hits - 9 1", number(shoal.Exists)},
		{"add other - 9 1", number(shoal.Invalid)},
		{"add other - -1 1", number(shoal.Invalid)},
		{"insert hits - 0 x", number(shoal.Exists)},
		{"clear hits - 0", number(shoal.Invalid)},
		{"add m level 2 -5", ""},
		{"add m level 0 2", ""},
		{"get m level 0", "2 -3"},
		{"set m name 0 Ada Lovelace", ""},
		{"get m name 0", "3 Ada Lovelace"},
		{"set m empty 0 ", ""},
		{"get m empty 0", "3 "},
		{"insert m a 0 x", ""},
		{"insert m a 0 y y", ""},
		{"insert m a 0 z", ""},
		{"remove m a 0 z", ""},
		{"remove m a 0 none", ""},
		{"has m a 0 x", "1"},
		{"has m a 0 z", "0"},
		{"has m b 0 x", "0"},
		{"insert seen - 4 r1", ""},
		{"insert seen - 0 r2", ""},
		{"remove seen - 0 r1", number(shoal.Exists)},
		{"get seen - 0", "4 2"},
		{"items seen - 0 1", "r1;r2;"},
		{"items m a 0 10", "x;y y;"},
		{"items none - 0 10", ""},
		{"fields m - 0 1", "a:5=2;empty:3=;level:2=-3;name:3=Ada Lovelace;"},
		{"fields m - 0 100", "a:5=2;empty:3=;level:2=-3;name:3=Ada Lovelace;"},
		{"fields none - 0 100", ""},
		{"clear m name 0", ""},
		{"get m name 0", number(shoal.NotFound)},
		{"add " + strings.Repeat("n", 513) + " - 0 1", number(shoal.Invalid)},
		{"add \xff - 0 1", number(shoal.Invalid)},
		{"set m long 0 " + strings.Repeat("v", 64<<10+1), number(shoal.Invalid)},
		{"insert m long 0 " + strings.Repeat("v", 4<<10+1), number(shoal.Invalid)},
	} {
		g.wants(t, "share", step[0], step[1])
	}
	g.read = true
	g.wants(t, "share", "get hits - 0", "1 42")
	g.wants(t, "share", "add hits - 0 1", number(shoal.Refused))
	g.read = false
	want := "hits counter 42\nm#a set [\"x\" \"y y\"]\nm#empty register \"\"\nm#level tally -3\nseen growset [\"r1\" \"r2\"]\n"
	if got := g.shared.Dump(); got != want {
		t.Errorf("got %s want %s", got, want)
	}
}
