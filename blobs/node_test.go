package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	upb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
)

// forger makes graphs that no importer makes, and hands out their blocks.
type forger map[cid.Cid][]byte

func (f forger) get(_ context.Context, c cid.Cid) ([]byte, error) {
	b, ok := f[c]
	if !ok {
		return nil, shoal.E(shoal.NotFound, "block "+c.String(), "never forged", "")
	}
	return b, nil
}

func (f forger) raw(b []byte) cid.Cid {
	c := shoal.BlockCID(b)
	f[c] = b
	return c
}

func (f forger) node(data []byte, links ...*ipld.Link) cid.Cid {
	n := merkledag.NodeWithData(data)
	if err := n.SetCidBuilder(dagPB()); err != nil {
		panic(err)
	}
	if err := n.SetLinks(links); err != nil {
		panic(err)
	}
	b, err := n.EncodeProtobuf(true)
	if err != nil {
		panic(err)
	}
	f[n.Cid()] = b
	return n.Cid()
}

func (f forger) file(sizes []uint64, children ...cid.Cid) cid.Cid {
	s := unixfs.NewFSNode(upb.Data_File)
	for _, size := range sizes {
		s.AddBlockSize(size)
	}
	data, err := s.GetBytes()
	if err != nil {
		panic(err)
	}
	links := make([]*ipld.Link, len(children))
	for i, c := range children {
		links[i] = &ipld.Link{Cid: c}
	}
	return f.node(data, links...)
}

func (f forger) dir(links ...*ipld.Link) cid.Cid { return f.node(unixfs.FolderPBData(), links...) }

func (f forger) shard(fanout uint64, links ...*ipld.Link) cid.Cid {
	data, err := unixfs.HAMTShardData([]byte{0xff}, fanout, 0x22)
	if err != nil {
		panic(err)
	}
	return f.node(data, links...)
}

func name(n string, c cid.Cid, total uint64) *ipld.Link {
	return &ipld.Link{Name: n, Cid: c, Size: total}
}

// readAll does with a graph whatever one can do with it, and returns the first fault.
func readAll(b *Blobs, root cid.Cid, get Getter) error {
	ctx := context.Background()
	if err := b.Walk(ctx, root, get, func(cid.Cid, int, bool) error { return nil }); err != nil {
		return err
	}
	if _, err := b.Stat(ctx, root, get); err != nil {
		return err
	}
	tree, err := b.Tree(ctx, root, "x", get)
	if err != nil {
		return err
	}
	seen := 0
	err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if seen++; seen > 1000 {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := tree.Open(p)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, io.LimitReader(f, 1<<20))
		return err
	})
	if err != nil {
		return err
	}
	for _, split := range []shoal.Split{shoal.SplitFiles, shoal.SplitLines, shoal.SplitBytes} {
		if _, err := b.Partition(ctx, root, get, split, 0); err != nil {
			return err
		}
	}
	return nil
}

// TestHostileGraphs: each kind of lie is Invalid and said.
func TestHostileGraphs(t *testing.T) {
	b, _ := newTest(t)
	f := forger{}
	ten := f.raw([]byte("0123456789"))
	cbor := cid.NewCidV1(cid.DagCBOR, ten.Hash())
	weak, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.MURMUR3X64_64, MhLength: -1}.Sum([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	huge, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.IDENTITY, MhLength: -1}.Sum(make([]byte, 4000))
	if err != nil {
		t.Fatal(err)
	}
	deepFile := f.file([]uint64{10}, ten)
	for range 100 {
		deepFile = f.file([]uint64{10}, deepFile)
	}
	deepDir := f.dir()
	for range 400 {
		deepDir = f.dir(name("d", deepDir, 0))
	}
	wide := f.dir(name("a", ten, 10))
	for range 80 { // 16^80 files
		var links []*ipld.Link
		for i := range 16 {
			links = append(links, name(fmt.Sprintf("%02d", i), wide, 0))
		}
		wide = f.dir(links...)
	}
	zeros := f.file([]uint64{0, 0}, f.raw(nil), f.raw(nil))
	for range 40 {
		zeros = f.file([]uint64{0, 0}, zeros, zeros)
	}
	empty := f.shard(256)
	junk := []byte("\xff\xffno protobuf")
	bad := cid.NewCidV1(cid.DagProtobuf, shoal.BlockCID(junk).Hash())
	f[bad] = junk
	for _, c := range []struct {
		name string
		root cid.Cid
		says string // "": fine
	}{
		{"wrong codec", cbor, "wrong codec dag-cbor"},
		{"weak hash", weak, "insecure hash"},
		{"large identity", huge, "digest"},
		{"link to a weak hash", f.dir(name("a", weak, 1)), "insecure hash"},
		{"no protobuf", bad, "dag-pb"},
		{"no UnixFS", f.node([]byte("\xff\xff")), "UnixFS"},
		{"no data", f.node(nil), "UnixFS"},
		{"parent says more", f.file([]uint64{20}, ten), "a part of 10 bytes that its file calls 20"},
		{"parent says less", f.file([]uint64{5}, ten), "a part of 10 bytes that its file calls 5"},
		{"sizes missing", f.file([]uint64{10}, ten, ten), "2 links but 1 sizes"},
		{"sizes overflow", f.file([]uint64{1 << 63, 1 << 63}, ten, ten), "larger than"},
		{"folder lies of a leaf", f.dir(name("a", ten, 11)), "that its folder calls 11"},
		{"folder in a file", f.file([]uint64{10}, f.dir()), "a part of 0 bytes"},
		{"deep file", deepFile, "nested deeper"},
		{"deep folder", deepDir, "nested deeper"},
		{"endless folders", wide, "more content than"},
		{"endless nothing", zeros, ""},
		{"slash", f.dir(name("a/b", ten, 10)), "a slash"},
		{"dot dot", f.dir(name("..", ten, 10)), "names no entry"},
		{"no name", f.dir(name("", ten, 10)), "names no entry"},
		{"zero", f.dir(name("a\x00b", ten, 10)), "zero byte"},
		{"long name", f.dir(name(strings.Repeat("n", 2000), ten, 10)), "too long"},
		{"twice", f.dir(name("a", ten, 10), name("a", ten, 10)), "two entries"},
		{"unsorted", f.dir(name("b", ten, 10), name("a", ten, 10)), ""},
		{"fanout", f.shard(7), "fanout 7"},
		{"crowded shard", f.shard(8, repeat(name("0x", ten, 10), 9)...), "with 9 links"},
		{"short name in shard", f.shard(256, name("A", ten, 10)), "an entry named"},
		{"leaf as shard", f.shard(256, name("A0", ten, 10)), "an entry named"},
		{"folder as shard", f.shard(256, name("A0", f.dir(), 10)), "not a shard"},
		{"shard twice", f.shard(256, name("A0", empty, 10), name("A1", empty, 10)), "occurs twice"},
		{"dot dot in shard", f.shard(256, name("A0..", ten, 10)), "names no entry"},
		{"twice in shards", f.shard(256, name("A0x", ten, 10), name("A1x", ten, 10)), "two entries"},
		{"link alone", f.node(symlink("x")), "a symbolic link alone"},
		{"link of nothing", f.dir(name("l", f.node(symlink("")), 10)), "a target of 0 bytes"},
		{"link out", f.dir(name("l", f.node(symlink("../../etc/passwd")), 10)), ""},
		{"metadata", f.node([]byte{8, 3}), "no file or folder"},
	} {
		err := readAll(b, c.root, f.get)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("%s: %v (%v), want %q", c.name, err, shoal.KindOf(err), c.says)
		}
	}
}

func repeat(l *ipld.Link, n int) (out []*ipld.Link) {
	for i := range n {
		c := *l
		c.Name += fmt.Sprint(i)
		out = append(out, &c)
	}
	return out
}

func symlink(target string) []byte {
	b, err := unixfs.SymlinkData(target)
	if err != nil {
		panic(err)
	}
	return b
}

// TestIdentity: kubo inlines small leaves into their CIDs; such a graph reads without their blocks.
func TestIdentity(t *testing.T) {
	b, _ := newTest(t)
	f := forger{}
	in, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: multihash.IDENTITY, MhLength: -1}.Sum([]byte("inline\n"))
	if err != nil {
		t.Fatal(err)
	}
	root := f.dir(name("a", in, 7), name("b", f.file([]uint64{7, 7}, in, in), 14))
	if err := readAll(b, root, f.get); err != nil {
		t.Fatal(err)
	}
	tree, err := b.Tree(context.Background(), root, "", f.get)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := fs.ReadFile(tree, "b"); string(data) != "inline\ninline\n" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestGetterErrorsPass: what the getter says reaches the reader with its kind.
func TestGetterErrorsPass(t *testing.T) {
	b, _ := newTest(t)
	f := forger{}
	root := f.dir(name("a", f.file([]uint64{3, 3}, shoal.BlockCID([]byte("abc")), shoal.BlockCID([]byte("def"))), 6))
	tree, err := b.Tree(context.Background(), root, "", f.get)
	if err != nil {
		t.Fatal(err)
	}
	var p *fs.PathError
	if _, err := fs.ReadFile(tree, "a"); shoal.KindOf(err) != shoal.NotFound || !errors.As(err, &p) {
		t.Errorf("a missing leaf: %v", err)
	}
	if _, err := b.Stat(context.Background(), shoal.BlockCID([]byte("x")), f.get); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("a missing root: %v", err)
	}
}

// FuzzDecode: no block of a graph, whatever its bytes, does harm.
func FuzzDecode(f *testing.F) {
	g := forger{}
	ten := g.raw([]byte("0123456789"))
	g.file([]uint64{10, 10}, ten, ten)
	g.dir(name("a", ten, 10), name("b", ten, 10))
	g.shard(256, name("A0x", ten, 10))
	g.node(symlink("a/b"))
	for _, b := range g {
		f.Add(b)
	}
	bl, err := New(Config{Store: counterOf()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		c := cid.NewCidV1(cid.DagProtobuf, shoal.BlockCID(block).Hash())
		n, err := decode(c, block)
		if err != nil {
			if shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("%v (%v)", err, shoal.KindOf(err))
			}
			return
		}
		var sum uint64
		for i, l := range n.links {
			sum += l.size
			if n.kind == kindFile && n.ends[i] != sum+uint64(len(n.data)) {
				t.Fatal("the ends do not add up")
			}
		}
		if n.kind == kindFile && sum+uint64(len(n.data)) != n.size {
			t.Fatal("the sizes do not add up")
		}
		get := func(_ context.Context, got cid.Cid) ([]byte, error) {
			if got.Equals(c) {
				return bytes.Clone(block), nil
			}
			return g.get(context.Background(), got)
		}
		_ = readAll(bl, c, get)
	})
}
