package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
)

const (
	writeBytes = 128 << 10 // of one write to a file
	together   = 64        // files that are open at once for one Put
)

// Put implements shoal.Store.
func (st *store) Put(ctx context.Context, list ...shoal.Block) error { return st.put(ctx, list, true) }

// PutRaw implements shoal.Raw.
func (st *store) PutRaw(ctx context.Context, list ...shoal.Block) error {
	return st.put(ctx, list, false)
}

func (st *store) put(ctx context.Context, list []shoal.Block, check bool) error {
	const what = "keep blocks"
	st.s.pause()
	if err := st.s.enter(what); err != nil {
		return err
	}
	defer st.s.mu.RUnlock()
	b := st.s.blocks
	for rest := list; len(rest) > 0; rest = rest[min(together, len(rest)):] {
		if err := b.keep(ctx, rest[:min(together, len(rest))], check); err != nil {
			return shoal.Wrap(shoal.Internal, what, err)
		}
	}
	seen := map[int]bool{}
	var touched []*shard
	for _, block := range list {
		if n := shardOf(block.CID); !seen[n] {
			seen[n] = true
			touched = append(touched, b.shards[n])
		}
	}
	err := b.each(ctx, len(touched), func(i int) error { return touched[i].sync() })
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return shoal.Wrap(shoal.Internal, what, err)
	}
	return failed(what, err)
}

// keep writes blocks, those that are not there, then syncs them, and then moves them to their places; the
// places' folders are still to be synced. Syncs come after all writes: so the file system has them all in
// one commit of its journal, which the first sync waits for and the others find done.
func (b *blocks) keep(ctx context.Context, list []shoal.Block, check bool) error {
	written := make([]*draft, len(list))
	defer func() {
		for _, d := range written {
			if d != nil {
				d.drop()
			}
		}
	}()
	err := b.each(ctx, len(list), func(i int) (err error) {
		written[i], err = b.draft(list[i], check)
		return err
	})
	if err == nil {
		err = b.each(ctx, len(list), func(i int) error {
			if written[i] == nil {
				return nil
			}
			return failed(written[i].what, written[i].sync())
		})
	}
	if err != nil {
		return err
	}
	for i, block := range list {
		d := written[i]
		if d == nil {
			continue
		}
		if err := b.shards[shardOf(block.CID)].add(d.name, fileName(block.CID), len(block.Data)); err != nil {
			return failed(d.what, err)
		}
		written[i] = nil
	}
	return nil
}

// draft is a block in a temporary file.
type draft struct {
	fs   vfs.FS
	what string // for errors
	name string
	file vfs.File // nil: closed
}

// draft writes one block, nil if it is there.
func (b *blocks) draft(block shoal.Block, check bool) (*draft, error) {
	if check {
		if err := verify(block.CID, block.Data); err != nil {
			return nil, err
		}
	} else if err := nameable(block.CID); err != nil {
		return nil, err
	}
	what := "keep block " + block.CID.String()
	if info, err := b.fs.Stat(b.path(block.CID)); err == nil && info.Size() == int64(len(block.Data)) {
		return nil, nil
	}
	if err := b.space.take(what, uint64(len(block.Data)), 1); err != nil {
		return nil, err
	}
	d := &draft{fs: b.fs, what: what, name: b.fs.PathJoin(b.tmp, fmt.Sprintf("%016x", b.serial.Add(1)))}
	f, err := b.fs.Create(d.name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, failed(what, err)
	}
	d.file = f
	if err := b.fill(f, block.Data); err != nil {
		d.drop()
		return nil, failed(what, err)
	}
	return d, nil
}

// fill writes data to f. vfs lets Write change the slice it is given, and the caller's must stay as it is.
func (b *blocks) fill(f vfs.File, data []byte) error {
	buf, ok := b.copies.Get().(*[writeBytes]byte)
	if !ok {
		buf = new([writeBytes]byte)
	}
	defer b.copies.Put(buf)
	for len(data) > 0 {
		n := copy(buf[:], data)
		data = data[n:]
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) sync() error {
	f := d.file
	d.file = nil
	return errors.Join(f.Sync(), f.Close())
}

// drop removes the file.
func (d *draft) drop() {
	if d.file != nil {
		_ = d.file.Close()
	}
	_ = d.fs.Remove(d.name)
}
