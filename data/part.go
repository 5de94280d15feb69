package data

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Way says from whom to read what is not here, and is told what was read.
type Way struct {
	// Rank orders the holders: the lowest is asked first. nil: all are equal.
	Rank func(p shoal.PeerID) int
	// Read is told of each block of content that was read: from this node, and then took is 0, or from a peer, and how
	// long it took. Of one that was read a moment ago it is told nothing. It may be called from many goroutines. nil: nobody.
	Read func(from shoal.PeerID, bytes int, took time.Duration)
}

// ReadPart fills b with what the file at path in the graph c has from offset on, and says how much that is: fewer bytes
// come only at its end. path is "" for a graph that is one file. Blocks that are not here come from holders, each held against
// its CID, and only those that the part touches. They are not kept: a copy that others are to know of is Ensure's or Pin's work.
// Blocks that were read a moment ago are still at hand, for whoever reads a file in small steps.
//
// Invalid: no CID, a folder, a path that leaves the graph, or an offset beyond the end. NotFound: nobody who can be
// reached has it, or there is no such file in it.
func (d *Data) ReadPart(ctx context.Context, c cid.Cid, path string, offset int64, b []byte, w Way) (int, error) {
	what := "read " + strings.TrimSuffix(c.String()+"/"+strings.Trim(path, "/"), "/")
	if err := checkGraph("read", c); err != nil {
		return 0, err
	}
	r := &parts{d: d, root: c, way: w}
	file, err := r.find(ctx, path)
	if err != nil {
		return 0, why(what, err)
	}
	n, err := r.read(ctx, file, offset, b)
	return n, why(what, err)
}

// ListPart lists the folder at path in the graph c by name: up to limit entries after a name. Of a file it gives one entry
// without a name. Like ReadPart it reads from holders what is not here.
func (d *Data) ListPart(ctx context.Context, c cid.Cid, path, after string, limit int, w Way) ([]shoal.File, error) {
	what := "list " + strings.TrimSuffix(c.String()+"/"+strings.Trim(path, "/"), "/")
	if err := checkGraph("list", c); err != nil {
		return nil, err
	}
	r := &parts{d: d, root: c, way: w}
	list, err := r.list(ctx, path, after, limit)
	return list, why(what, err)
}

// why names what failed. Errors of a tree say which path; what is behind them counts.
func why(what string, err error) error {
	var e *shoal.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return shoal.Wrap(shoal.Internal, what, e)
	case errors.Is(err, fs.ErrNotExist):
		return shoal.E(shoal.NotFound, what, "there is none in the dataset", "'shoal ls' lists what is")
	case errors.Is(err, fs.ErrInvalid):
		return shoal.E(shoal.Invalid, what, "the path leaves the dataset", "leave out '..'")
	}
	return shoal.Wrap(shoal.Internal, what, err)
}

// parts reads of one graph, for one caller.
type parts struct {
	d    *Data
	root cid.Cid
	way  Way
}

// tree opens the graph, or a file of it. A file alone is called by name.
func (r *parts) tree(ctx context.Context, c cid.Cid, name string) (Tree, error) {
	return r.d.Graph.Tree(ctx, c, name, r.get)
}

// clean makes a path one of fs.FS.
func clean(path string) (string, error) {
	path = cmp.Or(strings.Trim(path, "/"), ".")
	if !fs.ValidPath(path) {
		return "", fs.ErrInvalid
	}
	return path, nil
}

// alone is what a file is called that is opened by itself.
const alone = "file"

// find returns the CID of a file.
func (r *parts) find(ctx context.Context, path string) (cid.Cid, error) {
	path, err := clean(path)
	if err != nil {
		return cid.Undef, err
	}
	if c, ok := r.d.afar.found(r.root, path); ok {
		return c, nil
	}
	t, err := r.tree(ctx, r.root, alone)
	if err != nil {
		return cid.Undef, err
	}
	at := path
	if name, ok := (&writer{t: t}).lone(); ok && path == "." {
		at = name
	}
	info, err := fs.Stat(t, at)
	if err != nil {
		return cid.Undef, err
	}
	if info.IsDir() {
		return cid.Undef, shoal.E(shoal.Invalid, "", "it is a folder", "name a file in it")
	}
	c, err := t.CID(at)
	if err == nil {
		r.d.afar.find(r.root, path, c)
	}
	return c, err
}

func (r *parts) read(ctx context.Context, file cid.Cid, offset int64, b []byte) (int, error) {
	t, err := r.tree(ctx, file, alone)
	if err != nil {
		return 0, err
	}
	f, err := t.Open(alone)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case offset < 0 || offset > info.Size():
		return 0, shoal.E(shoal.Invalid, "", fmt.Sprintf("offset %d is not in its %d bytes", offset, info.Size()), "")
	}
	n, err := f.(io.ReaderAt).ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (r *parts) list(ctx context.Context, path, after string, limit int) (out []shoal.File, err error) {
	if path, err = clean(path); err != nil {
		return nil, err
	}
	t, err := r.tree(ctx, r.root, alone)
	if err != nil {
		return nil, err
	}
	at := path
	if name, ok := (&writer{t: t}).lone(); ok && path == "." {
		at = name
	}
	info, err := fs.Stat(t, at)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []shoal.File{{Bytes: uint64(info.Size())}}, nil
	}
	entries, err := t.ReadDir(at)
	if err != nil {
		return nil, err
	}
	i, _ := slices.BinarySearchFunc(entries, after, func(e fs.DirEntry, after string) int { return cmp.Compare(e.Name(), after) })
	for _, e := range entries[i:] {
		if e.Name() == after || len(out) >= limit {
			continue
		}
		info, err := fs.Stat(t, strings.TrimPrefix(at+"/"+e.Name(), "./"))
		switch {
		case errors.Is(err, fs.ErrNotExist): // a symbolic link that leads nowhere
		case err != nil:
			return nil, err
		case info.IsDir():
			out = append(out, shoal.File{Name: e.Name(), Dir: true})
		default:
			out = append(out, shoal.File{Name: e.Name(), Bytes: uint64(info.Size())})
		}
	}
	return out, nil
}

// get is the Getter: from what is at hand, from this node, or from a holder.
func (r *parts) get(ctx context.Context, c cid.Cid) ([]byte, error) {
	d := r.d
	if b, ok := d.afar.has(c); ok {
		return b, nil
	}
	b, err := d.Store.Get(ctx, c)
	switch k := shoal.KindOf(err); {
	case err == nil:
		d.afar.keep(c, b)
		if c.Type() == cid.Raw {
			r.told(d.Peers.Self(), len(b), 0)
		}
		return b, nil
	case k != shoal.NotFound && k != shoal.Corrupt:
		return nil, err
	}
	for range 2 {
		var own []byte
		_, joined, err := d.afar.flights.do(ctx, c, func(ctx context.Context) (_ uint64, err error) {
			own, err = r.bring(ctx, c)
			return 0, err
		})
		switch {
		case err == nil && !joined:
			return own, nil // whatever has become of what is at hand: it is there for a moment only, and others push it out
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		if b, ok := d.afar.has(c); ok {
			return b, nil
		}
		if !joined {
			return nil, err
		}
	}
	return nil, shoal.E(shoal.Unavailable, "read", "too much is read at once", "try again in a moment")
}

func (r *parts) told(from shoal.PeerID, bytes int, took time.Duration) {
	if r.way.Read != nil {
		r.way.Read(from, bytes, took)
	}
}

// bring fetches a block from one holder after the other, those first that the reader wants, and then the one that served
// last: so that its distance is one distance. It does not wait long for one that says nothing, who may be gone, before all were asked: turns of
// agents read, and have ten seconds.
func (r *parts) bring(ctx context.Context, c cid.Cid) (b []byte, last error) {
	d := r.d
	select {
	case d.afar.slots <- struct{}{}:
		defer func() { <-d.afar.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for _, anew := range []bool{false, true} {
		at, err := d.afar.holders(ctx, d, r.root, anew)
		if err != nil {
			return nil, cmp.Or(last, err)
		}
		for _, p := range r.order(at) {
			begun := time.Now()
			stall := d.cfg.HeldTimeout
			if anew {
				stall = d.cfg.Stall
			}
			b, n, err := d.one(ctx, c, p, min(stall, d.cfg.Stall))
			switch {
			case err == nil:
				d.afar.served(r.root, p)
				r.told(p, n, time.Since(begun))
				return b, nil
			case ctx.Err() != nil:
				return nil, ctx.Err()
			}
			last = err
		}
	}
	if last == nil {
		last = shoal.E(shoal.NotFound, "read "+c.String(), "no peer that could be reached has it",
			"check that its holders run: 'shoal where' lists them")
	}
	return nil, last
}

// order is whom to ask, in which order.
func (r *parts) order(at distant) []shoal.PeerID {
	rank := func(p shoal.PeerID) int {
		if r.way.Rank == nil {
			return 0
		}
		return r.way.Rank(p)
	}
	last := func(h holding) int {
		if h.peer == at.last {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(at.held, func(x, y holding) int {
		return cmp.Or(cmp.Compare(rank(x.peer), rank(y.peer)), cmp.Compare(last(x), last(y)), cmp.Compare(len(y.have), len(x.have)))
	})
	var out []shoal.PeerID
	for _, h := range at.held {
		if h.peer != r.d.Peers.Self() {
			out = append(out, h.peer)
		}
	}
	return out
}

// one asks one peer for a block, which is at hand then, and says how many bytes came. A peer that sends nothing for stall is given up.
func (d *Data) one(ctx context.Context, c cid.Cid, p shoal.PeerID, stall time.Duration) (b []byte, n int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := d.newFetch(ctx, c, Content)
	f.stall = stall
	defer f.finish()
	f.looked = true
	f.addSource(p)
	nobody := func() bool { return false }
	if c.Type() != cid.Raw {
		if b, err = f.under(ctx, c, nil, nobody); err != nil {
			return nil, 0, err
		}
		n = len(b)
		d.afar.keep(c, b)
		for under, b := range f.ahead {
			d.afar.keep(under, b)
			n += len(b)
		}
		return b, n, nil
	}
	f.deliver = func(got shoal.Block) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		d.afar.keep(got.CID, got.Data)
		b, n = got.Data, len(got.Data)
		f.open--
		f.changed()
		return nil
	}
	f.queue(f.anyone, c, 1)
	if err := f.wait(nobody); err != nil {
		return nil, 0, err
	}
	return b, n, nil
}
