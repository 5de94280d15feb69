package blobs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/storage"
)

func onDisk(t testing.TB) (*Blobs, *storage.Storage) {
	t.Helper()
	s, err := storage.Open(t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b, err := New(Config{Store: s.Blocks()})
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

// In place gives the same graph and partitions as a copy does, for every way to split, and reading them
// gives the same bytes. Only inner nodes are copied.
func TestInPlaceIsTheSameGraph(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	lines := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			fmt.Fprintf(&b, "%0*d\n", 1+r.IntN(100), r.Uint32())
		}
		return b.String()
	}
	same := string(noise(3, 300_000))
	dir := write(t, map[string]string{
		"a.txt": lines(500_000), "b/c.bin": string(noise(1, 400_000)), "b/empty": "", "b/copy": same, "d/copy": same,
		"zeros": string(make([]byte, 700_000)), "link": "-> b/c.bin", "hollow/": "",
	})
	for _, where := range []string{dir, filepath.Join(dir, "a.txt"), filepath.Join(dir, "zeros"), filepath.Join(dir, "link")} {
		for _, split := range []shoal.Split{shoal.SplitAuto, shoal.SplitFiles, shoal.SplitLines, shoal.SplitBytes} {
			o := ImportOptions{Split: split, LeafBytes: 10_000, PartitionBytes: 100_000}
			copying, mem := newTest(t)
			want := mustImport(t, copying, where, o)
			placing, disk := onDisk(t)
			o.InPlace = true
			got := mustImport(t, placing, where, o)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("%s %q:\n got %v\nwant %v", where, split, got, want)
			}
			if held := disk.Held(); held > 60_000 {
				t.Fatalf("%s %q: %d bytes were copied", where, split, held)
			}
			n := 0
			err := placing.Walk(context.Background(), want.Root, disk.Blocks().Get, func(c cid.Cid, _ int, _ bool) error {
				a, err := mem.Get(context.Background(), c)
				if err != nil {
					return err
				}
				b, err := disk.Blocks().Get(context.Background(), c)
				if n++; err == nil && !bytes.Equal(a, b) {
					err = fmt.Errorf("block %s differs", c)
				}
				return err
			})
			if err != nil || n < 2 {
				t.Fatalf("%s %q: %d blocks, %v", where, split, n, err)
			}
		}
	}
}

// An ordinary import after one in place copies what the first only noted: the files may go then.
// A file that lies whole in one of the user's is found there, and nothing else is.
func TestWholeFilesInPlace(t *testing.T) {
	same := string(noise(3, 30_000))
	dir := write(t, map[string]string{
		"big": string(noise(1, 95_000)), "one": string(noise(2, 5_000)), "copy1": same, "copy2": same,
		"zeros": string(make([]byte, 30_000)), "empty": "", "link": "-> big",
	})
	b, disk := onDisk(t)
	m := mustImport(t, b, dir, ImportOptions{LeafBytes: 10_000, InPlace: true})
	tree := func(c cid.Cid, name string) *Tree {
		tr, err := b.Tree(t.Context(), c, name, disk.Blocks().Get)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	whole := func(tr *Tree, name string) string {
		leaves, err := tr.Leaves(name)
		if err != nil {
			return ""
		}
		file, ok := disk.Whole(leaves)
		if ok != (file != "") {
			t.Errorf("%s: %q %v", name, file, ok)
		}
		return file
	}
	tr := tree(m.Root, "")
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"big": "big", "one": "one", "link": "big", "copy1": "copy1", "copy2": "copy1", "zeros": "", "empty": "", ".": "", "absent": "",
	} {
		if want != "" {
			want = filepath.Join(real, want)
		}
		if got := whole(tr, name); got != want {
			t.Errorf("%s lies in %q, not in %q", name, got, want)
		}
	}
	// A part of a file is not the file.
	parts := mustImport(t, b, filepath.Join(dir, "big"), ImportOptions{Split: shoal.SplitBytes, LeafBytes: 10_000, PartitionBytes: 40_000, InPlace: true})
	if len(parts.Partitions) < 2 {
		t.Fatal(parts)
	}
	for _, p := range parts.Partitions {
		if got := whole(tree(p.CID, "part"), "part"); got != "" {
			t.Errorf("a part lies in %s", got)
		}
	}
	if got := whole(tree(parts.Root, "lone"), "lone"); got != filepath.Join(real, "big") {
		t.Errorf("a lone file lies in %q", got)
	}
	// Of two places the one that was not changed.
	if err := os.WriteFile(filepath.Join(dir, "copy1"), noise(4, 30_000), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(dir, "big"), time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := whole(tr, "copy1"); got != filepath.Join(real, "copy2") {
		t.Errorf("copy1 lies in %q", got)
	}
	if got := whole(tr, "big"); got != "" {
		t.Errorf("big was touched, and lies in %q", got)
	}
}

func TestCopyAfterInPlace(t *testing.T) {
	b, s := onDisk(t)
	dir := write(t, map[string]string{"f": string(noise(1, 100_000))})
	m := mustImport(t, b, dir, ImportOptions{InPlace: true, LeafBytes: 10_000})
	if held := s.Held(); held > 5000 {
		t.Fatalf("%d bytes copied", held)
	}
	mustImport(t, b, dir, ImportOptions{LeafBytes: 10_000})
	if held := s.Held(); held < 100_000 {
		t.Fatalf("%d bytes copied of 100,000", held)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	tree, err := b.Tree(context.Background(), m.Root, "x", s.Blocks().Get)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tree.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(f); err != nil || len(got) != 100_000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// A file that is written to while it is indexed is refused: nobody could tell what lies where.
func TestInPlaceWrittenMeanwhile(t *testing.T) {
	b, _ := onDisk(t)
	dir := write(t, map[string]string{"log": string(noise(1, 100_000))})
	file := filepath.Join(dir, "log")
	changed := false
	_, err := b.Import(context.Background(), dir, ImportOptions{
		InPlace: true, LeafBytes: 10_000,
		Progress: func(done, _ int64, _ string) {
			if done > 50_000 && !changed {
				changed = true
				if err := os.Chtimes(file, time.Time{}, time.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
			}
		},
	})
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "put "+dir+": log: ") {
		t.Fatalf("got %v", err)
	}
}

// What a link on the way to the files names may change afterwards: the files stay where they are.
func TestInPlaceBehindALink(t *testing.T) {
	b, s := onDisk(t)
	dir := write(t, map[string]string{"real/f": string(noise(1, 1000)), "other/f": "x", "link": "-> real"})
	link := filepath.Join(dir, "link")
	m := mustImport(t, b, link, ImportOptions{InPlace: true})
	if m.Name != "link" {
		t.Errorf("called %q", m.Name)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	writeIn(t, dir, map[string]string{"link": "-> other"})
	if got, err := s.Blocks().Get(context.Background(), shoal.BlockCID(noise(1, 1000))); err != nil || len(got) != 1000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// A folder that an ordinary import refuses is refused in place as well.
func TestInPlaceFaults(t *testing.T) {
	b, s := onDisk(t)
	dir := write(t, map[string]string{"a": "some", "out": "-> ../../etc/passwd"})
	_, err := b.Import(context.Background(), dir, ImportOptions{InPlace: true})
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "leads out") {
		t.Fatalf("got %v", err)
	}
	for c, err := range s.Blocks().All(context.Background()) {
		t.Fatalf("something was noted of a refused folder: %s, %v", c, err)
	}
	_, err = b.Import(context.Background(), os.DevNull, ImportOptions{InPlace: true})
	if shoal.KindOf(err) != shoal.Invalid {
		t.Fatalf("a device: %v", err)
	}
	only, err := New(Config{Store: shoaltest.NewStore()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = only.Import(context.Background(), dir, ImportOptions{InPlace: true})
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "--in-place") {
		t.Fatalf("a store that copies: %v", err)
	}
}

// A large sparse file is indexed in constant memory, and the index does not grow with its zeros.
func TestInPlaceMemory(t *testing.T) {
	size := int64(4 << 30)
	if testing.Short() {
		size = 1 << 30
	}
	file := filepath.Join(t.TempDir(), "sparse.img")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(8) { // islands in the sea of zeros
		if _, err := f.WriteAt(noise(uint64(i), 3000), size/8*i+12345); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, s := onDisk(t)
	var peak, start uint64
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	runtime.GC()
	start = heap()
	calls := 0
	m := mustImport(t, b, file, ImportOptions{InPlace: true, Progress: func(int64, int64, string) {
		if calls++; calls%256 == 0 {
			peak = max(peak, heap())
		}
	}})
	if m.Bytes != uint64(size) || peak == 0 {
		t.Fatalf("%d bytes in %d calls", m.Bytes, calls)
	}
	if grown := int64(peak) - int64(start); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	if s.Held() > 4<<20 {
		t.Errorf("%d bytes copied", s.Held())
	}
	n := 0
	for _, err := range s.Blocks().All(context.Background()) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n > 200 {
		t.Errorf("%d blocks for a file of zeros", n)
	}
}

// Holes read as the zeros they are, wherever they begin and end.
func TestSparse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		file := filepath.Join(t.TempDir(), "sparse")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		size := r.Int64N(1 << 20)
		for range r.IntN(5) {
			if _, err := f.WriteAt(noise(r.Uint64(), 1+r.IntN(20_000)), r.Int64N(size+1)); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := f.Stat(); err != nil || f.Truncate(max(size, info.Size())) != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(want)) // not zeros to begin with
		for i := range got {
			got[i] = 7
		}
		s := &sparse{f: f, size: int64(len(want))}
		for at := 0; at < len(got); {
			n, err := s.Read(got[at:min(len(got), at+1+r.IntN(100_000))])
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("a file of %d bytes reads differently", len(want))
		}
		if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("%d bytes behind the end, %v", n, err)
		}
		f.Close()
	}
}
