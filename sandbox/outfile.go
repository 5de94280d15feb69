package sandbox

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	expsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// outFile is an open file of /out.
type outFile struct {
	expsys.UnimplementedFile
	fs            *outFS
	name          string // when it was opened
	f             *os.File
	node          *outNode
	pos           int64
	append        bool
	reads, writes bool
}

func (f *outFile) Stat() (sys.Stat_t, expsys.Errno) {
	st := outStat(f.name, f.node.info)
	st.Size = f.node.size
	return st, 0
}

func (f *outFile) Dev() (uint64, expsys.Errno)       { return 2, 0 }
func (f *outFile) Ino() (sys.Inode, expsys.Errno)    { st, _ := f.Stat(); return st.Ino, 0 }
func (f *outFile) IsDir() (bool, expsys.Errno)       { return false, 0 }
func (f *outFile) IsAppend() bool                    { return f.append }
func (f *outFile) SetAppend(on bool) expsys.Errno    { f.append = on; return 0 }
func (f *outFile) Sync() expsys.Errno                { return 0 } // /out is durable once it is adopted
func (f *outFile) Datasync() expsys.Errno            { return 0 }
func (f *outFile) Utimens(int64, int64) expsys.Errno { return 0 }

func (f *outFile) Read(buf []byte) (int, expsys.Errno) {
	n, errno := f.Pread(buf, f.pos)
	f.pos += int64(n)
	return n, errno
}

func (f *outFile) Pread(buf []byte, off int64) (int, expsys.Errno) {
	switch {
	case !f.reads:
		return 0, expsys.EBADF
	case off < 0:
		return 0, expsys.EINVAL
	}
	return inPieces(f.fs.gas, buf, func(part []byte, done int) (int, expsys.Errno) {
		n, err := f.f.ReadAt(part, off+int64(done))
		return n, outErrno(err)
	})
}

func (f *outFile) Write(buf []byte) (int, expsys.Errno) {
	if f.append {
		f.pos = f.node.size
	}
	n, errno := f.Pwrite(buf, f.pos)
	f.pos += int64(n)
	return n, errno
}

func (f *outFile) Pwrite(buf []byte, off int64) (int, expsys.Errno) {
	end := off + int64(len(buf))
	switch {
	case !f.writes:
		return 0, expsys.EBADF
	case off < 0 || end < off:
		return 0, expsys.EINVAL
	case len(buf) == 0:
		return 0, 0
	}
	f.fs.grow(max(0, end-f.node.size))
	f.node.size = max(f.node.size, end)
	return inPieces(f.fs.gas, buf, func(part []byte, done int) (int, expsys.Errno) {
		n, err := f.f.WriteAt(part, off+int64(done))
		return n, outErrno(err)
	})
}

func (f *outFile) Truncate(size int64) expsys.Errno {
	switch {
	case !f.writes:
		return expsys.EBADF
	case size < 0:
		return expsys.EINVAL
	}
	f.fs.grow(size - f.node.size)
	f.node.size = size
	return outErrno(f.f.Truncate(size))
}

func (f *outFile) Seek(by offset, whence int) (int64, expsys.Errno) {
	to, errno := seekTo(by, whence, f.pos, f.node.size)
	if errno == 0 {
		f.pos = to
	}
	return to, errno
}

func (f *outFile) Close() expsys.Errno {
	if _, open := f.fs.open[f]; !open {
		return 0
	}
	delete(f.fs.open, f)
	if f.node.refs--; f.node.refs == 0 {
		f.fs.nodes = slices.DeleteFunc(f.fs.nodes, func(n *outNode) bool { return n == f.node })
		if f.node.gone {
			f.fs.bytes -= min(f.fs.bytes, uint64(f.node.size))
		}
	}
	_ = f.f.Close()
	return 0
}

// outDir is an open folder of /out.
type outDir struct {
	expsys.DirFile
	fs   *outFS
	name string
	f    *os.File
	left []expsys.Dirent
	read bool
}

func (d *outDir) Dev() (uint64, expsys.Errno)       { return 2, 0 }
func (d *outDir) Ino() (sys.Inode, expsys.Errno)    { return inode(d.name), 0 }
func (d *outDir) Sync() expsys.Errno                { return 0 }
func (d *outDir) Datasync() expsys.Errno            { return 0 }
func (d *outDir) Utimens(int64, int64) expsys.Errno { return 0 }

func (d *outDir) Stat() (sys.Stat_t, expsys.Errno) {
	info, err := d.f.Stat()
	if err != nil {
		return sys.Stat_t{}, outErrno(err)
	}
	return outStat(d.name, info), 0
}

// Seek rewinds.
func (d *outDir) Seek(by offset, whence int) (int64, expsys.Errno) {
	if by != 0 || whence != io.SeekStart {
		return 0, expsys.EINVAL
	}
	d.read = false
	return 0, 0
}

// Readdir gives the entries in the order of their names.
func (d *outDir) Readdir(n int) ([]expsys.Dirent, expsys.Errno) {
	if !d.read {
		if _, err := d.f.Seek(0, io.SeekStart); err != nil {
			return nil, outErrno(err)
		}
		entries, err := d.f.ReadDir(-1)
		if err != nil {
			return nil, outErrno(err)
		}
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		d.fs.gas.charge(int64(len(entries)) * gasEntry)
		d.left, d.read = dirents(d.name, entries), true
	}
	return next(&d.left, n), 0
}

func (d *outDir) Close() expsys.Errno {
	delete(d.fs.open, d)
	_ = d.f.Close()
	return 0
}
