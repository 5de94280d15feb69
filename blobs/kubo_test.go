package blobs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	boxostore "github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-fabric/shoal"
)

// boxo returns a DAG service of boxo's own, to compare with.
func boxo() ipld.DAGService {
	bs := boxostore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	return merkledag.NewDAGService(blockservice.New(bs, offline.Exchange(bs)))
}

func boxoFile(t testing.TB, d ipld.DAGService, data []byte, leaf int64) ipld.Node {
	t.Helper()
	p := helpers.DagBuilderParams{
		Maxlinks: uio.UnixFS_v1_2025.FileDAGWidth, RawLeaves: true,
		CidBuilder: uio.UnixFS_v1_2025.CidBuilder(), Dagserv: d,
	}
	db, err := p.New(chunk.NewSizeSplitter(bytes.NewReader(data), leaf))
	if err != nil {
		t.Fatal(err)
	}
	n, err := balanced.Layout(db)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func boxoDir(t testing.TB, d ipld.DAGService, dir string) ipld.Node {
	t.Helper()
	out, err := uio.NewDirectory(d, uio.WithCidBuilder(uio.UnixFS_v1_2025.CidBuilder()),
		uio.WithSizeEstimationMode(uio.UnixFS_v1_2025.HAMTSizeEstimation))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var n ipld.Node
		if e.IsDir() {
			n = boxoDir(t, d, filepath.Join(dir, e.Name()))
		} else {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			n = boxoFile(t, d, data, leafBytes)
		}
		if err := out.AddChild(context.Background(), e.Name(), n); err != nil {
			t.Fatal(err)
		}
	}
	n, err := out.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFileRootsAreKubos compares roots with those of the importer in boxo, under its profile.
func TestFileRootsAreKubos(t *testing.T) {
	b, s := newTest(t)
	for _, c := range []struct{ size, leaf int }{
		{0, leafBytes},
		{1, leafBytes},
		{leafBytes - 1, leafBytes},
		{leafBytes, leafBytes},
		{leafBytes + 1, leafBytes},
		{5*leafBytes + 17, leafBytes},
		{1024 * 64, 64},
		{1024*64 + 1, 64},
		{3*1024*64 + 100, 64},
	} {
		data := noise(uint64(c.size), c.size)
		file := filepath.Join(write(t, map[string]string{"f": string(data)}), "f")
		for _, split := range []shoal.Split{shoal.SplitBytes, shoal.SplitFiles} {
			m := mustImport(t, b, file, ImportOptions{Split: split, LeafBytes: int64(c.leaf)})
			if want := boxoFile(t, boxo(), data, int64(c.leaf)); !m.Root.Equals(want.Cid()) {
				t.Errorf("%d bytes in leaves of %d: root %s, boxo has %s", c.size, c.leaf, m.Root, want.Cid())
			}
			if got := content(t, b, s, m.Root); !bytes.Equal(got, data) {
				t.Errorf("%d bytes in leaves of %d: read %d others", c.size, c.leaf, len(got))
			}
		}
	}
}

// TestFolderRootsAreKubos does so for folders, one of them sharded.
func TestFolderRootsAreKubos(t *testing.T) {
	b, s := newTest(t)
	files := map[string]string{
		"a.txt": "one\n", "sub/b": "two", "sub/deep/c": "", "empty/": "", ".hidden": "h",
		"sub.x": "sorts between", "ünïcode": "u", "z": string(noise(1, 3*leafBytes)),
	}
	long := strings.Repeat("long ", 30)
	for i := range 1600 {
		files[fmt.Sprintf("many/%sentry-%05d", long, i)] = fmt.Sprint(i % 100)
	}
	dir := write(t, files)
	m := mustImport(t, b, dir, ImportOptions{})
	if want := boxoDir(t, boxo(), dir); !m.Root.Equals(want.Cid()) {
		t.Errorf("root %s, boxo has %s", m.Root, want.Cid())
	}
	tree, err := b.Tree(context.Background(), m.Root, "", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := tree.ReadDir("many")
	if err != nil || len(entries) != 1600 || entries[1234].Name() != long+"entry-01234" {
		t.Errorf("sharded folder: %d entries, %v", len(entries), err)
	}
	if data, err := fs.ReadFile(tree, "many/"+long+"entry-00042"); string(data) != "42" {
		t.Errorf("read %q, %v", data, err)
	}
}

// TestGolden pins roots, so that a new release cannot change them unseen.
func TestGolden(t *testing.T) {
	b, _ := newTest(t)
	dir := write(t, map[string]string{"hello.txt": "hello\n", "d/one": "1", "d/two": "2", "l": "-> d/one"})
	for _, c := range []struct{ path, root string }{
		{dir, "bafybeicq67itfsfutqkb5unxx77gkh4yiryhxzyuwytnvwofvpo4nx6s7e"},
		{filepath.Join(dir, "hello.txt"), "bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"},
	} {
		if m := mustImport(t, b, c.path, ImportOptions{}); m.Root.String() != c.root {
			t.Errorf("root of %s is %s, was %s", filepath.Base(c.path), m.Root, c.root)
		}
	}
}
