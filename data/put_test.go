package data

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

var bg = context.Background()

// checkSpread wants R holders of each partition, as they say themselves, nobody with more than 40 %
// and a partition of five nodes' worth, and everybody with what he says.
func checkSpread(t *testing.T, w *world, m shoal.Manifest, replicas int) {
	t.Helper()
	count := make([]int, len(m.Partitions))
	var most, all uint64
	for _, p := range m.Partitions {
		most = max(most, p.Bytes)
		all += p.Bytes
	}
	for _, n := range w.nodes {
		h := n.mine(bg, m.Root)
		var kept uint64
		for _, i := range h.kept {
			count[i]++
			kept += m.Partitions[i].Bytes
			if _, missing, err := n.Missing(bg, m.Partitions[i].CID); err != nil || missing > 0 {
				t.Errorf("%s says it keeps partition %d and lacks %d bytes: %v", n.id, i, missing, err)
			}
		}
		if share := all*uint64(replicas)/uint64(len(w.nodes)) + most; kept > share {
			t.Errorf("%s keeps %d of %d bytes, more than %d", n.id, kept, all, share)
		}
		if len(h.kept) > 0 {
			if err := n.Graph.Walk(bg, m.Root, n.Store.Get, func(cid.Cid, int, bool) error { return nil }); err != nil {
				t.Errorf("%s keeps partitions but not all inner nodes: %v", n.id, err)
			}
		}
	}
	for i, n := range count {
		if n != replicas {
			t.Errorf("partition %d has %d holders, want %d", i, n, replicas)
		}
	}
}

func TestPutSpreads(t *testing.T) {
	w := newWorld(t, 5)
	src := folder(t, 1, 60, 20_000)
	var last Progress
	res, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 50_000, Progress: func(p Progress) { last = p }})
	must(t, err)
	m := res.Manifest
	if len(m.Partitions) < 10 || m.Name != "photos" || m.Replicas != 2 || res.Short != 0 || len(res.Warnings) > 0 {
		t.Fatalf("got %+v", res)
	}
	if last.Phase != "spread" || last.Done != last.Total || last.Total != 2*m.Bytes {
		t.Errorf("the last progress was %+v of %d bytes twice", last, m.Bytes)
	}
	checkSpread(t, w, m, 2)
	// What is not its own is gone from the putting node: it holds little more than its share.
	if held := w.nodes[0].storage.Held(); held > m.Bytes*6/10 {
		t.Errorf("the putting node still stores %d of %d bytes", held, m.Bytes)
	}
	for _, n := range w.nodes {
		holders, got, err := n.Where(bg, m.Root)
		must(t, err)
		if len(holders) != 5 || string(wire.Marshal(got)) != string(wire.Marshal(m)) {
			t.Fatalf("%s: where says %d holders, %d partitions", n.id, len(holders), len(got.Partitions))
		}
		holders, got, err = n.Where(bg, m.Partitions[3].CID)
		must(t, err)
		if len(holders) != 2 || len(got.Partitions) != 1 || holders[0].Bytes != m.Partitions[3].Bytes {
			t.Fatalf("%s: where of a partition: %+v, %+v", n.id, holders, got)
		}
	}
	// Again: nothing new moves.
	before := w.net.Asked("data.fetch")
	again, err := w.nodes[0].Put(bg, src, PutOptions{PartitionBytes: 50_000})
	must(t, err)
	if !again.Manifest.Root.Equals(m.Root) || w.net.Asked("data.fetch")-before > 40 {
		t.Errorf("putting it again: %s, %d fetches", again.Manifest.Root, w.net.Asked("data.fetch")-before)
	}
	checkSpread(t, w, m, 2)
}

func TestPutAlone(t *testing.T) {
	w := newWorld(t, 1)
	file := filepath.Join(t.TempDir(), "notes.txt")
	must(t, os.WriteFile(file, []byte("one\ntwo\n"), 0o600))
	res, err := w.nodes[0].Put(bg, file, PutOptions{})
	must(t, err)
	if res.Manifest.Replicas != 1 || res.Short != 0 || len(res.Holders) != 1 {
		t.Fatalf("got %+v", res)
	}
	res, err = w.nodes[0].Put(bg, file, PutOptions{Replicas: 3})
	must(t, err)
	if res.Short != 2 || len(res.Warnings) != 1 {
		t.Fatalf("asked for 3 copies on one node: %+v", res)
	}
	_, err = w.nodes[0].Put(bg, file, PutOptions{Replicas: -1})
	wantKind(t, err, shoal.Invalid)
	_, err = w.nodes[0].Put(bg, file+".absent", PutOptions{})
	wantKind(t, err, shoal.NotFound)
}

// A holder that dies, or is full, is replaced by another.
func TestPutReplacesAFailedHolder(t *testing.T) {
	w := newWorld(t, 4)
	w.nodes[2].net.Stop() // the members still believe it alive
	w.nodes[3].Free = func() (uint64, error) { return 10, nil }
	res, err := w.nodes[0].Put(bg, folder(t, 2, 30, 10_000), PutOptions{PartitionBytes: 20_000, Replicas: 2})
	must(t, err)
	if res.Short != 0 || len(res.Warnings) != 2 {
		t.Fatalf("got %d short, %q", res.Short, res.Warnings)
	}
	for _, h := range res.Holders {
		if h.Peer == "peer-02" || h.Peer == "peer-03" {
			t.Errorf("%s cannot hold anything", h.Peer)
		}
	}
}

// A node killed in the middle of a put, or right after it, has what it acknowledged; the put can be
// repeated.
func TestKillDuringPut(t *testing.T) {
	w := newWorld(t, 3)
	src := folder(t, 3, 40, 10_000)
	n := w.nodes[0]
	ctx, cancel := context.WithCancel(bg)
	_, err := n.Put(ctx, src, PutOptions{PartitionBytes: 20_000, Progress: func(p Progress) {
		if p.Phase == "spread" && p.Done > p.Total/3 {
			cancel()
		}
	}})
	wantKind(t, err, shoal.Canceled)
	n.restart()
	res, err := n.Put(bg, src, PutOptions{PartitionBytes: 20_000})
	must(t, err)
	checkSpread(t, w, res.Manifest, 2)
	for _, p := range w.nodes {
		p.restart()
	}
	checkSpread(t, w, res.Manifest, 2)
	dst := filepath.Join(t.TempDir(), "back")
	must(t, w.nodes[1].Get(bg, res.Manifest.Root, "", dst, GetOptions{}))
	same(t, src, dst)
}

// After a restart a node announces what it keeps, without being told.
func TestRestartAnnounces(t *testing.T) {
	w := newWorld(t, 3)
	res, err := w.nodes[0].Put(bg, folder(t, 4, 9, 3000), PutOptions{PartitionBytes: 3000})
	must(t, err)
	for _, p := range w.nodes {
		w.dirs.Expire(p.id)
		p.restart()
		p.run()
	}
	eventually(t, "all three are found again", func() bool {
		n := 0
		for range w.dirs.Node("x").Find(bg, shoal.DataKey(res.Manifest.Root), 0) {
			n++
		}
		return n == 3
	})
}

func TestWhereLeavesOutTheSilent(t *testing.T) {
	w := newWorld(t, 4)
	res, err := w.nodes[0].Put(bg, folder(t, 5, 30, 5000), PutOptions{PartitionBytes: 5000, Replicas: 2})
	must(t, err)
	w.net.Cut("peer-01", "peer-02")
	w.dirs.Plant(shoal.DataKey(res.Manifest.Root), "peer-99") // a stale hint
	var hops []shoal.Hop
	holders, _, err := w.nodes[1].Where(shoal.WithTrace(bg, func(h shoal.Hop) { hops = append(hops, h) }), res.Manifest.Root)
	must(t, err)
	if len(holders) != 3 || len(hops) == 0 {
		t.Fatalf("%d holders, %d hops", len(holders), len(hops))
	}
	for _, h := range holders {
		if h.Peer == "peer-02" || h.Peer == "peer-99" {
			t.Errorf("%s cannot have answered", h.Peer)
		}
	}
	_, _, err = w.nodes[1].Where(bg, shoal.BlockCID([]byte("nobody has this")))
	wantKind(t, err, shoal.NotFound)
	_, _, err = w.nodes[1].Where(bg, cid.Undef)
	wantKind(t, err, shoal.Invalid)
}

// Garbage on every method is refused and harms nothing.
func TestHostileRequests(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	res, err := a.Put(bg, folder(t, 6, 5, 1000), PutOptions{})
	must(t, err)
	m := res.Manifest
	for _, method := range []string{"data.held", "data.manifest", "data.release"} {
		for _, req := range [][]byte{nil, {0xff}, wire.Marshal(query{[]byte("no CID")}), wire.Marshal(query{make([]byte, 1000)})} {
			_, err := b.Peers.Ask(bg, a.id, method, req)
			wantKind(t, err, shoal.Invalid)
		}
	}
	broken := m
	broken.Bytes++
	many := m
	many.Replicas = 1 << 20
	for i, req := range [][]byte{
		nil,
		wire.Marshal(keepRequest{Manifest: broken, Parts: []int{0}}),
		wire.Marshal(keepRequest{Manifest: many, Parts: []int{0}}),
		wire.Marshal(keepRequest{Manifest: m}),
		wire.Marshal(keepRequest{Manifest: m, Parts: []int{len(m.Partitions)}}),
		wire.Marshal(keepRequest{Manifest: m, Parts: []int{-1}}),
		wire.Marshal(keepRequest{Manifest: m, Parts: []int{0}, Peers: make([]string, 1000)}),
	} {
		if err := sendRaw(b, a.id, "data.keep", req, nil); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("request to keep %d: %v", i, err)
		}
	}
	for i, frame := range [][]byte{
		{},
		{0xff},
		wire.Marshal(pieces.Want{}), wire.Marshal(pieces.Want{Blocks: [][]byte{{1}}, Under: []byte{1}}),
		wire.Marshal(pieces.Want{Blocks: [][]byte{[]byte("no CID")}}), wire.Marshal(pieces.Want{Under: []byte("no CID")}),
		wire.Marshal(pieces.Want{Blocks: make([][]byte, pieces.MaxWant+1)}),
	} {
		if err := sendRaw(b, a.id, "data.fetch", nil, frame); shoal.KindOf(err) != shoal.Invalid {
			t.Errorf("fetch request %d: %v", i, err)
		}
	}
	checkSpread(t, w, m, 2)
}

// sendRaw opens a stream, writes one frame and returns the error that comes back.
func sendRaw(from *peer, to shoal.PeerID, method string, req, frame []byte) error {
	s, err := from.Peers.Open(bg, to, method, req)
	if err != nil {
		return err
	}
	defer s.Reset()
	if frame != nil {
		if err := wire.WriteFrame(s, frame, 1<<20); err != nil {
			return err
		}
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	b := make([]byte, 100)
	for range 10 {
		if _, err := s.Read(b); err != nil {
			return err
		}
	}
	return fmt.Errorf("it answered")
}

func TestAdopt(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	src := folder(t, 7, 4, 1000)
	c, size, err := a.Adopt(bg, src)
	must(t, err)
	if size == 0 {
		t.Fatal("no bytes")
	}
	_, _, err = b.Where(bg, c) // not announced
	wantKind(t, err, shoal.NotFound)
	_, err = b.Ensure(bg, c, Result, []shoal.PeerID{a.id}) // but there for whom is told
	must(t, err)
	if _, _, err := a.GC(bg); err != nil {
		t.Fatal(err)
	}
	if _, missing, err := a.Missing(bg, c); err != nil || missing > 0 {
		t.Fatalf("garbage collection dropped a leased result: %d bytes, %v", missing, err)
	}
	_, err = a.update(a.know(c).m, func(r *role) { r.Lease = 1 }) // long ago
	must(t, err)
	freed, _, err := a.GC(bg)
	must(t, err)
	if freed == 0 || a.storage.Held() != 0 || a.know(c) != nil {
		t.Fatalf("freed %d, held %d", freed, a.storage.Held())
	}
}

// TestPutAgain: a put of what is there already changes its terms everywhere, keeps its cut, and moves no
// more than that takes.
func TestPutAgain(t *testing.T) {
	w := newWorld(t, 5)
	src := folder(t, 9, 24, 4000)
	a, b := w.nodes[0], w.nodes[3]
	first, err := a.Put(bg, src, PutOptions{PartitionBytes: 8000, Replicas: 1})
	must(t, err)
	root, parts := first.Manifest.Root, first.Manifest.Partitions
	check := func(res PutResult, replicas int, public bool, name string) {
		t.Helper()
		m := res.Manifest
		if !m.Root.Equals(root) || !slices.Equal(m.Partitions, parts) {
			t.Errorf("another cut: %d partitions instead of %d", len(m.Partitions), len(parts))
		}
		if m.Replicas != replicas || m.Public != public || m.Name != name {
			t.Errorf("got %d replicas, public %v, name %q", m.Replicas, m.Public, m.Name)
		}
		for i := range parts {
			n := 0
			for _, h := range res.Holders {
				if slices.Contains(h.Partitions, i) {
					n++
				}
			}
			if n < replicas {
				t.Errorf("partition %d has %d holders of %d", i, n, replicas)
			}
		}
		for _, n := range w.nodes { // and every holder knows the new terms
			if s := n.know(root); s != nil && s.kept() &&
				(s.m.Replicas != replicas || s.m.Public != public || s.m.Name != name || !slices.Equal(s.m.Partitions, parts)) {
				t.Errorf("%s knows %d replicas, public %v, name %q", n.id, s.m.Replicas, s.m.Public, s.m.Name)
			}
		}
	}
	check(first, 1, false, filepath.Base(src))
	held := func() (sum uint64) {
		for _, n := range w.nodes {
			sum += n.storage.Held()
		}
		return sum
	}

	more, err := b.Put(bg, src, PutOptions{Replicas: 3, PartitionBytes: 20000}) // from another node
	must(t, err)
	check(more, 3, false, filepath.Base(src))
	if len(more.Warnings) != 1 || !strings.Contains(more.Warnings[0], "unpin") {
		t.Errorf("warnings: %q", more.Warnings)
	}
	for _, n := range w.nodes {
		_, _, err := n.GC(bg)
		must(t, err)
	}
	before := held()
	same, err := a.Put(bg, src, PutOptions{}) // says nothing: nothing changes, and nothing moves
	must(t, err)
	check(same, 3, false, filepath.Base(src))
	for _, n := range w.nodes {
		_, _, err := n.GC(bg)
		must(t, err)
	}
	if after := held(); after != before {
		t.Errorf("%d bytes are held, %d before the same put", after, before)
	}

	named, err := w.nodes[1].Put(bg, src, PutOptions{Public: true, Name: "texts"})
	must(t, err)
	check(named, 3, true, "texts")
	for _, h := range named.Holders { // whom strangers are pointed at has all of it
		if h.Peer == w.nodes[1].id && len(h.Partitions) != len(parts) {
			t.Errorf("the node where public data was put keeps %d of %d partitions", len(h.Partitions), len(parts))
		}
	}
	for i, p := range parts {
		if !w.nodes[1].Public(p.CID) {
			t.Errorf("partition %d is not public", i)
		}
	}
	w.nodes[1].restart()
	if s := w.nodes[1].know(root); s == nil || !s.m.Public || s.m.Name != "texts" {
		t.Error("the new terms did not survive a restart")
	}
}

// TestPutCutOtherwise: a holder refuses partitions that it would count by another cut.
func TestPutCutOtherwise(t *testing.T) {
	w := newWorld(t, 1)
	src := folder(t, 9, 24, 4000)
	a := w.nodes[0]
	res, err := a.Put(bg, src, PutOptions{PartitionBytes: 8000})
	must(t, err)
	other, err := a.Graph.Import(bg, src, ImportOptions{PartitionBytes: 30000})
	must(t, err)
	other.Replicas = 1
	p := &placing{d: a.Data, m: &other, at: time.Now().UnixMilli(), want: 1, local: true}
	if err := p.takeAll(); shoal.KindOf(err) != shoal.Exists {
		t.Fatalf("got %v", err)
	}
	must(t, a.Unpin(bg, res.Manifest.Root))
	must(t, p.takeAll()) // released, it may be cut anew
}
