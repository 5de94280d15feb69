package node

import (
	"context"
	"io/fs"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/blobs"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/scheduler"
	"github.com/shoal-fabric/shoal/storage"
)

// graph is blobs as data needs it: the same methods, over data's own types.
type graph struct{ *blobs.Blobs }

func (g graph) Import(ctx context.Context, path string, o data.ImportOptions) (shoal.Manifest, error) {
	return g.Blobs.Import(ctx, path, blobs.ImportOptions{
		Split: o.Split, LeafBytes: o.LeafBytes, PartitionBytes: o.PartitionBytes, InPlace: o.InPlace, Visible: o.Visible, Progress: o.Progress,
	})
}

func (g graph) Walk(ctx context.Context, root cid.Cid, get data.Getter, visit func(c cid.Cid, size int, leaf bool) error) error {
	return g.Blobs.Walk(ctx, root, blobs.Getter(get), visit)
}

func (g graph) Tree(ctx context.Context, root cid.Cid, name string, get data.Getter) (data.Tree, error) {
	t, err := g.Blobs.Tree(ctx, root, name, blobs.Getter(get))
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (g graph) Partition(ctx context.Context, root cid.Cid, get data.Getter, split shoal.Split, bytes int64) (shoal.Manifest, error) {
	return g.Blobs.Partition(ctx, root, blobs.Getter(get), split, bytes)
}

// taskData is data as the scheduler needs it.
type taskData struct {
	*data.Data
	disk *storage.Storage
}

func (t taskData) Ensure(ctx context.Context, c cid.Cid, class string, from []shoal.PeerID) (uint64, error) {
	return t.Data.Ensure(ctx, c, data.Class(class), from)
}

func (t taskData) Open(ctx context.Context, c cid.Cid) (scheduler.Tree, error) {
	tree, err := t.Data.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return taskTree{tree, t.disk}, nil
}

// taskTree keeps to what the scheduler asks of a tree.
type taskTree struct {
	data.Tree
	disk *storage.Storage
}

// Place returns where on this machine a file lies whole, for native executors.
func (t taskTree) Place(name string) (file string, ok bool) {
	tree, is := t.Tree.(*blobs.Tree)
	if !is {
		return "", false
	}
	leaves, err := tree.Leaves(name)
	if err != nil {
		return "", false
	}
	return t.disk.Whole(leaves)
}

// Close ends the hold that an open tree has on its blocks, if it has one.
func (t taskTree) Close() error {
	if c, ok := t.Tree.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

var _ fs.FS = taskTree{}
