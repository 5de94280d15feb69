package data

import (
	"slices"
	"testing"

	"github.com/shoal-fabric/shoal"
)

// copiesOf is how many of the nodes keep the partition that the fewest keep.
func copiesOf(m *shoal.Manifest, nodes ...*peer) (least int) {
	least = len(nodes)
	for i := range m.Partitions {
		n := 0
		for _, p := range nodes {
			if slices.Contains(p.now.Load().mine(bg, m.Root).kept, i) {
				n++
			}
		}
		least = min(least, n)
	}
	return least
}

// settled waits until each of the nodes that keep something knows that nothing is missing, and has seen the others' disks.
func settled(t *testing.T, w *world, m *shoal.Manifest) {
	t.Helper()
	eventually(t, "all have counted and visited", func() bool {
		for _, n := range w.nodes {
			if len(n.mine(bg, m.Root).kept) == 0 {
				continue
			}
			n.repair.mu.Lock()
			c := n.repair.counts[m.Root]
			n.repair.mu.Unlock()
			n.visits.mu.Lock()
			met := len(n.visits.store)
			n.visits.mu.Unlock()
			if c == nil || c.below > 0 || met == 0 || met < len(n.fellows()) {
				return false
			}
		}
		return true
	})
}

// A machine that comes back with an empty disk, so soon that nobody missed it, is not counted for what it kept.
func TestWipedIsNoticed(t *testing.T) {
	w := newWorld(t, 5)
	res, err := w.nodes[0].Put(bg, folder(t, 61, 40, 4000), PutOptions{PartitionBytes: 8000})
	must(t, err)
	m := &res.Manifest
	for _, n := range w.nodes {
		n.run()
	}
	settled(t, w, m)
	lost := w.nodes[slices.IndexFunc(w.nodes, func(n *peer) bool { return len(n.mine(bg, m.Root).kept) > 0 })]
	lost.wipe()
	if n := copiesOf(m, w.nodes...); n != 1 {
		t.Fatalf("%d copies of each after the loss", n)
	}
	lost.run()
	eventually(t, "the copies are made anew", func() bool { return copiesOf(m, w.nodes...) >= 2 })
}

// Where there is no table of all members, holders notice by themselves that one of them is gone.
func TestGoneIsNoticedWithoutTable(t *testing.T) {
	w := newWorld(t, 5)
	res, err := w.nodes[0].Put(bg, folder(t, 62, 40, 4000), PutOptions{PartitionBytes: 8000})
	must(t, err)
	m := &res.Manifest
	for _, n := range w.nodes {
		n.run()
	}
	settled(t, w, m)
	at := slices.IndexFunc(w.nodes, func(n *peer) bool { return len(n.mine(bg, m.Root).kept) > 0 })
	lost := w.nodes[at]
	lost.net.Stop()
	w.mu.Lock()
	delete(w.state, lost.id)
	w.mu.Unlock()
	w.dirs.Expire(lost.id)
	rest := slices.Delete(slices.Clone(w.nodes), at, at+1)
	eventually(t, "the copies are made anew", func() bool { return copiesOf(m, rest...) >= 2 })
}
