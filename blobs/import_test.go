package blobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	boxostore "github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

func newTest(t testing.TB) (*Blobs, *shoaltest.Store) {
	t.Helper()
	s := shoaltest.NewStore()
	b, err := New(Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, s
}

func mustImport(t testing.TB, b *Blobs, where string, o ImportOptions) shoal.Manifest {
	t.Helper()
	m, err := b.Import(context.Background(), where, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// write makes files under a new folder; a name that ends in "/" is a folder, a content that starts
// with "-> " a symbolic link.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	writeIn(t, dir, files)
	return dir
}

func writeIn(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			err = os.Symlink(target, p)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	s := sha256.Sum256(fmt.Append(nil, seed))
	_, _ = rand.NewChaCha8(s).Read(b)
	return b
}

// content concatenates the files of a graph in the order of fs.WalkDir.
func content(t testing.TB, b *Blobs, s *shoaltest.Store, root cid.Cid) []byte {
	t.Helper()
	tree, err := b.Tree(context.Background(), root, "x", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := tree.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(&out, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

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

// TestPartitions is the property that all partitions keep: in order, their contents are the dataset's;
// lines and files are not cut where they may not be; a second import and Partition agree.
func TestPartitions(t *testing.T) {
	b, s := newTest(t)
	base := t.TempDir()
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		dir := filepath.Join(base, fmt.Sprint(round))
		aName := rapid.StringMatching(`([ab]/){0,3}[a-f]{2,4}\.?[a-c]?`)
		names := rapid.SliceOfNDistinct(aName, 0, 25, rapid.ID).Draw(r, "names")
		line := rapid.StringMatching(`[ -~]{0,40}\n?`)
		text, files := "", map[string]string{"gone/": ""}
		for _, n := range names {
			files[n] = strings.Join(rapid.SliceOfN(line, 0, 40).Draw(r, "lines"), "")
		}
		writeIn(t, dir, files)
		where, one := dir, rapid.Bool().Draw(r, "one file")
		if one {
			where = filepath.Join(dir, "the file")
			for _, n := range names {
				text += files[n]
			}
			writeIn(t, dir, map[string]string{"the file": text})
		}
		splits := []shoal.Split{shoal.SplitFiles, shoal.SplitLines, shoal.SplitBytes}
		split := rapid.SampledFrom(splits).Draw(r, "split")
		o := ImportOptions{
			Split: split, LeafBytes: rapid.Int64Range(1, 300).Draw(r, "leaf"),
			PartitionBytes: rapid.Int64Range(1, 3000).Draw(r, "partition"),
		}
		m := mustImport(t, b, where, o)
		data := content(t, b, s, m.Root)
		if one && string(data) != text || uint64(len(data)) != m.Bytes {
			r.Fatalf("the dataset has %d bytes, the manifest says %d, the file has %d", len(data), m.Bytes, len(text))
		}
		checkPartitions(r, t, b, s, m, data)
		if again := mustImport(t, b, where, o); fmt.Sprint(again) != fmt.Sprint(m) {
			r.Fatalf("a second import gives %v, not %v", again, m)
		}
		again, err := b.Partition(context.Background(), m.Root, s.Get, split, o.PartitionBytes)
		if err != nil {
			r.Fatal(err)
		}
		if again.Bytes != m.Bytes || again.Split != m.Split || len(again.Partitions) == 0 {
			r.Fatalf("Partition gives %v, not %v", again, m)
		}
		checkPartitions(r, t, b, s, again, data)
	})
}

func checkPartitions(r *rapid.T, t *testing.T, b *Blobs, s *shoaltest.Store, m shoal.Manifest, data []byte) {
	var joined []byte
	whole := map[string]bool{}
	if len(m.Partitions) == 0 {
		r.Fatal("no partition")
	}
	for i, p := range m.Partitions {
		part := content(t, b, s, p.CID)
		if uint64(len(part)) != p.Bytes {
			r.Fatalf("partition %d has %d bytes, the manifest says %d", i, len(part), p.Bytes)
		}
		joined = append(joined, part...)
		tree, err := b.Tree(context.Background(), p.CID, "the file", s.Get)
		if err != nil {
			r.Fatal(err)
		}
		_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				r.Fatal(err)
			}
			if m.Split != shoal.SplitFiles || d.IsDir() {
				return nil
			}
			if whole[name] {
				r.Fatalf("%s is in two partitions", name)
			}
			whole[name] = true
			return nil
		})
		// Every partition but the last ends with a line or with a file; a file's end is no newline only
		// if the file has none there, and then the next partition starts with another file.
		if m.Split == shoal.SplitLines && len(part) > 0 && !bytes.HasSuffix(part, []byte("\n")) {
			if i+1 < len(m.Partitions) && last(filesOf(t, b, s, p.CID)) == filesOf(t, b, s, m.Partitions[i+1].CID)[0] {
				r.Fatalf("partition %d ends within a line", i)
			}
		}
	}
	if !bytes.Equal(joined, data) {
		r.Fatalf("the partitions have %d bytes, the dataset %d", len(joined), len(data))
	}
}

func last(all []string) string { return all[len(all)-1] }

func filesOf(t *testing.T, b *Blobs, s *shoaltest.Store, c cid.Cid) (all []string) {
	tree, err := b.Tree(context.Background(), c, "x", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	_ = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err == nil && !d.IsDir() && info.Size() > 0 {
			all = append(all, name)
		}
		return nil
	})
	return all
}

// TestPartitionSizes checks number and balance for the shapes people have.
func TestPartitionSizes(t *testing.T) {
	b, _ := newTest(t)
	small, mixed := map[string]string{}, map[string]string{}
	for i := range 1500 {
		small[fmt.Sprintf("d%02d/f%04d", i%20, i)] = strings.Repeat("x", 2000+4*i)
	}
	for i := range 40 {
		mixed[fmt.Sprintf("f%02d", i)] = strings.Repeat("y", 10_000)
	}
	mixed["f20big"] = strings.Repeat("z", 400_000)
	var lines strings.Builder
	for i := range 400_000 {
		fmt.Fprintf(&lines, "line %d of many\n", i)
	}
	for _, c := range []struct {
		name     string
		files    map[string]string
		o        ImportOptions
		from, to int    // partitions
		most     uint64 // bytes of one
	}{
		{"small files", small, ImportOptions{}, 55, 75, 160_000},
		{"one big file", mixed, ImportOptions{PartitionBytes: 100_000}, 5, 7, 400_000},
		{
			"lines",
			map[string]string{"t": lines.String()},
			ImportOptions{Split: shoal.SplitLines, LeafBytes: 10_000},
			55, 75, 150_000,
		},
		{"nothing", map[string]string{"e/": "", "f": ""}, ImportOptions{}, 1, 1, 0},
		{
			"empty files",
			map[string]string{"e": "", "f": "", "g": "12345", "h": ""},
			ImportOptions{PartitionBytes: 1},
			1, 1, 5,
		},
	} {
		m := mustImport(t, b, write(t, c.files), c.o)
		if n := len(m.Partitions); n < c.from || n > c.to {
			t.Errorf("%s: %d partitions, not %d to %d", c.name, n, c.from, c.to)
		}
		for i, p := range m.Partitions {
			if p.Bytes > c.most {
				t.Errorf("%s: partition %d has %d bytes of %d", c.name, i, p.Bytes, m.Bytes)
			}
		}
		if c.name == "one big file" {
			alone := 0
			for _, p := range m.Partitions {
				if p.Bytes == 400_000 {
					alone++
				}
			}
			if alone != 1 {
				t.Errorf("the big file is in %d partitions of its own", alone)
			}
		}
	}
	_, err := b.Import(context.Background(), write(t, small), ImportOptions{PartitionBytes: 10})
	if shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("a million partitions: %v", err)
	}
}

func TestAuto(t *testing.T) {
	b, _ := newTest(t)
	dir := write(t, map[string]string{
		"text": "a line\nünd\n", "binary": "a\x00b", "latin": "gr\xfc\xdfe", "empty": "",
		"long": strings.Repeat("äöü\n", 30_000),
	})
	for name, want := range map[string]shoal.Split{
		"": shoal.SplitFiles, "text": shoal.SplitLines, "binary": shoal.SplitBytes, "latin": shoal.SplitBytes,
		"long": shoal.SplitLines, "empty": shoal.SplitLines,
	} {
		m := mustImport(t, b, filepath.Join(dir, name), ImportOptions{})
		if m.Split != want {
			t.Errorf("%q is split by %s, not %s", name, m.Split, want)
		}
		if name != "" && m.Name != name {
			t.Errorf("%q is called %q", name, m.Name)
		}
	}
}

// TestImportAgainWritesNothing: what is in the store is not put again, and a broken import resumes.
func TestImportAgainWritesNothing(t *testing.T) {
	count := &counter{Store: shoaltest.NewStore()}
	b, err := New(Config{Store: count})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(write(t, map[string]string{"f": string(noise(7, 40<<20))}), "f")
	ctx, cancel := context.WithCancel(context.Background())
	_, err = b.Import(ctx, file, ImportOptions{Progress: func(done, _ int64, _ string) {
		if done > 36<<20 {
			cancel()
		}
	}})
	if shoal.KindOf(err) != shoal.Canceled {
		t.Fatalf("canceled: %v", err)
	}
	half := count.bytes() - count.refused
	if half < 16<<20 || half > 40<<20 {
		t.Errorf("%d bytes were put before the cancel", half)
	}
	m := mustImport(t, b, file, ImportOptions{})
	if all := count.bytes() - count.refused; all > 40<<20+20<<10 {
		t.Errorf("the second try put %d bytes after %d", all-half, half)
	}
	calls, before := count.calls, count.bytes()
	again := mustImport(t, b, file, ImportOptions{})
	if again.Root != m.Root || count.bytes() != before || count.calls != calls {
		t.Errorf("a third import put %d bytes in %d calls", count.bytes()-before, count.calls-calls)
	}
	if calls > 6 {
		t.Errorf("%d puts for 40 MiB", calls)
	}
}

// counter counts what is put.
type counter struct {
	*shoaltest.Store
	mu    sync.Mutex
	n     int
	calls int
	drop  bool

	refused int // bytes of n that did not get in, as their caller had gone
}

func (c *counter) Put(ctx context.Context, blocks ...shoal.Block) error {
	c.mu.Lock()
	c.calls++
	sum := 0
	for _, b := range blocks {
		sum += len(b.Data)
	}
	c.n += sum
	c.mu.Unlock()
	if sum > batchBytes+2*leafBytes {
		return errors.New("a batch that large")
	}
	if c.drop {
		return nil
	}
	err := c.Store.Put(ctx, blocks...)
	if err != nil {
		c.mu.Lock()
		c.refused += sum
		c.mu.Unlock()
	}
	return err
}

func (c *counter) bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestImportMemory: memory does not grow with the file.
func TestImportMemory(t *testing.T) {
	b, err := New(Config{Store: &counter{Store: shoaltest.NewStore(), drop: true}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	part := noise(3, 8<<20)
	for i := range 24 {
		copy(part, fmt.Sprint(i))
		part[leafBytes*(i%8)] ^= byte(i)
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	part = nil
	var most uint64
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start := m.HeapInuse
	mustImport(t, b, file, ImportOptions{Split: shoal.SplitLines, Progress: func(done, _ int64, _ string) {
		if done>>20%8 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}})
	if most > start+112<<20 {
		t.Errorf("%d MiB on the heap for a file of 192 MiB", (most-start)>>20)
	}
}

// TestImportFaults: each fault has one line that names the file.
func TestImportFaults(t *testing.T) {
	b, s := newTest(t)
	pipe := write(t, map[string]string{"ok": "x"})
	l, err := net.Listen("unix", filepath.Join(pipe, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	deep := path.Join(append([]string{}, strings.Split(strings.Repeat("d/", 300), "/")...)...)
	for _, c := range []struct {
		name string
		dir  string
		kind shoal.Kind
		says string
	}{
		{"absent", "/nowhere/at/all", shoal.NotFound, "no such file or folder"},
		{"socket", pipe, shoal.Invalid, "socket: a socket has no content"},
		{"device", "/dev/null", shoal.Invalid, "a device has no content"},
		{
			"link out", write(t, map[string]string{"a/l": "-> ../../x"}), shoal.Invalid,
			"a/l: a symbolic link that leads out",
		},
		{
			"absolute link", write(t, map[string]string{"l": "-> /etc/passwd"}), shoal.Invalid,
			"l: a symbolic link that leads out",
		},
		{
			"crooked link", write(t, map[string]string{"b": "-> .", "l": "-> b/b/b/../../x"}), shoal.Invalid,
			"l: a symbolic link that leads out",
		},
		{"not UTF-8", write(t, map[string]string{"gr\xfc\xdfe": ""}), shoal.Invalid, "it is not UTF-8"},
		{"deep", write(t, map[string]string{deep + "/": ""}), shoal.Invalid, "nested deeper than 256"},
	} {
		_, err := b.Import(context.Background(), c.dir, ImportOptions{})
		says := fmt.Sprint(err)
		if shoal.KindOf(err) != c.kind || !strings.Contains(says, c.says) || !strings.HasPrefix(says, "put ") {
			t.Errorf("%s: %v (%v), want %q", c.name, err, shoal.KindOf(err), c.says)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than a line: %v", c.name, err)
		}
	}
	gone := write(t, map[string]string{"a": "1", "b": "2", "sub/c": "3"})
	_, err = b.Import(context.Background(), gone, ImportOptions{Progress: func(int64, int64, string) {
		os.Remove(filepath.Join(gone, "sub", "c"))
	}})
	if err != nil {
		t.Errorf("a file that vanishes before its folder is read does no harm: %v", err)
	}
	gone = write(t, map[string]string{"a": "1", "b": "2"})
	_, err = b.Import(context.Background(), gone, ImportOptions{Progress: func(int64, int64, string) {
		os.Remove(filepath.Join(gone, "b"))
	}})
	if shoal.KindOf(err) != shoal.NotFound || !strings.Contains(err.Error(), "b: it vanished") {
		t.Errorf("vanished: %v", err)
	}
	shrunk := write(t, map[string]string{"a": string(noise(1, 5<<20))})
	_, err = b.Import(context.Background(), shrunk, ImportOptions{Progress: func(int64, int64, string) {
		os.Truncate(filepath.Join(shrunk, "a"), 100)
	}})
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "a: it became shorter") {
		t.Errorf("shrunk: %v", err)
	}
	s.SetLimit(1 << 20)
	large := write(t, map[string]string{"a": string(noise(2, 50<<20))})
	_, err = b.Import(context.Background(), large, ImportOptions{})
	if shoal.KindOf(err) != shoal.Full {
		t.Errorf("full disk: %v", err)
	}
}

func TestLinksStay(t *testing.T) {
	b, s := newTest(t)
	m := mustImport(t, b, write(t, map[string]string{
		"a/file": "content", "a/up": "-> ../b/x", "b/x": "-> ../a/file",
		"dangling": "-> not/here", "loop": "-> loop", "dir": "-> a",
	}), ImportOptions{})
	tree, err := b.Tree(context.Background(), m.Root, "", s.Get)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/up": "content", "dir/file": "content", "dir/up": "content"} {
		if got, err := fs.ReadFile(tree, name); string(got) != want {
			t.Errorf("%s reads %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"dangling", "loop", "dir/nothing", "a/file/x"} {
		if _, err := tree.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if target, err := tree.ReadLink("a/up"); target != "../b/x" {
		t.Errorf("ReadLink: %q, %v", target, err)
	}
	if info, err := tree.Lstat("dir"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("Lstat: %v, %v", info, err)
	}
	if got := string(content(t, b, s, m.Partitions[0].CID)); got != "content" || len(m.Partitions) != 1 {
		t.Errorf("partitions: %q", got)
	}
}

func BenchmarkImport(b *testing.B) {
	bl, err := New(Config{Store: &counter{Store: shoaltest.NewStore(), drop: true}})
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(write(b, map[string]string{"f": string(noise(9, 256<<20))}), "f")
	for _, split := range []shoal.Split{shoal.SplitBytes, shoal.SplitLines} {
		b.Run(string(split), func(b *testing.B) {
			b.SetBytes(256 << 20)
			for b.Loop() {
				mustImport(b, bl, file, ImportOptions{Split: split})
			}
		})
	}
	files := map[string]string{}
	for i := range 5000 {
		files[fmt.Sprintf("d%d/f%d", i%50, i)] = fmt.Sprint(i)
	}
	dir := write(b, files)
	b.Run("5000 files", func(b *testing.B) {
		for b.Loop() {
			mustImport(b, bl, dir, ImportOptions{})
		}
	})
}

func counterOf() *counter { return &counter{Store: shoaltest.NewStore(), drop: true} }

// TestVisible: what is hidden is left out when that is asked for, at every depth, and counts else.
func TestVisible(t *testing.T) {
	b, _ := newTest(t)
	dir := filepath.Join(t.TempDir(), ".top") // its own name does not count
	for _, name := range []string{"a", ".hidden", "sub/b", "sub/.c", ".git/d"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for visible, want := range map[bool]uint64{true: uint64(len("a" + "sub/b")), false: uint64(len("a" + ".hidden" + "sub/b" + "sub/.c" + ".git/d"))} {
		m, err := b.Import(t.Context(), dir, ImportOptions{Visible: visible})
		if err != nil || m.Bytes != want {
			t.Errorf("visible only %v: %d bytes, want %d, %v", visible, m.Bytes, want, err)
		}
	}
}
