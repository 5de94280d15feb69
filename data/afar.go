package data

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Bounds on what is at hand of graphs that are read in parts.
const (
	atHandBytes = 8 << 20                // of leaves
	atHandTime  = 100 * time.Millisecond // of a leaf: what is read for longer is read again, and paid again
	atHandNodes = 4 << 20                // bytes of inner nodes
	maxDistant  = 256                    // graphs whose holders are remembered
	maxFound    = 1024                   // files whose CIDs are
	maxFetches  = 64                     // blocks on their way at once; more wait
	distantTime = 30 * time.Second       // after which holders are looked for anew: there may be nearer ones
)

// afar is what is at hand of graphs that are read in parts: a few leaves, for a moment, and inner nodes. It is no copy: if
// what is read again and again stayed here, unknown to others, nobody would see that it is wanted here.
type afar struct {
	flights flights // of blocks
	slots   chan struct{}

	mu     sync.Mutex
	leaves atHand
	nodes  atHand
	graphs map[cid.Cid]distant
	files  map[filePath]cid.Cid
}

type filePath struct {
	root cid.Cid
	path string
}

// distant is who has parts of a graph.
type distant struct {
	held  []holding
	asked time.Time
	last  shoal.PeerID // who served last
}

// has returns a block that is at hand.
func (a *afar) has(c cid.Cid) ([]byte, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Type() == cid.Raw {
		return a.leaves.get(c, time.Now().Add(-atHandTime))
	}
	return a.nodes.get(c, time.Time{})
}

func (a *afar) keep(c cid.Cid, b []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.Type() == cid.Raw {
		a.leaves.put(c, b, atHandBytes)
	} else {
		a.nodes.put(c, b, atHandNodes)
	}
}

// found returns the CID of a file that was looked up before.
func (a *afar) found(root cid.Cid, path string) (cid.Cid, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.files[filePath{root, path}]
	return c, ok
}

func (a *afar) find(root cid.Cid, path string, c cid.Cid) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.files == nil || len(a.files) >= maxFound {
		a.files = map[filePath]cid.Cid{}
	}
	a.files[filePath{root, path}] = c
}

// holders says who has parts of a graph; anew: as of now, give or take a second.
func (a *afar) holders(ctx context.Context, d *Data, root cid.Cid, anew bool) (distant, error) {
	a.mu.Lock()
	at, ok := a.graphs[root]
	a.mu.Unlock()
	age := distantTime
	if anew {
		age = time.Second
	}
	if !ok || time.Since(at.asked) > age {
		held, _, err := d.locate(ctx, root)
		if err != nil {
			return at, err
		}
		at.held, at.asked = held, time.Now()
		a.mu.Lock()
		if a.graphs == nil || len(a.graphs) >= maxDistant {
			a.graphs = map[cid.Cid]distant{}
		}
		a.graphs[root] = at
		a.mu.Unlock()
	}
	at.held = slices.Clone(at.held)
	return at, nil
}

func (a *afar) served(root cid.Cid, p shoal.PeerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.graphs[root]; ok && at.last != p {
		at.last = p
		a.graphs[root] = at
	}
}

// atHand keeps blocks up to a number of bytes, the newest ones.
type atHand struct {
	by    map[cid.Cid]handy
	order []cid.Cid
	bytes int
}

type handy struct {
	b  []byte
	at time.Time
}

func (h *atHand) get(c cid.Cid, since time.Time) ([]byte, bool) {
	got, ok := h.by[c]
	return got.b, ok && got.at.After(since)
}

// put keeps a block as of now. The newest one stays, however large.
func (h *atHand) put(c cid.Cid, b []byte, most int) {
	if h.by == nil {
		h.by = map[cid.Cid]handy{}
	}
	if old, ok := h.by[c]; ok {
		h.bytes -= len(old.b)
		h.order = slices.DeleteFunc(h.order, c.Equals)
	}
	h.by[c] = handy{b, time.Now()}
	h.order = append(h.order, c)
	h.bytes += len(b)
	for h.bytes > most && len(h.order) > 1 {
		h.bytes -= len(h.by[h.order[0]].b)
		delete(h.by, h.order[0])
		h.order = h.order[1:]
	}
}
