package storage

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
)

// failed puts a disk's error into words: Full when there is no space, else Internal.
func failed(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &shoal.Error{
			Kind: shoal.Full, What: what, Why: "the disk is full",
			Try: "free some space, or unpin data and run 'shoal gc'", Err: err,
		}
	case errors.Is(err, fs.ErrPermission):
		return &shoal.Error{
			Kind: shoal.Refused, What: what, Why: err.Error(), Try: "check who owns the directory", Err: err,
		}
	}
	return shoal.Wrap(shoal.Internal, what, err)
}

// space knows how full the disk is, cheaply enough to ask before every write.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64

	mu      sync.Mutex
	at      time.Time
	avail   uint64
	keep    uint64 // the reserve in force
	pending uint64 // bytes promised since at
	err     error
}

const (
	minReserve = 8 << 20
	maxReserve = 64 << 20
	maxAge     = 250 * time.Millisecond
)

// look asks the file system, unless it answered a moment ago. The caller holds mu.
func (s *space) look() {
	if !s.at.IsZero() && time.Since(s.at) < maxAge && s.pending < s.keep/4 {
		return
	}
	u, err := s.fs.GetDiskUsage(s.dir)
	s.at, s.avail, s.err, s.pending = time.Now(), u.AvailBytes, err, 0
	s.keep = s.reserve
	if s.keep == 0 {
		s.keep = min(max(u.TotalBytes/16, minReserve), maxReserve)
	}
}

// take refuses n bytes with Full when less than keep of the reserve would stay free. A file system
// that cannot say how full it is refuses by itself, when it is.
func (s *space) take(what string, n uint64, part uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	if s.err == nil && s.avail < s.pending+n+s.keep/part {
		return failed(what, syscall.ENOSPC)
	}
	s.pending += n
	return nil
}

func (s *space) free() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	if s.err != nil || s.avail < s.pending+s.keep {
		return 0, s.err
	}
	return s.avail - s.pending - s.keep, nil
}

// makeDir makes dir and sees to it that it survives power loss.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil {
		return nil
	}
	up := fsys.PathDir(dir)
	if up != dir {
		if err := makeDir(fsys, up); err != nil {
			return err
		}
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fsys, up)
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile reads a file into what room returns for its length.
func readFile(fsys vfs.FS, name string, room func(n int) []byte) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &os.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	b := room(int(info.Size()))
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // shorter than it said: the caller's checksum notices
	}
	return b[:n], err
}
