package sandbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/shoal-fabric/shoal"
)

// outFS is /out: a folder of this node, through an os.Root, with bounds on bytes and files. What lies
// there beforehand does not count. It serves one guest, which has one thread: it needs no lock.
type outFS struct {
	expsys.UnimplementedFS
	root *os.Root
	open handles
	gas  *gas

	bytes, maxBytes uint64
	files, maxFiles int
	nodes           []*outNode // with open files
}

// outNode is a file that is open at least once.
type outNode struct {
	info fs.FileInfo // says which file it is
	size int64
	refs int
	gone bool // it has no name any more; its bytes count until it is closed
}

// bound ends the run: the guest met a limit that it cannot be told of.
func bound(format string, args ...any) {
	panic(&halt{err: &shoal.Error{
		Kind: shoal.Failed, Why: fmt.Sprintf(format, args...),
		Try: "raise the limit, or write less",
	}, at: time.Now()})
}

func (o *outFS) grow(n int64) {
	if n > 0 && uint64(n) > o.maxBytes-min(o.maxBytes, o.bytes) {
		bound("output limit of %s under /out reached", shoal.Size(o.maxBytes))
	}
	o.bytes = uint64(max(0, int64(o.bytes)+n))
}

func (o *outFS) addFile() {
	if o.files++; o.files > o.maxFiles {
		bound("limit of %d files under /out reached", o.maxFiles)
	}
}

// outErrno maps an error of the host to the guest's. A full disk ends the run: another node may have
// room.
func outErrno(err error) expsys.Errno {
	switch {
	case err == nil || err == io.EOF:
		return 0
	case diskKind(err) == shoal.Full:
		panic(&halt{err: shoal.E(shoal.Full, "write /out", "the disk of this node is full", "free some space, or run elsewhere")})
	case errors.Is(err, fs.ErrNotExist):
		return expsys.ENOENT
	case errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY):
		return expsys.EEXIST
	}
	errno := expsys.UnwrapOSError(err)
	if errno == expsys.EIO && strings.Contains(err.Error(), "escapes") { // os.Root exports no such error
		return expsys.EPERM
	}
	return errno
}

// diskKind is Full for an error that means a full disk.
func diskKind(err error) shoal.Kind {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return shoal.Full
	}
	return shoal.Internal
}

// outStat is what a guest sees of a file: nothing that differs between hosts.
func outStat(name string, info fs.FileInfo) sys.Stat_t {
	st := sys.Stat_t{Dev: 2, Ino: inode(name), Nlink: 1, Mode: info.Mode().Type() | 0o644, Size: info.Size()}
	if info.IsDir() {
		st.Mode, st.Size = fs.ModeDir|0o755, 0
	}
	return st
}

func (o *outFS) Stat(p string) (sys.Stat_t, expsys.Errno)  { return o.stat(p, o.root.Stat) }
func (o *outFS) Lstat(p string) (sys.Stat_t, expsys.Errno) { return o.stat(p, o.root.Lstat) }

func (o *outFS) stat(p string, of func(string) (fs.FileInfo, error)) (sys.Stat_t, expsys.Errno) {
	name, dir, errno := clean(p)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	info, err := of(name)
	if err != nil {
		return sys.Stat_t{}, outErrno(err)
	}
	if dir && !info.IsDir() {
		return sys.Stat_t{}, expsys.ENOTDIR
	}
	return outStat(name, info), 0
}

func (o *outFS) OpenFile(p string, flag expsys.Oflag, _ fs.FileMode) (expsys.File, expsys.Errno) {
	name, dir, errno := clean(p)
	if errno != 0 {
		return nil, errno
	}
	if len(o.open) >= maxOpen {
		return nil, expsys.EAGAIN
	}
	if flag&expsys.O_NOFOLLOW != 0 {
		if link, err := o.root.Lstat(name); err == nil && link.Mode()&fs.ModeSymlink != 0 {
			return nil, expsys.ELOOP
		}
	}
	_, err := o.root.Stat(name) // follows links: one to nowhere makes a file where it points
	fresh := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !fresh:
		return nil, outErrno(err)
	case fresh && (flag&expsys.O_CREAT == 0 || dir):
		return nil, expsys.ENOENT
	case fresh:
		o.addFile()
	}
	f, err := o.root.OpenFile(name, osFlags(flag), 0o644)
	if err != nil {
		if fresh {
			o.files--
		}
		return nil, outErrno(err)
	}
	info, err := f.Stat()
	if err != nil || !info.IsDir() && (dir || flag&expsys.O_DIRECTORY != 0) {
		_ = f.Close()
		if err != nil {
			return nil, outErrno(err)
		}
		return nil, expsys.ENOTDIR
	}
	if info.IsDir() {
		out := &outDir{fs: o, name: name, f: f}
		o.open[out] = struct{}{}
		return out, 0
	}
	out := &outFile{
		fs: o, name: name, f: f, node: o.node(info), append: flag&expsys.O_APPEND != 0,
		reads: flag&expsys.O_WRONLY == 0, writes: flag&(expsys.O_RDWR|expsys.O_WRONLY) != 0,
	}
	o.open[out] = struct{}{}
	if flag&expsys.O_TRUNC != 0 {
		if errno := out.Truncate(0); errno != 0 {
			_ = out.Close()
			return nil, errno
		}
	}
	return out, 0
}

// osFlags leaves truncation and appending to outFile, which counts bytes.
func osFlags(flag expsys.Oflag) int {
	out := os.O_RDONLY
	switch {
	case flag&(expsys.O_RDWR|expsys.O_TRUNC|expsys.O_APPEND) != 0:
		out = os.O_RDWR
	case flag&expsys.O_WRONLY != 0:
		out = os.O_WRONLY
	}
	if flag&expsys.O_CREAT != 0 {
		out |= os.O_CREATE
	}
	if flag&expsys.O_EXCL != 0 {
		out |= os.O_EXCL
	}
	return out
}

// node returns the entry of an open file, the same for all that have it open.
func (o *outFS) node(info fs.FileInfo) *outNode {
	for _, n := range o.nodes {
		if os.SameFile(n.info, info) {
			n.refs++
			return n
		}
	}
	n := &outNode{info: info, size: info.Size(), refs: 1}
	o.nodes = append(o.nodes, n)
	return n
}

// lose is told that a file has lost its name: its bytes count no more, or not after its last close.
func (o *outFS) lose(info fs.FileInfo) {
	o.files--
	if !info.Mode().IsRegular() {
		return
	}
	for _, n := range o.nodes {
		if os.SameFile(n.info, info) {
			n.gone = true
			return
		}
	}
	o.grow(-info.Size())
}

// named calls f with a clean name.
func named(p string, f func(name string) error) expsys.Errno {
	name, _, errno := clean(p)
	if errno != 0 {
		return errno
	}
	return outErrno(f(name))
}

func (o *outFS) Mkdir(p string, _ fs.FileMode) expsys.Errno {
	return named(p, func(name string) error {
		if err := o.root.Mkdir(name, 0o755); err != nil {
			return err
		}
		o.addFile()
		return nil
	})
}

func (o *outFS) Unlink(p string) expsys.Errno {
	return o.remove(p, func(info fs.FileInfo) error {
		if info.IsDir() {
			return syscall.EISDIR
		}
		return nil
	})
}

func (o *outFS) Rmdir(p string) expsys.Errno {
	return o.remove(p, func(info fs.FileInfo) error {
		if !info.IsDir() {
			return syscall.ENOTDIR
		}
		return nil
	})
}

func (o *outFS) remove(p string, refuse func(fs.FileInfo) error) expsys.Errno {
	return named(p, func(name string) error {
		info, err := o.root.Lstat(name)
		if err != nil {
			return err
		}
		if err := refuse(info); err != nil {
			return err
		}
		if err := o.root.Remove(name); err != nil {
			return err
		}
		o.lose(info)
		return nil
	})
}

func (o *outFS) Rename(from, to string) expsys.Errno {
	return named(from, func(from string) error {
		name, _, errno := clean(to)
		if errno != 0 {
			return syscall.EPERM
		}
		moved, err := o.root.Lstat(from)
		if err != nil {
			return err
		}
		covered, missing := o.root.Lstat(name)
		if err := o.root.Rename(from, name); err != nil {
			return err
		}
		if missing == nil && !os.SameFile(moved, covered) {
			o.lose(covered)
		}
		return nil
	})
}

// Link refuses: one file under two names would count once and be written twice.
func (o *outFS) Link(string, string) expsys.Errno { return expsys.EPERM }

// Symlink makes links that stay inside /out, relative ones. One that is moved may point outside
// afterwards; following it fails.
func (o *outFS) Symlink(target, p string) expsys.Errno {
	target = strings.Clone(target) // it is the guest's memory
	return named(p, func(name string) error {
		if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)) {
			return syscall.EPERM
		}
		if err := o.root.Symlink(filepath.FromSlash(target), name); err != nil {
			return err
		}
		o.addFile()
		return nil
	})
}

func (o *outFS) Readlink(p string) (string, expsys.Errno) {
	var to string
	errno := named(p, func(name string) (err error) {
		to, err = o.root.Readlink(name)
		return err
	})
	return filepath.ToSlash(to), errno
}

// Chmod and Utimens change nothing: what leaves /out has neither.
func (o *outFS) Chmod(p string, _ fs.FileMode) expsys.Errno { _, errno := o.Stat(p); return errno }

func (o *outFS) Utimens(p string, _, _ int64) expsys.Errno { _, errno := o.Stat(p); return errno }
