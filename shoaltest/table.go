package shoaltest

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/shoal-fabric/shoal"
)

// Table is a shoal.Table in memory.
type Table struct {
	mu     sync.Mutex
	keys   []string // sorted
	values map[string][]byte
	fail   error
}

// NewTable returns an empty Table.
func NewTable() *Table { return &Table{values: map[string][]byte{}} }

// Fail has Commit return err from now on; nil: work again.
func (t *Table) Fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fail = err
}

// Get implements shoal.Table.
func (t *Table) Get(key []byte) ([]byte, bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.values[string(key)]
	return bytes.Clone(v), ok, nil
}

// Scan implements shoal.Table.
func (t *Table) Scan(low, high []byte) iter.Seq2[shoal.Pair, error] {
	from, to := string(low), string(high)
	return func(yield func(shoal.Pair, error) bool) {
		at, first := from, true
		for {
			t.mu.Lock()
			i := sort.SearchStrings(t.keys, at)
			if !first && i < len(t.keys) && t.keys[i] == at {
				i++
			}
			if i == len(t.keys) || high != nil && t.keys[i] >= to {
				t.mu.Unlock()
				return
			}
			at, first = t.keys[i], false
			v := bytes.Clone(t.values[at])
			t.mu.Unlock()
			if !yield(shoal.Pair{Key: []byte(at), Value: v}, nil) {
				return
			}
		}
	}
}

// Snapshot implements shoal.Table.
func (t *Table) Snapshot() (shoal.Snapshot, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return still{&Table{keys: slices.Clone(t.keys), values: maps.Clone(t.values)}}, nil // values are replaced, never changed
}

// still is a copy of a Table.
type still struct{ *Table }

// Close implements shoal.Snapshot.
func (still) Close() error { return nil }

// Commit implements shoal.Table.
func (t *Table) Commit(_ bool, batch ...shoal.Write) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fail != nil {
		return t.fail
	}
	for _, w := range batch {
		i, found := slices.BinarySearch(t.keys, string(w.Key))
		switch {
		case w.Delete && w.End != nil:
			j, _ := slices.BinarySearch(t.keys, string(w.End))
			for _, k := range t.keys[i:max(i, j)] {
				delete(t.values, k)
			}
			t.keys = slices.Delete(t.keys, i, max(i, j))
		case w.Delete && found:
			delete(t.values, string(w.Key))
			t.keys = slices.Delete(t.keys, i, i+1)
		case w.Delete:
		default:
			if !found {
				t.keys = slices.Insert(t.keys, i, string(w.Key))
			}
			t.values[string(w.Key)] = append([]byte{}, w.Value...)
		}
	}
	return nil
}
