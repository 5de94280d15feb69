package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
)

// Options say how a storage works. The zero value is good.
type Options struct {
	FS      vfs.FS       // the disk; nil: the operating system's
	Log     *slog.Logger // nil: discard
	Reserve uint64       // bytes of the disk that blocks leave free; 0: a 16th of it, 8 to 64 MiB
	Writers int          // files written and synced at once; 0: 32

	Shared *Shared // caches that other storages of this process use too; nil: this one has its own
	// Pause is called before blocks are synced, while no lock is held: simulated disks take their time there. nil: syncs take
	// what they take.
	Pause func()
}

// Storage is one node's directory, open. Its methods may be called from many goroutines.
type Storage struct {
	fs     vfs.FS
	dir    string
	log    *slog.Logger
	lock   io.Closer
	db     *pebble.DB
	broken *fault // set once the KV cannot be written any more
	pause  func()
	space  *space
	blocks *blocks
	places places

	snapshots sync.Map // *snapshot, open

	mu     sync.RWMutex // held for reading while an operation runs
	closed bool
}

// Open takes dir, which is made if it is absent, and recovers what was acknowledged. Refused: another
// process has it open; the error names that process. Close gives it back.
func Open(dir string, o Options) (*Storage, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Writers <= 0 {
		o.Writers = 32
	}
	if o.FS == nil {
		o.FS = vfs.Default
		abs, err := filepath.Abs(dir) // the lock is kept by name: one name per directory
		if err != nil {
			return nil, failed("open "+dir, err)
		}
		dir = abs
	}
	s := &Storage{fs: o.FS, dir: dir, log: o.Log, broken: &fault{}, pause: o.Pause}
	if s.pause == nil {
		s.pause = func() {}
	}
	if err := s.open(o); err != nil {
		if s.lock != nil {
			_ = s.lock.Close()
		}
		return nil, err
	}
	return s, nil
}

func (s *Storage) open(o Options) error {
	what := "open " + s.dir
	if err := makeDir(s.fs, s.dir); err != nil {
		return failed(what, err)
	}
	if s.fs == vfs.Default {
		if real, err := filepath.EvalSymlinks(s.dir); err == nil {
			s.dir = real
		}
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	s.space = &space{fs: s.fs, dir: s.dir, reserve: o.Reserve}
	var err error
	if s.blocks, err = openBlocks(s.fs, s.dir, s.space, o.Writers); err != nil {
		return failed(what, err)
	}
	if s.db, err = openPebble(s.fs, s.fs.PathJoin(s.dir, "kv"), s.log, s.broken, o.Shared); err != nil {
		return failed(what, err)
	}
	return failed(what, s.openPlaces())
}

// takeLock makes this process the owner of the directory.
func (s *Storage) takeLock() error {
	owner := s.fs.PathJoin(s.dir, "owner")
	lock, err := s.fs.Lock(s.fs.PathJoin(s.dir, "lock"))
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return failed("open "+s.dir, err)
	case err != nil:
		who := "another process"
		if b, err := readFile(s.fs, owner, fresh); err == nil && len(b) < 64 {
			who = "another node (process " + strings.TrimSpace(string(b)) + ")"
		}
		return &shoal.Error{
			Kind: shoal.Refused, What: "open " + s.dir, Why: who + " is running in this directory",
			Try: "stop it, or choose another directory with --dir", Err: err,
		}
	}
	s.lock = lock
	f, err := s.fs.Create(owner, vfs.WriteCategoryUnspecified)
	if err != nil {
		return failed("open "+s.dir, err)
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return failed("open "+s.dir, errors.Join(err, f.Close()))
}

// KV returns the memory of one room, named in letters, digits and dashes. It shares s's life.
func (s *Storage) KV(room string) shoal.KV { return &kv{s: s, prefix: room + "\x00"} }

// Table returns an ordered map of one room, named as for KV; both may have the same name. It shares s's
// life, and a disk's sync with all that is written to s at that time.
func (s *Storage) Table(room string) shoal.Table { return &table{s: s, prefix: room + "\x01"} }

// Blocks returns the block store. It shares s's life.
func (s *Storage) Blocks() shoal.Store { return &store{s: s} }

// Free returns the bytes that blocks may still take: what the file system has left for this process,
// less the reserve.
func (s *Storage) Free() (uint64, error) {
	free, err := s.space.free()
	return free, failed("free space of "+s.dir, err)
}

// Held returns the bytes of all blocks kept. The first call after Open may list folders.
func (s *Storage) Held() uint64 {
	if s.enter("") != nil {
		return 0
	}
	defer s.mu.RUnlock()
	return s.blocks.held()
}

// Close waits for the operations under way and gives the directory back. Later calls of any method
// fail with Unavailable; closing twice is no error.
func (s *Storage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.snapshots.Range(func(sn, _ any) bool {
		_ = sn.(*snapshot).Close()
		return true
	})
	var err error
	if s.broken.get() == nil { // a Pebble that lost its log hangs on Close; its files are sound
		err = s.db.Close()
	}
	_ = s.fs.Remove(s.fs.PathJoin(s.dir, "owner"))
	return failed("close "+s.dir, errors.Join(err, s.lock.Close()))
}

// enter holds Close back until the caller has called s.mu.RUnlock, unless it returns an error.
func (s *Storage) enter(what string) error {
	s.mu.RLock()
	if s.closed {
		s.mu.RUnlock()
		return shoal.E(shoal.Unavailable, what, "the storage is closed", "")
	}
	return nil
}
