package data

import (
	"context"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// pour is a graph on its way into files: leaves are fetched some way ahead of where they are written,
// and are gone once they were read. Only inner nodes come into the store.
type pour struct {
	f *fetch

	// Guarded by f.mu.
	have  map[cid.Cid][]byte // arrived and not read
	waits cid.Cid            // which one the reader waits for
	sizes map[cid.Cid]int    // asked for and not read, as the parent says
	sum   int                // of sizes
	most  int                // bound of sum
	over  bool               // sum reached it, and has not fallen to three quarters
	read  map[cid.Cid]bool   // were read, and are gone
	last  shoal.Block        // the one read last: a sparse file repeats it
}

// pour fetches root, a part of c, while write reads it, and says how many bytes moved. write is told
// how many there will be, if that is known.
func (d *Data) pour(ctx context.Context, c, root cid.Cid, write func(t Tree, total uint64) error) (moved uint64, err error) {
	defer d.Store.begin()()
	defer d.holds.take(root)()
	from, err := d.holdersOf(ctx, c, root)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := d.newFetch(ctx, root, Content)
	p := &pour{
		f: f, most: 4 * d.cfg.Window,
		have: map[cid.Cid][]byte{}, sizes: map[cid.Cid]int{}, read: map[cid.Cid]bool{},
	}
	f.deliver, f.full, f.queued = p.take, func() bool { return p.over }, p.queued
	for _, peer := range from {
		f.addSource(peer)
	}
	m, found, err := f.look(root, len(from) > 0)
	if err == nil { // the inner nodes first: the tree is read along them
		err = f.graph(root, f.anyone, func() bool { f.find(root); return true }, false)
	}
	if err == nil {
		err = f.flushNodes()
	}
	parts := m
	if alike(m, found) { // then who has what is no question, and the partitions' own nodes need not come
		parts = nil
	}
	walked := make(chan struct{})
	prepared := err == nil
	go func() {
		defer close(walked)
		if prepared {
			f.fail(f.graphs(root, parts, found))
		}
	}()
	defer func() { // nothing goes on behind the caller's back
		cancel()
		<-walked
		moved = f.finish()
	}()
	if err != nil {
		return 0, err
	}
	t, err := d.Graph.Tree(ctx, root, d.name(root), p.get)
	if err != nil {
		return 0, err
	}
	var total uint64
	if m != nil {
		total = m.Bytes
	}
	return 0, write(t, total)
}

// alike reports whether all who were found have all partitions.
func alike(m *shoal.Manifest, found []holding) bool {
	return m != nil && !slices.ContainsFunc(found, func(h holding) bool { return len(h.have) < len(m.Partitions) })
}

// queued notes a leaf that is asked for. The caller holds f.mu.
func (p *pour) queued(c cid.Cid, size int) {
	p.sizes[c] = size
	p.sum += size
	p.over = p.over || p.sum >= p.most
}

// take is where the fetch delivers.
func (p *pour) take(b shoal.Block) error {
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	p.have[b.CID] = b.Data
	if p.f.open--; p.f.open == 0 || p.waits.Equals(b.CID) {
		p.f.changed()
	}
	return nil
}

// gone notes that a leaf was read. The one read before it is needed no more: whoever writes files reads one
// after the other, and each leaf by leaf. The caller holds f.mu.
func (p *pour) gone(c cid.Cid, data []byte) {
	p.f.d.buffers.Put(p.last.Data)
	p.read[c], p.last = len(data) > 0, shoal.Block{CID: c, Data: data}
	p.sum -= p.sizes[c]
	delete(p.sizes, c)
	if p.over && p.sum <= p.most/4*3 {
		p.over = false
		p.f.changed()
	}
}

// get is the Getter of the tree. What it returns may be used until it is called for another leaf.
func (p *pour) get(ctx context.Context, c cid.Cid) ([]byte, error) {
	f := p.f
	f.mu.Lock()
	if f.asked[c] {
		if p.last.CID.Equals(c) {
			defer f.mu.Unlock()
			return p.last.Data, nil
		}
		if p.read[c] { // it occurs again
			delete(p.read, c)
			f.enqueue(f.anyone, c, len(p.last.Data))
		}
	}
	asked := f.asked[c]
	f.mu.Unlock()
	if !asked {
		b, err := f.d.Store.Get(ctx, c)
		if k := shoal.KindOf(err); err == nil || k != shoal.NotFound && k != shoal.Corrupt {
			return b, err
		}
		if c.Type() != cid.Raw {
			return nil, err
		}
		f.queue(f.anyone, c, 1) // the walk is not there yet, or goes another way
	}
	var out []byte
	err := f.waitFor(func() bool {
		b, ok := p.have[c]
		switch {
		case !ok:
			p.waits = c
		case out == nil:
			out = b
			if len(b) > 0 { // empty files are asked for again and again
				delete(p.have, c)
			}
			p.gone(c, b)
		}
		return ok
	}, func() bool { f.find(c); return true })
	return out, err
}
