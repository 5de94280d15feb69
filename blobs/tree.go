package blobs

import (
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// maxHops bounds the symbolic links followed for one path, as Linux does.
const maxHops = 40

// cachedEntries bounds the directory entries a Tree remembers.
const cachedEntries = 1 << 17

// Tree shows a graph as a read-only file system: fs.ReadDirFS, fs.StatFS and fs.ReadLinkFS. Files
// implement io.Reader, io.ReaderAt, io.Seeker and io.WriterTo and read leaf by leaf, keeping one leaf
// each; nothing is copied whole. Symbolic links are followed within the tree; one that leads out or
// nowhere is not there. All times are the epoch, all files are readable, none is writable.
//
// A Tree and its files may be used from many goroutines.
type Tree struct {
	ctx  context.Context
	get  Getter
	root *item
	read atomic.Uint64

	mu     sync.Mutex
	dirs   map[cid.Cid][]*item
	cached int // entries in dirs
}

var (
	_ fs.ReadDirFS  = (*Tree)(nil)
	_ fs.StatFS     = (*Tree)(nil)
	_ fs.ReadLinkFS = (*Tree)(nil)
)

// Tree opens a graph. A root that is a file appears as the one file called name; a root that is a
// directory as that directory, whatever name says. ctx bounds all reading from the tree.
func (b *Blobs) Tree(ctx context.Context, root cid.Cid, name string, get Getter) (*Tree, error) {
	t := &Tree{ctx: ctx, get: get, dirs: map[cid.Cid][]*item{}}
	t.root = &item{link: link{cid: root, name: "."}}
	n, err := t.root.load(t)
	if err != nil {
		return nil, err
	}
	switch n.kind {
	case kindDir, kindShard:
		return t, nil
	case kindLink:
		return nil, malformed(root, "a symbolic link alone, no file or folder")
	}
	if why := badName(name); why != "" {
		return nil, shoal.E(shoal.Invalid, "open "+root.String(), "a file cannot be shown as '"+name+"': "+why, "")
	}
	t.root.name = name
	t.root = &item{link: link{name: "."}, kind: kindDir, alone: []*item{t.root}}
	return t, nil
}

// BytesRead returns the bytes of content that files of the tree have handed out.
func (t *Tree) BytesRead() uint64 { return t.read.Load() }

// item is an entry of a directory. What it is, it learns when somebody asks.
type item struct {
	link
	alone []*item // the root directory around a lone file

	mu     sync.Mutex
	kind   kind // 0: not known yet
	size   uint64
	target string
}

// load reads the item's own block and notes what it is.
func (it *item) load(t *Tree) (node, error) {
	n, err := load(t.ctx, it.cid, t.get)
	if err != nil {
		return n, err
	}
	it.mu.Lock()
	defer it.mu.Unlock()
	it.kind, it.size = n.kind, n.size
	if n.kind == kindLink {
		it.target, it.size = string(n.data), uint64(len(n.data))
	}
	return n, nil
}

// learn finds out what the item is. For a leaf it believes the directory; opening the file checks it.
func (it *item) learn(t *Tree) error {
	it.mu.Lock()
	if it.kind == 0 && leaf(it.cid) && it.total > 0 {
		it.kind, it.size = kindFile, it.total
	}
	known := it.kind != 0
	it.mu.Unlock()
	if known {
		return nil
	}
	_, err := it.load(t)
	return err
}

// entries lists a directory.
func (t *Tree) entries(it *item) ([]*item, error) {
	if it.alone != nil {
		return it.alone, nil
	}
	t.mu.Lock()
	items, ok := t.dirs[it.cid]
	t.mu.Unlock()
	if ok {
		return items, nil
	}
	n, err := it.load(t)
	if err != nil {
		return nil, err
	}
	links, err := list(t.ctx, it.cid, n, t.get)
	if err != nil {
		return nil, err
	}
	items = make([]*item, len(links))
	all := make([]item, len(links))
	for i, l := range links {
		all[i].link = l
		items[i] = &all[i]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if again, ok := t.dirs[it.cid]; ok {
		return again, nil
	}
	if t.cached+len(items) > cachedEntries {
		clear(t.dirs)
		t.cached = 0
	}
	t.dirs[it.cid] = items
	t.cached += len(items)
	return items, nil
}

// find looks a path up. follow says whether a symbolic link at its end is followed.
func (t *Tree) find(op, name string, follow bool) (*item, error) {
	fault := func(err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }
	if !fs.ValidPath(name) {
		return nil, fault(fs.ErrInvalid)
	}
	at, hops := []*item{t.root}, 0
	rest := name
	for rest != "" && rest != "." {
		if len(rest) > 1<<16 {
			return nil, fault(fs.ErrInvalid)
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 1 {
				return nil, fault(fs.ErrNotExist) // a link that leads out
			}
			at = at[:len(at)-1]
			continue
		}
		it, err := t.child(at[len(at)-1], part)
		if err != nil {
			return nil, fault(err)
		}
		it.mu.Lock()
		isLink, target := it.kind == kindLink, it.target
		it.mu.Unlock()
		if !isLink || rest == "" && !follow {
			at = append(at, it)
			continue
		}
		if hops++; hops > maxHops || strings.HasPrefix(target, "/") {
			return nil, fault(fs.ErrNotExist)
		}
		rest = target + "/" + rest
	}
	return at[len(at)-1], nil
}

// child returns the entry of dir called name, known.
func (t *Tree) child(dir *item, name string) (*item, error) {
	if err := dir.learn(t); err != nil {
		return nil, err
	}
	if !dir.isDir() {
		return nil, fs.ErrNotExist
	}
	items, err := t.entries(dir)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(items, name, func(it *item, name string) int {
		return strings.Compare(it.name, name)
	})
	if !ok {
		return nil, fs.ErrNotExist
	}
	return items[i], items[i].learn(t)
}

func (it *item) isDir() bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.kind == kindDir || it.kind == kindShard
}

// Open opens a file or folder; links on the way and at the end are followed.
func (t *Tree) Open(name string) (fs.File, error) {
	it, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	as := path.Base(name)
	if it.isDir() {
		return &dirFile{t: t, it: it, name: as}, nil
	}
	n, err := it.load(t)
	if err == nil && leaf(it.cid) && it.total > 0 && it.total != n.size {
		err = malformed(it.cid, "a leaf of %d bytes that its folder calls %d", n.size, it.total)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{t: t, it: it, name: as, path: []span{{n: n, end: n.size}}, size: int64(n.size)}, nil
}

// ReadDir lists a folder by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	it, err := t.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !it.isDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotDir}
	}
	entries, err := t.known(it)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, nil
}

// known lists a folder whose entries know what they are.
func (t *Tree) known(dir *item) ([]fs.DirEntry, error) {
	items, err := t.entries(dir)
	if err != nil {
		return nil, err
	}
	out := make([]fs.DirEntry, len(items))
	for i, it := range items {
		if err := it.learn(t); err != nil {
			return nil, err
		}
		out[i] = fs.FileInfoToDirEntry(it.info(it.name))
	}
	return out, nil
}

// Stat describes what a path leads to.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

// Lstat describes a path itself, which may be a symbolic link.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *Tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	it, err := t.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return it.info(path.Base(name)), nil
}

// ReadLink returns the target of a symbolic link as it was put; it may lead nowhere.
func (t *Tree) ReadLink(name string) (string, error) {
	it, err := t.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	it.mu.Lock()
	defer it.mu.Unlock()
	if it.kind != kindLink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return it.target, nil
}

// CID returns the identifier of what a path leads to, so that a part of a graph can be fetched or
// named alone.
func (t *Tree) CID(name string) (cid.Cid, error) {
	it, err := t.find("cid", name, true)
	if err != nil {
		return cid.Undef, err
	}
	if it.alone != nil {
		it = it.alone[0]
	}
	return it.cid, nil
}

// info is fs.FileInfo of an item.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (it *item) info(name string) info {
	it.mu.Lock()
	defer it.mu.Unlock()
	switch it.kind {
	case kindDir, kindShard:
		return info{name, 0, fs.ModeDir | 0o555}
	case kindLink:
		return info{name, int64(it.size), fs.ModeSymlink | 0o777}
	}
	return info{name, int64(it.size), 0o444}
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Unix(0, 0).UTC() }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }

// dirFile is an open folder.
type dirFile struct {
	t    *Tree
	it   *item
	name string

	mu   sync.Mutex
	rest []fs.DirEntry
	read bool
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.it.info(d.name), nil }
func (d *dirFile) Close() error               { return nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errIsDir}
}

// ReadDir follows fs.ReadDirFile.
func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.read {
		all, err := d.t.known(d.it)
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: err}
		}
		d.rest, d.read = all, true
	}
	if n <= 0 || n > len(d.rest) {
		if n > 0 && len(d.rest) == 0 {
			return nil, io.EOF
		}
		n = len(d.rest)
	}
	out := slices.Clone(d.rest[:n])
	d.rest = d.rest[n:]
	return out, nil
}
