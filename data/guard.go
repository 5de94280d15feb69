package data

import (
	"context"
	"iter"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Guard is a shoal.Store that knows which blocks operations under way have written or found present,
// so that garbage collection leaves those alone until the operation has given them a root. Graph and
// data must share one.
type Guard struct {
	store shoal.Store

	mu     sync.Mutex
	epochs []*epoch // the last one is current
}

// mark is the start of a block's hash: enough to tell blocks of one node apart.
type mark [16]byte

func markOf(c cid.Cid) (m mark) {
	h := c.Hash()
	copy(m[:], h[len(h)-min(len(h), len(m)):])
	return m
}

// epoch notes what was touched while it was current. It is forgotten once no operation that began in
// it, or earlier, is left.
type epoch struct {
	ops     int
	touched map[mark]struct{}
}

// epochBlocks is the number of touched blocks after which a new epoch begins.
const epochBlocks = 1 << 14

// NewGuard puts a guard before store.
func NewGuard(store shoal.Store) *Guard {
	return &Guard{store: store, epochs: []*epoch{{touched: map[mark]struct{}{}}}}
}

// begin starts an operation: what is touched from now on survives until the returned function has
// been called, once.
func (g *Guard) begin() (end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.epochs[len(g.epochs)-1]
	if len(e.touched) > 0 && (e.ops == 0 || len(e.touched) > epochBlocks) {
		e = &epoch{touched: map[mark]struct{}{}}
		g.epochs = append(g.epochs, e)
	}
	e.ops++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		e.ops--
		for len(g.epochs) > 1 && g.epochs[0].ops == 0 {
			g.epochs = g.epochs[1:]
		}
		if len(g.epochs) == 1 && g.epochs[0].ops == 0 {
			clear(g.epochs[0].touched)
		}
	})
}

func (g *Guard) touch(cids ...cid.Cid) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.epochs) == 1 && g.epochs[0].ops == 0 {
		return // nobody is at work
	}
	e := g.epochs[len(g.epochs)-1]
	for _, c := range cids {
		e.touched[markOf(c)] = struct{}{}
	}
}

// sweep drops those of cids that no operation under way has touched, and says how many bytes and
// blocks that freed, and how many were spared.
func (g *Guard) sweep(ctx context.Context, cids []cid.Cid) (freed uint64, blocks, spared int, err error) {
	g.mu.Lock() // whoever touches a block now waits, and then finds it absent
	defer g.mu.Unlock()
	var drop []cid.Cid
next:
	for _, c := range cids {
		for _, e := range g.epochs {
			if _, ok := e.touched[markOf(c)]; ok {
				spared++
				continue next
			}
		}
		n, err := g.store.Size(ctx, c)
		switch k := shoal.KindOf(err); {
		case err != nil && k == shoal.NotFound:
			continue
		case err != nil && k != shoal.Corrupt: // it lay in a file that changed: that can be forgotten
			return 0, 0, spared, err
		}
		copied, err := g.copied(ctx, c)
		if err != nil {
			return 0, 0, spared, err
		}
		if copied { // a file of the user's frees nothing: it stays
			freed += uint64(n)
		}
		drop = append(drop, c)
	}
	if err := g.store.Delete(ctx, drop...); err != nil {
		return 0, 0, spared, err
	}
	return freed, len(drop), spared, nil
}

func (g *Guard) copied(ctx context.Context, c cid.Cid) (bool, error) {
	if s, ok := g.store.(shoal.InPlace); ok {
		return s.Copied(ctx, c)
	}
	_, err := g.store.Size(ctx, c)
	if shoal.KindOf(err) == shoal.NotFound {
		return false, nil
	}
	return err == nil, err
}

// Put implements shoal.Store.
func (g *Guard) Put(ctx context.Context, blocks ...shoal.Block) error {
	g.touchBlocks(blocks)
	return g.store.Put(ctx, blocks...)
}

// PutRaw implements shoal.Raw, as well as the store can.
func (g *Guard) PutRaw(ctx context.Context, blocks ...shoal.Block) error {
	g.touchBlocks(blocks)
	if s, ok := g.store.(shoal.Raw); ok {
		return s.PutRaw(ctx, blocks...)
	}
	return g.store.Put(ctx, blocks...)
}

func (g *Guard) touchBlocks(blocks []shoal.Block) {
	cids := make([]cid.Cid, 0, len(blocks))
	for _, b := range blocks {
		if b.CID.Defined() {
			cids = append(cids, b.CID)
		}
	}
	g.touch(cids...)
}

// Get implements shoal.Store.
func (g *Guard) Get(ctx context.Context, c cid.Cid) ([]byte, error) { return g.store.Get(ctx, c) }

// Raw implements shoal.Raw, as well as the store can.
func (g *Guard) Raw(ctx context.Context, c cid.Cid, room func(n int) []byte) ([]byte, error) {
	if s, ok := g.store.(shoal.Raw); ok {
		return s.Raw(ctx, c, room)
	}
	b, err := g.store.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	return append(room(len(b))[:0], b...), nil
}

// Size implements shoal.Store. Whoever learns that a block is there may count on it until its
// operation ends.
func (g *Guard) Size(ctx context.Context, c cid.Cid) (int, error) {
	if c.Defined() {
		g.touch(c)
	}
	return g.store.Size(ctx, c)
}

// Copied implements shoal.InPlace. Of a store that copies all it keeps it says whether that has a block.
func (g *Guard) Copied(ctx context.Context, c cid.Cid) (bool, error) {
	if c.Defined() {
		g.touch(c)
	}
	return g.copied(ctx, c)
}

// Refer implements shoal.InPlace, if the store does.
func (g *Guard) Refer(ctx context.Context, places ...shoal.Place) error {
	s, ok := g.store.(shoal.InPlace)
	if !ok {
		return shoal.E(shoal.Invalid, "note where blocks lie", "this store copies all it keeps", "")
	}
	for _, p := range places {
		if p.CID.Defined() {
			g.touch(p.CID)
		}
	}
	return s.Refer(ctx, places...)
}

// Delete implements shoal.Store.
func (g *Guard) Delete(ctx context.Context, cids ...cid.Cid) error {
	return g.store.Delete(ctx, cids...)
}

// All implements shoal.Store.
func (g *Guard) All(ctx context.Context) iter.Seq2[cid.Cid, error] { return g.store.All(ctx) }
