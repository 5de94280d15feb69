package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// GetOptions say how a graph is brought to disk.
type GetOptions struct {
	Keep     bool           // keep a copy in the cache, and announce it
	From     string         // a multiaddr with /p2p of a bitswap client to read from; "": members
	Progress func(Progress) // one call at a time; may be nil
}

// Get writes the graph c, or what the slash-separated path sub leads to in it, to the file or folder
// dst, which must not exist; if dst is a folder that exists, into it, under its own name. It appears
// whole or not at all. Blocks come from several holders at once. With Keep they stay in the cache, so
// that a Get that broke off resumes when it is repeated; without, they go straight into the files,
// held against their CID once and never waiting for the disk.
func (d *Data) Get(ctx context.Context, c cid.Cid, sub, dst string, o GetOptions) error {
	what := "get " + c.String()
	if sub != "" {
		what += "/" + sub
	}
	if err := checkGraph("get", c); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx) // what is open closes with it
	defer cancel()
	root, sub, name, err := d.resolve(ctx, c, sub, o.From)
	if err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	write := func(t Tree, total uint64) error {
		return (&writer{ctx: ctx, t: t, progress: o.Progress, total: total}).run(name, sub, dst)
	}
	if _, missing, err := d.Missing(ctx, root); !o.Keep && o.From == "" && (err != nil || missing > 0) {
		moved, err := d.pour(ctx, c, root, write)
		if err == nil && o.Progress != nil {
			o.Progress(Progress{"fetch", moved, moved, ""})
		}
		switch shoal.KindOf(err) {
		case shoal.NotFound, shoal.Unavailable: // the longer way round knows more sources
		default:
			return shoal.Wrap(shoal.Internal, what, err)
		}
	}
	defer d.holds.drop(root)
	defer d.holds.drop(c)
	if err := d.bringTo(ctx, c, root, o); err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	t, err := d.Open(ctx, root)
	if err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	if err := write(t, 0); err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	if o.Keep && root.Equals(c) {
		m, err := d.Manifest(ctx, c)
		if err == nil {
			for _, p := range m.Partitions {
				if _, err = d.part(ctx, p.CID, nil); err != nil {
					break
				}
			}
		}
		if err == nil {
			err = d.cached(ctx, c, &m, true)
		}
		return shoal.Wrap(shoal.Internal, what, err)
	}
	return nil
}

// resolve finds the graph that a path leads to: that graph, the path in it if it is a lone file, and
// its name.
func (d *Data) resolve(ctx context.Context, c cid.Cid, sub, from string) (root cid.Cid, in, name string, err error) {
	if from != "" && sub == "" {
		return c, "", c.String(), nil
	}
	m, err := d.Manifest(ctx, c)
	if from != "" { // members need not know it
		m, err = shoal.Manifest{Name: c.String()}, nil
	}
	if err != nil {
		return cid.Undef, "", "", err
	}
	if name = m.Name; name == "" {
		name = c.String()
	}
	if sub = strings.Trim(sub, "/"); sub == "" || sub == "." {
		return c, "", name, nil
	}
	if !fs.ValidPath(sub) {
		return cid.Undef, "", "", shoal.E(shoal.Invalid, "path '"+sub+"'", "it leaves the folder",
			"give a path inside the dataset, without '..'")
	}
	if from != "" {
		return c, sub, path.Base(sub), nil
	}
	t, err := d.Graph.Tree(ctx, c, name, d.reader(c))
	if err != nil {
		return cid.Undef, "", "", err
	}
	at, err := t.CID(sub)
	if errors.Is(err, fs.ErrNotExist) {
		return cid.Undef, "", "", shoal.E(shoal.NotFound, "path '"+sub+"'", "not in the dataset",
			"'shoal ls' lists what is")
	}
	return at, "", path.Base(sub), err
}

// bringTo brings all blocks of root, a part of c, here.
func (d *Data) bringTo(ctx context.Context, c, root cid.Cid, o GetOptions) error {
	if o.From != "" {
		defer d.Store.begin()()
		before, _, _ := d.Missing(ctx, root)
		err := d.Graph.Fetch(ctx, root, []string{o.From})
		if after, _, e := d.Missing(ctx, root); e == nil && o.Progress != nil {
			moved := max(after, before) - before
			o.Progress(Progress{"fetch", moved, moved, ""})
		}
		if err != nil {
			return err
		}
		return d.cached(ctx, root, nil, false)
	}
	from, err := d.holdersOf(ctx, c, root)
	if err != nil {
		return err
	}
	if o.Progress == nil {
		_, err := d.Ensure(ctx, root, Content, from)
		return err
	}
	_, total, err := d.Missing(ctx, root)
	if m, e := d.Manifest(ctx, root); err != nil && e == nil {
		total = m.Bytes
	}
	ctx = context.WithValue(ctx, movedKey{}, func(moved uint64) {
		o.Progress(Progress{"fetch", moved, max(moved, total), ""})
	})
	moved, err := d.Ensure(ctx, root, Content, from)
	if err == nil {
		o.Progress(Progress{"fetch", moved, moved, ""})
	}
	return err
}

// holdersOf finds who has root, a part of c: a part is not announced, and who has the whole has it.
func (d *Data) holdersOf(ctx context.Context, c, root cid.Cid) (from []shoal.PeerID, err error) {
	if root.Equals(c) {
		return nil, nil
	}
	found, _, err := d.locate(ctx, c)
	for _, h := range found {
		from = append(from, h.peer)
	}
	return from, err
}

// writer copies a tree to disk.
type writer struct {
	ctx      context.Context
	t        Tree
	progress func(Progress)
	done     uint64
	total    uint64 // 0: unknown
}

// run writes the tree, or the file or folder sub in it, as name.
func (w *writer) run(name, sub, dst string) error {
	at := "."
	if sub != "" {
		at = sub
	} else if lone, ok := w.lone(); ok {
		at = lone
	}
	info, err := fs.Stat(w.t, at)
	if err != nil {
		return err
	}
	if old, err := os.Stat(dst); err == nil && old.IsDir() {
		if name = filepath.Base(name); !filepath.IsLocal(name) {
			return shoal.E(shoal.Invalid, "write", "a name that leaves the folder", "say where to write it")
		}
		dst = filepath.Join(dst, name)
	}
	if _, err := os.Lstat(dst); err == nil {
		return shoal.E(shoal.Exists, "write "+dst, "there is one already", "remove it, or choose another name")
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return disk(dst, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dst), ".shoal-get-")
	if err != nil {
		return disk(dst, err)
	}
	defer os.RemoveAll(tmp)
	top, err := os.OpenRoot(tmp) // nothing that a graph says leads out of it
	if err != nil {
		return disk(dst, err)
	}
	defer top.Close()
	if info.IsDir() {
		if err = top.Mkdir("out", 0o755); err == nil {
			err = w.folder(top, at, "out")
		}
	} else {
		err = w.file(top, at, "out")
	}
	if err != nil {
		return disk(dst, err)
	}
	return disk(dst, os.Rename(filepath.Join(tmp, "out"), dst))
}

// lone returns the one file of a tree whose root is a file.
func (w *writer) lone() (string, bool) {
	entries, err := w.t.ReadDir(".")
	if err != nil || len(entries) != 1 || entries[0].IsDir() {
		return "", false
	}
	root, err := w.t.CID(".")
	if err != nil {
		return "", false
	}
	file, err := w.t.CID(entries[0].Name())
	return entries[0].Name(), err == nil && file.Equals(root)
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

const elsewhere = "write to a folder of yours, with -o"

func disk(dst string, err error) error {
	var known *shoal.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case isFull(err):
		return &shoal.Error{Kind: shoal.Full, What: "write " + dst, Why: "the disk is full", Try: "free some space", Err: err}
	case errors.Is(err, fs.ErrPermission):
		return &shoal.Error{Kind: shoal.Refused, What: "write " + dst, Why: "permission denied", Try: elsewhere, Err: err}
	}
	var path *fs.PathError
	if errors.As(err, &path) { // the name of what is written meanwhile says nothing to people
		err = path.Err
	}
	return &shoal.Error{Kind: shoal.Internal, What: "write " + dst, Why: err.Error(), Try: elsewhere, Err: err}
}

func (w *writer) folder(top *os.Root, from, to string) error {
	entries, err := w.t.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if !filepath.IsLocal(e.Name()) || strings.ContainsAny(e.Name(), `/\`) {
			return shoal.E(shoal.Invalid, "write "+from, fmt.Sprintf("a name that leaves the folder: %q", e.Name()), "")
		}
		src, dst := path.Join(from, e.Name()), filepath.Join(to, e.Name())
		switch {
		case e.IsDir():
			if err = top.Mkdir(dst, 0o755); err == nil {
				err = w.folder(top, src, dst)
			}
		case e.Type()&fs.ModeSymlink != 0:
			err = w.link(top, src, dst)
		default:
			err = w.file(top, src, dst)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link writes a symbolic link that stays inside.
func (w *writer) link(top *os.Root, src, dst string) error {
	target, err := w.t.ReadLink(src)
	if err != nil {
		return err
	}
	within, err := filepath.Rel("out", dst)
	if err != nil {
		return err
	}
	if filepath.IsAbs(target) || !filepath.IsLocal(filepath.Join(filepath.Dir(within), filepath.FromSlash(target))) {
		return shoal.E(shoal.Invalid, "write "+src, "a link that leaves the folder: "+target,
			"get the other files one by one")
	}
	return top.Symlink(filepath.FromSlash(target), dst)
}

func (w *writer) file(top *os.Root, src, dst string) error {
	in, err := w.t.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := top.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(&counted{w, out, src}, in) // in hands over whole leaves, without another copy
	return errors.Join(err, out.Close())
}

// counted tells progress while a file is written.
type counted struct {
	w    *writer
	out  io.Writer
	file string
}

func (c *counted) Write(b []byte) (int, error) {
	if err := c.w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.out.Write(b)
	c.w.done += uint64(n)
	if c.w.progress != nil && n > 0 {
		c.w.progress(Progress{"write", c.w.done, c.w.total, c.file})
	}
	return n, err
}

// reader returns a Getter for blocks of the graph root: from here, else from members. Blocks it had to
// fetch stay here.
func (d *Data) reader(root cid.Cid) Getter {
	r := &reader{d: d, root: root}
	return func(ctx context.Context, c cid.Cid) ([]byte, error) {
		b, err := d.Store.Get(ctx, c)
		if k := shoal.KindOf(err); err == nil || k != shoal.NotFound && k != shoal.Corrupt {
			return b, err
		}
		d.complete.clear()
		return r.get(ctx, c, err)
	}
}

// reader fetches blocks of one graph as they are read.
type reader struct {
	d    *Data
	root cid.Cid

	mu    sync.Mutex
	peers []shoal.PeerID     // who has some of it; nil: not asked yet
	ahead map[cid.Cid][]byte // inner nodes that came with others
}

// get fetches a block that is not here, which says why.
func (r *reader) get(ctx context.Context, c cid.Cid, why error) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.d.Store.begin()()
	if r.peers == nil {
		found, _, err := r.d.locate(ctx, r.root)
		if err != nil {
			return nil, err
		}
		for _, h := range found {
			r.peers = append(r.peers, h.peer)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := r.d.newFetch(ctx, c, Content)
	f.looked = true
	defer f.finish()
	for _, p := range r.peers {
		f.addSource(p)
	}
	if r.ahead != nil {
		f.ahead = r.ahead
	}
	no := func() bool { return false }
	if c.Type() != cid.Raw {
		b, err := f.get(nil, no)(ctx, c)
		if err == nil {
			err = f.flushNodes()
		}
		r.ahead = f.ahead
		return b, err
	}
	if shoal.KindOf(why) == shoal.Corrupt {
		f.spoil(why)
	}
	go f.store()
	f.queue(f.anyone, c, 1)
	if err := f.wait(no); err != nil {
		return nil, err
	}
	return r.d.Store.Get(ctx, c)
}
