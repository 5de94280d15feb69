package pieces

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Kind says what an answer is.
type Kind byte

// The kinds of answers.
const (
	Block   Kind = 1 // the CID and the bytes follow
	Missing Kind = 2 // the CID follows, and why it is gone if a file in place changed
	End     Kind = 3 // of the inner nodes
)

// Answer is one answer, as it was read.
type Answer struct {
	Kind Kind
	CID  cid.Cid
	Data []byte // the block, or why it is missing
	True bool   // the block is what the CID names
}

// HeadRoom is how many bytes before a block Seal may need.
const HeadRoom = binary.MaxVarintLen32 + 2 + maxCID

// Seal makes an answer of the n bytes that lie in b from HeadRoom on, without copying them: the result is a
// part of b.
func Seal(b []byte, kind Kind, c cid.Cid, n int) []byte {
	var head [HeadRoom]byte
	h := appendHead(head[:0], kind, c, n)
	start := HeadRoom - len(h)
	copy(b[start:], h)
	return b[start : HeadRoom+n]
}

// Write writes an answer whose data lie anywhere; w had better gather small writes.
func Write(w io.Writer, kind Kind, c cid.Cid, data []byte) error {
	var head [HeadRoom]byte
	if _, err := w.Write(appendHead(head[:0], kind, c, len(data))); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// appendHead appends what stands before n bytes. The CID is one that ParseCID took.
func appendHead(b []byte, kind Kind, c cid.Cid, n int) []byte {
	name := c.KeyString()
	b = binary.AppendUvarint(b, uint64(2+len(name)+n))
	b = append(b, byte(kind), byte(len(name)))
	return append(b, name...)
}

// Reader reads answers.
type Reader struct {
	in   *bufio.Reader
	from *Buffers
	sum  hash.Hash
}

// NewReader reads from in. Blocks come in buffers of from, for the caller to give back; nil: in fresh ones.
func NewReader(in io.Reader, from *Buffers) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, 16<<10), from: from, sum: sha256.New()}
}

// Next reads an answer, which is due: an end of the stream is an error. What it says of a block, True,
// costs one look at each byte, as it arrives.
func (r *Reader) Next() (a Answer, err error) {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return a, due(err)
	}
	head := make([]byte, 2, 2+maxCID)
	if _, err := io.ReadFull(r.in, head); err != nil {
		return a, due(err)
	}
	a.Kind = Kind(head[0])
	name := int(head[1])
	if n > 2+maxCID+wire.MaxBlock || name > maxCID || int(n) < 2+name {
		return a, malformed()
	}
	size := int(n) - 2 - name
	switch {
	case a.Kind == End && name == 0 && size == 0:
		return a, nil
	case a.Kind == Missing && size <= MaxWhy, a.Kind == Block && size <= wire.MaxBlock:
	default:
		return a, malformed()
	}
	head = head[:name]
	if _, err := io.ReadFull(r.in, head); err != nil {
		return a, due(err)
	}
	if a.CID, err = ParseCID(head); err != nil {
		return a, err
	}
	if a.Kind == Missing {
		a.Data = make([]byte, size)
		if _, err := io.ReadFull(r.in, a.Data); err != nil {
			return Answer{}, due(err)
		}
		return a, nil
	}
	a.Data = r.from.Get(size) // at once: growing as it comes would copy a block several times
	if a.True, err = r.read(a.CID, a.Data); err != nil {
		r.from.Put(a.Data)
		return Answer{}, due(err)
	}
	return a, nil
}

// read fills b and says whether c names it.
func (r *Reader) read(c cid.Cid, b []byte) (bool, error) {
	p := c.Prefix()
	if p.MhType != sha2 || p.MhLength != sha256.Size {
		if _, err := io.ReadFull(r.in, b); err != nil {
			return false, err
		}
		got, err := p.Sum(b)
		return err == nil && got.Equals(c), nil
	}
	r.sum.Reset()
	for at := 0; at < len(b); {
		n, err := r.in.Read(b[at:])
		r.sum.Write(b[at : at+n]) // while it is in the processor's cache
		if at += n; err != nil && at < len(b) {
			return false, err
		}
	}
	var sum [sha256.Size]byte
	digest := c.Hash()
	return string(digest[len(digest)-sha256.Size:]) == string(r.sum.Sum(sum[:0])), nil
}

const sha2 = 0x12 // multihash's number of SHA-256

func malformed() error {
	return shoal.E(shoal.Invalid, "fetch", "malformed answer", "check that both nodes run the same version of shoal")
}

func due(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
