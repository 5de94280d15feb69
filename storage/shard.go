package storage

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// shard is one folder of blocks.
type shard struct {
	fs  vfs.FS
	dir string

	mu      sync.Mutex
	counted bool
	bytes   uint64 // of all blocks in it, once counted

	// Entries of the folder are numbered as they are made; those up to synced survive power loss. A
	// folder starts with one entry unsynced: what a killed process left may not be on the disk yet.
	made, synced uint64
	syncing      *flight
}

// flight is one sync of the folder, with all who wait for it.
type flight struct {
	upTo uint64
	done chan struct{}
	err  error
}

// count lists the folder once. The caller holds mu.
func (s *shard) count() error {
	if s.counted {
		return nil
	}
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	var sum uint64
	for _, name := range names {
		if info, err := s.fs.Stat(s.fs.PathJoin(s.dir, name)); err == nil {
			sum += uint64(info.Size())
		}
	}
	s.bytes, s.counted = sum, true
	return nil
}

// add moves the synced file tmp into the folder under name, unless a file of that size is there.
func (s *shard) add(tmp, name string, size int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	final := s.fs.PathJoin(s.dir, name)
	old := int64(-1)
	if info, err := s.fs.Stat(final); err == nil {
		if old = info.Size(); old == int64(size) {
			return s.fs.Remove(tmp)
		}
	}
	if err := s.fs.Rename(tmp, final); err != nil {
		return err
	}
	s.made++
	if s.counted {
		s.bytes += uint64(size)
		if old >= 0 {
			s.bytes -= uint64(old)
		}
	}
	return nil
}

// remove drops the file name, if it is there.
func (s *shard) remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	final := s.fs.PathJoin(s.dir, name)
	info, err := s.fs.Stat(final)
	if err == nil {
		err = s.fs.Remove(final)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if s.counted {
		s.bytes -= uint64(info.Size())
	}
	return nil
}

// sync returns when all entries made before the call survive power loss. Callers that come while a
// sync runs share the next one.
func (s *shard) sync() error {
	s.mu.Lock()
	want := s.made
	for s.synced < want {
		if f := s.syncing; f != nil {
			s.mu.Unlock()
			<-f.done
			s.mu.Lock()
			if f.err != nil && f.upTo >= want {
				s.mu.Unlock()
				return f.err
			}
			continue
		}
		f := &flight{upTo: s.made, done: make(chan struct{})}
		s.syncing = f
		s.mu.Unlock()
		f.err = syncDir(s.fs, s.dir)
		s.mu.Lock()
		s.syncing = nil
		if f.err == nil {
			s.synced = max(s.synced, f.upTo)
		}
		close(f.done)
		if f.err != nil {
			s.mu.Unlock()
			return f.err
		}
	}
	s.mu.Unlock()
	return nil
}
