package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// places are blocks that lie in files of the user's. Each is a pair in Pebble: the key is the block's
// CID and the file's name, so that a block which lies in several files is there while one of them is;
// the value says where in the file, and how to tell that the file is still the same.
type places struct {
	kv  kv
	any atomic.Bool // whether there is one at all: most nodes have none, and need not look
}

const placesPrefix = "in-place\x00"

// place is the value under such a key.
type place struct {
	Offset int64 `cbor:"o"`
	Length int   `cbor:"n"`
	Size   int64 `cbor:"s"` // of the file
	Time   int64 `cbor:"t"` // of its last change, Unix nanoseconds
}

// openPlaces finds out whether there are any.
func (s *Storage) openPlaces() error {
	s.places.kv = kv{s: s, prefix: placesPrefix}
	return s.places.scan("", "", func(cid.Cid, string, []byte) bool {
		s.places.any.Store(true)
		return false
	})
}

// scan visits the pairs whose key starts with prefix and is not before start, in order, until visit
// returns false.
func (p *places) scan(prefix, start string, visit func(c cid.Cid, file string, value []byte) bool) error {
	it, err := p.kv.s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte(placesPrefix + max(prefix, start)), UpperBound: after([]byte(placesPrefix + prefix)),
	})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()[len(placesPrefix):]
		if n, c, err := cid.CidFromBytes(key); err == nil && !visit(c, string(key[n:]), it.Value()) {
			break
		}
	}
	return it.Close()
}

// Refer implements shoal.InPlace.
func (st *store) Refer(ctx context.Context, list ...shoal.Place) error {
	const what = "note where blocks lie"
	if err := ctx.Err(); err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	var size uint64
	for _, l := range list {
		if !l.CID.Defined() || !filepath.IsAbs(l.File) || l.Offset < 0 || l.Length < 0 || l.Length > wire.MaxBlock ||
			l.Offset > l.Size-int64(l.Length) {
			return shoal.E(shoal.Invalid, what, fmt.Sprintf("no such place: %d bytes at %d of %d in '%s'",
				l.Length, l.Offset, l.Size, l.File), "")
		}
		size += uint64(l.CID.ByteLen()+len(l.File)) + 64
	}
	p := &st.s.places
	return p.kv.write(what, max(size, 1), func(db *pebble.DB) error {
		b := db.NewBatch()
		defer b.Close()
		for _, l := range list {
			v := wire.Marshal(place{Offset: l.Offset, Length: l.Length, Size: l.Size, Time: l.Time.UnixNano()})
			if err := b.Set([]byte(placesPrefix+l.CID.KeyString()+l.File), v, nil); err != nil {
				return err
			}
		}
		p.any.Store(p.any.Load() || len(list) > 0)
		return b.Commit(pebble.Sync)
	})
}

// Copied implements shoal.InPlace.
func (st *store) Copied(ctx context.Context, c cid.Cid) (bool, error) {
	_, err := st.ownSize(ctx, c)
	if shoal.KindOf(err) == shoal.NotFound {
		return false, nil
	}
	return err == nil, err
}

// use tries the places of a block until f succeeds with one. NotFound: there is none; else the error
// of the first.
func (p *places) use(c cid.Cid, f func(file string, at place) error) error {
	none := missing("block " + c.String())
	if !p.any.Load() {
		return none
	}
	var first error
	done := false
	err := p.scan(c.KeyString(), "", func(_ cid.Cid, file string, value []byte) bool {
		var at place
		err := wire.Unmarshal("place of a block", value, &at)
		if err == nil {
			err = f(file, at)
		}
		if err != nil && first == nil {
			first = err
		}
		done = err == nil
		return !done
	})
	switch {
	case err != nil:
		return failed("block "+c.String(), err)
	case done:
		return nil
	case first != nil:
		return first
	}
	return none
}

// get reads a block from a file it lies in, and holds it against its CID.
func (p *places) get(c cid.Cid, room func(n int) []byte) (data []byte, err error) {
	err = p.use(c, func(file string, at place) error {
		if err := at.same(file); err != nil { // before opening, which may wait if it is a pipe by now
			return err
		}
		f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return lost(file, err)
		}
		defer f.Close()
		if at.Length < 0 || at.Length > wire.MaxBlock {
			return changed(file)
		}
		b := room(at.Length)
		if _, err := f.ReadAt(b, at.Offset); err != nil {
			return lost(file, err)
		}
		if verify(c, b) != nil { // never sent unseen: what is there now may be nobody's business
			return changed(file)
		}
		data = b
		return nil
	})
	return data, err
}

// Whole returns the file in which blocks lie one behind the other, from its begin to its end, as it is now: its
// content is theirs, unless somebody has changed it without changing its time. False: there is none that is
// known. A block that occurs twice in a file is known at one of its places only; such a file is not found.
func (s *Storage) Whole(blocks []cid.Cid) (file string, ok bool) {
	if s.enter("look for a file in place") != nil {
		return "", false
	}
	defer s.mu.RUnlock()
	if len(blocks) == 0 || !s.places.any.Load() {
		return "", false
	}
	err := s.places.use(blocks[0], func(name string, first place) error {
		at := int64(0)
		for _, c := range blocks {
			v, done, err := s.db.Get([]byte(placesPrefix + c.KeyString() + name))
			if err != nil {
				return err
			}
			var p place
			err = wire.Unmarshal("place of a block", v, &p)
			if err = errors.Join(err, done.Close()); err != nil {
				return err
			}
			if p.Offset != at || p.Size != first.Size || p.Time != first.Time {
				return changed(name)
			}
			at += int64(p.Length)
		}
		if at != first.Size {
			return changed(name)
		}
		if err := first.same(name); err != nil {
			return err
		}
		file = name
		return nil
	})
	return file, err == nil
}

// size returns the length of a block that lies in a file.
func (p *places) size(c cid.Cid) (n int, err error) {
	err = p.use(c, func(file string, at place) error {
		n = at.Length
		return at.same(file)
	})
	return n, err
}

// same holds a file against what it looked like.
func (at place) same(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return lost(file, err)
	}
	if !at.matches(info) {
		return changed(file)
	}
	return nil
}

func (at place) matches(info os.FileInfo) bool {
	return info.Mode().IsRegular() && info.Size() == at.Size && info.ModTime().UnixNano() == at.Time
}

func changed(file string) error {
	return shoal.E(shoal.Corrupt, file, "it changed since it was put in place", "put it again, or restore it as it was")
}

func lost(file string, err error) error {
	why := "it cannot be read any more, and was put in place: " + err.Error()
	if errors.Is(err, fs.ErrNotExist) {
		why = "it is gone, and was put in place"
	}
	return &shoal.Error{Kind: shoal.Corrupt, What: file, Why: why, Try: "put it again, or restore it as it was", Err: err}
}

// forget drops all places of blocks. Like the removal of a file it is not synced: a place that comes
// back after power loss is collected again.
func (p *places) forget(cids []cid.Cid) error {
	if !p.any.Load() || len(cids) == 0 {
		return nil
	}
	return p.kv.write("forget where blocks lie", 0, func(db *pebble.DB) error {
		b := db.NewBatch()
		defer b.Close()
		for _, c := range cids {
			err := p.scan(c.KeyString(), "", func(c cid.Cid, file string, _ []byte) bool {
				_ = b.Delete([]byte(placesPrefix+c.KeyString()+file), nil) // fails only when the batch was committed
				return true
			})
			if err != nil {
				return err
			}
		}
		return b.Commit(pebble.NoSync)
	})
}

// list returns some blocks that lie in files, those behind last.
func (p *places) list(last cid.Cid) (out []cid.Cid, err error) {
	if !p.any.Load() {
		return nil, nil
	}
	const most = 1024
	err = p.scan("", last.KeyString(), func(c cid.Cid, _ string, _ []byte) bool {
		if !c.Equals(last) {
			out, last = append(out, c), c
		}
		return len(out) < most
	})
	return out, failed("list blocks", err)
}

// Changed looks at the files that blocks lie in, and names those of which nothing is as it was put,
// most of them at most; bad is how many there are, of files. It takes seconds for a million blocks.
func (s *Storage) Changed(ctx context.Context, most int) (names []string, bad, files int, err error) {
	const what = "look at files in place"
	if err := s.enter(what); err != nil {
		return nil, 0, 0, err
	}
	defer s.mu.RUnlock()
	type state struct {
		info os.FileInfo // nil: unreadable
		fine bool        // some block in it is as it was
	}
	seen := map[string]*state{}
	err = s.places.scan("", "", func(_ cid.Cid, file string, value []byte) bool {
		st := seen[file]
		if st == nil {
			st = &state{}
			st.info, _ = os.Stat(file)
			seen[file] = st
		}
		var at place
		st.fine = st.fine || st.info != nil && wire.Unmarshal("place of a block", value, &at) == nil && at.matches(st.info)
		return ctx.Err() == nil
	})
	for file, st := range seen {
		if !st.fine {
			names = append(names, file)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), most)], len(names), len(seen), failed(what, errors.Join(err, ctx.Err()))
}
