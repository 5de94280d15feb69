package turn

import (
	"encoding/binary"
	"iter"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// View reads a state. What it returns is only read. Scan yields the pairs with low <= key < high in order
// of keys; its error, if any, comes last, with a nil key.
type View interface {
	Get(key []byte) (value []byte, ok bool, err error)
	Scan(low, high []byte) iter.Seq2[[]byte, Cell]
}

// Cell is a value in a scan, or the error that ended it.
type Cell struct {
	Value []byte
	Err   error
}

// The first bytes of keys.
const (
	ofUser    = 'u'
	ofReply   = 'r'
	ofSession = 's'
	ofNext    = 'n'
	ofOutbox  = 'o'
	ofInbox   = 'i'
	ofTimer   = 't'
	ofDead    = 'x'
	ofMeta    = 'm'
	ofHistory = 'h'
	ofCode    = 'c'
)

var (
	metaKey     = []byte{ofMeta}
	manifestKey = []byte{ofCode} // the signed manifest in force; none: the genesis is
)

func userKey(k []byte) []byte { return append([]byte{ofUser}, k...) }

// Own yields the pairs of an agent's own whose keys begin with prefix, in order of keys: what its turns see, from outside.
// The error comes last, with an empty pair.
func Own(v View, prefix string) iter.Seq2[shoal.Pair, error] {
	return func(yield func(shoal.Pair, error) bool) {
		low := userKey([]byte(prefix))
		for k, c := range v.Scan(low, after(low)) {
			if c.Err != nil {
				yield(shoal.Pair{}, c.Err)
				return
			}
			if !yield(shoal.Pair{Key: k[1:], Value: c.Value}, nil) {
				return
			}
		}
	}
}

// named is the key of something with a name, and beneath it of numbered things: the name's length comes
// first, so that no name is the beginning of another.
func named(first byte, name string, number ...uint64) []byte {
	b := binary.AppendUvarint([]byte{first}, uint64(len(name)))
	b = append(b, name...)
	for _, n := range number {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// nameOf is the inverse of named, for one number if numbered.
func nameOf(key []byte, numbered bool) (name string, number uint64, ok bool) {
	if len(key) == 0 {
		return "", 0, false
	}
	n, k := binary.Uvarint(key[1:])
	rest := key[1+max(k, 0):]
	if k <= 0 || uint64(len(rest)) < n {
		return "", 0, false
	}
	name, rest = string(rest[:n]), rest[n:]
	if !numbered {
		return name, 0, len(rest) == 0
	}
	if len(rest) != 8 {
		return "", 0, false
	}
	return name, binary.BigEndian.Uint64(rest), true
}

// after is the least key greater than all that start with prefix.
func after(prefix []byte) []byte {
	end := slices.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil // no end
}

// Meta is what is known of a state as a whole.
type Meta struct {
	Code     []byte `cbor:"c,omitempty"` // CID
	Manifest uint64 `cbor:"v,omitempty"`
	Time     int64  `cbor:"t,omitempty"` // of the last entry, Unix milliseconds
	Turns    uint64 `cbor:"n,omitempty"`
	Bytes    uint64 `cbor:"b,omitempty"` // of the agent's own keys and values
	Timers   uint64 `cbor:"i,omitempty"`
	Floor    int64  `cbor:"f,omitempty"` // sessions begun earlier, of which nothing is known, have expired
	Events   uint64 `cbor:"e,omitempty"` // noted in the history so far
	Noted    Noted  `cbor:"h,omitzero"`
}

// ReadMeta returns a state's Meta; that of an empty state is zero.
func ReadMeta(v View) (m Meta, err error) { return m, read(v, metaKey, &m) }

// read decodes the value under key into out, which stays as it is if there is none.
func read(v View, key []byte, out any) error {
	b, ok, err := v.Get(key)
	if err != nil || !ok {
		return err
	}
	if err := wire.Unmarshal("state", b, out); err != nil {
		return &shoal.Error{Kind: shoal.Corrupt, What: "agent's state", Why: err.Error(), Err: err}
	}
	return nil
}
