package blobs

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	upb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// Bounds on graphs, ours and strangers'.
const (
	maxPath  = 256     // folders within folders
	maxInner = 64      // nodes between the root of a file or sharded folder and its leaves
	maxName  = 1024    // bytes of an entry's name; file systems stop at 255
	maxFile  = 1 << 62 // bytes of a file
)

type kind uint8

const (
	kindFile kind = iota + 1
	kindDir
	kindShard // a part of a directory that is sharded; also its root
	kindLink  // a symbolic link
)

// node is a block, decoded. Its sizes add up.
type node struct {
	kind  kind
	block int    // bytes of the block
	data  []byte // content a file holds before that of its links; the target of a symbolic link
	size  uint64 // bytes of a file's content, data and links together
	links []link
	ends  []uint64 // files: where the content of each link ends, counted from the node's start
	pad   int      // shard: hexadecimal digits before each name
}

// link is an edge of a graph. What it says of its target is a claim.
type link struct {
	cid   cid.Cid
	name  string // of an entry; within a shard still with its digits
	size  uint64 // files: bytes of content under it
	total uint64 // bytes of all blocks under it, as the writer counted; 0 when it did not
}

// leaf reports whether c names a block without links.
func leaf(c cid.Cid) bool { return c.Prefix().Codec == cid.Raw }

// inline returns the content of an identity CID, which has no block of its own.
func inline(c cid.Cid) ([]byte, bool) {
	if c.Prefix().MhType != multihash.IDENTITY {
		return nil, false
	}
	d, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, false
	}
	return d.Digest, true
}

func malformed(c cid.Cid, format string, args ...any) error {
	return shoal.E(shoal.Invalid, "read graph "+c.String(), fmt.Sprintf(format, args...), "")
}

// checkCID refuses what cannot be part of a UnixFS graph, and hashes that bind nothing.
func checkCID(c cid.Cid) error {
	if !c.Defined() {
		return shoal.E(shoal.Invalid, "read graph", "an undefined CID", "")
	}
	p := c.Prefix()
	if p.Codec != cid.Raw && p.Codec != cid.DagProtobuf {
		return shoal.E(shoal.Invalid, "read graph "+c.String(), "wrong codec "+codecName(p.Codec)+
			", neither raw nor dag-pb", "give the CID of a file or folder")
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return malformed(c, "%v", err)
	}
	return nil
}

func codecName(codec uint64) string {
	switch codec {
	case cid.DagCBOR:
		return "dag-cbor"
	case cid.DagJSON:
		return "dag-json"
	case cid.Libp2pKey:
		return "libp2p-key"
	}
	return fmt.Sprintf("0x%x", codec)
}

// load gets a block and decodes it.
func load(ctx context.Context, c cid.Cid, get Getter) (node, error) {
	if err := checkCID(c); err != nil {
		return node{}, err
	}
	b, ok := inline(c)
	if !ok {
		var err error
		if b, err = get(ctx, c); err != nil {
			return node{}, err
		}
	}
	return decode(c, b)
}

// decode reads a block of a UnixFS graph. The node keeps parts of b.
func decode(c cid.Cid, b []byte) (node, error) {
	if len(b) > wire.MaxBlock {
		return node{}, malformed(c, "a block of %d bytes, more than %d", len(b), wire.MaxBlock)
	}
	if leaf(c) {
		return node{kind: kindFile, block: len(b), data: b, size: uint64(len(b))}, nil
	}
	p, err := merkledag.DecodeProtobuf(b)
	if err != nil {
		return node{}, malformed(c, "no dag-pb node: %v", err)
	}
	d, err := unixfs.FromBytes(p.Data())
	if err != nil {
		return node{}, malformed(c, "no UnixFS node: %v", err)
	}
	n := node{block: len(b), links: make([]link, len(p.Links()))}
	for i, l := range p.Links() {
		if err := checkCID(l.Cid); err != nil {
			return node{}, malformed(c, "link %d: %v", i, err)
		}
		n.links[i] = link{cid: l.Cid, name: l.Name, total: l.Size}
	}
	switch d.GetType() {
	case upb.Data_File, upb.Data_Raw:
		err = n.asFile(c, d)
	case upb.Data_Directory:
		n.kind = kindDir
		err = n.checkNames(c)
	case upb.Data_HAMTShard:
		err = n.asShard(c, d)
	case upb.Data_Symlink:
		n.kind, n.data, n.links = kindLink, d.GetData(), nil
		if len(n.data) == 0 || len(n.data) > 4096 || strings.IndexByte(string(n.data), 0) >= 0 {
			err = malformed(c, "a symbolic link with a target of %d bytes", len(n.data))
		}
	default:
		err = malformed(c, "a UnixFS node of type %s is no file or folder", d.GetType())
	}
	return n, err
}

func (n *node) asFile(c cid.Cid, d *upb.Data) error {
	n.kind, n.data = kindFile, d.GetData()
	if len(d.Blocksizes) != len(n.links) {
		return malformed(c, "%d links but %d sizes", len(n.links), len(d.Blocksizes))
	}
	n.size = uint64(len(n.data))
	n.ends = make([]uint64, len(n.links))
	for i, s := range d.Blocksizes {
		sum, carry := bits.Add64(n.size, s, 0)
		if carry != 0 || sum > maxFile {
			return malformed(c, "a file larger than %d bytes", uint64(maxFile))
		}
		n.size, n.ends[i], n.links[i].size = sum, sum, s
	}
	if d.Filesize != nil && *d.Filesize != n.size {
		return malformed(c, "a file of %d bytes whose parts have %d", *d.Filesize, n.size)
	}
	return nil
}

func (n *node) asShard(c cid.Cid, d *upb.Data) error {
	f := d.GetFanout()
	if f < 8 || f > 1024 || bits.OnesCount64(f) != 1 {
		return malformed(c, "a shard of fanout %d", f)
	}
	if uint64(len(n.links)) > f {
		return malformed(c, "a shard of fanout %d with %d links", f, len(n.links))
	}
	n.kind, n.pad = kindShard, len(fmt.Sprintf("%X", f-1))
	for _, l := range n.links {
		if len(l.name) < n.pad || len(l.name) == n.pad && leaf(l.cid) {
			return malformed(c, "a shard with an entry named %q", l.name)
		}
	}
	return nil
}

// checkNames holds the names of a directory against what a file system can show, and sorts by them.
func (n *node) checkNames(c cid.Cid) error {
	slices.SortFunc(n.links, func(a, b link) int { return strings.Compare(a.name, b.name) })
	for i, l := range n.links {
		if why := badName(l.name); why != "" {
			return malformed(c, "an entry named %.80q: %s", l.name, why)
		}
		if i > 0 && n.links[i-1].name == l.name {
			return malformed(c, "two entries named %.80q", l.name)
		}
	}
	return nil
}

// badName says why name cannot stand in a folder, or "".
func badName(name string) string {
	switch {
	case name == "" || name == "." || name == "..":
		return "it names no entry"
	case len(name) > maxName:
		return "it is too long"
	case strings.ContainsAny(name, "/\x00"):
		return "it holds a slash or a zero byte"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	}
	return ""
}
