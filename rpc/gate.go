package rpc

import (
	"context"
	"sync"
)

// gate bounds how many things are under way and how many bytes they hold. Those who wait are let in
// in their order, so a large one is not starved by small ones.
type gate struct {
	mu       sync.Mutex
	count    int
	bytes    int64
	maxCount int
	maxBytes int64
	waiting  []*waiter
}

type waiter struct {
	bytes int64
	in    chan struct{}
}

func newGate(maxCount int, maxBytes int64) *gate {
	return &gate{maxCount: maxCount, maxBytes: maxBytes}
}

// fits reports whether one more of that size may pass. One alone may always pass.
func (g *gate) fits(bytes int64) bool {
	return g.count == 0 || g.count < g.maxCount && g.bytes+bytes <= g.maxBytes
}

// try lets one in if there is room now.
func (g *gate) try(bytes int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) > 0 || !g.fits(bytes) {
		return false
	}
	g.count++
	g.bytes += bytes
	return true
}

// enter waits for room while ctx lasts.
func (g *gate) enter(ctx context.Context, bytes int64) error {
	g.mu.Lock()
	if len(g.waiting) == 0 && g.fits(bytes) {
		g.count++
		g.bytes += bytes
		g.mu.Unlock()
		return nil
	}
	w := &waiter{bytes, make(chan struct{})}
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.waiting {
		if other == w {
			g.waiting = append(g.waiting[:i], g.waiting[i+1:]...)
			g.admit() // the one behind it may fit
			return ctx.Err()
		}
	}
	return nil // it was let in meanwhile
}

// leave gives back what try or enter took.
func (g *gate) leave(bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.count--
	g.bytes -= bytes
	g.admit()
}

// grow takes more bytes for one that is in, without asking.
func (g *gate) grow(bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes += bytes
}

func (g *gate) admit() {
	for len(g.waiting) > 0 && g.fits(g.waiting[0].bytes) {
		w := g.waiting[0]
		g.waiting = g.waiting[1:]
		g.count++
		g.bytes += w.bytes
		close(w.in)
	}
}
