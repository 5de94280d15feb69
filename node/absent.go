package node

import (
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

// How long the DHT is not asked again where a peer is that was not found there, or not reached where it was said to be: longer each time.
// To ask makes some forty connections, and those who wait for a peer that is gone (callers, subscribers, holders) try several times a second.
const (
	absentFirst = 500 * time.Millisecond
	absentLast  = 15 * time.Second
	mostAbsent  = 4096 // peers remembered
)

// absent remembers who was looked for in vain. Its methods may be called at once; the zero value is ready.
type absent struct {
	mu    sync.Mutex
	peers map[shoal.PeerID]absence
}

type absence struct {
	until time.Time
	wait  time.Duration
	why   error
}

// check returns why p was not found a moment ago; nil: it is worth asking now.
func (a *absent) check(p shoal.PeerID, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if x, ok := a.peers[p]; ok && now.Before(x.until) {
		return x.why
	}
	return nil
}

// lost notes that p was looked for in vain.
func (a *absent) lost(p shoal.PeerID, why error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, known := a.peers[p]
	switch {
	case known && now.Before(x.until):
		return // those who asked together are one
	case len(a.peers) >= mostAbsent || a.peers == nil:
		a.peers = map[shoal.PeerID]absence{}
	}
	x.wait = min(max(2*x.wait, absentFirst), absentLast)
	x.until, x.why = now.Add(x.wait), why
	a.peers[p] = x
}

// found notes that there is a connection to p.
func (a *absent) found(p shoal.PeerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.peers, p)
}
