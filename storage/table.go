package storage

import (
	"bytes"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shoal-fabric/shoal"
)

// table is an ordered map of one room.
type table struct {
	s      *Storage
	prefix string
}

func (t *table) key(k []byte) []byte {
	return append(append(make([]byte, 0, len(t.prefix)+len(k)), t.prefix...), k...)
}

func (t *table) Get(key []byte) ([]byte, bool, error) { return t.get(t.s.db, key) }

func (t *table) get(from pebble.Reader, key []byte) ([]byte, bool, error) {
	const what = "read of a table"
	if err := t.s.enter(what); err != nil {
		return nil, false, err
	}
	defer t.s.mu.RUnlock()
	k := t.key(key)
	// Pebble's own Get reads no filters of the lowest level, where most keys are: one that is not there costs it ten times
	// as much, and most keys that agents write are new.
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: k, UseL6Filters: true})
	if err != nil {
		return nil, false, tableError(what, err)
	}
	var out []byte
	found := it.SeekPrefixGE(k) && bytes.Equal(it.Key(), k)
	if found {
		var v []byte
		if v, err = it.ValueAndErr(); err == nil {
			out = append([]byte{}, v...)
		}
	}
	if e := it.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, false, tableError(what, err)
	}
	return out, found, nil
}

func tableError(what string, err error) error {
	if pebble.IsCorruptionError(err) {
		return &shoal.Error{Kind: shoal.Corrupt, What: what, Why: err.Error(), Err: err}
	}
	return failed(what, err)
}

// A scan reads ahead so much at a time: no iterator, which would hold files and Close, is open while the
// caller has the word.
const (
	pagePairs = 256
	pageBytes = 1 << 20
)

func (t *table) Scan(low, high []byte) iter.Seq2[shoal.Pair, error] {
	return t.scan(t.s.db, low, high)
}

func (t *table) scan(from pebble.Reader, low, high []byte) iter.Seq2[shoal.Pair, error] {
	end := after([]byte(t.prefix))
	if high != nil {
		end = t.key(high)
	}
	first := t.key(low)
	return func(yield func(shoal.Pair, error) bool) {
		for at := first; at != nil; {
			page, next, err := t.page(from, at, end)
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
			}
			if err != nil {
				yield(shoal.Pair{}, err)
				return
			}
			at = next
		}
	}
}

// page reads pairs from a key on; next is where the page after it begins, nil if it is the last.
func (t *table) page(from pebble.Reader, low, end []byte) (page []shoal.Pair, next []byte, err error) {
	const what = "scan of a table"
	if err := t.s.enter(what); err != nil {
		return nil, nil, err
	}
	defer t.s.mu.RUnlock()
	it, err := from.NewIter(&pebble.IterOptions{LowerBound: low, UpperBound: end})
	if err != nil {
		return nil, nil, tableError(what, err)
	}
	size := 0
	for ok := it.First(); ok; ok = it.Next() {
		if len(page) == pagePairs || size > pageBytes {
			next = bytes.Clone(it.Key())
			break
		}
		p := shoal.Pair{Key: bytes.Clone(it.Key()[len(t.prefix):]), Value: append([]byte{}, it.Value()...)}
		page = append(page, p)
		size += len(p.Key) + len(p.Value)
	}
	return page, next, tableError(what, it.Close())
}

// snapshot is a table at one moment. Storage.Close closes those that are still open.
type snapshot struct {
	t    *table
	snap *pebble.Snapshot
}

func (t *table) Snapshot() (shoal.Snapshot, error) {
	const what = "snapshot of a table"
	if err := t.s.enter(what); err != nil {
		return nil, err
	}
	defer t.s.mu.RUnlock()
	sn := &snapshot{t: t, snap: t.s.db.NewSnapshot()}
	t.s.snapshots.Store(sn, nil)
	return sn, nil
}

func (sn *snapshot) Get(key []byte) ([]byte, bool, error) { return sn.t.get(sn.snap, key) }

func (sn *snapshot) Scan(low, high []byte) iter.Seq2[shoal.Pair, error] {
	return sn.t.scan(sn.snap, low, high)
}

func (sn *snapshot) Close() error {
	if _, open := sn.t.s.snapshots.LoadAndDelete(sn); !open {
		return nil
	}
	return failed("snapshot of a table", sn.snap.Close())
}

func (t *table) Commit(sync bool, batch ...shoal.Write) error {
	const what = "write of a table"
	if err := t.s.enter(what); err != nil {
		return err
	}
	defer t.s.mu.RUnlock()
	var n uint64
	for _, w := range batch {
		n += uint64(len(w.Key) + len(w.Value))
	}
	if n > 0 { // as in kv.write
		if err := t.s.space.take(what, n, 2); err != nil {
			return err
		}
	}
	if err := t.s.broken.get(); err != nil {
		return failed(what, err)
	}
	b := t.s.db.NewBatch()
	defer func() { _ = b.Close() }()
	var err error
	for _, w := range batch {
		switch {
		case w.Delete && w.End != nil:
			err = b.DeleteRange(t.key(w.Key), t.key(w.End), nil)
		case w.Delete:
			err = b.Delete(t.key(w.Key), nil)
		default:
			err = b.Set(t.key(w.Key), w.Value, nil)
		}
		if err != nil {
			return failed(what, err)
		}
	}
	mode := pebble.NoSync
	if sync {
		mode = pebble.Sync
	}
	if err = b.Commit(mode); err == nil {
		err = t.s.broken.get() // Pebble reports a lost log through the logger only
	}
	return failed(what, err)
}
