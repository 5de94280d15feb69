package mount

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// ValidName says whether an input may be called so: one path element.
func ValidName(name string) bool {
	return name != "." && len(name) <= 255 && fs.ValidPath(name) && !strings.ContainsAny(name, "/\\\x00")
}

// Tree is the files of one input. If it also has the method CID(path string) (cid.Cid, error), a graph
// that is a single file is recognised and appears as the file /data/<name> itself.
type Tree interface {
	fs.FS
	BytesRead() uint64
}

// Inputs is /data: a folder with one entry per input. It is safe for concurrent use if its trees are.
type Inputs struct {
	mounts  map[string]mount
	entries []fs.DirEntry // by name
}

type mount struct {
	tree Tree
	file string // the input is this one file of the tree
}

// New mounts trees under the names of ins, which must be valid and distinct.
func New(ins []shoal.Input, trees []Tree) (*Inputs, error) {
	x := &Inputs{mounts: make(map[string]mount, len(ins))}
	for i, in := range ins {
		m := mount{tree: trees[i], file: lone(trees[i], in.CID)}
		x.mounts[in.Name] = m
		info, err := fs.Stat(m.tree, m.path("."))
		if err != nil {
			return nil, shoal.Wrap(shoal.Internal, "open input "+in.Name, err)
		}
		x.entries = append(x.entries, fs.FileInfoToDirEntry(renamed{info, in.Name}))
	}
	slices.SortFunc(x.entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return x, nil
}

// lone returns the name under which a tree shows the single file that its CID names; "" for a folder.
func lone(t Tree, c cid.Cid) string {
	named, ok := t.(interface {
		CID(path string) (cid.Cid, error)
	})
	if !ok {
		return ""
	}
	entries, err := fs.ReadDir(t, ".")
	if err != nil || len(entries) != 1 || entries[0].IsDir() {
		return ""
	}
	if of, err := named.CID(entries[0].Name()); err != nil || !of.Equals(c) {
		return ""
	}
	return entries[0].Name()
}

func (m mount) path(rest string) string {
	if m.file == "" {
		return rest
	}
	return path.Join(m.file, rest)
}

// BytesRead sums what was read of all inputs.
func (x *Inputs) BytesRead() (n uint64) {
	for _, m := range x.mounts {
		n += m.tree.BytesRead()
	}
	return n
}

// Open implements fs.FS.
func (x *Inputs) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return &rootDir{entries: x.entries}, nil
	}
	m, first, rest, err := x.within("open", name)
	if err != nil {
		return nil, err
	}
	f, err := m.tree.Open(rest)
	if err != nil || first != name {
		return f, err
	}
	return rename(f, first), nil
}

// within finds the input that a path leads into.
func (x *Inputs) within(op, name string) (m mount, first, rest string, err error) {
	first, rest, deeper := strings.Cut(name, "/")
	m, ok := x.mounts[first]
	if !fs.ValidPath(name) || !ok {
		return m, "", "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	if !deeper {
		rest = "."
	}
	return m, first, m.path(rest), nil
}

// Stat implements fs.StatFS.
func (x *Inputs) Stat(name string) (fs.FileInfo, error) { return x.stat("stat", name, fs.Stat) }

// Lstat implements fs.ReadLinkFS.
func (x *Inputs) Lstat(name string) (fs.FileInfo, error) { return x.stat("lstat", name, fs.Lstat) }

func (x *Inputs) stat(op, name string, stat func(fs.FS, string) (fs.FileInfo, error)) (fs.FileInfo, error) {
	if name == "." {
		return rootInfo{}, nil
	}
	m, first, rest, err := x.within(op, name)
	if err != nil {
		return nil, err
	}
	info, err := stat(m.tree, rest)
	if err != nil || first != name {
		return info, err
	}
	return renamed{info, first}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (x *Inputs) ReadLink(name string) (string, error) {
	if name == "." {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	m, _, rest, err := x.within("readlink", name)
	if err != nil {
		return "", err
	}
	return fs.ReadLink(m.tree, rest)
}

// ReadDir implements fs.ReadDirFS.
func (x *Inputs) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "." {
		return slices.Clone(x.entries), nil
	}
	f, err := x.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	list, err := d.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// Place returns where on this machine the file name lies with just its content, if its tree knows of such
// a place: Trees may have a method of this kind.
func (x *Inputs) Place(name string) (file string, ok bool) {
	m, _, rest, err := x.within("place", name)
	if err != nil {
		return "", false
	}
	t, is := m.tree.(interface {
		Place(path string) (string, bool)
	})
	if !is {
		return "", false
	}
	return t.Place(rest)
}

// renamed is a file's description under the input's name.
type renamed struct {
	fs.FileInfo
	name string
}

func (r renamed) Name() string { return r.name }

// rename keeps what the file can do beyond fs.File: reading at an offset, seeking, listing.
func rename(f fs.File, name string) fs.File {
	if d, ok := f.(fs.ReadDirFile); ok {
		return renamedDir{d, name}
	}
	if r, ok := f.(randomFile); ok {
		return renamedFile{r, name}
	}
	return plainFile{f, name}
}

type randomFile interface {
	fs.File
	io.ReaderAt
	io.Seeker
}

type renamedFile struct {
	randomFile
	name string
}

func (f renamedFile) Stat() (fs.FileInfo, error) { return restat(f.randomFile, f.name) }

type renamedDir struct {
	fs.ReadDirFile
	name string
}

func (f renamedDir) Stat() (fs.FileInfo, error) { return restat(f.ReadDirFile, f.name) }

type plainFile struct {
	fs.File
	name string
}

func (f plainFile) Stat() (fs.FileInfo, error) { return restat(f.File, f.name) }

func restat(f fs.File, name string) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return renamed{info, name}, nil
}

// rootDir is /data itself.
type rootDir struct {
	entries []fs.DirEntry
	at      int
}

func (d *rootDir) Stat() (fs.FileInfo, error) { return rootInfo{}, nil }
func (d *rootDir) Close() error               { return nil }
func (d *rootDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: fs.ErrInvalid}
}

func (d *rootDir) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := d.entries[d.at:]
	if n > 0 && len(rest) == 0 {
		return nil, io.EOF
	}
	if n > 0 && n < len(rest) {
		rest = rest[:n]
	}
	d.at += len(rest)
	return slices.Clone(rest), nil
}

type rootInfo struct{}

func (rootInfo) Name() string       { return "." }
func (rootInfo) Size() int64        { return 0 }
func (rootInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o555 }
func (rootInfo) ModTime() time.Time { return time.Time{} }
func (rootInfo) IsDir() bool        { return true }
func (rootInfo) Sys() any           { return nil }
