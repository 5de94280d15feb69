package dht

import (
	"context"
	"errors"
	"strings"

	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/shoal-fabric/shoal"
)

// hints is where kad-dht keeps what grows with the number of keys: who announced what to this node, and what this node
// announces. It is a part of a shoal.Table, so that a key costs disk and no memory. Nothing in it is worth an fsync:
// what is lost is announced again. It implements ds.Batching.
type hints struct {
	table shoal.Table
	part  string // with which all keys begin
}

var _ ds.Batching = hints{}

// openHints returns a part of c.Table, else memory. It begins empty: peers tell a node that comes back what it should
// know, rooms announce anew what they have, and nothing that an earlier life left there, be it damaged, is ever read.
// A table that cannot be written, for one because the disk is full, is no reason not to start: memory serves then.
func openHints(c Config, part string) ds.Batching {
	if c.Table != nil {
		h := hints{c.Table, part}
		err := h.table.Commit(false, shoal.Write{Key: h.key(""), Delete: true, End: h.key("\xff")})
		if err == nil {
			return h
		}
		c.Log.Warn("dht: hints are kept in memory, as the disk does not take them", "part", part, "err", err)
	}
	return dssync.MutexWrap(ds.NewMapDatastore())
}

func (h hints) key(k string) []byte { return []byte(h.part + k) }

func (h hints) Get(_ context.Context, k ds.Key) ([]byte, error) {
	v, ok, err := h.table.Get(h.key(k.String()))
	if err == nil && !ok {
		err = ds.ErrNotFound
	}
	return v, err
}

func (h hints) Has(ctx context.Context, k ds.Key) (bool, error) {
	_, err := h.Get(ctx, k)
	if errors.Is(err, ds.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (h hints) GetSize(ctx context.Context, k ds.Key) (int, error) {
	v, err := h.Get(ctx, k)
	if err != nil {
		return -1, err
	}
	return len(v), nil
}

func (h hints) Put(_ context.Context, k ds.Key, v []byte) error {
	return h.table.Commit(false, shoal.Write{Key: h.key(k.String()), Value: v})
}

func (h hints) Delete(_ context.Context, k ds.Key) error {
	return h.table.Commit(false, shoal.Write{Key: h.key(k.String()), Delete: true})
}

func (h hints) Sync(context.Context, ds.Key) error { return nil }

func (h hints) Close() error { return nil } // the table is the caller's

// Query reads a page at a time, and holds nothing between two of them.
func (h hints) Query(ctx context.Context, q query.Query) (query.Results, error) {
	const most = 256 // pairs of a page
	under := strings.TrimSuffix(ds.NewKey(q.Prefix).String(), "/") + "/"
	low, high := h.key(under), h.key(under[:len(under)-1]+"0") // '0' follows '/'
	var page []query.Result
	more := true
	fill := func() {
		n := most
		if q.Limit > 0 {
			n = min(n, q.Offset+q.Limit)
		}
		for p, err := range h.table.Scan(low, high) {
			if err != nil {
				page, more = append(page, query.Result{Error: err}), false
				return
			}
			e := query.Entry{Key: string(p.Key[len(h.part):]), Size: len(p.Value)}
			if !q.KeysOnly {
				e.Value = p.Value
			}
			if page = append(page, query.Result{Entry: e}); len(page) == n {
				low = append(p.Key, 0)
				return
			}
		}
		more = false
	}
	all := query.ResultsFromIterator(q, query.Iterator{Next: func() (r query.Result, ok bool) {
		if len(page) == 0 && more && ctx.Err() == nil {
			fill()
		}
		if len(page) == 0 {
			return r, false
		}
		r, page = page[0], page[1:]
		return r, true
	}})
	q.Prefix = "" // done
	return query.NaiveQueryApply(q, all), nil
}

// Batch gathers writes, which Commit writes at once.
func (h hints) Batch(context.Context) (ds.Batch, error) { return &hintBatch{hints: h}, nil }

type hintBatch struct {
	hints
	writes []shoal.Write
}

func (b *hintBatch) Put(_ context.Context, k ds.Key, v []byte) error {
	b.writes = append(b.writes, shoal.Write{Key: b.key(k.String()), Value: v})
	return nil
}

func (b *hintBatch) Delete(_ context.Context, k ds.Key) error {
	b.writes = append(b.writes, shoal.Write{Key: b.key(k.String()), Delete: true})
	return nil
}

func (b *hintBatch) Commit(context.Context) error {
	writes := b.writes
	b.writes = nil
	if len(writes) == 0 {
		return nil
	}
	return b.table.Commit(false, writes...)
}
