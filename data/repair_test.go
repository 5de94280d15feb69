package data

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

func TestRepair(t *testing.T) {
	w := newWorld(t, 5)
	src := folder(t, 6, 40, 4000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 8000})
	must(t, err)
	m := res.Manifest
	for _, n := range w.nodes {
		n.run()
	}
	copies := func(nodes ...*peer) (least int) {
		least = 99
		for i := range m.Partitions {
			n := 0
			for _, p := range nodes {
				if slices.Contains(p.mine(bg, m.Root).kept, i) {
					n++
				}
			}
			least = min(least, n)
		}
		return least
	}
	eventually(t, "all have counted", func() bool {
		for _, n := range w.nodes {
			n.repair.mu.Lock()
			c := n.repair.counts[m.Root]
			n.repair.mu.Unlock()
			if c == nil || c.below > 0 {
				return false
			}
		}
		return true
	})
	w.nodes[0].kill()
	w.dirs.Expire("peer-00")
	eventually(t, "the copies of the first dead are restored", func() bool { return copies(w.nodes[1:]...) >= 2 })
	w.nodes[3].kill()
	w.dirs.Expire("peer-03")
	rest := []*peer{w.nodes[1], w.nodes[2], w.nodes[4]}
	eventually(t, "and those of the second", func() bool { return copies(rest...) >= 2 })
	eventually(t, "nothing is counted missing", func() bool {
		for _, n := range rest {
			if s := n.Stats(); s.Below > 0 || s.Lost > 0 {
				return false
			}
		}
		return true
	})
	var repaired uint64
	for _, n := range rest {
		repaired += n.Stats().Repaired
	}
	if repaired == 0 || repaired > uint64(2*len(m.Partitions)) {
		t.Errorf("%d copies were made for %d partitions", repaired, len(m.Partitions))
	}
	// Two at once, with R=2: what only they kept cannot be restored, and is counted.
	rest[0].kill()
	rest[1].kill()
	w.dirs.Expire(rest[0].id)
	w.dirs.Expire(rest[1].id)
	eventually(t, "the survivor counts its losses", func() bool {
		s := rest[2].Stats()
		return s.Lost+s.Below >= len(m.Partitions)-len(rest[2].mine(bg, m.Root).kept)
	})
}

// A holder that is away for a moment only is not replaced.
func TestNoHasteInRepair(t *testing.T) {
	w := newWorld(t, 4)
	for _, n := range w.nodes {
		n.cfg.RepairAfter = time.Hour
	}
	res, err := w.nodes[0].Put(bg, folder(t, 7, 10, 2000), PutOptions{PartitionBytes: 2000})
	must(t, err)
	w.nodes[1].kill()
	for _, n := range w.nodes {
		if n != w.nodes[1] {
			n.mend(bg)
			n.mend(bg)
			if s := n.Stats(); s.Repaired > 0 {
				t.Errorf("%s made %d copies at once", n.id, s.Repaired)
			}
		}
	}
	w.nodes[1].revive()
	checkSpread(t, w, res.Manifest, 2)
}

func TestDrain(t *testing.T) {
	w := newWorld(t, 4)
	src := folder(t, 8, 30, 4000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 6000})
	must(t, err)
	only, err := w.nodes[1].Put(bg, bigFile(t, 70, 50_000), PutOptions{Replicas: 1})
	must(t, err)
	leaver := w.nodes[1]
	if len(leaver.mine(bg, only.Manifest.Root).kept) == 0 {
		leaver = w.nodes[slices.IndexFunc(w.nodes, func(n *peer) bool { return n.id == only.Holders[0].Peer })]
	}
	var last Progress
	must(t, leaver.Drain(bg, func(p Progress) { last = p }))
	if last.Phase != "drain" || last.Total == 0 || last.Done != last.Total {
		t.Errorf("the last progress was %+v", last)
	}
	leaver.net.Stop()
	w.set(leaver.id, shoal.Left)
	for _, m := range []shoal.Manifest{res.Manifest, only.Manifest} {
		for i := range m.Partitions {
			kept := 0
			for _, n := range w.nodes {
				if n != leaver && slices.Contains(n.mine(bg, m.Root).kept, i) {
					kept++
				}
			}
			if kept != m.Replicas {
				t.Errorf("partition %d of %s has %d copies, want %d", i, m.Name, kept, m.Replicas)
			}
		}
	}
	// The last node cannot leave with everything.
	for _, n := range w.nodes {
		if n != w.nodes[3] {
			n.net.Stop()
			w.set(n.id, shoal.Left)
		}
	}
	err = w.nodes[3].Drain(bg, nil)
	wantKind(t, err, shoal.Refused)
	if !strings.Contains(err.Error(), res.Manifest.Root.String()) {
		t.Errorf("the error names no dataset: %v", err)
	}
}
