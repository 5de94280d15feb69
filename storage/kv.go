package storage

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
)

// openPebble opens a small Pebble: state of rooms is some thousand short values, and an idle node
// should stay far under 80 MiB.
func openPebble(fsys vfs.FS, dir string, log *slog.Logger, broken *fault, shared *Shared) (*pebble.DB, error) {
	o := &pebble.Options{
		FS:                 lockedFS{fsys},
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          16 << 20, // of which memtables take up to half
		MemTableSize:       4 << 20,
		MaxOpenFiles:       128,
		Logger:             &logger{log: log, broken: broken},
	}
	for i := range o.Levels { // many reads are of keys that are not there, such as a request's that is new
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	if shared != nil {
		o.Cache, o.FileCache, o.MemTableSize = shared.blocks, shared.files, 512<<10
		o.Experimental.CompactionScheduler = atOnce{}
	}
	return pebble.Open(dir, o)
}

// lockedFS is a disk whose directory this process owns already: Pebble need not lock it again, and a
// broken one cannot keep the lock.
type lockedFS struct{ vfs.FS }

func (lockedFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (l lockedFS) Unwrap() vfs.FS { return l.FS }

// fault remembers the first fatal error.
type fault struct{ err atomic.Pointer[error] }

func (f *fault) set(err error) { f.err.CompareAndSwap(nil, &err) }

func (f *fault) get() error {
	if p := f.err.Load(); p != nil {
		return *p
	}
	return nil
}

// logger takes what Pebble has to say.
type logger struct {
	log    *slog.Logger
	broken *fault
}

func (l *logger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "msg", fmt.Sprintf(format, args...))
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn("pebble", "msg", fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble cannot go on. When a write-ahead log cannot be written, the KV stops
// taking writes and goes on reading. Anything else would corrupt what is on disk if it went on: the
// process ends, and the next start recovers all that was acknowledged.
func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if e, ok := a.(error); ok {
			err = e
		}
	}
	l.log.Error("pebble cannot write", "err", err)
	l.broken.set(err)
	if !strings.Contains(format, "fatal commit error") {
		panic(fmt.Sprintf("storage: "+format, args...))
	}
}

// kv is the memory of one room.
type kv struct {
	s      *Storage
	prefix string
}

func (k *kv) Get(key string) ([]byte, error) {
	what := "state " + key
	if err := k.s.enter(what); err != nil {
		return nil, err
	}
	defer k.s.mu.RUnlock()
	v, done, err := k.s.db.Get([]byte(k.prefix + key))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return nil, shoal.E(shoal.NotFound, what, "not set", "")
	case pebble.IsCorruptionError(err):
		return nil, &shoal.Error{Kind: shoal.Corrupt, What: what, Why: err.Error(), Err: err}
	case err != nil:
		return nil, failed(what, err)
	}
	out := append([]byte{}, v...)
	return out, failed(what, done.Close())
}

func (k *kv) Set(key string, value []byte) error {
	return k.write("set state "+key, uint64(len(key)+len(value)), func(db *pebble.DB) error {
		return db.Set([]byte(k.prefix+key), value, pebble.Sync)
	})
}

func (k *kv) Delete(key string) error {
	return k.write("delete state "+key, 0, func(db *pebble.DB) error {
		return db.Delete([]byte(k.prefix+key), pebble.Sync)
	})
}

func (k *kv) write(what string, n uint64, f func(*pebble.DB) error) error {
	if err := k.s.enter(what); err != nil {
		return err
	}
	defer k.s.mu.RUnlock()
	if n > 0 { // blocks stop at the reserve; state may use half of it, so that it is never the first to suffer
		if err := k.s.space.take(what, n, 2); err != nil {
			return err
		}
	}
	err := k.s.broken.get()
	if err == nil {
		err = f(k.s.db)
	}
	if err == nil {
		err = k.s.broken.get() // Pebble reports a lost log through the logger only
	}
	return failed(what, err)
}

// Scan reads all pairs at once: they are small, and an iterator left half-way would hold files.
func (k *kv) Scan(prefix string) iter.Seq2[string, []byte] {
	type pair struct {
		key   string
		value []byte
	}
	var pairs []pair
	low := []byte(k.prefix + prefix)
	if k.s.enter("") == nil {
		defer k.s.mu.RUnlock()
		it, err := k.s.db.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: after(low)})
		if err == nil {
			for ok := it.First(); ok; ok = it.Next() {
				pairs = append(pairs, pair{string(it.Key()[len(k.prefix):]), append([]byte{}, it.Value()...)})
			}
			err = it.Close()
		}
		if err != nil {
			k.s.log.Error("scan of state", "prefix", prefix, "err", err)
		}
	}
	return func(yield func(string, []byte) bool) {
		for _, p := range pairs {
			if !yield(p.key, append([]byte{}, p.value...)) {
				return
			}
		}
	}
}

// after returns the first key that does not start with prefix, nil if there is none.
func after(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			out := append([]byte{}, prefix[:i+1]...)
			out[i]++
			return out
		}
	}
	return nil
}
