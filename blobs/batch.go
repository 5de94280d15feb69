package blobs

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-fabric/shoal"
)

// Bounds on one call of Store.Put. Large batches make syncs few; two of them are in memory at once,
// one filling and one being written.
const (
	batchBytes  = 16 << 20
	batchBlocks = 2048
)

// batch gathers blocks and puts them into the store many at a time, leaving out those it has. It is
// for one goroutine; the writing happens in another.
type batch struct {
	ctx    context.Context
	store  shoal.Store
	blocks []shoal.Block
	places []shoal.Place
	seen   map[spot]bool // of blocks and places
	bytes  int
	wrote  chan error // holds the outcome of the write under way; nil when there is none
}

// spot is a block, and the file it lies in if it is not to be copied.
type spot struct {
	cid  cid.Cid
	file string
}

func newBatch(ctx context.Context, store shoal.Store) *batch {
	return &batch{ctx: ctx, store: store, seen: map[spot]bool{}}
}

// add takes a block, which must not change until flush returns.
func (b *batch) add(c cid.Cid, data []byte) error {
	if b.seen[spot{cid: c}] {
		return nil
	}
	if here, err := b.copied(c); here || err != nil {
		return err
	}
	b.blocks = append(b.blocks, shoal.Block{CID: c, Data: data})
	b.bytes += len(data)
	return b.added(spot{cid: c})
}

// copied reports whether the store has a block, and not only knows a file where it lies: that may go.
func (b *batch) copied(c cid.Cid) (bool, error) {
	if s, ok := b.store.(shoal.InPlace); ok {
		return s.Copied(b.ctx, c)
	}
	_, err := b.store.Size(b.ctx, c)
	if shoal.KindOf(err) == shoal.NotFound {
		return false, nil
	}
	return err == nil, err
}

// refer takes where a block lies. A block that a file repeats is noted once for it.
func (b *batch) refer(p shoal.Place) error {
	at := spot{p.CID, p.File}
	if b.seen[at] {
		return nil
	}
	b.places = append(b.places, p)
	return b.added(at)
}

func (b *batch) added(at spot) error {
	b.seen[at] = true
	if b.bytes < batchBytes && len(b.blocks)+len(b.places) < batchBlocks {
		return nil
	}
	return b.write()
}

// write hands the batch to a goroutine of its own once the last one is done.
func (b *batch) write() error {
	if err := b.wait(); err != nil || len(b.blocks)+len(b.places) == 0 {
		return err
	}
	blocks, places, wrote := b.blocks, b.places, make(chan error, 1)
	b.blocks, b.places, b.bytes, b.wrote = nil, nil, 0, wrote
	clear(b.seen)
	go func() {
		err := b.store.Put(b.ctx, blocks...)
		if s, ok := b.store.(shoal.InPlace); ok && err == nil && len(places) > 0 {
			err = s.Refer(b.ctx, places...)
		}
		wrote <- err
	}()
	return nil
}

// wait returns when nothing is being written.
func (b *batch) wait() error {
	if b.wrote == nil {
		return nil
	}
	err := <-b.wrote
	b.wrote = nil
	return err
}

// flush returns when everything that was added is durable.
func (b *batch) flush() error {
	if err := b.write(); err != nil {
		return err
	}
	return b.wait()
}

// shardSink lets boxo's HAMT write its nodes into a batch.
type shardSink struct{ out *batch }

var errWriteOnly = errors.New("this graph is only written")

func (s shardSink) Add(_ context.Context, n ipld.Node) error { return s.out.add(n.Cid(), n.RawData()) }

func (s shardSink) AddMany(ctx context.Context, ns []ipld.Node) error {
	for _, n := range ns {
		if err := s.Add(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (shardSink) Get(context.Context, cid.Cid) (ipld.Node, error)            { return nil, errWriteOnly }
func (shardSink) GetMany(context.Context, []cid.Cid) <-chan *ipld.NodeOption { return nil }
func (shardSink) Remove(context.Context, cid.Cid) error                      { return errWriteOnly }
func (shardSink) RemoveMany(context.Context, []cid.Cid) error                { return errWriteOnly }
