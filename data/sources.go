package data

import (
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
)

// addSource has the fetch read from a peer as well.
func (f *fetch) addSource(p shoal.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.known[p] || p == "" {
		return
	}
	if f.d.avoided.has(p) {
		f.last = shoal.E(shoal.Corrupt, "fetch from "+p.Short(), "it sent wrong bytes before", "")
		return
	}
	f.known[p] = true
	s := &source{f: f, peer: p, far: f.d.rtt(p), room: make(chan struct{}, 1)}
	at := len(f.sources)
	for at > 0 && f.sources[at-1].far > s.far {
		at-- // the nearest are asked first: of what is one piece they bring all
	}
	f.sources = slices.Insert(f.sources, at, s)
	f.changed()
	f.enlist()
}

// spareAfter is how long a source that was started may take until it asks for something: then others are started for that, too.
const spareAfter = 100 * time.Millisecond

// enlist starts as many sources as may work at once, the nearest first, but no more than there is work for: of what is one piece the nearest
// brings all. The caller holds mu.
func (f *fetch) enlist() { f.start(false) }

// start is enlist; spare: sources that have not asked for anything yet count as if they were not there.
func (f *fetch) start(spare bool) {
	if f.open == 0 || f.closed {
		return
	}
	running, free, waiting := 0, 0, 0
	for _, s := range f.sources {
		if useful := f.useful(s); s.running && !s.dead && (s.outstanding > 0 || useful) {
			running++
			if s.outstanding == 0 && !spare {
				free++
			}
		}
	}
	for _, p := range f.piles {
		waiting += len(p.items)
	}
	for _, s := range f.sources {
		switch {
		case running >= f.d.cfg.Sources:
			return
		case s.running || s.dead || !f.useful(s):
		case free >= waiting:
			if f.spare == nil {
				f.spare = time.AfterFunc(spareAfter, func() {
					f.mu.Lock()
					defer f.mu.Unlock()
					f.spare = nil
					f.start(true)
				})
			}
			return
		default:
			s.running = true
			running++
			free++
			go s.run()
		}
	}
}

// useful reports whether a source could bring anything now. The caller holds mu.
func (f *fetch) useful(s *source) bool {
	for _, p := range f.piles {
		if len(p.items) > 0 && f.mayTake(p, s) &&
			slices.ContainsFunc(p.items, func(it *item) bool { return !it.tried[s] }) {
			return true
		}
	}
	return false
}

// mayTake reports whether s should be asked for what is in p: peers that said they hold it go first.
// The caller holds mu.
func (f *fetch) mayTake(p *pile, s *source) bool {
	if p.holders == nil || p.holders[s.peer] {
		return true
	}
	for _, other := range f.sources {
		if !other.dead && p.holders[other.peer] {
			return false
		}
	}
	return true
}

// next returns items for s of about n bytes, none when there is nothing for it now. The caller holds
// mu.
func (f *fetch) next(s *source, n int) (out []*item) {
	for _, p := range f.piles {
		if len(p.items) == 0 || !f.mayTake(p, s) {
			continue
		}
		var skipped []*item
		i := 0
		for ; i < len(p.items) && n > 0 && len(out) < pieces.MaxWant; i++ {
			it := p.items[i]
			if it.tried[s] {
				skipped = append(skipped, it)
				continue
			}
			out = append(out, it)
			n -= max(it.size, 1)
		}
		if p.items = p.items[i:]; len(skipped) > 0 {
			p.items = append(skipped, p.items...)
		}
		if n <= 0 || len(out) == pieces.MaxWant {
			break
		}
	}
	if len(out) > 0 {
		f.enlist() // for what is left, one fewer is free
	}
	return out
}
