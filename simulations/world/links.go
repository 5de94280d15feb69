package world

import (
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// links are the faults of the network that hold at the moment.
type links struct {
	w *world

	mu  sync.Mutex
	all []*linkFault
}

// linkFault says what is wrong from a to b.
type linkFault struct {
	of func(a, b *machine) (cut bool, slow float64)
}

// add has a fault hold until undo is called.
func (l *links) add(of func(a, b *machine) (cut bool, slow float64)) (undo func()) {
	f := &linkFault{of}
	change := func(edit func()) {
		l.mu.Lock()
		edit()
		list := slices.Clone(l.all)
		l.mu.Unlock()
		l.tell(list)
	}
	change(func() { l.all = append(l.all, f) })
	return func() {
		change(func() { l.all = slices.DeleteFunc(l.all, func(x *linkFault) bool { return x == f }) })
	}
}

// tell has the network follow a list of faults.
func (l *links) tell(list []*linkFault) {
	byPeer := map[peer.ID]*machine{}
	for _, m := range l.w.machines {
		byPeer[peerOf(m.id)] = m
	}
	at := func(a, b peer.ID) (cut bool, slow float64) {
		slow = 1
		from, to := byPeer[a], byPeer[b]
		if from == nil || to == nil {
			return false, 1
		}
		for _, f := range list {
			c, s := f.of(from, to)
			cut, slow = cut || c, slow*s
		}
		return cut, slow
	}
	l.w.net.Cut(func(a, b peer.ID) bool { c, _ := at(a, b); return c })
	l.w.net.Slow(func(a, b peer.ID) float64 { _, s := at(a, b); return s })
}
