package node

import (
	"context"
	"io"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
)

// Put keeps a file or folder of this machine in the fabric.
func (n *Node) Put(ctx context.Context, path string, o data.PutOptions) (data.PutResult, error) {
	if err := n.belong("put " + path); err != nil {
		return data.PutResult{}, err
	}
	return n.rooms.data.Put(ctx, path, o)
}

// Got is what a Get did, in bytes.
type Got struct {
	Written uint64
	Moved   uint64 // from other peers
}

// Get writes a dataset, or one path in it, to a path of this machine.
func (n *Node) Get(ctx context.Context, c cid.Cid, sub, dst string, o data.GetOptions) (got Got, err error) {
	if o.From == "" {
		if err := n.belongOrHold(ctx, "get "+c.String(), c); err != nil {
			return got, err
		}
	}
	report := o.Progress
	o.Progress = func(p data.Progress) {
		switch p.Phase {
		case "fetch":
			got.Moved = p.Done
		case "write":
			got.Written = p.Done
		}
		if report != nil {
			report(p)
		}
	}
	err = n.rooms.data.Get(ctx, c, sub, dst, o)
	return got, err
}

// ReadFile returns one small file of a dataset, fetching what is missing.
func (n *Node) ReadFile(ctx context.Context, c cid.Cid, path string) ([]byte, error) {
	if err := n.belongOrHold(ctx, "read "+path, c); err != nil {
		return nil, err
	}
	if _, err := n.rooms.data.Ensure(ctx, c, data.Result, nil); err != nil {
		return nil, err
	}
	tree, err := n.rooms.data.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	f, err := tree.Open(path)
	if err != nil {
		return nil, shoal.Wrap(shoal.NotFound, "read "+path, err)
	}
	defer f.Close()
	return io.ReadAll(f)
}

// List lists a folder of a dataset.
func (n *Node) List(ctx context.Context, c cid.Cid, sub string) ([]data.Entry, error) {
	if err := n.belongOrHold(ctx, "ls "+c.String(), c); err != nil {
		return nil, err
	}
	return n.rooms.data.List(ctx, c, sub)
}

// Datasets lists the datasets of which this node keeps a part.
func (n *Node) Datasets() []data.Dataset { return n.rooms.data.Datasets() }

// Where finds who holds which partitions of a dataset; shoal.WithTrace shows the hops.
func (n *Node) Where(ctx context.Context, c cid.Cid) ([]shoal.Holder, shoal.Manifest, error) {
	if err := n.belong("where " + c.String()); err != nil {
		return nil, shoal.Manifest{}, err
	}
	return n.rooms.data.Where(ctx, c)
}

// Pin keeps a whole dataset on this node until Unpin, and returns its manifest.
func (n *Node) Pin(ctx context.Context, c cid.Cid) (shoal.Manifest, error) {
	if err := n.belong("pin " + c.String()); err != nil {
		return shoal.Manifest{}, err
	}
	if err := n.rooms.data.Pin(ctx, c); err != nil {
		return shoal.Manifest{}, err
	}
	return n.rooms.data.Manifest(ctx, c)
}

// Unpin takes this node's pin away, or, if it has none, releases the dataset on the whole fabric.
func (n *Node) Unpin(ctx context.Context, c cid.Cid) error {
	pinned := slices.ContainsFunc(n.rooms.data.Pins(), func(m shoal.Manifest) bool { return m.Root.Equals(c) })
	if err := n.belong("unpin " + c.String()); err != nil && !pinned {
		return err
	}
	return n.rooms.data.Unpin(ctx, c)
}

// GC drops the blocks that nothing on this node needs, and says how many bytes and blocks these were.
func (n *Node) GC(ctx context.Context) (freed uint64, blocks int, err error) {
	return n.rooms.data.GC(ctx)
}
