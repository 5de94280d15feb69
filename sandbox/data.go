package sandbox

import (
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"path"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"

	"github.com/shoal-fabric/shoal"
)

// maxOpen bounds the files a guest has open at once: they are the node's descriptors.
const maxOpen = 512

// handles counts a guest's open files, and closes those that it leaves open.
type handles map[expsys.File]struct{}

func (h handles) closeAll() {
	for f := range h {
		_ = f.Close() // which takes it out of h
	}
}

// dataFS is /data: an fs.FS, read-only.
type dataFS struct {
	expsys.UnimplementedFS
	fsys fs.FS
	open handles
	gas  *gas
}

// writes are the flags of somebody who wants to write.
const writes = expsys.O_RDWR | expsys.O_WRONLY | expsys.O_CREAT | expsys.O_TRUNC | expsys.O_APPEND

// clean turns a path of the guest into one of fs.FS. dir says that it must name a folder.
func clean(p string) (name string, dir bool, errno expsys.Errno) {
	dir = len(p) > 0 && p[len(p)-1] == '/'
	for len(p) > 0 && p[0] == '/' {
		p = p[1:]
	}
	name = path.Clean(p)
	if !fs.ValidPath(name) {
		return "", false, expsys.EPERM
	}
	return name, dir, 0
}

// inode gives a path a number, so that the guest's libraries need not ask for it file by file.
func inode(name string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name)
	return h.Sum64() | 1
}

// dataError maps an error of the file system to the guest's. One of the fabric, say a block that is
// damaged, is no affair of the guest: it ends the run, which may do better elsewhere.
func dataError(name string, err error) expsys.Errno {
	var e *shoal.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		panic(&halt{err: shoal.Wrap(shoal.Unavailable, "read /data/"+name, err)})
	case errors.Is(err, fs.ErrNotExist):
		return expsys.ENOENT
	case errors.Is(err, fs.ErrPermission):
		return expsys.EACCES
	case errors.Is(err, fs.ErrInvalid):
		return expsys.EINVAL
	}
	panic(&halt{err: shoal.Wrap(shoal.Unavailable, "read /data/"+name, err)})
}

// dataStat is what a guest sees of a file: no owner, no times.
func dataStat(name string, info fs.FileInfo) sys.Stat_t {
	st := sys.Stat_t{Dev: 1, Ino: inode(name), Nlink: 1, Size: info.Size()}
	switch m := info.Mode(); {
	case m.IsDir():
		st.Mode, st.Size = fs.ModeDir|0o555, 0
	case m&fs.ModeSymlink != 0:
		st.Mode = fs.ModeSymlink | 0o444
	default:
		st.Mode = 0o444
	}
	return st
}

func (d *dataFS) Stat(p string) (sys.Stat_t, expsys.Errno)  { return d.stat(p, fs.Stat) }
func (d *dataFS) Lstat(p string) (sys.Stat_t, expsys.Errno) { return d.stat(p, fs.Lstat) }

func (d *dataFS) stat(p string, of func(fs.FS, string) (fs.FileInfo, error)) (sys.Stat_t, expsys.Errno) {
	name, dir, errno := clean(p)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	info, err := of(d.fsys, name)
	if err != nil {
		return sys.Stat_t{}, dataError(name, err)
	}
	if dir && !info.IsDir() {
		return sys.Stat_t{}, expsys.ENOTDIR
	}
	return dataStat(name, info), 0
}

func (d *dataFS) Readlink(p string) (string, expsys.Errno) {
	name, _, errno := clean(p)
	if errno != 0 {
		return "", errno
	}
	if info, err := fs.Lstat(d.fsys, name); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return "", expsys.EINVAL
	}
	to, err := fs.ReadLink(d.fsys, name)
	return to, dataError(name, err)
}

func (d *dataFS) OpenFile(p string, flag expsys.Oflag, _ fs.FileMode) (expsys.File, expsys.Errno) {
	st, errno := d.Stat(p)
	if errno != 0 {
		if errno == expsys.ENOENT && flag&expsys.O_CREAT != 0 {
			return nil, expsys.EROFS
		}
		return nil, errno
	}
	name, _, _ := clean(p)
	if flag&expsys.O_NOFOLLOW != 0 {
		if link, errno := d.Lstat(p); errno == 0 && link.Mode&fs.ModeSymlink != 0 {
			return nil, expsys.ELOOP
		}
	}
	switch {
	case st.Mode.IsDir() && flag&writes != 0:
		return nil, expsys.EISDIR
	case flag&writes != 0:
		return nil, expsys.EROFS
	case st.Mode.IsDir():
		return &dataDir{fs: d, name: name, st: st}, 0
	case flag&expsys.O_DIRECTORY != 0:
		return nil, expsys.ENOTDIR
	case len(d.open) >= maxOpen:
		return nil, expsys.EAGAIN
	}
	f, err := d.fsys.Open(name)
	if err != nil {
		return nil, dataError(name, err)
	}
	out := &dataFile{fs: d, name: name, st: st, f: f}
	d.open[out] = struct{}{}
	out.at, _ = f.(io.ReaderAt)
	out.seek, _ = f.(io.Seeker)
	return out, 0
}

func (d *dataFS) Mkdir(string, fs.FileMode) expsys.Errno    { return expsys.EROFS }
func (d *dataFS) Chmod(string, fs.FileMode) expsys.Errno    { return expsys.EROFS }
func (d *dataFS) Rename(string, string) expsys.Errno        { return expsys.EROFS }
func (d *dataFS) Rmdir(string) expsys.Errno                 { return expsys.EROFS }
func (d *dataFS) Unlink(string) expsys.Errno                { return expsys.EROFS }
func (d *dataFS) Link(string, string) expsys.Errno          { return expsys.EROFS }
func (d *dataFS) Symlink(string, string) expsys.Errno       { return expsys.EROFS }
func (d *dataFS) Utimens(string, int64, int64) expsys.Errno { return expsys.EROFS }

// dataFile is an open file of /data.
type dataFile struct {
	expsys.UnimplementedFile
	fs   *dataFS
	name string
	st   sys.Stat_t
	f    fs.File
	at   io.ReaderAt // nil if it has none
	seek io.Seeker   // nil if it has none
	pos  int64       // with at
}

func (f *dataFile) Dev() (uint64, expsys.Errno)       { return f.st.Dev, 0 }
func (f *dataFile) Ino() (sys.Inode, expsys.Errno)    { return f.st.Ino, 0 }
func (f *dataFile) IsDir() (bool, expsys.Errno)       { return false, 0 }
func (f *dataFile) Stat() (sys.Stat_t, expsys.Errno)  { return f.st, 0 }
func (f *dataFile) Write([]byte) (int, expsys.Errno)  { return 0, expsys.EBADF }
func (f *dataFile) Truncate(int64) expsys.Errno       { return expsys.EROFS }
func (f *dataFile) Utimens(int64, int64) expsys.Errno { return expsys.EROFS }
func (f *dataFile) Pwrite([]byte, int64) (int, expsys.Errno) {
	return 0, expsys.EBADF
}

func (f *dataFile) Close() expsys.Errno {
	delete(f.fs.open, f)
	_ = f.f.Close()
	return 0
}

// Read fills buf unless the file ends: guests take a short read of a file for its end.
func (f *dataFile) Read(buf []byte) (int, expsys.Errno) {
	if f.at != nil {
		n, errno := f.Pread(buf, f.pos)
		f.pos += int64(n)
		return n, errno
	}
	return inPieces(f.fs.gas, buf, func(part []byte, _ int) (int, expsys.Errno) {
		n, err := io.ReadFull(f.f, part)
		return n, f.failed(err)
	})
}

func (f *dataFile) Pread(buf []byte, off int64) (int, expsys.Errno) {
	switch {
	case off < 0:
		return 0, expsys.EINVAL
	case len(buf) == 0:
		return 0, 0
	case f.at != nil:
		return inPieces(f.fs.gas, buf, func(part []byte, done int) (int, expsys.Errno) {
			n, err := f.at.ReadAt(part, off+int64(done))
			return n, f.failed(err)
		})
	case f.seek == nil:
		return 0, expsys.ENOSYS
	}
	was, err := f.seek.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.seek.Seek(off, io.SeekStart)
	}
	if err != nil {
		return 0, f.failed(err)
	}
	n, err := io.ReadFull(f.f, buf)
	f.fs.gas.moved(n)
	if _, back := f.seek.Seek(was, io.SeekStart); back != nil {
		err = back
	}
	return n, f.failed(err)
}

func (f *dataFile) failed(err error) expsys.Errno {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return 0
	}
	return dataError(f.name, err)
}

func (f *dataFile) Seek(by offset, whence int) (int64, expsys.Errno) {
	if f.at == nil {
		if f.seek == nil {
			return 0, expsys.ENOSYS
		}
		to, err := f.seek.Seek(by, whence)
		if err != nil {
			return 0, expsys.EINVAL
		}
		return to, 0
	}
	to, errno := seekTo(by, whence, f.pos, f.st.Size)
	if errno == 0 {
		f.pos = to
	}
	return to, errno
}

// inPieces moves buf in pieces, each charged for, so that a large one can be stopped.
func inPieces(g *gas, buf []byte, move func(part []byte, done int) (int, expsys.Errno)) (int, expsys.Errno) {
	done := 0
	for {
		part := buf[done:min(len(buf), done+pieceBytes)]
		n, errno := move(part, done)
		g.moved(n)
		if done += n; errno != 0 || n < len(part) || done == len(buf) {
			return done, errno
		}
	}
}

// pieceBytes is how much of a file is read or written at once.
const pieceBytes = 1 << 20

// offset is int64 under a name that the vet tool does not take for io.Seeker's, whose error differs.
type offset = int64

func seekTo(by int64, whence int, pos, size int64) (int64, expsys.Errno) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		by += pos
	case io.SeekEnd:
		by += size
	default:
		return 0, expsys.EINVAL
	}
	if by < 0 {
		return 0, expsys.EINVAL
	}
	return by, 0
}

// dataDir is an open folder of /data. It holds no descriptor.
type dataDir struct {
	expsys.DirFile
	fs   *dataFS
	name string
	st   sys.Stat_t
	left []expsys.Dirent
	read bool
}

func (d *dataDir) Dev() (uint64, expsys.Errno)      { return d.st.Dev, 0 }
func (d *dataDir) Ino() (sys.Inode, expsys.Errno)   { return d.st.Ino, 0 }
func (d *dataDir) Stat() (sys.Stat_t, expsys.Errno) { return d.st, 0 }

func (d *dataDir) Sync() expsys.Errno                { return 0 }
func (d *dataDir) Datasync() expsys.Errno            { return 0 }
func (d *dataDir) Close() expsys.Errno               { return 0 }
func (d *dataDir) Utimens(int64, int64) expsys.Errno { return expsys.EROFS }

// Seek rewinds.
func (d *dataDir) Seek(by offset, whence int) (int64, expsys.Errno) {
	if by != 0 || whence != io.SeekStart {
		return 0, expsys.EINVAL
	}
	d.read = false
	return 0, 0
}

// Readdir gives the entries in the order of their names.
func (d *dataDir) Readdir(n int) ([]expsys.Dirent, expsys.Errno) {
	if !d.read {
		entries, err := fs.ReadDir(d.fs.fsys, d.name)
		if err != nil {
			return nil, dataError(d.name, err)
		}
		d.fs.gas.charge(int64(len(entries)) * gasEntry)
		d.left, d.read = dirents(d.name, entries), true
	}
	return next(&d.left, n), 0
}

// dirents turns entries of the folder at into the guest's.
func dirents(at string, entries []fs.DirEntry) []expsys.Dirent {
	out := make([]expsys.Dirent, len(entries))
	for i, e := range entries {
		out[i] = expsys.Dirent{Ino: inode(path.Join(at, e.Name())), Name: e.Name(), Type: e.Type().Type()}
	}
	return out
}

// next takes the next n entries, all of them if n is not positive.
func next(left *[]expsys.Dirent, n int) []expsys.Dirent {
	if n <= 0 || n > len(*left) {
		n = len(*left)
	}
	out := (*left)[:n:n]
	*left = (*left)[n:]
	return out
}
