package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
)

var (
	_ io.ReaderAt = (*file)(nil)
	_ io.Seeker   = (*file)(nil)
	_ io.WriterTo = (*file)(nil)
)

// TestTreeIsAFileSystem runs the standard library's suite over a folder, a sharded one and a file.
func TestTreeIsAFileSystem(t *testing.T) {
	b, s := newTest(t)
	files := map[string]string{
		"a": "x", "d/b": string(noise(1, 5000)), "d/e/f": "", "empty/": "", "l": "-> d/b", "m": "-> d",
	}
	many := map[string]string{}
	for i := range 1600 {
		many[fmt.Sprintf("%s %05d", strings.Repeat("an entry with a long name ", 6), i)] = "x"
	}
	tree := func(where string) *Tree {
		m := mustImport(t, b, where, ImportOptions{LeafBytes: 512})
		tr, err := b.Tree(context.Background(), m.Root, "lone", s.Get)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	dir := write(t, files)
	if err := fstest.TestFS(tree(dir), "a", "d/b", "d/e/f", "empty", "l", "m"); err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(tree(filepath.Join(dir, "d", "b")), "lone"); err != nil {
		t.Error(err)
	}
	sharded := tree(write(t, many))
	if all, err := sharded.ReadDir("."); err != nil || len(all) != len(many) {
		t.Errorf("%d entries of %d, %v", len(all), len(many), err)
	}
	if n, err := sharded.root.load(sharded); err != nil || n.kind != kindShard {
		t.Errorf("the large folder is not sharded: %v, %v", n.kind, err)
	}
}

// TestReadAt compares random access with the bytes, from several goroutines at once, and counts.
func TestReadAt(t *testing.T) {
	b, s := newTest(t)
	base := write(t, map[string]string{"f": string(noise(2, 300_000))})
	data := noise(2, 300_000)
	m := mustImport(t, b, filepath.Join(base, "f"), ImportOptions{LeafBytes: 100, Split: shoal.SplitBytes})
	tree, err := b.Tree(context.Background(), m.Root, "f", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tree.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want uint64
	rapid.Check(t, func(r *rapid.T) {
		off, n := rapid.Int64Range(0, 301_000).Draw(r, "off"), rapid.IntRange(0, 2000).Draw(r, "n")
		got := make([]byte, n)
		switch rapid.IntRange(0, 2).Draw(r, "how") {
		case 0:
			c, err := f.(io.ReaderAt).ReadAt(got, off)
			exp := data[min(off, 300_000):min(off+int64(n), 300_000)]
			want += uint64(c)
			if !bytes.Equal(got[:c], exp) || (err == io.EOF) != (c < n) || err != nil && err != io.EOF {
				r.Fatalf("ReadAt(%d, %d) = %d, %v", n, off, c, err)
			}
		case 1:
			at, err := f.(io.Seeker).Seek(off-300_000, io.SeekEnd)
			if off < 0 == (err == nil) || err == nil && at != off {
				r.Fatalf("Seek: %d, %v", at, err)
			}
			c, err := io.ReadFull(f, got)
			want += uint64(c)
			if !bytes.Equal(got[:c], data[min(off, 300_000):min(off+int64(n), 300_000)]) {
				r.Fatalf("Read after Seek(%d): %d, %v", off, c, err)
			}
		case 2:
			if _, err := f.(io.Seeker).Seek(off, io.SeekStart); err != nil {
				r.Fatal(err)
			}
			var out bytes.Buffer
			c, err := f.(io.WriterTo).WriteTo(&out)
			want += uint64(c)
			if err != nil || !bytes.Equal(out.Bytes(), data[min(off, 300_000):]) {
				r.Fatalf("WriteTo from %d: %d, %v", off, c, err)
			}
		}
		if tree.BytesRead() != want {
			r.Fatalf("%d bytes were read, %d counted", want, tree.BytesRead())
		}
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			got := make([]byte, 5000)
			if _, err := f.(io.ReaderAt).ReadAt(got, int64(i*30_000)); err != nil || !bytes.Equal(got, data[i*30_000:][:5000]) {
				t.Errorf("goroutine %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	f.Close()
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read of a closed file: %v", err)
	}
}

// TestReadsLittle: a read in the middle of a large file gets the nodes on its way and one leaf, once.
func TestReadsLittle(t *testing.T) {
	b, s := newTest(t)
	file := filepath.Join(write(t, map[string]string{"f": string(noise(4, 3_000_000))}), "f")
	m := mustImport(t, b, file, ImportOptions{LeafBytes: 1000, Split: shoal.SplitBytes})
	gets := 0
	tree, err := b.Tree(context.Background(), m.Root, "f", func(ctx context.Context, c cid.Cid) ([]byte, error) {
		gets++
		return s.Get(ctx, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := tree.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	gets = 0
	for i := range int64(100) {
		if _, err := f.(io.ReaderAt).ReadAt(make([]byte, 10), 2_500_000+i*10); err != nil {
			t.Fatal(err)
		}
	}
	if gets != 2 { // the node of its thousand leaves, and the leaf
		t.Errorf("%d blocks for 100 reads in one leaf", gets)
	}
}

// TestWalk: each block once, parents first, no leaf fetched, all there is in the store.
func TestWalk(t *testing.T) {
	b, s := newTest(t)
	files := map[string]string{"twice": string(noise(5, 3000)), "again": string(noise(5, 3000)), "d/zero": "", "l": "-> d"}
	for i := range 1600 {
		files[fmt.Sprintf("many/%s %d", strings.Repeat("a long name ", 12), i)] = fmt.Sprint(i % 7)
	}
	o := ImportOptions{LeafBytes: 1000, Split: shoal.SplitBytes, PartitionBytes: 1 << 20}
	m := mustImport(t, b, write(t, files), o)
	ctx := context.Background()
	seen := map[cid.Cid]bool{}
	get := func(ctx context.Context, c cid.Cid) ([]byte, error) {
		if leaf(c) {
			t.Errorf("the leaf %s was fetched", c)
		}
		return s.Get(ctx, c)
	}
	visit := func(c cid.Cid, size int, isLeaf bool) error {
		if seen[c] {
			t.Errorf("%s twice", c)
		}
		seen[c] = true
		if n, err := s.Size(ctx, c); err != nil || n != size || isLeaf != leaf(c) {
			t.Errorf("%s: size %d, leaf %v; the store has %d, %v", c, size, isLeaf, n, err)
		}
		return nil
	}
	if err := b.Walk(ctx, m.Root, get, visit); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Partitions {
		if err := b.Walk(ctx, p.CID, s.Get, func(c cid.Cid, _ int, isLeaf bool) error {
			if isLeaf && !seen[c] {
				t.Errorf("a partition has the leaf %s, the dataset has not", c)
			}
			seen[c] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for c := range s.All(ctx) {
		if !seen[c] {
			t.Errorf("%s was stored for nothing", c)
		}
	}
	stop := errors.New("stop")
	if err := b.Walk(ctx, m.Root, s.Get, func(cid.Cid, int, bool) error { return stop }); err != stop {
		t.Errorf("visit's error: %v", err)
	}
	info, err := b.Stat(ctx, m.Root, s.Get)
	if err != nil || !info.Dir || info.Bytes != m.Bytes || info.Files != 1603 {
		t.Errorf("Stat: %+v, %v; the manifest has %d bytes", info, err, m.Bytes)
	}
}

// TestForeignLines: a graph with leaves cut anywhere is partitioned by lines.
func TestForeignLines(t *testing.T) {
	b, s := newTest(t)
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "line number %d\n", i)
	}
	file := filepath.Join(write(t, map[string]string{"f": text.String()}), "f")
	m := mustImport(t, b, file, ImportOptions{Split: shoal.SplitBytes, LeafBytes: 1000})
	lines, err := b.Partition(context.Background(), m.Root, s.Get, shoal.SplitLines, 20_000)
	if err != nil {
		t.Fatal(err)
	}
	var joined []byte
	for i, p := range lines.Partitions {
		part := content(t, b, s, p.CID)
		if !bytes.HasSuffix(part, []byte("\n")) || p.Bytes > 22_000 || p.Bytes != uint64(len(part)) {
			t.Errorf("partition %d: %d bytes, %d in the manifest, ends in %q", i, len(part), p.Bytes, part[len(part)-1])
		}
		joined = append(joined, part...)
	}
	if string(joined) != text.String() {
		t.Error("the partitions are not the dataset")
	}
	if n := len(lines.Partitions); n < 10 || n > 20 {
		t.Errorf("%d partitions", n)
	}
}
