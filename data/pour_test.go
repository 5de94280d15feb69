package data

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/wire"
)

// Without Keep the bytes go straight into the files: nothing but inner nodes comes into the store, and
// each block comes once, from several holders.
func TestGetPours(t *testing.T) {
	w := newWorld(t, 4)
	src := bigFile(t, 1, 12<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 32 << 10, PartitionBytes: 512 << 10, Replicas: 2})
	must(t, err)
	reader := w.add("reader")
	dst := filepath.Join(t.TempDir(), "x")
	var moved, written atomic.Uint64
	must(t, reader.Get(bg, res.Manifest.Root, "", dst, GetOptions{Progress: func(p Progress) {
		switch p.Phase {
		case "fetch":
			moved.Store(p.Done)
		case "write":
			written.Store(p.Done)
		}
	}}))
	same(t, src, dst)
	if held := reader.storage.Held(); held > 200<<10 {
		t.Errorf("%d bytes came into the store", held)
	}
	if moved.Load() < 12<<20 || moved.Load() > 12<<20+200<<10 || written.Load() != 12<<20 {
		t.Errorf("%d bytes moved and %d written of %d", moved.Load(), written.Load(), 12<<20)
	}
	if leftovers, err := filepath.Glob(filepath.Join(filepath.Dir(dst), ".shoal*")); err != nil || len(leftovers) != 0 {
		t.Errorf("left behind: %q, %v", leftovers, err)
	}
}

// Folders, sharded ones and empty files among them, and files that repeat themselves come out as they
// are, through a window much smaller than they.
func TestGetPoursFolders(t *testing.T) {
	w := newWorld(t, 1)
	src := folder(t, 2, 40, 30_000)
	must(t, os.MkdirAll(filepath.Join(src, "many"), 0o755))
	for i := range 2600 { // sharded
		name := filepath.Join(src, "many", strings.Repeat("n", 60)+string(rune('a'+i%26))+strings.Repeat("x", i%7)+itoa(i))
		must(t, os.WriteFile(name, []byte(itoa(i%10)), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(src, "empty"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(src, "zeros"), make([]byte, 3<<20), 0o644))
	must(t, os.WriteFile(filepath.Join(src, "again"), append(make([]byte, 64<<10), "x"...), 0o644))
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 16 << 10})
	must(t, err)
	reader := w.add("reader")
	reader.Data.cfg.Window = 64 << 10
	dst := filepath.Join(t.TempDir(), "x")
	must(t, reader.Get(bg, res.Manifest.Root, "", dst, GetOptions{}))
	same(t, src, dst)
	one := filepath.Join(t.TempDir(), "one")
	must(t, w.add("another").Get(bg, res.Manifest.Root, "d1/f001", one, GetOptions{}))
	same(t, filepath.Join(src, "d1", "f001"), one)
}

func itoa(i int) string {
	return string([]byte{byte('0' + i/1000%10), byte('0' + i/100%10), byte('0' + i/10%10), byte('0' + i%10)})
}

// Wrong bytes are refused, come from elsewhere, and their sender is noted; a holder that dies is
// replaced.
func TestGetPoursAroundFaults(t *testing.T) {
	w := newWorld(t, 3)
	src := bigFile(t, 3, 4<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 32 << 10, Replicas: 3})
	must(t, err)
	bad := w.nodes[1].corrupt
	bad.mu.Lock()
	bad.lies = true
	bad.mu.Unlock()
	dying := w.nodes[2]
	dying.corrupt.mu.Lock()
	dying.corrupt.gate, dying.corrupt.left = make(chan struct{}), 5
	gate := dying.corrupt.gate
	dying.corrupt.mu.Unlock()
	go func() {
		<-gate
		dying.net.Stop()
	}()
	reader := w.add("reader")
	dst := filepath.Join(t.TempDir(), "x")
	must(t, reader.Get(bg, res.Manifest.Root, "", dst, GetOptions{}))
	same(t, src, dst)
	if got := reader.Stats().Avoided; len(got) != 1 || got[0] != "peer-01" {
		t.Errorf("avoided: %v", got)
	}
	w.nodes[0].kill()
	err = w.add("late").Get(bg, res.Manifest.Root, "", filepath.Join(t.TempDir(), "y"), GetOptions{})
	if err == nil || shoal.KindOf(err) == shoal.Internal {
		t.Errorf("only a liar is left: %v", err)
	}
}

// A holder whose own disk damaged a block admits it, and goes on serving the rest.
func TestDamagedHolderAdmitsIt(t *testing.T) {
	w := newWorld(t, 2)
	src := bigFile(t, 4, 1<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 32 << 10, Replicas: 2})
	must(t, err)
	want, err := os.ReadFile(src)
	must(t, err)
	damage(t, w.nodes[1], shoal.BlockCID(want[:32<<10]))
	reader := w.add("reader")
	moved, err := reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"peer-01"})
	must(t, err)
	if moved < 1<<20 || len(reader.Stats().Avoided) != 0 {
		t.Errorf("%d bytes moved, avoided: %v", moved, reader.Stats().Avoided)
	}
	if _, err := w.nodes[1].Store.Size(bg, shoal.BlockCID(want[:32<<10])); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("the damaged block is still there: %v", err)
	}
}

// Several holders work at the same time: neither sends its first leaf before the other is asked.
func TestHoldersAtOnce(t *testing.T) {
	for _, keep := range []bool{false, true} {
		w := newWorld(t, 2)
		src := bigFile(t, 5, 4<<20)
		res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 64 << 10, Replicas: 2})
		must(t, err)
		var asked sync.WaitGroup
		asked.Add(2)
		for _, n := range w.nodes {
			once := sync.OnceFunc(asked.Done)
			n.corrupt.mu.Lock()
			n.corrupt.meet = func() {
				once()
				asked.Wait()
			}
			n.corrupt.mu.Unlock()
		}
		reader := w.add("reader")
		ctx, cancel := context.WithTimeout(bg, 20*time.Second)
		dst := filepath.Join(t.TempDir(), "x")
		must(t, reader.Get(ctx, res.Manifest.Root, "", dst, GetOptions{Keep: keep}))
		cancel()
		same(t, src, dst)
		if got := len(reader.Stats().Avoided); got != 0 {
			t.Errorf("%d peers avoided", got)
		}
	}
}

// Several pieces are in flight from one holder: this one answers nothing before it was asked for eight,
// in more than one request.
func TestPiecesInFlight(t *testing.T) {
	w := newWorld(t, 1)
	n := w.nodes[0]
	src := bigFile(t, 6, 2<<20)
	res, err := n.Put(bg, src, PutOptions{LeafBytes: 64 << 10, Replicas: 1})
	must(t, err)
	slow := w.net.Node("slow")
	var most atomic.Int64
	slow.HandleStream("data.fetch", func(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		r, out := bufio.NewReader(s), bufio.NewWriter(s)
		var due []cid.Cid
		for frames := 0; ; {
			frame, err := wire.ReadFrame(r, pieces.MaxWantLen)
			if err != nil {
				return out.Flush()
			}
			blocks, under, err := pieces.ParseWant(frame)
			if err != nil {
				return err
			}
			if under.Defined() {
				if err := n.sendUnder(ctx, out, under); err != nil {
					return err
				}
				if err := out.Flush(); err != nil {
					return err
				}
				continue
			}
			frames++
			due = append(due, blocks...)
			if most.Store(max(most.Load(), int64(len(due)))); most.Load() >= 8 && frames > 1 {
				if err := n.sendBlocks(ctx, out, due); err != nil {
					return err
				}
				if err := out.Flush(); err != nil {
					return err
				}
				due = nil
			}
		}
	})
	reader := w.add("reader")
	moved, err := reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"slow"})
	must(t, err)
	if moved < 2<<20 || most.Load() < 8 {
		t.Errorf("%d bytes moved, at most %d leaves in flight", moved, most.Load())
	}
}

// A truncated piece is refused like an altered one, and comes from another holder.
func TestTruncatedPiece(t *testing.T) {
	w := newWorld(t, 2)
	src := bigFile(t, 7, 1<<20)
	res, err := w.nodes[0].Put(bg, src, PutOptions{LeafBytes: 64 << 10, Replicas: 2})
	must(t, err)
	cutter := w.net.Node("cutter")
	cutter.Handle("data.check", func(context.Context, shoal.PeerID, []byte) ([]byte, error) { return nil, nil })
	cutter.HandleStream("data.fetch", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		r, out := bufio.NewReader(s), bufio.NewWriter(s)
		for {
			frame, err := wire.ReadFrame(r, pieces.MaxWantLen)
			if err != nil {
				return nil
			}
			blocks, under, err := pieces.ParseWant(frame)
			if err != nil {
				return err
			}
			if under.Defined() {
				if err := w.nodes[0].sendUnder(bg, out, under); err != nil {
					return err
				}
			}
			for _, c := range blocks {
				b, err := w.nodes[0].Store.Get(bg, c)
				if err == nil {
					err = pieces.Write(out, pieces.Block, c, b[:len(b)-1])
				}
				if err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
	})
	reader := w.add("reader")
	_, err = reader.Ensure(bg, res.Manifest.Root, Content, []shoal.PeerID{"cutter"})
	must(t, err) // from those that the directory names
	want, err := os.ReadFile(src)
	must(t, err)
	if !bytes.Equal(content(t, reader, res.Manifest.Root), want) {
		t.Fatal("other bytes came")
	}
	if got := reader.Stats().Avoided; len(got) != 1 || got[0] != "cutter" {
		t.Errorf("avoided: %v", got)
	}
}

// damage changes a bit of a block on a node's disk.
func damage(t testing.TB, p *peer, c cid.Cid) {
	t.Helper()
	shards, err := p.fs.List(p.dir + "/blocks")
	must(t, err)
	for _, s := range shards {
		name := p.dir + "/blocks/" + s + "/" + c.String()
		f, err := p.fs.Open(name)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(f)
		must(t, err)
		must(t, f.Close())
		b[len(b)/2] ^= 1
		out, err := p.fs.Create(name, vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = out.Write(b)
		must(t, err)
		must(t, out.Close())
		return
	}
	t.Fatalf("no block %s", c)
}
