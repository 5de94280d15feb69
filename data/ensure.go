package data

import (
	"context"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// lingering is how long what Ensure brought is safe from garbage collection without a root of its
// own: the time to Open it.
const lingering = time.Minute

// Ensure returns when all blocks of the graph c are on this node, and says how many bytes had to
// move for that. It reads from the peers in from, and from others that hold c when those are none,
// too few or fail; the last resort is bitswap. What arrived before an error stays.
//
// What it brings is cache: not announced, and dropped, oldest first, when space is wanted. It is safe
// for a minute, and while it is open.
func (d *Data) Ensure(ctx context.Context, c cid.Cid, class Class, from []shoal.PeerID) (moved uint64, err error) {
	if err := checkGraph("fetch", c); err != nil {
		return 0, err
	}
	what := "fetch " + c.String()
	d.holds.linger(c, lingering)
	for range 2 {
		if _, missing, err := d.Missing(ctx, c); err == nil && missing == 0 {
			d.used(c)
			return moved, nil
		}
		n, joined, err := d.flights.do(ctx, c, func(ctx context.Context) (uint64, error) {
			return d.bring(ctx, c, class, from)
		})
		moved += n
		if err == nil {
			return moved, nil
		}
		if !joined || ctx.Err() != nil { // another caller's fetch failed; his hints may have been worse
			return moved, shoal.Wrap(shoal.Unavailable, what, err)
		}
	}
	n, err := d.bring(ctx, c, class, from)
	return moved + n, shoal.Wrap(shoal.Unavailable, what, err)
}

// checkGraph refuses what cannot be a file or folder.
func checkGraph(what string, c cid.Cid) error {
	switch {
	case !c.Defined():
		return shoal.E(shoal.Invalid, what, "no CID", "")
	case c.Type() != cid.Raw && c.Type() != cid.DagProtobuf:
		return shoal.E(shoal.Invalid, what+" "+c.String(),
			fmt.Sprintf("its codec (0x%x) is not that of a file or folder", c.Type()), "give the CID of a file or folder")
	}
	return nil
}

// bring fetches what is missing of c and notes it as cached.
func (d *Data) bring(ctx context.Context, c cid.Cid, class Class, from []shoal.PeerID) (uint64, error) {
	defer d.Store.begin()()
	defer d.holds.take(c)()
	moved, m, err := d.pull(ctx, c, class, from)
	if err != nil && ctx.Err() == nil && class == Content {
		switch shoal.KindOf(err) {
		case shoal.NotFound, shoal.Unavailable, shoal.Corrupt:
			if d.swap(ctx, c, from) == nil {
				err = nil
			}
		}
	}
	if err != nil {
		return moved, err
	}
	return moved, d.cached(ctx, c, m, false)
}

// swap is the last resort: bitswap, with whoever is connected.
func (d *Data) swap(ctx context.Context, c cid.Cid, from []shoal.PeerID) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return d.Graph.Fetch(ctx, c, d.addresses(from))
}

// addresses returns the full multiaddrs of members.
func (d *Data) addresses(peers []shoal.PeerID) (out []string) {
	for _, m := range d.Members() {
		for _, p := range peers {
			if m.ID != p {
				continue
			}
			for _, a := range m.Addresses {
				out = append(out, a+"/p2p/"+string(p))
			}
		}
	}
	return out
}

// pull fetches what is missing of c from members. The manifest is nil when none was needed.
func (d *Data) pull(
	ctx context.Context, c cid.Cid, class Class, from []shoal.PeerID,
) (uint64, *shoal.Manifest, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := d.newFetch(ctx, c, class)
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		f.store()
	}()
	defer func() { // nothing goes on behind the caller's back
		cancel()
		<-stored
	}()
	for _, p := range from {
		f.addSource(p)
	}
	m, found, err := f.look(c, len(from) > 0)
	if err == nil {
		err = f.graphs(c, m, found)
	}
	return f.finish(), m, err
}

// look finds the manifest of c, and more sources if there are none or the manifest says who has what.
// It is nil when sources were named and none was needed.
func (f *fetch) look(c cid.Cid, named bool) (m *shoal.Manifest, found []holding, err error) {
	if s := f.d.know(c); s != nil && !s.Bare && s.Gone == 0 {
		m = s.m
	}
	if named && (m == nil || len(m.Partitions) == 1) {
		return m, nil, nil
	}
	f.mu.Lock()
	f.looked = true
	f.mu.Unlock()
	at, manifest, err := f.d.locate(f.ctx, c)
	for _, h := range at {
		f.addSource(h.peer)
	}
	switch {
	case err == nil:
		return manifest, at, nil
	case named:
		return m, nil, nil
	}
	return m, nil, err
}

// graphs walks a dataset's partitions and then the whole, queues what is missing, and waits for it.
func (f *fetch) graphs(c cid.Cid, m *shoal.Manifest, found []holding) error {
	more := func() bool {
		f.find(c)
		return true
	}
	if m != nil && len(m.Partitions) > 1 {
		for i, p := range m.Partitions {
			holders := map[shoal.PeerID]bool{}
			for _, h := range found {
				for _, n := range h.have {
					if n == i {
						holders[h.peer] = true
					}
				}
			}
			if err := f.graph(p.CID, f.newPile(holders), more, true); err != nil {
				return err
			}
		}
	}
	if err := f.graph(c, f.anyone, more, true); err != nil {
		return err
	}
	if err := f.flushNodes(); err != nil { // of all graphs at once: each write waits for the disk
		return err
	}
	return f.wait(more)
}

// graph walks one graph: it fetches inner nodes at once and queues missing leaves, if they are wanted.
// flushNodes must follow.
func (f *fetch) graph(c cid.Cid, p *pile, more func() bool, leaves bool) error {
	var missing uint64
	return f.d.Graph.Walk(f.ctx, c, f.get(p.holders, more), func(c cid.Cid, size int, leaf bool) error {
		if !leaf || !leaves || f.wasAsked(c) {
			return nil
		}
		_, err := f.d.Store.Size(f.ctx, c)
		switch k := shoal.KindOf(err); {
		case err == nil:
			return nil
		case k == shoal.Corrupt:
			f.spoil(err)
		case k != shoal.NotFound:
			return err
		}
		if f.full != nil {
			if err := f.waitFor(func() bool { return !f.full() }, more); err != nil {
				return err
			}
		}
		f.queue(p, c, size)
		if missing += uint64(size); missing > manyBytes && !f.hasLooked() {
			more()
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.err
	})
}

func (f *fetch) hasLooked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looked
}

// part brings one partition here, for whoever keeps a record of it himself.
func (d *Data) part(ctx context.Context, c cid.Cid, from []shoal.PeerID) (uint64, error) {
	if _, missing, err := d.Missing(ctx, c); err == nil && missing == 0 {
		return 0, d.touchAll(ctx, c)
	}
	moved, _, err := d.flights.do(ctx, c, func(ctx context.Context) (uint64, error) {
		defer d.Store.begin()()
		moved, _, err := d.pull(ctx, c, Content, from)
		return moved, err
	})
	if err != nil {
		return moved, err
	}
	return moved, d.touchAll(ctx, c)
}

// touchAll has the operation under way count on all blocks of a graph that is here.
func (d *Data) touchAll(ctx context.Context, c cid.Cid) error {
	return d.Graph.Walk(ctx, c, d.Store.Get, func(c cid.Cid, _ int, _ bool) error {
		_, err := d.Store.Size(ctx, c)
		return err
	})
}

// inner brings the inner nodes of a dataset here.
func (d *Data) inner(ctx context.Context, m *shoal.Manifest, from []shoal.PeerID) (uint64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := d.newFetch(ctx, m.Root, Content)
	for _, p := range from {
		f.addSource(p)
	}
	err := f.graph(m.Root, f.anyone, func() bool {
		f.find(m.Root)
		return true
	}, false)
	if err == nil {
		err = f.flushNodes()
	}
	return f.finish(), err
}

// Missing returns how many bytes of the graph c are on this node and how many are not, as far as its
// inner nodes are here. NotFound: nothing of it is, and nobody said how large it is.
func (d *Data) Missing(ctx context.Context, c cid.Cid) (have, missing uint64, err error) {
	if n, ok := d.complete.get(c); ok {
		return n, 0, nil
	}
	gap := false
	get := func(ctx context.Context, c cid.Cid) ([]byte, error) {
		b, err := d.Store.Get(ctx, c)
		if k := shoal.KindOf(err); err != nil && (k == shoal.NotFound || k == shoal.Corrupt) {
			gap = true
		}
		return b, err
	}
	since := d.complete.now()
	err = d.Graph.Walk(ctx, c, get, func(c cid.Cid, size int, leaf bool) error {
		if !leaf {
			have += uint64(size)
			return nil
		}
		n, err := d.Store.Size(ctx, c)
		switch k := shoal.KindOf(err); {
		case err == nil:
			have += uint64(n)
		case k == shoal.NotFound || k == shoal.Corrupt:
			missing += max(uint64(size), 1)
		default:
			return err
		}
		return nil
	})
	switch {
	case err == nil && missing == 0:
		d.complete.add(c, have, since)
		return have, 0, nil
	case err == nil && have > 0:
		return have, missing, nil
	case err != nil && !gap:
		return 0, 0, err
	}
	size := d.expected(c)
	if size == 0 && have == 0 {
		return 0, 0, shoal.E(shoal.NotFound, "size of "+c.String(), "nothing of it is on this node", "")
	}
	if size > have {
		missing = max(missing, size-have)
	}
	return have, max(missing, 1), nil
}

// expected returns the bytes of content of c, as a manifest says; 0: nobody said.
func (d *Data) expected(c cid.Cid) uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if s := d.sets[c]; s != nil {
		return s.m.Bytes
	}
	for _, at := range d.parts[c] {
		return d.sets[at.root].m.Partitions[at.index].Bytes
	}
	return 0
}

// cached notes that all of c is here, and when. m may be nil.
func (d *Data) cached(ctx context.Context, c cid.Cid, m *shoal.Manifest, show bool) error {
	made := m == nil || !m.Root.Equals(c)
	if made {
		have, _, err := d.Missing(ctx, c)
		if err != nil {
			return err
		}
		if m = d.partition(c); m == nil {
			m = bare(c, have)
		}
	} else {
		made = m.Name == "" && len(m.Partitions) == 1
	}
	s, err := d.update(m, func(r *role) {
		r.Bare = r.Bare && made
		r.Used = time.Now().Unix()
		r.Shown = r.Shown || show
		r.Gone = 0
	})
	if err != nil {
		return err
	}
	if s.m.Public {
		d.publicise(ctx, s.m)
	}
	if show {
		d.announce(ctx, s)
	}
	return nil
}

// used notes that c, which is here, was wanted again; on disk now and then.
func (d *Data) used(c cid.Cid) {
	s := d.know(c)
	if s == nil || s.Used == 0 || time.Now().Unix()-s.Used < 600 {
		return
	}
	if _, err := d.update(s.m, func(r *role) { r.Used = time.Now().Unix() }); err != nil {
		d.log.Debug("note use", "cid", c, "err", err)
	}
}

// Open shows the graph c, whose blocks are here after Ensure, as a file system. A root that is a file
// appears under its dataset's name. A block that turns out to be damaged is fetched again. ctx bounds
// all reading, and keeps garbage collection off until it ends.
func (d *Data) Open(ctx context.Context, c cid.Cid) (Tree, error) {
	if err := checkGraph("open", c); err != nil {
		return nil, err
	}
	release := d.holds.take(c)
	t, err := d.Graph.Tree(ctx, c, d.name(c), d.reader(c))
	if err != nil {
		release()
		return nil, err
	}
	context.AfterFunc(ctx, release)
	return t, nil
}

// name is what a lone file is called.
func (d *Data) name(c cid.Cid) string {
	if s := d.know(c); s != nil && s.m.Name != "" {
		return s.m.Name
	}
	if m := d.partition(c); m != nil && m.Name != "" {
		return m.Name
	}
	return "data"
}
