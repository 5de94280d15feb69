package data

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/wire"
)

// bigFile writes a file of n random bytes.
func bigFile(t testing.TB, seed uint64, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "big.bin")
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	must(t, os.WriteFile(name, b, 0o600))
	return name
}

// content reads all files of a tree, in order.
func content(t testing.TB, p *peer, c cid.Cid) []byte {
	t.Helper()
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	tree, err := p.Open(ctx, c)
	must(t, err)
	var out bytes.Buffer
	must(t, fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := tree.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(&out, f)
		return err
	}))
	if tree.BytesRead() != uint64(out.Len()) {
		t.Errorf("the tree counts %d bytes, %d were read", tree.BytesRead(), out.Len())
	}
	return out.Bytes()
}

func TestEnsureFromSeveralHolders(t *testing.T) {
	w := newWorld(t, 5)
	src := bigFile(t, 1, 6<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 64 << 10, PartitionBytes: 256 << 10})
	must(t, err)
	reader := w.add("reader")
	moved, err := reader.Ensure(bg, res.Manifest.Root, Content, nil)
	must(t, err)
	if moved < 6<<20 || moved > 7<<20 {
		t.Errorf("%d bytes moved for %d", moved, 6<<20)
	}
	want, err := os.ReadFile(src)
	must(t, err)
	if !bytes.Equal(content(t, reader, res.Manifest.Root), want) {
		t.Fatal("other bytes came")
	}
	moved, err = reader.Ensure(bg, res.Manifest.Root, Content, nil)
	if err != nil || moved != 0 {
		t.Fatalf("again: %d bytes, %v", moved, err)
	}
	// A partition, by hint alone: no lookup.
	before := w.dirs.Lookups()
	part := res.Manifest.Partitions[2]
	holders, _, err := w.nodes[0].Where(bg, part.CID)
	must(t, err)
	other := w.add("other")
	lookups := w.dirs.Lookups() - before
	moved, err = other.Ensure(bg, part.CID, Content, []shoal.PeerID{holders[0].Peer})
	must(t, err)
	if got := w.dirs.Lookups() - before - lookups; got != 0 || moved < part.Bytes {
		t.Errorf("%d lookups, %d bytes for a partition of %d whose holder was named", got, moved, part.Bytes)
	}
	if got := content(t, other, part.CID); uint64(len(got)) != part.Bytes {
		t.Errorf("%d bytes of partition content, want %d", len(got), part.Bytes)
	}
}

// TestNearestSourceFirst: whoever named them in whatever order, the nearest of the sources is asked first, and those to which no round trip was
// measured last, in the order in which they were named.
func TestNearestSourceFirst(t *testing.T) {
	w := newWorld(t, 1)
	reader := w.add("reader")
	reader.RTT = func(p shoal.PeerID) time.Duration {
		return map[shoal.PeerID]time.Duration{"far": 30 * time.Millisecond, "near": time.Millisecond, "nearest": 300 * time.Microsecond}[p]
	}
	f := reader.newFetch(bg, cid.NewCidV1(cid.Raw, nil), Content)
	for _, p := range []shoal.PeerID{"unknown", "far", "nearest", "stranger", "near", "far"} {
		f.addSource(p)
	}
	var got []shoal.PeerID
	for _, s := range f.sources {
		got = append(got, s.peer)
	}
	if want := []shoal.PeerID{"nearest", "near", "far", "unknown", "stranger"}; !slices.Equal(got, want) {
		t.Errorf("they are asked in the order %v, want %v", got, want)
	}
}

// TestOnePieceFromTheNearest: what is one piece comes from the nearest source, and nobody else is called; if that does not answer others are asked
// soon.
func TestOnePieceFromTheNearest(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		res, err := w.nodes[0].Put(bg, bigFile(t, 1, 50<<10), PutOptions{LeafBytes: 64 << 10, Replicas: 3})
		must(t, err)
		reader := w.add("reader")
		var mu sync.Mutex
		called := map[shoal.PeerID]int{}
		reader.Peers = opened{reader.Peers, func(p shoal.PeerID) {
			mu.Lock()
			called[p]++
			mu.Unlock()
		}}
		near := w.nodes[1].id
		reader.RTT = func(p shoal.PeerID) time.Duration {
			if p == near {
				return time.Millisecond
			}
			return 20 * time.Millisecond
		}
		var from []shoal.PeerID
		for _, n := range w.nodes {
			from = append(from, n.id)
		}
		moved, err := reader.Ensure(bg, res.Manifest.Root, Content, from)
		must(t, err)
		if len(called) != 1 || called[near] == 0 || moved < 50<<10 {
			t.Errorf("%d bytes; called: %v, the nearest is %v", moved, called, near)
		}
		other := w.add("other")
		other.RTT = reader.RTT
		w.nodes[1].kill()
		begun := time.Now()
		_, err = other.Ensure(bg, res.Manifest.Root, Content, from)
		must(t, err)
		if took := time.Since(begun); took > time.Second {
			t.Errorf("with the nearest dead it takes %v", took)
		}
	})
}

// opened notes whom streams are opened to.
type opened struct {
	shoal.Peers
	note func(shoal.PeerID)
}

func (o opened) Open(ctx context.Context, p shoal.PeerID, method string, header []byte) (shoal.Stream, error) {
	o.note(p)
	return o.Peers.Open(ctx, p, method, header)
}

func TestClassesHaveStreamsOfTheirOwn(t *testing.T) {
	w := newWorld(t, 1)
	c, _, err := w.nodes[0].Adopt(bg, bigFile(t, 2, 1000))
	must(t, err)
	for _, class := range []Class{Code, Content, Result} {
		n := w.add(shoal.PeerID("n-" + string(class)))
		before := w.net.Asked(string(class) + ".fetch")
		_, err := n.Ensure(bg, c, class, []shoal.PeerID{"peer-00"})
		must(t, err)
		if w.net.Asked(string(class)+".fetch") == before {
			t.Errorf("no stream of class %s was opened", class)
		}
	}
}

// Wrong bytes are refused, the block comes from elsewhere, and the sender is left alone afterwards.
func TestCorruptSender(t *testing.T) {
	w := newWorld(t, 3)
	src := bigFile(t, 3, 1<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 32 << 10, Replicas: 3})
	must(t, err)
	bad := w.nodes[1].corrupt
	bad.lies = true
	reader := w.add("reader")
	// The only one named: it is asked for certain, and the others are found when it fails.
	_, err = reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-01"})
	must(t, err)
	want, err := os.ReadFile(src)
	must(t, err)
	if !bytes.Equal(content(t, reader, res.Manifest.Root), want) {
		t.Fatal("wrong bytes were taken")
	}
	bad.mu.Lock()
	told := bad.told
	bad.mu.Unlock()
	if told == 0 {
		t.Fatal("the liar was never asked")
	}
	if got := reader.Stats().Avoided; len(got) != 1 || got[0] != "peer-01" {
		t.Fatalf("avoided: %v", got)
	}
	// Alone, it is refused: nothing wrong gets in.
	lonely := w.add("lonely")
	for _, p := range w.nodes {
		if p.id != "peer-01" && p.id != "lonely" {
			p.net.Stop()
		}
	}
	_, err = lonely.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-01"})
	wantKind(t, err, shoal.Corrupt)
	for c, err := range lonely.Store.All(bg) {
		must(t, err)
		_, err = lonely.Store.Get(bg, c)
		must(t, err)
	}
}

// A holder that dies half-way is replaced by the others, and what it sent is not fetched again.
func TestHolderDiesHalfWay(t *testing.T) {
	w := newWorld(t, 3)
	src := bigFile(t, 4, 4<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 32 << 10, Replicas: 3})
	must(t, err)
	reader := w.add("reader")
	dying := w.nodes[1]
	dying.corrupt.mu.Lock()
	dying.corrupt.gate, dying.corrupt.left = make(chan struct{}), 10
	gate := dying.corrupt.gate
	dying.corrupt.mu.Unlock()
	go func() {
		<-gate
		dying.net.Stop()
	}()
	moved, err := reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-01", "peer-02"})
	must(t, err)
	if moved > 5<<20 {
		t.Errorf("%d bytes moved for 4 MiB", moved)
	}
	want, err := os.ReadFile(src)
	must(t, err)
	if !bytes.Equal(content(t, reader, res.Manifest.Root), want) {
		t.Fatal("other bytes came")
	}
}

// All holders die; what came stays, and the next attempt fetches the rest only.
func TestFetchResumes(t *testing.T) {
	w := newWorld(t, 1)
	src := bigFile(t, 5, 4<<20)
	n := w.nodes[0]
	res, err := n.Put(bg, src, PutOptions{LeafBytes: 32 << 10})
	must(t, err)
	reader := w.add("reader")
	n.corrupt.mu.Lock()
	n.corrupt.gate, n.corrupt.left = make(chan struct{}), 60
	gate := n.corrupt.gate
	n.corrupt.mu.Unlock()
	go func() {
		<-gate
		n.net.Stop()
	}()
	first, err := reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{n.id})
	wantKind(t, err, shoal.Unavailable)
	n.revive()
	second, err := reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{n.id})
	must(t, err)
	if first == 0 || second == 0 || first+second > 4<<20+200<<10+1<<20 {
		t.Errorf("%d and then %d bytes moved for %d", first, second, 4<<20)
	}
}

// Many callers, one fetch.
func TestFetchesCoalesce(t *testing.T) {
	w := newWorld(t, 1)
	src := bigFile(t, 6, 2<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 64 << 10})
	must(t, err)
	reader := w.add("reader")
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total uint64
	)
	for range 16 {
		wg.Go(func() {
			moved, err := reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-00"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += moved
		})
	}
	wg.Wait()
	if total < 2<<20 || total > 2<<20+100<<10 {
		t.Errorf("16 callers moved %d bytes for 2 MiB", total)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err = w.add("late").Ensure(ctx, res.Manifest.Root, Content, []shoal.PeerID{"peer-00"})
	wantKind(t, err, shoal.Canceled)
}

// A holder that goes silent is given up after a while.
func TestSilentHolder(t *testing.T) {
	w := newWorld(t, 2)
	res, err := w.nodes[0].Put(bg, bigFile(t, 7, 1<<20), PutOptions{LeafBytes: 64 << 10, Replicas: 2})
	must(t, err)
	reader := w.add("reader")
	mute := w.net.Node("mute") // takes every stream and says nothing
	mute.HandleStream("data.fetch", func(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		<-ctx.Done()
		return ctx.Err()
	})
	reader.cfg.Stall = time.Second // the other one may be slow, on a busy machine
	_, err = reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"mute", "peer-01"})
	must(t, err)
}

func TestUnknownAndWrongCodec(t *testing.T) {
	w := newWorld(t, 2)
	n := w.nodes[0]
	unknown := shoal.BlockCID([]byte("unknown"))
	_, err := n.Ensure(bg, unknown, Content, nil)
	wantKind(t, err, shoal.NotFound)
	_, err = n.Ensure(bg, unknown, Content, []shoal.PeerID{"peer-01"})
	wantKind(t, err, shoal.NotFound)
	_, err = n.Ensure(bg, cid.Undef, Content, nil)
	wantKind(t, err, shoal.Invalid)
	_, err = n.Ensure(bg, cid.NewCidV1(cid.DagCBOR, unknown.Hash()), Content, nil)
	wantKind(t, err, shoal.Invalid)
	_, _, err = n.Missing(bg, unknown)
	wantKind(t, err, shoal.NotFound)
}

// A block that rots on the disk is fetched again while somebody reads.
func TestReadHealsABadBlock(t *testing.T) {
	w := newWorld(t, 2)
	src := bigFile(t, 8, 300_000)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 64 << 10, Replicas: 2})
	must(t, err)
	want, err := os.ReadFile(src)
	must(t, err)
	n := w.nodes[1]
	var leaf cid.Cid
	must(t, n.Graph.Walk(bg, res.Manifest.Root, n.Store.Get, func(c cid.Cid, _ int, l bool) error {
		if l {
			leaf = c
		}
		return nil
	}))
	must(t, n.Store.Delete(bg, leaf))
	if !bytes.Equal(content(t, n, res.Manifest.Root), want) {
		t.Fatal("other bytes")
	}
	if _, err := n.Store.Size(bg, leaf); err != nil {
		t.Fatalf("the block was not kept: %v", err)
	}
}

func TestMissing(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	res, err := a.Put(bg, bigFile(t, 9, 1<<20), PutOptions{LeafBytes: 64 << 10, PartitionBytes: 256 << 10, Replicas: 1})
	must(t, err)
	m := res.Manifest
	for _, p := range m.Partitions {
		haveA, missA, err := a.Missing(bg, p.CID)
		must(t, err)
		haveB, missB, err := b.Missing(bg, p.CID)
		must(t, err)
		if haveA+missA < p.Bytes || haveB+missB < p.Bytes || (missA == 0) == (missB == 0) {
			t.Errorf("partition of %d: %d+%d and %d+%d", p.Bytes, haveA, missA, haveB, missB)
		}
	}
}

// A graph of many files: inner nodes come many at a time, not one per round trip.
func TestManyInnerNodes(t *testing.T) {
	w := newWorld(t, 1)
	dir := t.TempDir()
	for i := range 150 {
		name := filepath.Join(dir, fmt.Sprintf("d%03d", i), "sub", "file")
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, fmt.Appendf(nil, "file %d", i), 0o600))
	}
	res, err := w.nodes[0].Put(bg, dir, PutOptions{PartitionBytes: 1 << 20})
	must(t, err)
	reader := w.add("reader")
	before := w.net.Asked("data.fetch")
	_, err = reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-00"})
	must(t, err)
	if n := w.net.Asked("data.fetch") - before; n > 6 {
		t.Errorf("%d streams for 300 inner nodes and 150 leaves", n)
	}
}

func FuzzKeepRequest(f *testing.F) {
	c := shoal.BlockCID([]byte("x"))
	f.Add(wire.Marshal(keepRequest{Manifest: *bare(c, 1), Parts: []int{0}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var q keepRequest
		if wire.Unmarshal("request to keep", b, &q) == nil && checkManifest(&q.Manifest) == nil {
			var again keepRequest
			if err := wire.Unmarshal("again", wire.Marshal(q), &again); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkEnsure moves 64 MiB from two holders, over pipes in memory, onto the disk.
func BenchmarkEnsure(b *testing.B) {
	w := newWorld(b, 2)
	res, err := w.nodes[0].Put(bg, bigFile(b, 1, 64<<20), PutOptions{Replicas: 2})
	must(b, err)
	b.SetBytes(64 << 20)
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		n := w.add(shoal.PeerID(fmt.Sprint("reader-", i)))
		must(b, n.storage.Close())
		n.fs, n.dir = vfs.Default, b.TempDir()
		n.open(n.cfg)
		b.StartTimer()
		_, err := n.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-00", "peer-01"})
		must(b, err)
	}
}
