package data

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

func TestGet(t *testing.T) {
	w := newWorld(t, 3)
	src := folder(t, 1, 12, 5000)
	must(t, os.Symlink("f000", filepath.Join(src, "d0", "link")))
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 8000})
	must(t, err)
	root := res.Manifest.Root
	n := w.add("reader")
	out := t.TempDir()

	must(t, n.Get(bg, root, "", filepath.Join(out, "all"), GetOptions{}))
	same(t, src, filepath.Join(out, "all"))
	if target, err := os.Readlink(filepath.Join(out, "all", "d0", "link")); err != nil || target != "f000" {
		t.Errorf("the link is %q, %v", target, err)
	}
	must(t, n.Get(bg, root, "d1/f001", filepath.Join(out, "one"), GetOptions{}))
	same(t, filepath.Join(src, "d1", "f001"), filepath.Join(out, "one"))
	must(t, n.Get(bg, root, "/d2/", filepath.Join(out, "dir"), GetOptions{}))
	same(t, filepath.Join(src, "d2"), filepath.Join(out, "dir"))
	must(t, os.Mkdir(filepath.Join(out, "into"), 0o755))
	must(t, n.Get(bg, root, "", filepath.Join(out, "into"), GetOptions{}))
	same(t, src, filepath.Join(out, "into", "photos"))

	wantKind(t, n.Get(bg, root, "", filepath.Join(out, "one"), GetOptions{}), shoal.Exists)
	wantKind(t, n.Get(bg, root, "d1/../../x", filepath.Join(out, "x"), GetOptions{}), shoal.Invalid)
	wantKind(t, n.Get(bg, root, "d1/absent", filepath.Join(out, "x"), GetOptions{}), shoal.NotFound)
	wantKind(t, n.Get(bg, shoal.BlockCID([]byte("no")), "", filepath.Join(out, "x"), GetOptions{}), shoal.NotFound)
	entries, err := os.ReadDir(out)
	must(t, err)
	if len(entries) != 4 {
		t.Errorf("something was left behind: %v", entries)
	}

	file := filepath.Join(src, "d0", "f000")
	res, err = w.nodes[1].Put(bg, file, PutOptions{})
	must(t, err)
	must(t, n.Get(bg, res.Manifest.Root, "", filepath.Join(out, "into"), GetOptions{}))
	same(t, file, filepath.Join(out, "into", "f000"))

	// A part of a folder alone, by a node that has nothing else of it.
	fresh := w.add("fresh")
	must(t, fresh.Get(bg, root, "d1", filepath.Join(out, "d1"), GetOptions{}))
	same(t, filepath.Join(src, "d1"), filepath.Join(out, "d1"))
	if held := fresh.storage.Held(); held > uint64(len(res.Manifest.Partitions))*res.Manifest.Bytes+40_000 {
		t.Errorf("%d bytes came for a third of the folder", held)
	}
}

func TestGetKeeps(t *testing.T) {
	w := newWorld(t, 2)
	res, err := w.nodes[0].Put(bg, folder(t, 2, 6, 3000), PutOptions{PartitionBytes: 4000})
	must(t, err)
	root := res.Manifest.Root
	count := func() int {
		holders, _, err := w.nodes[0].Where(bg, root)
		must(t, err)
		return len(holders)
	}
	quiet, loud := w.add("quiet"), w.add("loud")
	must(t, quiet.Get(bg, root, "", filepath.Join(t.TempDir(), "x"), GetOptions{}))
	if n := count(); n != 2 {
		t.Fatalf("%d holders after a get that keeps nothing", n)
	}
	must(t, loud.Get(bg, root, "", filepath.Join(t.TempDir(), "x"), GetOptions{Keep: true}))
	if n := count(); n != 3 {
		t.Fatalf("%d holders after a get that keeps", n)
	}
	for _, n := range []*peer{quiet, loud} {
		if _, _, err := n.GC(bg); err != nil {
			t.Fatal(err)
		}
		if held := n.storage.Held(); held != 0 {
			t.Errorf("%s still has %d bytes of cache", n.id, held)
		}
	}
	if n := count(); n != 2 {
		t.Fatalf("%d holders after garbage collection", n)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t, 2)
	src := folder(t, 3, 9, 1000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{})
	must(t, err)
	n := w.add("reader")
	names := func(sub string) string {
		entries, err := n.List(bg, res.Manifest.Root, sub)
		must(t, err)
		var out []string
		for _, e := range entries {
			out = append(out, fmt.Sprintf("%s:%v", e.Name, e.Dir))
			if info, err := os.Stat(filepath.Join(src, sub, e.Name)); err == nil && !e.Dir && uint64(info.Size()) != e.Bytes {
				t.Errorf("%s has %d bytes, not %d", e.Name, info.Size(), e.Bytes)
			}
		}
		return strings.Join(out, " ")
	}
	if got := names(""); got != "d0:true d1:true d2:true" {
		t.Error(got)
	}
	if got := names("d1"); got != "f001:false f004:false f007:false" {
		t.Error(got)
	}
	if held := n.storage.Held(); held > 3000 {
		t.Errorf("listing fetched %d bytes", held)
	}
	_, err = n.List(bg, res.Manifest.Root, "d9")
	wantKind(t, err, shoal.NotFound)
	_, err = n.List(bg, res.Manifest.Root, "../x")
	wantKind(t, err, shoal.Invalid)
}

func TestPinAndUnpin(t *testing.T) {
	w := newWorld(t, 3)
	src := folder(t, 4, 20, 4000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 8000, Replicas: 1})
	must(t, err)
	root := res.Manifest.Root
	n := w.nodes[2]
	must(t, n.Pin(bg, root))
	if pins := n.Pins(); len(pins) != 1 || !pins[0].Root.Equals(root) || pins[0].Name != "photos" {
		t.Fatalf("pins: %+v", pins)
	}
	n.restart()
	if _, _, err := n.GC(bg); err != nil {
		t.Fatal(err)
	}
	if h := n.mine(bg, root); len(h.kept) != len(res.Manifest.Partitions) {
		t.Fatalf("a pin keeps %d of %d partitions", len(h.kept), len(res.Manifest.Partitions))
	}
	// The dataset is released on the fabric, but for the pin.
	must(t, w.nodes[1].Unpin(bg, root))
	for _, p := range w.nodes {
		_, _, err := p.GC(bg)
		must(t, err)
	}
	if w.nodes[0].storage.Held()+w.nodes[1].storage.Held() != 0 {
		t.Errorf("released, and still %d and %d bytes", w.nodes[0].storage.Held(), w.nodes[1].storage.Held())
	}
	w.nodes[0].net.Stop()
	dst := filepath.Join(t.TempDir(), "x")
	must(t, w.nodes[1].Get(bg, root, "", dst, GetOptions{}))
	same(t, src, dst)
	must(t, n.Unpin(bg, root))
	freed, _, err := n.GC(bg)
	must(t, err)
	if freed == 0 || n.storage.Held() != 0 {
		t.Errorf("after unpin %d bytes freed, %d held", freed, n.storage.Held())
	}
	wantKind(t, n.Unpin(bg, root), shoal.NotFound)
	wantKind(t, n.Pin(bg, shoal.BlockCID([]byte("no"))), shoal.NotFound)
}

// A holder that slept through the release gives in when it wakes, and does not revive the dataset;
// but the same data may be put again.
func TestReleaseReachesTheAbsent(t *testing.T) {
	w := newWorld(t, 3)
	src := folder(t, 5, 6, 2000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 2000, Replicas: 3})
	must(t, err)
	root := res.Manifest.Root
	w.nodes[2].net.Stop()
	_ = w.nodes[0].Unpin(bg, root) // one does not answer
	w.nodes[2].revive()
	w.nodes[2].run()
	eventually(t, "the absent hears of the release", func() bool {
		return len(w.nodes[2].mine(bg, root).kept) == 0
	})
	if len(w.nodes[0].mine(bg, root).kept)+len(w.nodes[1].mine(bg, root).kept) > 0 {
		t.Fatal("the dataset came back")
	}
	res, err = w.nodes[1].Put(bg, src, PutOptions{PartitionBytes: 2000, Replicas: 3})
	must(t, err)
	if res.Short > 0 {
		t.Fatalf("put again: %q", res.Warnings)
	}
	checkSpread(t, w, res.Manifest, 3)
}

// Puts, adoptions and fetches of many small graphs, while garbage is collected all the time: nothing
// that was acknowledged is lost.
func TestCollectionRacesPuts(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	ctx, cancel := context.WithCancel(bg)
	var wg, gc sync.WaitGroup
	for _, n := range w.nodes {
		gc.Go(func() {
			for ctx.Err() == nil {
				if _, _, err := n.GC(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var (
		mu   sync.Mutex
		sets []shoal.Manifest
	)
	common := folder(t, 99, 4, 500) // in every dataset, so that blocks are shared
	for g := range 4 {
		dirs := make([]string, 12)
		for i := range dirs {
			dirs[i] = folder(t, uint64(g*100+i), 3, 500)
			must(t, os.CopyFS(filepath.Join(dirs[i], "common"), os.DirFS(common)))
		}
		wg.Go(func() {
			for i, dir := range dirs {
				n := w.nodes[(g+i)%2]
				res, err := n.Put(bg, dir, PutOptions{PartitionBytes: 1000, Replicas: 1 + i%2})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sets = append(sets, res.Manifest)
				mu.Unlock()
				if c, _, err := n.Adopt(bg, filepath.Join(dir, "common")); err != nil {
					t.Error(err)
				} else if _, missing, err := n.Missing(bg, c); err != nil || missing > 0 {
					t.Errorf("an adopted graph lacks %d bytes: %v", missing, err)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	gc.Wait()
	for _, m := range sets {
		for i, p := range m.Partitions {
			kept := 0
			for _, n := range []*peer{a, b} {
				if !slices.Contains(n.mine(bg, m.Root).kept, i) {
					continue
				}
				kept++
				if _, missing, err := n.Missing(bg, p.CID); err != nil || missing > 0 {
					t.Errorf("%s lost %d bytes of partition %d of %s: %v", n.id, missing, i, m.Root, err)
				}
			}
			if kept < m.Replicas {
				t.Errorf("partition %d of %s has %d of %d copies", i, m.Root, kept, m.Replicas)
			}
		}
	}
}

// The oldest of the cache goes first.
func TestCacheIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	n := w.add("reader")
	var roots []cid.Cid
	for i := range 5 {
		res, err := w.nodes[0].Put(bg, bigFile(t, uint64(50+i), 10_000), PutOptions{Replicas: 1})
		must(t, err)
		_, err = n.Ensure(bg, res.Manifest.Root, Code, []shoal.PeerID{"peer-00"})
		must(t, err)
		s := n.know(res.Manifest.Root)
		_, err = n.update(s.m, func(r *role) { r.Used = int64(1000 + i) })
		must(t, err)
		n.holds.drop(res.Manifest.Root)
		roots = append(roots, res.Manifest.Root)
	}
	n.cfg.CacheBytes = 25_000
	must(t, n.tidy(bg))
	for i, c := range roots {
		_, missing, err := n.Missing(bg, c)
		if got, want := err == nil && missing == 0, i >= 3; got != want {
			t.Errorf("graph %d is here: %v, want %v", i, got, want)
		}
	}
}

// What is open stays, whatever is collected.
func TestOpenIsSafeFromCollection(t *testing.T) {
	w := newWorld(t, 1)
	res, err := w.nodes[0].Put(bg, bigFile(t, 60, 100_000), PutOptions{LeafBytes: 10_000})
	must(t, err)
	n := w.add("reader")
	_, err = n.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-00"})
	must(t, err)
	ctx, cancel := context.WithCancel(bg)
	_, err = n.Open(ctx, res.Manifest.Root)
	must(t, err)
	n.holds.drop(res.Manifest.Root) // the minute after Ensure is over
	_, _, err = n.GC(bg)
	must(t, err)
	if _, missing, err := n.Missing(bg, res.Manifest.Root); err != nil || missing > 0 {
		t.Fatalf("%d bytes were collected under the reader: %v", missing, err)
	}
	cancel()
	eventually(t, "it can be collected", func() bool {
		_, _, err := n.GC(bg)
		must(t, err)
		return n.storage.Held() == 0
	})
}

func TestPublic(t *testing.T) {
	w := newWorld(t, 3)
	res, err := w.nodes[0].Put(bg, folder(t, 9, 10, 2000), PutOptions{PartitionBytes: 3000, Public: true})
	must(t, err)
	secret, err := w.nodes[0].Put(bg, bigFile(t, 80, 5000), PutOptions{})
	must(t, err)
	check := func(n *peer, want bool) {
		t.Helper()
		blocks := 0
		must(t, n.Graph.Walk(bg, res.Manifest.Root, n.reader(res.Manifest.Root), func(c cid.Cid, _ int, _ bool) error {
			if blocks++; n.Public(c) != want {
				t.Errorf("%s: block %s is public: %v", n.id, c, !want)
			}
			return nil
		}))
		if blocks < 10 || n.Public(secret.Manifest.Root) {
			t.Errorf("%d blocks; a secret is public: %v", blocks, n.Public(secret.Manifest.Root))
		}
	}
	for _, n := range w.nodes {
		if len(n.mine(bg, res.Manifest.Root).kept) == 0 {
			continue
		}
		check(n, true)
		n.restart()
		n.run()
		eventually(t, "it is public again after a restart", func() bool { return n.Public(res.Manifest.Root) })
		check(n, true)
	}
	n := w.nodes[0]
	must(t, n.Unpin(bg, res.Manifest.Root))
	if n.unpublicise(&res.Manifest); n.Public(res.Manifest.Root) {
		t.Error("still public after the release")
	}
}

func TestManifestOfForeignData(t *testing.T) {
	w := newWorld(t, 2)
	c, _, err := w.nodes[0].Adopt(bg, folder(t, 10, 20, 4000))
	must(t, err)
	n := w.nodes[1]
	_, err = n.Ensure(bg, c, Result, []shoal.PeerID{"peer-00"})
	must(t, err)
	must(t, n.forget(n.know(c)))
	m, err := n.Manifest(bg, c)
	must(t, err)
	if !m.Root.Equals(c) || len(m.Partitions) == 0 || m.Bytes == 0 {
		t.Fatalf("got %+v", m)
	}
	must(t, n.Pin(bg, c))
	if _, _, err := n.GC(bg); err != nil {
		t.Fatal(err)
	}
	if _, missing, err := n.Missing(bg, c); err != nil || missing > 0 {
		t.Fatalf("%d bytes missing, %v", missing, err)
	}
}

// TestGCKeepsADatasetOfOnePartition: whose partition is its root, which is kept as any other.
func TestGCKeepsADatasetOfOnePartition(t *testing.T) {
	w := newWorld(t, 2)
	ctx := t.Context()
	dir := folder(t, 7, 3, 100)
	one := filepath.Join(dir, "d0", "f000")
	for _, path := range []string{one, dir} {
		res, err := w.nodes[0].Put(ctx, path, PutOptions{Replicas: 2, PartitionBytes: 1 << 20})
		must(t, err)
		if p := res.Manifest.Partitions; len(p) != 1 || len(res.Holders) != 2 {
			t.Fatalf("%d partitions, %d holders", len(p), len(res.Holders))
		}
		for _, n := range w.nodes {
			_, _, err := n.GC(ctx)
			must(t, err)
			if _, missing, err := n.Missing(ctx, res.Manifest.Root); err != nil || missing > 0 {
				t.Errorf("%s: %d bytes of %s are missing after garbage collection, %v", n.id, missing, filepath.Base(path), err)
			}
		}
	}
}
