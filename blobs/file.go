package blobs

import (
	"errors"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

var (
	errNotDir = errors.New("not a directory")
	errIsDir  = errors.New("is a directory")
)

// file is an open file. It remembers the nodes from the root down to the leaf it read last, which is
// an index into the file for sequential reading; elsewhere it descends anew from the root.
type file struct {
	t    *Tree
	it   *item
	name string
	size int64

	mu     sync.Mutex
	at     int64
	closed bool
	path   []span // path[0] is the root
}

// span is a node and the part of the file it covers.
type span struct {
	n          node
	start, end uint64
}

func (f *file) fault(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

func (f *file) Stat() (fs.FileInfo, error) { return f.it.info(f.name), nil }

// Close lets go of the blocks held.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.fault("close", fs.ErrClosed)
	}
	f.closed, f.path = true, nil
	return nil
}

// Read follows io.Reader.
func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, f.fault("read", fs.ErrClosed)
	}
	if f.at >= f.size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	part, err := f.piece(f.at)
	if err != nil {
		return 0, f.fault("read", err)
	}
	n := copy(p, part)
	f.at += int64(n)
	f.t.read.Add(uint64(n))
	return n, nil
}

// ReadAt follows io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, f.fault("read", fs.ErrClosed)
	}
	if off < 0 {
		return 0, f.fault("read", fs.ErrInvalid)
	}
	n := 0
	for n < len(p) && off < f.size {
		part, err := f.piece(off)
		if err != nil {
			return n, f.fault("read", err)
		}
		c := copy(p[n:], part)
		n += c
		off += int64(c)
		f.t.read.Add(uint64(c))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Seek follows io.Seeker.
func (f *file) Seek(off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		off += f.at
	case io.SeekEnd:
		off += f.size
	default:
		return 0, f.fault("seek", fs.ErrInvalid)
	}
	if f.closed {
		return 0, f.fault("seek", fs.ErrClosed)
	}
	if off < 0 {
		return 0, f.fault("seek", fs.ErrInvalid)
	}
	f.at = off
	return off, nil
}

// WriteTo follows io.WriterTo: w gets whole leaves, without a copy. It must not keep or change them.
func (f *file) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n int64
	for {
		if f.closed {
			return n, f.fault("read", fs.ErrClosed)
		}
		if f.at >= f.size {
			return n, nil
		}
		part, err := f.piece(f.at)
		if err != nil {
			return n, f.fault("read", err)
		}
		c, err := w.Write(part)
		n += int64(c)
		f.at += int64(c)
		f.t.read.Add(uint64(c))
		if err != nil {
			return n, err
		}
	}
}

// piece returns content from off, which lies within the file, to the end of its leaf.
func (f *file) piece(off int64) ([]byte, error) {
	at := uint64(off)
	for len(f.path) > 1 {
		if s := f.path[len(f.path)-1]; s.start <= at && at < s.end {
			break
		}
		f.path = f.path[:len(f.path)-1]
	}
	for {
		s := f.path[len(f.path)-1]
		if own := s.start + uint64(len(s.n.data)); at < own {
			return s.n.data[at-s.start:], nil
		}
		if len(f.path) > maxInner {
			return nil, malformed(f.it.cid, "nodes nested deeper than %d", maxInner)
		}
		next, err := f.descend(s, at)
		if err != nil {
			return nil, err
		}
		f.path = append(f.path, next)
	}
}

// descend loads the child of s that covers at.
func (f *file) descend(s span, at uint64) (span, error) {
	if s.n.ends == nil {
		return span{}, malformed(f.it.cid, "content without a block")
	}
	i := sort.Search(len(s.n.ends), func(i int) bool { return s.start+s.n.ends[i] > at })
	if i == len(s.n.ends) {
		return span{}, malformed(f.it.cid, "content without a block")
	}
	l := s.n.links[i]
	n, err := load(f.t.ctx, l.cid, f.t.get)
	if err != nil {
		return span{}, err
	}
	if n.kind != kindFile || n.size != l.size {
		return span{}, malformed(l.cid, "a part of %d bytes that its file calls %d", n.size, l.size)
	}
	end := s.start + s.n.ends[i]
	return span{n: n, start: end - l.size, end: end}, nil
}

// maxLeaves bounds what Leaves lists: a file of a terabyte in leaves of the usual size.
const maxLeaves = 1 << 20

// Leaves lists the blocks that hold the content of a file, in its order, one as often as it occurs. Refused: some
// of the content has no block of its own, or there are more than a million.
func (t *Tree) Leaves(name string) ([]cid.Cid, error) {
	it, err := t.find("leaves", name, true)
	if err != nil {
		return nil, err
	}
	if it.isDir() {
		return nil, &fs.PathError{Op: "leaves", Path: name, Err: errIsDir}
	}
	return t.leaves(it.cid, nil, 0)
}

func (t *Tree) leaves(c cid.Cid, list []cid.Cid, depth int) ([]cid.Cid, error) {
	_, free := inline(c)
	switch {
	case free || len(list) == maxLeaves || depth > maxInner:
		return nil, shoal.E(shoal.Refused, "list the blocks of "+c.String(), "not all of it lies in blocks that can be listed", "")
	case leaf(c):
		return append(list, c), nil
	}
	n, err := load(t.ctx, c, t.get)
	if err != nil {
		return nil, err
	}
	if n.kind != kindFile || len(n.data) > 0 {
		return nil, shoal.E(shoal.Refused, "list the blocks of "+c.String(), "not all of it lies in blocks that can be listed", "")
	}
	for _, l := range n.links {
		if list, err = t.leaves(l.cid, list, depth+1); err != nil {
			return nil, err
		}
	}
	return list, nil
}
