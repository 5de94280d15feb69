package agenttest

import (
	"bytes"
	"slices"
	"sort"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// Kept is what an agent keeps, in memory and in order of keys, for tests of what many turns do: a turn is undone unless
// Commit is called. It counts what turns cost.
type Kept struct {
	Reads, Scans, Pairs int // Pairs: that Scans returned
	Writes              int // and deletions
	Bytes               int // of keys and values that were written

	keys []string
	all  map[string][]byte
	undo map[string][]byte // what was there before the turn; nil: nothing
}

var _ shoal.State = (*Kept)(nil)

// NewKept returns what an agent keeps at first: nothing.
func NewKept() *Kept { return &Kept{all: map[string][]byte{}, undo: map[string][]byte{}} }

// Commit ends a turn that counts, and sets the counts to zero.
func (k *Kept) Commit() {
	clear(k.undo)
	k.Reads, k.Scans, k.Pairs, k.Writes, k.Bytes = 0, 0, 0, 0, 0
}

// Revert ends a turn that does not count.
func (k *Kept) Revert() {
	for key, v := range k.undo {
		k.set(key, v)
	}
	k.Commit()
}

// Size is how many bytes are kept.
func (k *Kept) Size() (n int) {
	for key, v := range k.all {
		n += len(key) + len(v)
	}
	return n
}

// Keys are the keys that begin with prefix, in order.
func (k *Kept) Keys(prefix string) (out []string) {
	for _, key := range k.keys {
		if strings.HasPrefix(key, prefix) {
			out = append(out, key)
		}
	}
	return out
}

// set gives a key a value; nil: none.
func (k *Kept) set(key string, v []byte) {
	i, had := slices.BinarySearch(k.keys, key)
	switch {
	case v == nil && had:
		k.keys = slices.Delete(k.keys, i, i+1)
		delete(k.all, key)
	case v != nil:
		if !had {
			k.keys = slices.Insert(k.keys, i, key)
		}
		k.all[key] = v
	}
}

func (k *Kept) write(key, v []byte) {
	if _, ok := k.undo[string(key)]; !ok {
		k.undo[string(key)] = k.all[string(key)]
	}
	k.Writes++
	k.Bytes += len(key) + len(v)
	k.set(string(key), v)
}

// Get implements shoal.State.
func (k *Kept) Get(key []byte) ([]byte, bool, error) {
	k.Reads++
	v, ok := k.all[string(key)]
	return v, ok, nil
}

// Put implements shoal.State.
func (k *Kept) Put(key, value []byte) error {
	if len(key) == 0 || len(key) > MaxKey || len(value) > MaxValue {
		return shoal.E(shoal.Invalid, "put", "a key or value of an impossible size", "")
	}
	k.write(key, append([]byte{}, value...))
	return nil
}

// Delete implements shoal.State.
func (k *Kept) Delete(key []byte) error {
	k.write(key, nil)
	return nil
}

// Scan implements shoal.State.
func (k *Kept) Scan(prefix, after []byte, limit int) (list []shoal.Pair, err error) {
	k.Scans++
	from := string(prefix)
	if after != nil {
		from = max(from, string(after)+"\x00")
	}
	for i := sort.SearchStrings(k.keys, from); i < len(k.keys) && len(list) < limit && bytes.HasPrefix([]byte(k.keys[i]), prefix); i++ {
		list = append(list, shoal.Pair{Key: []byte(k.keys[i]), Value: k.all[k.keys[i]]})
	}
	k.Pairs += len(list)
	return list, nil
}
