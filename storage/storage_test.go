package storage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

func openAt(t *testing.T, dir string, o Options) *Storage {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func wantKind(t *testing.T, err error, k shoal.Kind) {
	t.Helper()
	if err == nil || shoal.KindOf(err) != k {
		t.Fatalf("got error %v, want one of kind %s", err, k)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flipOn flips a bit of a block's file on the operating system's disk.
func flipOn(t *testing.T, s *Storage, c cid.Cid) {
	t.Helper()
	name := s.blocks.path(c)
	b, err := os.ReadFile(name)
	ok(t, err)
	b[len(b)/2] ^= 4
	ok(t, os.WriteFile(name, b, 0o600))
}

func TestStoreContract(t *testing.T) {
	shoaltest.TestStore(t, func(t *testing.T) (shoal.Store, func(cid.Cid)) {
		s := openAt(t, t.TempDir(), Options{})
		return s.Blocks(), func(c cid.Cid) { flipOn(t, s, c) }
	})
}

func TestKVContract(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": nil} {
		t.Run(name, func(t *testing.T) {
			shoaltest.TestKV(t, func(t *testing.T) shoal.KV {
				return openAt(t, t.TempDir(), Options{FS: fs}).KV("room")
			})
		})
	}
}

func TestTableContract(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": nil} {
		t.Run(name, func(t *testing.T) {
			shoaltest.TestTable(t, func(t *testing.T) shoal.Table {
				s := openAt(t, t.TempDir(), Options{FS: fs})
				ok(t, s.Table("roo").Commit(false, shoal.Write{Key: []byte("m"), Value: []byte("of another room")}))
				ok(t, s.KV("room").Set("m", []byte("of a KV")))
				return s.Table("room")
			})
		})
	}
}

func TestRoomsAreApart(t *testing.T) {
	s := openAt(t, "/n", Options{FS: vfs.NewMem()})
	a, b := s.KV("a"), s.KV("ab")
	ok(t, a.Set("b", []byte("a's")))
	ok(t, b.Set("", []byte("ab's")))
	if _, err := b.Get("b"); shoal.KindOf(err) != shoal.NotFound {
		t.Fatalf("got %v", err)
	}
	n := 0
	for range a.Scan("") {
		n++
	}
	if n != 1 {
		t.Fatalf("room a sees %d pairs, want 1", n)
	}
}

func TestReopenKeepsAllAndSweepsTemporaries(t *testing.T) {
	dir := t.TempDir()
	blocks := shoaltest.Blocks(1, 30, 10_000)
	s, err := Open(dir, Options{})
	ok(t, err)
	ok(t, s.Blocks().Put(context.Background(), blocks...))
	ok(t, s.KV("r").Set("k", []byte("v")))
	if got := s.Held(); got != 300_000 {
		t.Fatalf("held %d", got)
	}
	ok(t, s.Close())
	ok(t, s.Close())
	_, err = s.Blocks().Get(context.Background(), blocks[0].CID)
	wantKind(t, err, shoal.Unavailable)
	wantKind(t, s.KV("r").Set("k", nil), shoal.Unavailable)

	torn := filepath.Join(dir, "tmp", "0000000000000007")
	ok(t, os.WriteFile(torn, []byte("half a blo"), 0o600))
	ok(t, os.WriteFile(filepath.Join(dir, "blocks", "00", "not a block"), []byte("x"), 0o600))
	s = openAt(t, dir, Options{})
	if _, err := os.Stat(torn); !os.IsNotExist(err) {
		t.Fatalf("the torn file is still there: %v", err)
	}
	for _, b := range blocks {
		if got, err := s.Blocks().Get(context.Background(), b.CID); err != nil || !bytes.Equal(got, b.Data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	n := 0
	for _, err := range s.Blocks().All(context.Background()) {
		ok(t, err)
		n++
	}
	if n != 30 {
		t.Fatalf("%d blocks", n)
	}
	if v, err := s.KV("r").Get("k"); err != nil || string(v) != "v" {
		t.Fatalf("%q, %v", v, err)
	}
	ok(t, s.Blocks().Delete(context.Background(), blocks[0].CID))
	if got := s.Held(); got != 290_001 {
		t.Fatalf("held %d", got)
	}
}

// A shorter file under a block's name (a disk that lied about a sync) is written anew.
func TestPutMendsAShortFile(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	b := shoaltest.Blocks(1, 1, 1000)[0]
	ok(t, s.Blocks().Put(context.Background(), b))
	ok(t, os.Truncate(s.blocks.path(b.CID), 10))
	ok(t, s.Blocks().Put(context.Background(), b))
	if got, err := s.Blocks().Get(context.Background(), b.CID); err != nil || !bytes.Equal(got, b.Data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	s := openAt(t, dir, Options{})
	_, err := Open(dir, Options{})
	wantKind(t, err, shoal.Refused)
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(dir, link))
	_, err = Open(link, Options{})
	wantKind(t, err, shoal.Refused)

	// Another process: this test, run again as a child.
	child := exec.Command(os.Args[0], "-test.run=^TestChildOpens$", "-test.v")
	child.Env = append(os.Environ(), "SHOAL_TEST_DIR="+dir)
	out, err := child.CombinedOutput()
	ok(t, err)
	if want := fmt.Sprintf("(process %d) is running in this directory", os.Getpid()); !strings.Contains(string(out), want) {
		t.Fatalf("the child says\n%s\nwant %q", out, want)
	}
	ok(t, s.KV("r").Set("still", []byte("works")))
}

func TestChildOpens(t *testing.T) {
	dir := os.Getenv("SHOAL_TEST_DIR")
	if dir == "" {
		t.Skip("runs as a child of TestDirectoryInUse only")
	}
	_, err := Open(dir, Options{})
	wantKind(t, err, shoal.Refused)
	t.Log(err)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(filepath.Join(file, "sub"), Options{}); err == nil || !strings.Contains(err.Error(), file) {
		t.Fatalf("got %v", err)
	}
}

// full is a disk that may be full.
type full struct {
	vfs.FS
	on    atomic.Bool
	avail atomic.Uint64 // 0: cannot say
}

func (f *full) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if a := f.avail.Load(); a > 0 {
		return vfs.DiskUsage{AvailBytes: a, TotalBytes: 1 << 40}, nil
	}
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

func newFull() *full {
	f := &full{}
	f.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f.on.Load() && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate) {
			return syscall.ENOSPC
		}
		return nil
	}))
	return f
}

func TestDiskFull(t *testing.T) {
	ctx := context.Background()
	disk := newFull()
	s := openAt(t, "/n", Options{FS: disk})
	blocks := shoaltest.Blocks(1, 10, 5000)
	ok(t, s.Blocks().Put(ctx, blocks[:5]...))
	ok(t, s.KV("r").Set("k", []byte("v")))

	disk.on.Store(true)
	wantKind(t, s.Blocks().Put(ctx, blocks...), shoal.Full)
	for _, b := range blocks[:5] {
		if got, err := s.Blocks().Get(ctx, b.CID); err != nil || !bytes.Equal(got, b.Data) {
			t.Fatalf("read on a full disk: %v", err)
		}
	}
	ok(t, s.Blocks().Put(ctx, blocks[:5]...)) // they are there already
	if names, err := disk.List("/n/tmp"); err != nil || len(names) != 0 {
		t.Fatalf("left behind: %q, %v", names, err)
	}
	disk.on.Store(false)
	ok(t, s.Blocks().Put(ctx, blocks...))

	disk.on.Store(true)
	wantKind(t, s.KV("r").Set("k2", []byte("v")), shoal.Full)
	wantKind(t, s.KV("r").Set("k2", []byte("v")), shoal.Full)
	if v, err := s.KV("r").Get("k"); err != nil || string(v) != "v" {
		t.Fatalf("read on a full disk: %q, %v", v, err)
	}
	disk.on.Store(false)
	ok(t, s.Close())
	s = openAt(t, "/n", Options{FS: disk})
	if v, err := s.KV("r").Get("k"); err != nil || string(v) != "v" {
		t.Fatalf("after a restart: %q, %v", v, err)
	}
	ok(t, s.KV("r").Set("k2", []byte("v")))
}

// The reserve keeps Pebble off the edge: state is refused before it is touched, and works again.
func TestReserve(t *testing.T) {
	ctx := context.Background()
	disk := newFull()
	disk.avail.Store(100 << 20)
	s := openAt(t, "/n", Options{FS: disk})
	if free, err := s.Free(); err != nil || free != 36<<20 {
		t.Fatalf("free %d, %v", free, err)
	}
	b := shoaltest.Blocks(1, 1, 5000)[0]
	recheck := func(avail uint64) {
		disk.avail.Store(avail)
		s.space.mu.Lock()
		s.space.at = time.Time{}
		s.space.mu.Unlock()
	}
	recheck(50 << 20) // under the reserve, over half of it
	wantKind(t, s.Blocks().Put(ctx, b), shoal.Full)
	ok(t, s.KV("r").Set("k", []byte("v")))
	recheck(10 << 20)
	disk.on.Store(true)
	wantKind(t, s.KV("r").Set("k", []byte("w")), shoal.Full)
	if free, err := s.Free(); err != nil || free != 0 {
		t.Fatalf("free %d, %v", free, err)
	}
	disk.on.Store(false)
	recheck(100 << 20)
	ok(t, s.KV("r").Set("k", []byte("w")))
	ok(t, s.Blocks().Put(ctx, b))
}

// Many blocks share few folder syncs, however many Puts there are.
func TestFewSyncs(t *testing.T) {
	var files, dirs atomic.Int64
	mem := vfs.NewMem()
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case op.Kind == errorfs.OpOpenDir:
			dirs.Add(1)
		case op.Kind == errorfs.OpFileSync && strings.Contains(op.Path, "tmp"):
			files.Add(1)
		}
		return nil
	}))
	s := openAt(t, "/n", Options{FS: fs})
	files.Store(0)
	dirs.Store(0)
	blocks := shoaltest.Blocks(1, 500, 100)
	ok(t, s.Blocks().Put(context.Background(), blocks...))
	if files.Load() != 500 || dirs.Load() > shards {
		t.Fatalf("%d file syncs and %d folder syncs for 500 blocks", files.Load(), dirs.Load())
	}
	ok(t, s.Blocks().Put(context.Background(), blocks...))
	if files.Load() != 500 || dirs.Load() > shards {
		t.Fatalf("putting blocks again cost %d file syncs, %d folder syncs", files.Load()-500, dirs.Load())
	}
}

// An open storage with some state is small.
func TestIdleMemory(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	for i := range 50 {
		ok(t, s.KV("r").Set(fmt.Sprint(i), make([]byte, 1000)))
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapInuse > 24<<20 {
		t.Fatalf("%d MiB of heap in use", m.HeapInuse>>20)
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(fileName(shoal.BlockCID([]byte("x"))))
	f.Add("b")
	f.Fuzz(func(t *testing.T, name string) {
		if c, ok := parseName(name); ok && fileName(c) != name {
			t.Fatalf("%q is not the name of %s", name, c)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("64x%dKiB", size>>10), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.SetBytes(int64(64 * size))
			seed := uint64(0)
			for b.Loop() {
				b.StopTimer()
				seed++
				blocks := shoaltest.Blocks(seed, 64, size)
				b.StartTimer()
				if err := s.Blocks().Put(context.Background(), blocks...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
