package data

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// heard counts what a Way is told, by peer.
type heard struct {
	mu    sync.Mutex
	bytes map[shoal.PeerID]int
}

func (w *heard) way() Way {
	w.bytes = map[shoal.PeerID]int{}
	return Way{Read: func(from shoal.PeerID, n int, took time.Duration) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bytes[from] += n
		if took < 0 {
			panic("a negative time")
		}
	}}
}

func (w *heard) of(p shoal.PeerID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes[p]
}

// before is a Way's rank that has one peer before all others.
func before(first shoal.PeerID) func(shoal.PeerID) int {
	return func(p shoal.PeerID) int {
		if p == first {
			return 0
		}
		return 1
	}
}

// putAt puts a file or folder on one node alone.
func (p *peer) putAt(path string) cid.Cid {
	p.w.t.Helper()
	for _, n := range p.w.nodes {
		if n != p {
			p.w.set(n.id, shoal.Down)
			defer p.w.set(n.id, shoal.Alive)
		}
	}
	res, err := p.Put(p.w.t.Context(), path, PutOptions{Replicas: 1})
	must(p.w.t, err)
	return res.Manifest.Root
}

// TestReadPart reads ranges of files that lie on another node: the bytes are right, only the leaves that a range touches
// travel, and nothing of them stays in the store.
func TestReadPart(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	ctx := t.Context()
	dir := t.TempDir()
	long := random(rand.New(rand.NewPCG(1, 2)), 5<<20+12345)
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "long"), long, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "short"), []byte("short"), 0o644))
	set := b.putAt(dir)
	var seen heard
	way := seen.way()
	read := func(p *peer, path string, offset int64, n int) []byte {
		t.Helper()
		buf := make([]byte, n)
		got, err := p.ReadPart(ctx, set, path, offset, buf, way)
		must(t, err)
		return buf[:got]
	}
	for _, c := range []struct{ offset, n, leaves int }{
		{3<<20 - 100, 200, 2}, {3<<20 - 50, 10, 1}, {0, 1 << 20, 1}, {5 << 20, 1 << 20, 1}, {len(long), 10, 1}, {len(long) - 1, 10, 1},
	} {
		before := seen.of(b.id)
		want := long[c.offset:min(len(long), c.offset+c.n)]
		if got := read(a, "sub/long", int64(c.offset), c.n); !bytes.Equal(got, want) {
			t.Errorf("%d bytes at %d: %d others", len(want), c.offset, len(got))
		}
		moved := seen.of(b.id) - before
		if moved > c.leaves<<20+64<<10 || c.n >= 200 && moved < 12345 {
			t.Errorf("%d bytes moved for %d leaves", moved, c.leaves)
		}
	}
	if got := read(a, "/short", 1, 100); string(got) != "hort" {
		t.Errorf("got %q", got)
	}
	if seen.of(a.id) > 0 {
		t.Errorf("%d bytes were read here", seen.of(a.id))
	}
	for c, err := range a.Store.All(ctx) {
		t.Errorf("block %v stays here, %v", c, err)
	}
	here := seen.of(b.id)
	if got := read(b, "sub/long", 77, 10); !bytes.Equal(got, long[77:87]) || seen.of(b.id) == here {
		t.Errorf("at the holder: %q, %d bytes told", got, seen.of(b.id)-here)
	}
	quick := false
	for range 50 { // a busy machine may take its time
		time.Sleep(atHandTime)
		begun := time.Now()
		read(a, "sub/long", 1<<20, 1)
		before := seen.of(b.id)
		read(a, "sub/long", 1<<20+1, 1)
		if quick = time.Since(begun) < atHandTime*9/10; quick && seen.of(b.id) > before {
			t.Error("what was read just now travelled again")
		}
		if quick {
			break
		}
	}
	if !quick {
		t.Log("this machine is too busy to see that what was read just now does not travel again")
	}
	before := seen.of(b.id)
	read(a, "sub/long", 1000, 1)
	time.Sleep(atHandTime + 10*time.Millisecond)
	read(a, "sub/long", 1000, 1)
	if moved := seen.of(b.id) - before; moved < 1<<20 {
		t.Errorf("%d bytes moved for what was read long ago", moved)
	}
	for _, c := range []struct {
		path   string
		offset int64
		kind   shoal.Kind
	}{
		{"sub", 0, shoal.Invalid},
		{"", 0, shoal.Invalid},
		{"../x", 0, shoal.Invalid},
		{"short", 6, shoal.Invalid},
		{"short", -1, shoal.Invalid},
		{"none", 0, shoal.NotFound},
		{"short/x", 0, shoal.NotFound},
	} {
		_, err := a.ReadPart(ctx, set, c.path, c.offset, make([]byte, 3), Way{})
		wantKind(t, err, c.kind)
	}
	_, err := a.ReadPart(ctx, shoal.BlockCID([]byte("nobody has this")), "", 0, make([]byte, 3), Way{})
	wantKind(t, err, shoal.NotFound)
	_, err = a.ReadPart(ctx, cid.Undef, "", 0, nil, Way{})
	wantKind(t, err, shoal.Invalid)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = a.ReadPart(ended, set, "sub/long", 2<<20, make([]byte, 3), Way{})
	wantKind(t, err, shoal.Canceled)
	w.nodes[1].kill()
	time.Sleep(atHandTime)
	_, err = a.ReadPart(ctx, set, "sub/long", 4<<20, make([]byte, 3), Way{})
	if k := shoal.KindOf(err); err == nil || k != shoal.Unavailable && k != shoal.NotFound {
		t.Errorf("of a holder that is gone: %v", err)
	}
}

// TestListPart lists folders that lie elsewhere, page by page, and a dataset that is one file.
func TestListPart(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	ctx := t.Context()
	dir := t.TempDir()
	for i := range 5 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), make([]byte, i), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	must(t, os.Symlink("f3", filepath.Join(dir, "to3")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "tonowhere")))
	set := b.putAt(dir)
	list := func(c cid.Cid, path, after string, limit int) string {
		t.Helper()
		l, err := a.ListPart(ctx, c, path, after, limit, Way{})
		must(t, err)
		return fmt.Sprint(l)
	}
	for _, c := range []struct {
		path, after string
		limit       int
		want        string
	}{
		{"", "", 2, "[{f0 0 false} {f1 1 false}]"},
		{"/", "f1", 2, "[{f2 2 false} {f3 3 false}]"},
		{"", "f30", 9, "[{f4 4 false} {sub 0 true} {to3 3 false}]"},
		{"", "to3", 9, "[]"},
		{"sub", "", 9, "[]"},
		{"f4", "", 9, "[{ 4 false}]"},
	} {
		if got := list(set, c.path, c.after, c.limit); got != c.want {
			t.Errorf("%q after %q: %s, want %s", c.path, c.after, got, c.want)
		}
	}
	lone := b.putAt(filepath.Join(dir, "f4"))
	if got := list(lone, "", "", 9); got != "[{ 4 false}]" {
		t.Errorf("of a file: %s", got)
	}
	buf := make([]byte, 9)
	if n, err := a.ReadPart(ctx, lone, "", 1, buf, Way{}); err != nil || n != 3 {
		t.Errorf("%d bytes of a file, %v", n, err)
	}
	_, err := a.ListPart(ctx, set, "none", "", 9, Way{})
	wantKind(t, err, shoal.NotFound)
}

// TestReadPartFromWhom: the holder that ranks first serves, the next one when that one sends wrong bytes, and what a node
// holds itself does not travel.
func TestReadPartFromWhom(t *testing.T) {
	w := newWorld(t, 3)
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "file")
	content := random(rand.New(rand.NewPCG(3, 4)), 3<<20)
	must(t, os.WriteFile(file, content, 0o644))
	set := w.nodes[1].putAt(file)
	must(t, w.nodes[2].Pin(ctx, set))
	var seen heard
	way := seen.way()
	for _, first := range []*peer{w.nodes[1], w.nodes[2], w.nodes[1]} {
		way.Rank = before(first.id)
		time.Sleep(atHandTime)
		was := seen.of(first.id)
		_, err := w.nodes[0].ReadPart(ctx, set, "", 1<<20, make([]byte, 10), way)
		must(t, err)
		if seen.of(first.id) == was {
			t.Errorf("%s was not read from", first.id)
		}
	}
	liar := w.nodes[1].corrupt
	liar.mu.Lock()
	liar.lies = true
	liar.mu.Unlock()
	time.Sleep(atHandTime)
	buf := make([]byte, 10)
	_, err := w.nodes[0].ReadPart(ctx, set, "", 2<<20, buf, way)
	must(t, err)
	if !bytes.Equal(buf, content[2<<20:2<<20+10]) {
		t.Error("wrong bytes")
	}
	was := seen.of(w.nodes[1].id)
	_, err = w.nodes[2].ReadPart(ctx, set, "", 0, buf, way)
	must(t, err)
	if !bytes.Equal(buf, content[:10]) || seen.of(w.nodes[1].id) != was {
		t.Error("what is here travelled")
	}
}

// TestReadPartFromTheDead: a holder that says nothing any more, as one whose machine lost its power, costs a moment and not a turn's time: neither on a
// connection that still seems to be there nor where none comes about.
func TestReadPartFromTheDead(t *testing.T) {
	for _, dial := range []bool{false, true} {
		w := newWorld(t, 3)
		ctx := t.Context()
		file := filepath.Join(t.TempDir(), "file")
		content := random(rand.New(rand.NewPCG(5, 6)), 3<<20)
		must(t, os.WriteFile(file, content, 0o644))
		set := w.nodes[1].putAt(file)
		must(t, w.nodes[2].Pin(ctx, set))
		way := Way{Rank: before(w.nodes[1].id)}
		reader := w.nodes[0]
		buf := make([]byte, 10)
		_, err := reader.ReadPart(ctx, set, "", 0, buf, way)
		must(t, err)
		w.net.Node("mute").HandleStream("data.fetch", func(ctx context.Context, _ shoal.PeerID, _ []byte, _ shoal.Stream) error {
			<-ctx.Done()
			return ctx.Err()
		})
		reader.Peers = deaf{reader.Peers, w.nodes[1].id, dial}
		begun := time.Now()
		_, err = reader.ReadPart(ctx, set, "", 2<<20, buf, way)
		must(t, err)
		if took := time.Since(begun); took > reader.cfg.Stall/2 || !bytes.Equal(buf, content[2<<20:][:10]) {
			t.Errorf("dial %v: it took %v", dial, took)
		}
	}
}

// deaf is a network in which nobody gets through to one peer, or whoever does hears nothing.
type deaf struct {
	shoal.Peers
	peer shoal.PeerID
	dial bool
}

func (d deaf) Open(ctx context.Context, p shoal.PeerID, method string, req []byte) (shoal.Stream, error) {
	switch {
	case p != d.peer:
		return d.Peers.Open(ctx, p, method, req)
	case d.dial:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return d.Peers.Open(ctx, "mute", method, req)
}

// TestReadPartSlowly: what comes is what is read, also if a busy machine takes longer to get on than it is at hand.
func TestReadPartSlowly(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.nodes[0], w.nodes[1]
	file := filepath.Join(t.TempDir(), "long")
	long := random(rand.New(rand.NewPCG(1, 2)), 3<<20)
	must(t, os.WriteFile(file, long, 0o644))
	set := b.putAt(file)
	way := Way{Read: func(shoal.PeerID, int, time.Duration) { time.Sleep(atHandTime * 3 / 2) }}
	buf := make([]byte, 100)
	n, err := a.ReadPart(t.Context(), set, "", 1<<20-50, buf, way)
	if err != nil || !bytes.Equal(buf[:n], long[1<<20-50:][:100]) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
