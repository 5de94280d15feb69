package blobs

import (
	"context"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Walk visits the blocks of a graph in pre-order, each once: an inner node before what it links to.
// Only inner nodes are fetched. For them size is the block's; for leaves it is what the parent says
// (0 for a root that is itself a leaf), to be trusted as far as the parent's writer. An error of get
// or visit ends the walk and is returned as it is. Identity CIDs have no block and are not visited.
//
// Memory grows with the number of blocks, about 150 bytes each.
func (b *Blobs) Walk(
	ctx context.Context, root cid.Cid, get Getter, visit func(c cid.Cid, size int, leaf bool) error,
) error {
	if err := checkCID(root); err != nil {
		return err
	}
	seen := map[cid.Cid]struct{}{}
	stack := []link{{cid: root}}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return shoal.Wrap(shoal.Canceled, "walk graph "+root.String(), err)
		}
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if _, again := seen[at.cid]; again {
			continue
		}
		seen[at.cid] = struct{}{}
		_, free := inline(at.cid)
		if leaf(at.cid) {
			if free {
				continue
			}
			if err := visit(at.cid, claimed(at), true); err != nil {
				return err
			}
			continue
		}
		n, err := load(ctx, at.cid, get)
		if err != nil {
			return err
		}
		if !free {
			if err := visit(at.cid, n.block, false); err != nil {
				return err
			}
		}
		for i := len(n.links) - 1; i >= 0; i-- {
			stack = append(stack, n.links[i])
		}
	}
	return nil
}

// claimed returns the size of a leaf, as its parent says.
func claimed(l link) int {
	if l.size > 0 {
		return int(min(l.size, wire.MaxBlock))
	}
	return int(min(l.total, wire.MaxBlock))
}

// Info is what a graph holds.
type Info struct {
	Dir   bool
	Bytes uint64 // of content
	Files uint64
}

// Stat sums up a graph. Of a folder it reads the inner nodes of all folders and the root of each file
// of more than one leaf; for the others it believes the folder. Invalid: not UnixFS, or a malformed
// graph.
func (b *Blobs) Stat(ctx context.Context, root cid.Cid, get Getter) (Info, error) {
	s := &summer{ctx: ctx, get: get, known: map[cid.Cid]Info{}}
	return s.of(link{cid: root}, 0)
}

// summer adds up folders. It reads a folder once, however often a graph links to it.
type summer struct {
	ctx   context.Context
	get   Getter
	known map[cid.Cid]Info // of folders
}

func (s *summer) of(l link, depth int) (Info, error) {
	if leaf(l.cid) && l.total > 0 {
		return Info{Bytes: l.total, Files: 1}, checkCID(l.cid)
	}
	if info, ok := s.known[l.cid]; ok {
		return info, nil
	}
	n, err := load(s.ctx, l.cid, s.get)
	switch {
	case err != nil:
		return Info{}, err
	case n.kind == kindFile:
		return Info{Bytes: n.size, Files: 1}, nil
	case n.kind == kindLink:
		return Info{}, nil
	case depth > maxPath:
		return Info{}, malformed(l.cid, "folders nested deeper than %d", maxPath)
	}
	entries, err := list(s.ctx, l.cid, n, s.get)
	if err != nil {
		return Info{}, err
	}
	sum := Info{Dir: true}
	for _, e := range entries {
		in, err := s.of(e, depth+1)
		if err != nil {
			return Info{}, err
		}
		sum.Bytes += in.Bytes
		sum.Files += in.Files
		if sum.Bytes > maxFile || sum.Files > maxFile {
			return Info{}, malformed(l.cid, "more content than %d bytes", uint64(maxFile))
		}
	}
	s.known[l.cid] = sum
	return sum, nil
}

// list returns the entries of a directory, sharded or not, by name.
func list(ctx context.Context, c cid.Cid, n node, get Getter) ([]link, error) {
	if n.kind == kindDir {
		return n.links, nil
	}
	if n.kind != kindShard {
		return nil, malformed(c, "not a folder")
	}
	all := node{kind: kindDir}
	seen := map[cid.Cid]bool{c: true}
	if err := unshard(ctx, c, n, get, seen, &all.links, 0); err != nil {
		return nil, err
	}
	return all.links, all.checkNames(c)
}

// unshard collects the entries below a shard. A shard that a directory holds twice is refused: it
// would repeat names, or hold none and only make work.
func unshard(
	ctx context.Context, c cid.Cid, n node, get Getter, seen map[cid.Cid]bool, all *[]link, depth int,
) error {
	if depth > maxInner {
		return malformed(c, "shards nested deeper than %d", maxInner)
	}
	for _, l := range n.links {
		if len(l.name) > n.pad {
			l.name = l.name[n.pad:]
			*all = append(*all, l)
			continue
		}
		if seen[l.cid] {
			return malformed(c, "a shard occurs twice")
		}
		seen[l.cid] = true
		child, err := load(ctx, l.cid, get)
		if err != nil {
			return err
		}
		if child.kind != kindShard {
			return malformed(l.cid, "not a shard, though it stands for one")
		}
		if err := unshard(ctx, l.cid, child, get, seen, all, depth+1); err != nil {
			return err
		}
	}
	return nil
}
