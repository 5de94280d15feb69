package blobs

import (
	"bytes"
	"context"
	"fmt"
	"path"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// How large partitions are when nobody says.
const (
	defaultPartitions = 64
	minPartition      = 64 << 10
	maxPartition      = 64 << 20
	mostPartitions    = 1 << 14 // a manifest lists them all
)

// partitionBytes returns the bytes a partition should have.
func partitionBytes(what string, asked int64, total uint64) (uint64, error) {
	if asked < 0 {
		return 0, shoal.E(shoal.Invalid, what, "a negative partition size", "")
	}
	if asked > 0 {
		if n := total / uint64(asked); n > mostPartitions {
			return 0, shoal.E(shoal.Invalid, what,
				fmt.Sprintf("partitions of %d bytes would be %d, more than %d", asked, n, mostPartitions),
				fmt.Sprintf("ask for at least %d bytes", total/mostPartitions+1))
		}
		return uint64(asked), nil
	}
	n := min(max(total/defaultPartitions, minPartition), maxPartition)
	return max(n, total/mostPartitions), nil
}

// partitioner groups leaves, which arrive in order, into partitions near a wished size. It closes a
// partition before whatever would take it further from that size than stopping short does, so sizes
// scatter around the wish instead of drifting from it. Partitions hold files and the folders on the
// way to them: no empty folders, and no symbolic links, whose targets may lie in another partition.
type partitioner struct {
	out    *batch
	folder bool
	split  shoal.Split
	wish   uint64

	parts []shoal.Partition
	tree  *treeBuilder // of the present partition of a folder
	bytes uint64       // in the present partition
	clean bool         // whether the last leaf ended a line or a file

	dir, name string      // the present file
	file      fileBuilder // the present partition's part of it
	pieces    int         // leaves of that part
	cut       bool        // whether earlier partitions have parts of it
}

func newPartitioner(out *batch, folder bool, split shoal.Split, wish uint64) *partitioner {
	return &partitioner{
		out: out, folder: folder, split: split, wish: wish, tree: newTree(out), file: fileBuilder{out: out},
	}
}

// full reports whether the present partition should close before size more bytes.
func (p *partitioner) full(size uint64) bool {
	return p.bytes > 0 && size > 0 && (p.bytes >= p.wish || p.bytes+size/2 > p.wish)
}

// whole takes a file that may not be cut, or is not.
func (p *partitioner) whole(dir, name string, r ref) error {
	if p.full(r.size) || p.bytes > 0 && r.size >= p.wish {
		if err := p.close(); err != nil {
			return err
		}
	}
	p.bytes += r.size
	p.clean = true
	p.dir, p.name = dir, name
	return p.place(r)
}

// begin starts a file that may be cut.
func (p *partitioner) begin(dir, name string) { p.dir, p.name, p.cut = dir, name, false }

// mayCut reports whether a partition may end behind the last leaf.
func (p *partitioner) mayCut() bool { return p.split == shoal.SplitBytes || p.clean }

// leaf takes the next leaf of the present file. clean says whether it ends a line.
func (p *partitioner) leaf(r ref, clean bool) error {
	if p.full(r.size) && p.mayCut() {
		if err := p.endPart(); err != nil {
			return err
		}
		if err := p.close(); err != nil {
			return err
		}
	}
	p.bytes += r.size
	p.pieces++
	p.clean = clean
	return p.file.add(r)
}

// end finishes the present file.
func (p *partitioner) end() error {
	if p.pieces == 0 && !p.cut { // an empty file
		r, err := p.file.finish()
		if err != nil {
			return err
		}
		return p.place(r)
	}
	p.clean = true
	return p.endPart()
}

// endPart finishes the present partition's part of the present file.
func (p *partitioner) endPart() error {
	if p.pieces == 0 {
		return nil
	}
	r, err := p.file.finish()
	if err != nil {
		return err
	}
	p.pieces, p.cut = 0, true
	return p.place(r)
}

func (p *partitioner) place(r ref) error {
	if p.folder {
		return p.tree.add(p.dir, p.name, r)
	}
	p.note(r)
	return nil
}

// close finishes the present partition of a folder. That of a file closed with its part of the file.
func (p *partitioner) close() error {
	if !p.folder {
		return nil
	}
	r, err := p.tree.finish()
	if err != nil {
		return err
	}
	p.note(r)
	return nil
}

func (p *partitioner) note(r ref) {
	p.parts = append(p.parts, shoal.Partition{CID: r.cid, Bytes: p.bytes})
	p.bytes = 0
}

// finish returns the partitions: at least one.
func (p *partitioner) finish() ([]shoal.Partition, error) {
	if p.folder && (!p.tree.empty() || len(p.parts) == 0) {
		if err := p.close(); err != nil {
			return nil, err
		}
	}
	return p.parts, nil
}

// Partition groups the leaves of a graph that is not our own into partitions, as Import does, and
// stores their nodes. To end a partition at the end of a line it cuts the leaf there in two, so it
// reads about one leaf for each partition, and no other. size is the wished bytes of a partition; 0:
// as Import has it. The manifest has no name.
func (b *Blobs) Partition(
	ctx context.Context, root cid.Cid, get Getter, split shoal.Split, size int64,
) (shoal.Manifest, error) {
	info, err := b.Stat(ctx, root, get)
	if err != nil {
		return shoal.Manifest{}, err
	}
	what := "partition " + root.String()
	switch {
	case split == shoal.SplitAuto && info.Dir:
		split = shoal.SplitFiles
	case split == shoal.SplitAuto:
		split = shoal.SplitBytes
	case split != shoal.SplitFiles && split != shoal.SplitLines && split != shoal.SplitBytes:
		return shoal.Manifest{}, shoal.E(shoal.Invalid, what, fmt.Sprintf("no way to split is called %q", split),
			"use files, lines or bytes")
	}
	wish, err := partitionBytes(what, size, info.Bytes)
	if err != nil {
		return shoal.Manifest{}, err
	}
	out := newBatch(ctx, b.cfg.Store)
	r := &regrouper{ctx: ctx, get: get, parts: newPartitioner(out, info.Dir, split, wish)}
	err = r.entry("", link{cid: root, name: "file"}, 0)
	var parts []shoal.Partition
	if err == nil {
		parts, err = r.parts.finish()
	}
	if err == nil {
		err = out.flush()
	}
	if err != nil {
		_ = out.wait()
		return shoal.Manifest{}, shoal.Wrap(shoal.Internal, what, err)
	}
	return shoal.Manifest{Root: root, Split: split, Bytes: info.Bytes, Partitions: parts}, nil
}

// mostLeaves bounds how often a graph may be gone through: one that repeats its nodes can have more
// leaves than anybody can count.
const mostLeaves = 1 << 24

// regrouper feeds the leaves of a graph to a partitioner.
type regrouper struct {
	ctx    context.Context
	get    Getter
	parts  *partitioner
	leaves int
}

func (r *regrouper) count(c cid.Cid) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.leaves++; r.leaves > mostLeaves {
		return malformed(c, "more than %d leaves and entries", mostLeaves)
	}
	return nil
}

// entry feeds a file or folder. dir is the folder it lies in; the root has depth 0.
func (r *regrouper) entry(dir string, l link, depth int) error {
	if err := r.count(l.cid); err != nil {
		return err
	}
	if leaf(l.cid) && l.total > 0 && depth > 0 {
		return r.small(dir, l)
	}
	n, err := load(r.ctx, l.cid, r.get)
	if err != nil {
		return err
	}
	switch n.kind {
	case kindLink:
		return nil
	case kindFile:
		if r.parts.split == shoal.SplitFiles {
			return r.parts.whole(dir, l.name, ref{cid: l.cid, size: n.size, total: max(l.total, n.size)})
		}
		r.parts.begin(dir, l.name)
		if err := r.file(l.cid, n, 0); err != nil {
			return err
		}
		return r.parts.end()
	}
	if depth > maxPath {
		return malformed(l.cid, "folders nested deeper than %d", maxPath)
	}
	if depth > 0 {
		dir = path.Join(dir, l.name)
	}
	entries, err := list(r.ctx, l.cid, n, r.get)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := r.entry(dir, e, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// small feeds a file of one leaf, which is not read for it.
func (r *regrouper) small(dir string, l link) error {
	own := ref{cid: l.cid, size: l.total, total: l.total}
	if r.parts.split == shoal.SplitFiles {
		return r.parts.whole(dir, l.name, own)
	}
	r.parts.begin(dir, l.name)
	if err := r.leaf(own, nil); err != nil {
		return err
	}
	return r.parts.end()
}

// file feeds the leaves below a node.
func (r *regrouper) file(c cid.Cid, n node, depth int) error {
	if depth > maxInner {
		return malformed(c, "nodes nested deeper than %d", maxInner)
	}
	if len(n.data) > 0 {
		own := ref{cid: c, size: uint64(len(n.data)), total: uint64(n.block)}
		if len(n.links) > 0 {
			own = leafRef(shoal.BlockCID(n.data), len(n.data))
			if err := r.parts.out.add(own.cid, n.data); err != nil {
				return err
			}
		}
		if err := r.leaf(own, n.data); err != nil {
			return err
		}
	}
	for _, l := range n.links {
		if l.size == 0 {
			continue
		}
		if leaf(l.cid) {
			if err := r.leaf(ref{cid: l.cid, size: l.size, total: l.size}, nil); err != nil {
				return err
			}
			continue
		}
		child, err := load(r.ctx, l.cid, r.get)
		if err != nil {
			return err
		}
		if child.kind != kindFile || child.size != l.size {
			return malformed(l.cid, "a part of %d bytes that its file calls %d", child.size, l.size)
		}
		if err := r.file(l.cid, child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leaf feeds one leaf; by lines, in two parts where a partition is full. data may be nil: not loaded.
func (r *regrouper) leaf(l ref, data []byte) error {
	if err := r.count(l.cid); err != nil {
		return err
	}
	if r.parts.split != shoal.SplitLines || r.parts.bytes+l.size < r.parts.wish {
		return r.parts.leaf(l, false)
	}
	if data == nil {
		n, err := load(r.ctx, l.cid, r.get)
		if err != nil {
			return err
		}
		if n.size != l.size {
			return malformed(l.cid, "a part of %d bytes that its file calls %d", n.size, l.size)
		}
		data = n.data
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	if end == 0 || end == len(data) {
		return r.parts.leaf(l, end > 0)
	}
	for i, d := range [][]byte{data[:end], data[end:]} {
		half := leafRef(shoal.BlockCID(d), len(d))
		if err := r.parts.out.add(half.cid, d); err != nil {
			return err
		}
		if err := r.parts.leaf(half, i == 0); err != nil {
			return err
		}
	}
	return nil
}
