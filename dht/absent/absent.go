// Package absent remembers who was looked for in vain, so that the DHT is not asked again at once where a peer is that is gone. To ask makes
// some forty connections, and those who wait for such a peer (callers, subscribers, holders) try several times a second. It is a pure leaf.
package absent

import (
	"cmp"
	"sync"
	"time"
)

// How long nobody looks again: longer each time.
const (
	First = 500 * time.Millisecond
	Last  = 15 * time.Second
)

// Memory is that of one node, or of a model of all. Its methods may be called at once; the zero value is ready.
type Memory[K comparable] struct {
	Most int // whom it remembers; more, and it forgets all; default 4096

	mu    sync.Mutex
	peers map[K]absence
}

type absence struct {
	until time.Time
	wait  time.Duration
	why   error
}

// Check returns why p was not found a moment ago; nil: it is worth asking now.
func (m *Memory[K]) Check(p K, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x, ok := m.peers[p]; ok && now.Before(x.until) {
		return x.why
	}
	return nil
}

// Lost notes that p was looked for in vain.
func (m *Memory[K]) Lost(p K, why error, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x, known := m.peers[p]
	if known && now.Before(x.until) {
		return // those who asked together are one
	}
	if m.peers == nil || !known && len(m.peers) >= cmp.Or(m.Most, 4096) {
		m.peers = map[K]absence{}
	}
	x.wait = min(max(2*x.wait, First), Last)
	x.until, x.why = now.Add(x.wait), why
	m.peers[p] = x
}

// Found notes that there is a connection to p.
func (m *Memory[K]) Found(p K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.peers, p)
}
