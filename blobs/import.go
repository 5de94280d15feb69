package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// ImportOptions say how to cut what is imported.
type ImportOptions struct {
	Split          shoal.Split
	LeafBytes      int64 // bytes of a leaf at most, up to 2 MiB; 0: 1 MiB
	PartitionBytes int64 // wished bytes of a partition; 0: a 64th of the total, from 64 KiB to 64 MiB
	InPlace        bool  // note where leaves lie instead of copying them
	Visible        bool  // leave out what has a name that begins with a dot, below the folder itself
	// Progress is called after each leaf, from one goroutine, with bytes of content and the path of
	// the present file. It holds up the import while it runs.
	Progress func(done, total int64, file string)
}

// Import stores a file or folder and groups its leaves into partitions. When it returns, everything
// is durable. Blocks that are in the store already are not written again, so that an import which
// broke off resumes. Hidden files count, unless Visible is set. Symbolic links are kept if they stay within the folder;
// partitions leave them out, as what they point at may lie in another, and empty folders too. The
// manifest's Public and Replicas are the caller's to fill in.
//
// In place, only inner nodes are copied. Leaves stay where they are, and are read from there as long
// as their file does not change; the store must be a shoal.InPlace.
//
// Invalid: a special file, a link that leads out, a name that is not UTF-8, folders nested deeper
// than 256. NotFound: nothing there, or a file that vanished meanwhile. Unavailable: a file changed
// meanwhile. Full: the disk is.
func (b *Blobs) Import(ctx context.Context, where string, o ImportOptions) (shoal.Manifest, error) {
	what := "put " + where
	if o.LeafBytes == 0 {
		o.LeafBytes = leafBytes
	}
	if o.LeafBytes < 1 || o.LeafBytes > wire.MaxBlock {
		return shoal.Manifest{}, shoal.E(shoal.Invalid, what,
			fmt.Sprintf("leaves of %d bytes", o.LeafBytes), fmt.Sprintf("ask for 1 to %d", wire.MaxBlock))
	}
	abs, err := filepath.Abs(where)
	if err != nil {
		return shoal.Manifest{}, shoal.Wrap(shoal.Invalid, what, err)
	}
	im := &importer{ctx: ctx, what: what, o: o, out: newBatch(ctx, b.cfg.Store)}
	if o.InPlace {
		if _, ok := b.cfg.Store.(shoal.InPlace); !ok {
			return shoal.Manifest{}, shoal.E(shoal.Invalid, what, "this store copies all it keeps", "put it without --in-place")
		}
		if im.real, err = filepath.EvalSymlinks(abs); err != nil { // what a link names may change
			return shoal.Manifest{}, im.fault("", err)
		}
	}
	m, err := im.run(abs)
	if err != nil {
		_ = im.out.wait() // no write goes on behind the caller's back
		return shoal.Manifest{}, err
	}
	m.Name = filepath.Base(abs)
	if m.Name == string(filepath.Separator) || m.Name == "." {
		m.Name = "data"
	}
	return m, nil
}

type importer struct {
	ctx   context.Context
	what  string // "put <path>"
	real  string // where it lies, without symbolic links on the way; "" unless it stays in place
	o     ImportOptions
	out   *batch
	top   *os.Root // of a folder: nothing outside of it can be opened
	total int64
	done  int64
	tree  *treeBuilder
	parts *partitioner
}

func (im *importer) run(abs string) (m shoal.Manifest, err error) {
	info, err := os.Stat(abs)
	if err != nil {
		return m, im.fault("", err)
	}
	var root ref
	switch {
	case info.IsDir():
		root, err = im.folder(abs)
	case info.Mode().IsRegular():
		root, err = im.single(abs)
	default:
		err = im.fault("", special(info.Mode()))
	}
	if err != nil {
		return m, err
	}
	parts, err := im.parts.finish()
	if err != nil {
		return m, im.fault("", err)
	}
	if err := im.out.flush(); err != nil {
		return m, im.fault("", err)
	}
	return shoal.Manifest{Root: root.cid, Split: im.parts.split, Bytes: uint64(im.done), Partitions: parts}, nil
}

// single imports one file.
func (im *importer) single(abs string) (ref, error) {
	f, err := os.Open(abs)
	if err != nil {
		return ref{}, im.fault("", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ref{}, im.fault("", err)
	}
	im.total = info.Size()
	split := im.o.Split
	if split == shoal.SplitAuto {
		start := make([]byte, 64<<10)
		n, err := f.ReadAt(start, 0)
		if err != nil && err != io.EOF {
			return ref{}, im.fault("", err)
		}
		split = shoal.SplitBytes
		if looksLikeText(start[:n], err == io.EOF) {
			split = shoal.SplitLines
		}
	}
	if err := im.begin(false, split); err != nil {
		return ref{}, err
	}
	return im.file(f, "", filepath.Base(abs))
}

// folder imports a folder: first it looks at everything, so that most faults show before the first
// byte is stored, then it stores.
func (im *importer) folder(abs string) (ref, error) {
	top, err := os.OpenRoot(abs)
	if err != nil {
		return ref{}, im.fault("", err)
	}
	defer top.Close()
	im.top = top
	err = im.walk(top, "", func(d *os.Root, _, name string, mode fs.FileMode) error {
		if !mode.IsRegular() {
			return nil
		}
		info, err := d.Lstat(name)
		if err == nil {
			im.total += info.Size()
		}
		return err
	})
	if err != nil {
		return ref{}, err
	}
	split := im.o.Split
	if split == shoal.SplitAuto {
		split = shoal.SplitFiles
	}
	if err := im.begin(true, split); err != nil {
		return ref{}, err
	}
	im.tree = newTree(im.out)
	if err := im.walk(top, "", im.store); err != nil {
		return ref{}, err
	}
	r, err := im.tree.finish()
	return r, im.fault("", err)
}

// begin starts partitions, once the total is known.
func (im *importer) begin(folder bool, split shoal.Split) error {
	switch split {
	case shoal.SplitFiles, shoal.SplitLines, shoal.SplitBytes:
	default:
		return shoal.E(shoal.Invalid, im.what, fmt.Sprintf("no way to split is called %q", split),
			"use files, lines or bytes")
	}
	wish, err := partitionBytes(im.what, im.o.PartitionBytes, uint64(im.total))
	im.parts = newPartitioner(im.out, folder, split, wish)
	return err
}

// visitor takes an entry of dir, which d has open.
type visitor func(d *os.Root, dir, name string, mode fs.FileMode) error

// walk visits the entries under dir, which d has open, in the order of fs.WalkDir. It refuses what
// cannot be stored. Errors of visit that name no file get the entry's path.
func (im *importer) walk(d *os.Root, dir string, visit visitor) error {
	if strings.Count(dir, "/") >= maxPath {
		return im.fault(dir, shoal.E(shoal.Invalid, "", fmt.Sprintf("folders nested deeper than %d", maxPath), ""))
	}
	entries, err := im.readDir(d)
	if err != nil {
		return im.fault(dir, err)
	}
	for _, e := range entries {
		rel := path.Join(dir, e.Name())
		if err := im.ctx.Err(); err != nil {
			return im.fault(rel, err)
		}
		mode := e.Type()
		if err = im.check(rel, mode); err == nil {
			err = visit(d, dir, e.Name(), mode)
		}
		if err != nil {
			return im.fault(rel, err)
		}
		if !mode.IsDir() {
			continue
		}
		sub, err := d.OpenRoot(e.Name())
		if err != nil {
			return im.fault(rel, err)
		}
		err = im.walk(sub, rel, visit)
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// readDir lists a folder by name.
func (im *importer) readDir(d *os.Root) ([]fs.DirEntry, error) {
	f, err := d.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if im.o.Visible {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// check refuses entries that cannot be stored.
func (im *importer) check(rel string, mode fs.FileMode) error {
	if why := badName(path.Base(rel)); why != "" {
		return shoal.E(shoal.Invalid, "", "cannot be stored under its name: "+why, "rename it")
	}
	switch {
	case mode.IsRegular() || mode.IsDir():
		return nil
	case mode.Type() != fs.ModeSymlink:
		return special(mode)
	}
	target, err := im.top.Readlink(filepath.FromSlash(rel))
	if err != nil {
		return err
	}
	leaves := shoal.E(shoal.Invalid, "", "a symbolic link that leads out of the folder, to "+target,
		"remove it, or put what it points at")
	if !filepath.IsLocal(filepath.Join(filepath.FromSlash(path.Dir(rel)), target)) || filepath.IsAbs(target) {
		return leaves
	}
	// Links on the way may lead elsewhere than the text says. One that leads nowhere leads not out.
	_, err = im.top.Stat(filepath.FromSlash(rel))
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		return nil
	}
	return leaves
}

// store imports one entry of a folder.
func (im *importer) store(d *os.Root, dir, name string, mode fs.FileMode) error {
	switch {
	case mode.IsDir():
		return im.tree.enter(path.Join(dir, name))
	case mode.Type() == fs.ModeSymlink:
		target, err := d.Readlink(name)
		if err != nil {
			return err
		}
		r, err := keepLink(im.out, filepath.ToSlash(target))
		if err != nil {
			return err
		}
		return im.tree.add(dir, name, r)
	}
	f, err := d.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := im.file(f, dir, name)
	if err != nil {
		return err
	}
	return im.tree.add(dir, name, r)
}

// file imports the content of one file and gives it to the partitions.
func (im *importer) file(f *os.File, dir, name string) (ref, error) {
	info, err := f.Stat()
	if err != nil {
		return ref{}, err
	}
	if !info.Mode().IsRegular() {
		return ref{}, special(info.Mode())
	}
	rel, whole := path.Join(dir, name), im.parts.split == shoal.SplitFiles
	im.parts.begin(dir, name)
	s := &splitter{
		r: &sparse{f: f, size: info.Size()}, left: info.Size(), leaf: im.o.LeafBytes,
		lines: im.parts.split == shoal.SplitLines, reuse: im.real != "",
	}
	fb := fileBuilder{out: im.out}
	at := shoal.Place{File: im.place(rel), Size: info.Size(), Time: info.ModTime()}
	err = hashed(s, func(p piece) error {
		if err := im.ctx.Err(); err != nil {
			return err
		}
		if err := im.keep(p, at); err != nil {
			return err
		}
		r := leafRef(p.cid, len(p.data))
		at.Offset += int64(r.size)
		if err := fb.add(r); err != nil {
			return err
		}
		if !whole {
			if err := im.parts.leaf(r, p.clean()); err != nil {
				return err
			}
		}
		im.done += int64(len(p.data))
		im.progress(rel)
		return nil
	})
	if err == nil && im.real != "" {
		err = unchanged(f, info)
	}
	if err != nil {
		return ref{}, im.fault(rel, err)
	}
	r, err := fb.finish()
	if err == nil && whole {
		err = im.parts.whole(dir, name, r)
	} else if err == nil {
		err = im.parts.end()
	}
	if err == nil && r.size == 0 {
		im.progress(rel)
	}
	return r, im.fault(rel, err)
}

// place is the name of a file that stays in place.
func (im *importer) place(rel string) string {
	if im.top == nil {
		return im.real
	}
	return filepath.Join(im.real, filepath.FromSlash(rel))
}

// keep has the store keep a leaf, or note that it lies at a place.
func (im *importer) keep(p piece, at shoal.Place) error {
	if im.real == "" {
		return im.out.add(p.cid, p.data)
	}
	at.CID, at.Length = p.cid, len(p.data)
	return im.out.refer(at)
}

// unchanged refuses a file that somebody wrote to since it was opened.
func unchanged(f *os.File, before fs.FileInfo) error {
	now, err := f.Stat()
	if err == nil && (now.Size() != before.Size() || !now.ModTime().Equal(before.ModTime())) {
		err = errWritten
	}
	return err
}

func (im *importer) progress(file string) {
	if im.o.Progress != nil {
		im.o.Progress(im.done, im.total, file)
	}
}

func special(mode fs.FileMode) error {
	name := "a special file"
	switch {
	case mode&fs.ModeNamedPipe != 0:
		name = "a named pipe"
	case mode&fs.ModeSocket != 0:
		name = "a socket"
	case mode&fs.ModeDevice != 0:
		name = "a device"
	}
	return shoal.E(shoal.Invalid, "", name+" has no content to store", "remove it, or put something else")
}

// fault says which file an import failed at, once.
func (im *importer) fault(rel string, err error) error {
	if err == nil {
		return nil
	}
	var known *shoal.Error
	if errors.As(err, &known) && strings.HasPrefix(known.What, im.what) {
		return err // it has been said
	}
	what := im.what
	if rel != "" && im.top != nil {
		what += ": " + rel
	}
	switch {
	case known != nil && known.What == "":
		e := *known
		e.What = what
		return &e
	case known == nil && errors.Is(err, fs.ErrNotExist):
		why, try := "no such file or folder", "check the path"
		if rel != "" {
			why, try = "it vanished while the folder was read", "put it again"
		}
		return shoal.E(shoal.NotFound, what, why, try)
	case known == nil && errors.Is(err, fs.ErrPermission):
		return shoal.E(shoal.Refused, what, "permission denied", "let this user read it")
	case errors.Is(err, errShrank), errors.Is(err, errWritten):
		return shoal.E(shoal.Unavailable, what, err.Error(), "put it again when nobody writes to it")
	}
	return shoal.Wrap(shoal.Internal, what, err)
}
