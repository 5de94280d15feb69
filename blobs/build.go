package blobs

import (
	"context"
	"slices"
	"strings"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/hamt"
	upb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
)

// What the profile unixfs-v1-2025 says of graphs. boxo has it in UnixFS_v1_2025; its way to apply it
// is to set globals, which blobs leaves alone.
const (
	leafBytes  = 1 << 20
	fileLinks  = 1024
	dirBytes   = 256 << 10 // a directory node of more bytes becomes a HAMT
	shardWidth = 256
)

// dagPB makes the CIDs of inner nodes.
func dagPB() cid.Builder {
	return cid.Prefix{Version: 1, Codec: cid.DagProtobuf, MhType: multihash.SHA2_256, MhLength: -1}
}

// ref is a finished graph, as its parent links to it.
type ref struct {
	cid   cid.Cid
	size  uint64 // bytes of content
	total uint64 // bytes of all its blocks
}

func leafRef(c cid.Cid, size int) ref { return ref{cid: c, size: uint64(size), total: uint64(size)} }

func (r ref) link() *ipld.Link { return &ipld.Link{Cid: r.cid, Size: r.total} }

// keep puts a node into out and returns its ref.
func keep(out *batch, n *merkledag.ProtoNode, size uint64) (ref, error) {
	if err := n.SetCidBuilder(dagPB()); err != nil {
		return ref{}, err
	}
	raw, err := n.EncodeProtobuf(false)
	if err != nil {
		return ref{}, err
	}
	total, err := n.Size()
	if err != nil {
		return ref{}, err
	}
	return ref{cid: n.Cid(), size: size, total: total}, out.add(n.Cid(), raw)
}

// fileBuilder makes the balanced tree over leaves that arrive one by one. It holds at most one
// unfinished node per level, so its memory grows with the logarithm of the file.
type fileBuilder struct {
	out    *batch
	levels [][]ref // levels[0] holds leaves
}

func (f *fileBuilder) add(r ref) error { return f.push(0, r) }

func (f *fileBuilder) push(level int, r ref) error {
	if level == len(f.levels) {
		f.levels = append(f.levels, nil)
	}
	// A full node waits for the next link: only then is it known not to be the root.
	if len(f.levels[level]) == fileLinks {
		if err := f.lift(level); err != nil {
			return err
		}
	}
	f.levels[level] = append(f.levels[level], r)
	return nil
}

// lift makes a node of a level and links it one level up.
func (f *fileBuilder) lift(level int) error {
	n, s := new(merkledag.ProtoNode), unixfs.NewFSNode(upb.Data_File)
	for _, r := range f.levels[level] {
		if err := n.AddRawLink("", r.link()); err != nil {
			return err
		}
		s.AddBlockSize(r.size)
	}
	data, err := s.GetBytes()
	if err != nil {
		return err
	}
	n.SetData(data)
	r, err := keep(f.out, n, s.FileSize())
	if err != nil {
		return err
	}
	f.levels[level] = f.levels[level][:0]
	return f.push(level+1, r)
}

// finish returns the root: the one leaf of a small file, an empty leaf for an empty one. The builder
// is then as new.
func (f *fileBuilder) finish() (ref, error) {
	if len(f.levels) == 0 {
		r := leafRef(shoal.BlockCID(nil), 0)
		return r, f.out.add(r.cid, nil)
	}
	for level := 0; ; level++ {
		if level == len(f.levels)-1 && len(f.levels[level]) == 1 {
			r := f.levels[level][0]
			f.levels = nil
			return r, nil
		}
		if err := f.lift(level); err != nil {
			return ref{}, err
		}
	}
}

// entry is a name in a directory.
type entry struct {
	name string
	ref
}

// makeDir makes a directory of entries, in whatever order they are.
func makeDir(out *batch, entries []entry) (ref, error) {
	var size uint64
	var least int
	for _, e := range entries {
		size += e.size
		least += len(e.name) + e.cid.ByteLen()
	}
	if least <= dirBytes {
		n := unixfs.EmptyDirNode()
		for _, e := range entries {
			if err := n.AddRawLink(e.name, e.link()); err != nil {
				return ref{}, err
			}
		}
		if raw, err := n.EncodeProtobuf(false); err != nil || len(raw) <= dirBytes {
			if err != nil {
				return ref{}, err
			}
			return keep(out, n, size)
		}
	}
	s, err := hamt.NewShard(shardSink{out}, shardWidth)
	if err != nil {
		return ref{}, err
	}
	s.SetCidBuilder(dagPB())
	for _, e := range entries {
		if err := s.SetLink(context.Background(), e.name, e.link()); err != nil {
			return ref{}, err
		}
	}
	n, err := s.Node()
	if err != nil {
		return ref{}, err
	}
	total, err := n.Size()
	return ref{cid: n.Cid(), size: size, total: total}, err
}

// treeBuilder makes nested directories from entries that arrive in the order of fs.WalkDir. It holds
// the directories on the way to the present one.
type treeBuilder struct {
	out  *batch
	path []string  // the present directory
	dirs [][]entry // one more than path: dirs[0] is the root's
}

func newTree(out *batch) *treeBuilder { return &treeBuilder{out: out, dirs: make([][]entry, 1)} }

// enter makes dir ("" or "a/b") the present directory.
func (t *treeBuilder) enter(dir string) error {
	var path []string
	if dir != "" {
		path = strings.Split(dir, "/")
	}
	same := 0
	for same < len(path) && same < len(t.path) && path[same] == t.path[same] {
		same++
	}
	for len(t.path) > same {
		if err := t.leave(); err != nil {
			return err
		}
	}
	for _, name := range path[same:] {
		t.path = append(t.path, name)
		t.dirs = append(t.dirs, nil)
	}
	return nil
}

// leave finishes the present directory.
func (t *treeBuilder) leave() error {
	last := len(t.path) - 1
	r, err := makeDir(t.out, t.dirs[last+1])
	if err != nil {
		return err
	}
	name := t.path[last]
	t.path, t.dirs = t.path[:last], t.dirs[:last+1]
	t.dirs[last] = append(t.dirs[last], entry{name, r})
	return nil
}

// add puts an entry into dir.
func (t *treeBuilder) add(dir, name string, r ref) error {
	if err := t.enter(dir); err != nil {
		return err
	}
	last := len(t.dirs) - 1
	t.dirs[last] = append(t.dirs[last], entry{name, r})
	return nil
}

// empty reports whether nothing has been added.
func (t *treeBuilder) empty() bool { return len(t.path) == 0 && len(t.dirs[0]) == 0 }

// finish returns the root. The builder is then as new.
func (t *treeBuilder) finish() (ref, error) {
	if err := t.enter(""); err != nil {
		return ref{}, err
	}
	entries := slices.Clip(t.dirs[0])
	t.dirs[0] = nil
	return makeDir(t.out, entries)
}

// keepLink makes a symbolic link.
func keepLink(out *batch, target string) (ref, error) {
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		return ref{}, err
	}
	return keep(out, merkledag.NodeWithData(data), 0)
}
