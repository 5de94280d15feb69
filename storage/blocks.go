package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// blocks is the folder tree of blocks.
type blocks struct {
	fs     vfs.FS
	tmp    string
	space  *space
	shards [shards]*shard
	slots  chan struct{} // one for each file being written or folder being synced
	serial atomic.Uint64 // numbers temporary files
	copies sync.Pool     // of *[writeBytes]byte
}

func openBlocks(fsys vfs.FS, dir string, sp *space, writers int) (*blocks, error) {
	b := &blocks{fs: fsys, tmp: fsys.PathJoin(dir, "tmp"), space: sp, slots: make(chan struct{}, writers)}
	if err := fsys.RemoveAll(b.tmp); err != nil { // what a killed process was writing
		return nil, err
	}
	if err := makeDir(fsys, b.tmp); err != nil {
		return nil, err
	}
	root := fsys.PathJoin(dir, "blocks")
	if err := makeDir(fsys, root); err != nil {
		return nil, err
	}
	for i := range b.shards {
		s := &shard{fs: fsys, dir: fsys.PathJoin(root, fmt.Sprintf("%02x", i)), made: 1}
		if err := fsys.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
		b.shards[i] = s
	}
	return b, syncDir(fsys, root)
}

func (b *blocks) path(c cid.Cid) string {
	return b.fs.PathJoin(b.shards[shardOf(c)].dir, fileName(c))
}

func (b *blocks) held() (sum uint64) {
	for _, s := range b.shards {
		s.mu.Lock()
		if s.count() == nil {
			sum += s.bytes
		}
		s.mu.Unlock()
	}
	return sum
}

// each runs f for 0..n-1, at most as many at once as there are slots, and returns the first error.
func (b *blocks) each(ctx context.Context, n int, f func(i int) error) error {
	var (
		wg    sync.WaitGroup
		next  atomic.Int64
		first atomic.Pointer[error]
	)
	work := func() {
		for first.Load() == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			var err error
			select {
			case b.slots <- struct{}{}:
				err = f(i)
				<-b.slots
			case <-ctx.Done():
				err = ctx.Err()
			}
			if err != nil {
				first.CompareAndSwap(nil, &err)
			}
		}
	}
	for range min(n, cap(b.slots)) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if p := first.Load(); p != nil {
		return *p
	}
	return ctx.Err()
}

// store is blocks behind the contract.
type store struct{ s *Storage }

func (st *store) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	return st.read(ctx, c, fresh, true)
}

// Raw implements shoal.Raw.
func (st *store) Raw(ctx context.Context, c cid.Cid, room func(n int) []byte) ([]byte, error) {
	return st.read(ctx, c, room, false)
}

func fresh(n int) []byte { return make([]byte, n) }

func (st *store) read(ctx context.Context, c cid.Cid, room func(n int) []byte, check bool) ([]byte, error) {
	what := "block " + c.String()
	if err := st.check(ctx, what, c); err != nil {
		return nil, err
	}
	defer st.s.mu.RUnlock()
	data, err := st.own(what, c, room, check)
	if k := shoal.KindOf(err); err != nil && (k == shoal.NotFound || k == shoal.Corrupt) {
		if placed, e := st.s.places.get(c, room); shoal.KindOf(e) != shoal.NotFound || e == nil {
			return placed, e
		}
	}
	return data, err
}

// own reads a block from its file among the blocks.
func (st *store) own(what string, c cid.Cid, room func(n int) []byte, check bool) ([]byte, error) {
	data, err := readFile(st.s.fs, st.s.blocks.path(c), room)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, missing(what)
	case err != nil:
		return nil, failed(what, err)
	}
	if !check {
		return data, nil
	}
	if err := verify(c, data); err != nil {
		st.s.log.Warn("a block on disk does not match its CID; dropped", "cid", c, "err", err)
		_ = st.s.blocks.shards[shardOf(c)].remove(fileName(c))
		return nil, shoal.E(shoal.Corrupt, what, "the bytes on disk changed; the block was dropped",
			"check the disk; the block is fetched again when it is needed")
	}
	return data, nil
}

func (st *store) Size(ctx context.Context, c cid.Cid) (int, error) {
	n, err := st.ownSize(ctx, c)
	if err == nil || shoal.KindOf(err) != shoal.NotFound {
		return n, err
	}
	if e := st.check(ctx, "block "+c.String(), c); e != nil {
		return 0, e
	}
	defer st.s.mu.RUnlock()
	return st.s.places.size(c)
}

// ownSize is the size of a block's file among the blocks.
func (st *store) ownSize(ctx context.Context, c cid.Cid) (int, error) {
	what := "block " + c.String()
	if err := st.check(ctx, what, c); err != nil {
		return 0, err
	}
	defer st.s.mu.RUnlock()
	info, err := st.s.fs.Stat(st.s.blocks.path(c))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, missing(what)
	case err != nil:
		return 0, failed(what, err)
	}
	return int(info.Size()), nil
}

func (st *store) Delete(ctx context.Context, cids ...cid.Cid) error {
	var forget []cid.Cid
	for _, c := range cids {
		what := "drop block " + c.String()
		err := st.check(ctx, what, c)
		if shoal.KindOf(err) == shoal.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		err = st.s.blocks.shards[shardOf(c)].remove(fileName(c))
		st.s.mu.RUnlock()
		if err != nil {
			return failed(what, err)
		}
		forget = append(forget, c)
	}
	return st.s.places.forget(forget)
}

func (st *store) All(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for _, s := range st.s.blocks.shards {
			names, err := st.list(ctx, s)
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			for _, name := range names {
				if c, ok := parseName(name); ok && !yield(c, nil) {
					return
				}
			}
		}
		last := cid.Undef
		for {
			placed, err := st.listPlaced(ctx, last)
			if err != nil {
				yield(cid.Undef, err)
				return
			}
			if len(placed) == 0 {
				return
			}
			last = placed[len(placed)-1]
			for _, c := range placed {
				// Those with a copy were yielded above.
				if copied, err := st.Copied(ctx, c); (!copied || err != nil) && !yield(c, err) {
					return
				}
			}
		}
	}
}

func (st *store) list(ctx context.Context, s *shard) ([]string, error) {
	const what = "list blocks"
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	if err := st.s.enter(what); err != nil {
		return nil, err
	}
	defer st.s.mu.RUnlock()
	names, err := st.s.fs.List(s.dir)
	return names, failed(what, err)
}

func (st *store) listPlaced(ctx context.Context, last cid.Cid) ([]cid.Cid, error) {
	const what = "list blocks"
	if err := ctx.Err(); err != nil {
		return nil, shoal.Wrap(shoal.Internal, what, err)
	}
	if err := st.s.enter(what); err != nil {
		return nil, err
	}
	defer st.s.mu.RUnlock()
	return st.s.places.list(last)
}

// check enters the storage for one block; the caller leaves, unless there is an error.
func (st *store) check(ctx context.Context, what string, c cid.Cid) error {
	if err := ctx.Err(); err != nil {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	if !c.Defined() || len(fileName(c)) > maxName {
		return missing(what)
	}
	return st.s.enter(what)
}

func missing(what string) error {
	return shoal.E(shoal.NotFound, what, "not on this node", "")
}
