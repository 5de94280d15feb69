package match

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// TestExcluded: each member that is out is counted once, by the first clause that keeps it out.
func TestExcluded(t *testing.T) {
	n, err := Compile(`cpus >= 8 && labels.zone == "a" && load.queued < 3`, shoal.Limits{Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	var list []*shoal.Member
	add := func(many int, change func(m *shoal.Member)) {
		for range many {
			m := &shoal.Member{ID: shoal.PeerID(fmt.Sprint("p", len(list))), State: shoal.Alive}
			m.Attributes = shoal.Attributes{CPUs: 8, Memory: 2 << 30, Labels: map[string]string{"zone": "a"}}
			change(m)
			list = append(list, m)
		}
	}
	add(2, func(*shoal.Member) {})
	add(5, func(m *shoal.Member) { m.Attributes.CPUs, m.Attributes.Labels = 4, nil })
	add(4, func(m *shoal.Member) { m.Attributes.Labels = nil })
	add(3, func(m *shoal.Member) { m.Load.Queued = 9 })
	add(2, func(m *shoal.Member) { m.State = shoal.Down })
	add(1, func(m *shoal.Member) { m.Attributes.Memory = 1 << 20 })
	add(7, func(m *shoal.Member) { m.State = shoal.Left })
	want := []Out{
		{"cpus >= 8", 5, false},
		{`labels.zone == "a"`, 4, false},
		{"load.queued < 3", 3, true},
		{"that it answers", 2, true},
		{"1024 MiB of memory", 1, false},
	}
	now := time.Now()
	if got := n.Excluded(slices.Values(list), now); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	got := Count(func(yield func(Verdict) bool) {
		for _, m := range list {
			if m.State != shoal.Left && !yield(n.Check(m, now)) {
				return
			}
		}
	})
	if !slices.Equal(got, want) {
		t.Errorf("of verdicts: %+v", got)
	}
}
