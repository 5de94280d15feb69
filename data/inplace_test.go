package data

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// edit changes a file, and its time for certain.
func edit(t testing.TB, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(file, b, 0o600))
	must(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)))
}

func wantNamed(t testing.TB, err error, file string) {
	t.Helper()
	wantKind(t, err, shoal.Corrupt)
	if !strings.Contains(err.Error(), file) {
		t.Fatalf("the error does not name %s: %v", file, err)
	}
}

// Nothing is copied here, all of it counts as held here, and others get copies of their own.
func TestPutInPlace(t *testing.T) {
	w := newWorld(t, 3)
	src := folder(t, 1, 20, 60_000)
	n := w.nodes[0]
	res, err := n.Put(bg, src, PutOptions{InPlace: true, Replicas: 2, LeafBytes: 16 << 10})
	must(t, err)
	if held := n.storage.Held(); held > 50_000 {
		t.Errorf("%d bytes were copied", held)
	}
	if res.Short != 0 || len(res.Warnings) != 0 {
		t.Fatalf("short by %d: %v", res.Short, res.Warnings)
	}
	copies := map[int]int{}
	for _, h := range res.Holders {
		for _, i := range h.Partitions {
			copies[i]++
		}
		if h.Peer == n.id && len(h.Partitions) != len(res.Manifest.Partitions) {
			t.Errorf("this node holds %d of %d partitions", len(h.Partitions), len(res.Manifest.Partitions))
		}
	}
	for i := range res.Manifest.Partitions {
		if copies[i] != 2 {
			t.Errorf("partition %d has %d copies, want 2", i, copies[i])
		}
	}
	for _, p := range w.nodes {
		dst := filepath.Join(t.TempDir(), "got")
		must(t, p.Get(bg, res.Manifest.Root, "", dst, GetOptions{}))
		same(t, src, dst)
	}
	if held := n.storage.Held(); held > 50_000 {
		t.Errorf("%d bytes were copied by reading", held)
	}
}

// A file that changed is refused by name, here and on another node, and the next put mends it.
func TestChangedInPlace(t *testing.T) {
	w := newWorld(t, 1)
	src := folder(t, 2, 5, 60_000)
	n := w.nodes[0]
	o := PutOptions{InPlace: true, LeafBytes: 16 << 10, Replicas: 1}
	first, err := n.Put(bg, src, o)
	must(t, err)
	root := first.Manifest.Root
	before := filepath.Join(t.TempDir(), "before")
	must(t, n.Get(bg, root, "", before, GetOptions{})) // from now on it is known to be all here
	file := filepath.Join(src, "d1", "f001")
	edit(t, file)

	get := func(p *peer) error { return p.Get(bg, root, "", filepath.Join(t.TempDir(), "x"), GetOptions{}) }
	wantNamed(t, get(n), file)
	_, err = n.Ensure(bg, root, Content, nil)
	wantNamed(t, err, file)
	other := w.add("other")
	wantNamed(t, get(other), file)
	if _, _, err := n.Where(bg, root); err != nil {
		t.Fatal(err)
	}
	if _, err := n.List(bg, root, "d1"); err != nil {
		t.Fatal(err)
	}

	n.restart()
	wantNamed(t, get(n), file)
	again, err := n.Put(bg, src, o)
	must(t, err)
	if again.Manifest.Root.Equals(root) {
		t.Fatal("the root is the same though a file changed")
	}
	for _, p := range w.nodes {
		dst := filepath.Join(t.TempDir(), "got")
		must(t, p.Get(bg, again.Manifest.Root, "", dst, GetOptions{}))
		same(t, src, dst)
	}
	wantNamed(t, get(n), file) // what it was before is gone for good

	// Restored as it was, and put again, the first is whole too.
	old, err := os.ReadFile(filepath.Join(before, "d1", "f001"))
	must(t, err)
	must(t, os.WriteFile(file, old, 0o600))
	third, err := n.Put(bg, src, o)
	must(t, err)
	if !third.Manifest.Root.Equals(root) {
		t.Fatal("another root for the same content")
	}
	must(t, get(n))
	must(t, os.Remove(file))
	other.kill() // it has that file in its cache
	wantNamed(t, get(n), file)
}

// What changed here still comes from other holders, and is then an ordinary copy.
func TestOthersServeWhatChanged(t *testing.T) {
	w := newWorld(t, 2)
	src := bigFile(t, 3, 1<<20)
	want, err := os.ReadFile(src)
	must(t, err)
	n := w.nodes[0]
	res, err := n.Put(bg, src, PutOptions{InPlace: true, Replicas: 2, LeafBytes: 16 << 10})
	must(t, err)
	must(t, os.Remove(src))
	if !bytes.Equal(content(t, n, res.Manifest.Root), want) { // block by block, as it is read
		t.Fatal("other bytes")
	}
	if held := n.storage.Held(); held < 1<<20 {
		t.Errorf("%d bytes are here now", held)
	}
	w.nodes[1].kill()
	if !bytes.Equal(content(t, n, res.Manifest.Root), want) {
		t.Fatal("other bytes")
	}
}

// The same at once: a graph that is not known to be all here is fetched before it is read.
func TestEnsureFetchesWhatChanged(t *testing.T) {
	w := newWorld(t, 2)
	src := bigFile(t, 4, 1<<20)
	n := w.nodes[0]
	res, err := n.Put(bg, src, PutOptions{InPlace: true, Replicas: 2, LeafBytes: 16 << 10})
	must(t, err)
	edit(t, src)
	n.complete.clear() // the put itself has seen that all was here
	_, missing, err := n.Missing(bg, res.Manifest.Root)
	if err != nil || missing != 1<<20 {
		t.Fatalf("%d bytes missing, %v", missing, err)
	}
	moved, err := n.Ensure(bg, res.Manifest.Root, Content, nil)
	if err != nil || moved < 1<<20 {
		t.Fatalf("%d bytes moved, %v", moved, err)
	}
}

// Unpin and collection forget the places and leave the files alone.
func TestUnpinInPlace(t *testing.T) {
	w := newWorld(t, 1)
	src := folder(t, 5, 5, 40_000)
	n := w.nodes[0]
	res, err := n.Put(bg, src, PutOptions{InPlace: true, LeafBytes: 16 << 10})
	must(t, err)
	if _, _, err := n.GC(bg); err != nil {
		t.Fatal(err)
	}
	must(t, n.Get(bg, res.Manifest.Root, "", filepath.Join(t.TempDir(), "x"), GetOptions{}))
	gone := filepath.Join(src, "d0", "f000")
	must(t, os.Remove(gone)) // what changed can be forgotten as well
	must(t, n.Unpin(bg, res.Manifest.Root))
	copied := n.storage.Held()
	freed, _, err := n.GC(bg)
	must(t, err)
	if freed > copied {
		t.Errorf("%d bytes freed of %d: files of the user's do not count", freed, copied)
	}
	for c, err := range n.Store.All(bg) {
		t.Fatalf("%s is still known, %v", c, err)
	}
	files := 0
	must(t, filepath.WalkDir(src, func(_ string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files++
		}
		return err
	}))
	if files != 4 {
		t.Errorf("%d files are left, want 4", files)
	}
}

// Dropping partitions that others keep must not drop what lies in place.
func TestInPlaceKeepsEverything(t *testing.T) {
	w := newWorld(t, 4)
	n := w.nodes[0]
	src := bigFile(t, 6, 2<<20)
	res, err := n.Put(bg, src, PutOptions{InPlace: true, Replicas: 3, LeafBytes: 16 << 10, PartitionBytes: 128 << 10})
	must(t, err)
	if _, missing, err := n.Missing(bg, res.Manifest.Root); err != nil || missing != 0 {
		t.Fatalf("%d bytes missing, %v", missing, err)
	}
	if got := n.Held(); got != 2<<20 {
		t.Errorf("%d bytes held", got)
	}
}
