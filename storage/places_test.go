package storage

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/wire"
)

// lay writes blocks one after the other into a file and returns where they lie.
func lay(t *testing.T, file string, blocks []shoal.Block) (places []shoal.Place) {
	t.Helper()
	var all []byte
	for _, b := range blocks {
		places = append(places, shoal.Place{CID: b.CID, File: file, Offset: int64(len(all)), Length: len(b.Data)})
		all = append(all, b.Data...)
	}
	ok(t, os.WriteFile(file, all, 0o600))
	info, err := os.Stat(file)
	ok(t, err)
	for i := range places {
		places[i].Size, places[i].Time = info.Size(), info.ModTime()
	}
	return places
}

func inPlace(s *Storage) shoal.InPlace { return s.Blocks().(shoal.InPlace) }

func wantBlocks(t *testing.T, s *Storage, blocks []shoal.Block) {
	t.Helper()
	for _, b := range blocks {
		if got, err := s.Blocks().Get(context.Background(), b.CID); err != nil || !bytes.Equal(got, b.Data) {
			t.Fatalf("block %s: %d bytes, %v", b.CID, len(got), err)
		}
		if n, err := s.Blocks().Size(context.Background(), b.CID); err != nil || n != len(b.Data) {
			t.Fatalf("block %s: size %d, %v", b.CID, n, err)
		}
	}
}

// refused wants Get to refuse a block with an error that names the file; and Size too, unless only the
// bytes tell.
func refused(t *testing.T, s *Storage, c cid.Cid, file string, sizeToo bool) {
	t.Helper()
	_, err := s.Blocks().Get(context.Background(), c)
	wantKind(t, err, shoal.Corrupt)
	if !strings.Contains(err.Error(), file) {
		t.Fatalf("the error does not name %s: %v", file, err)
	}
	if _, err = s.Blocks().Size(context.Background(), c); sizeToo && shoal.KindOf(err) != shoal.Corrupt || !sizeToo && err != nil {
		t.Fatalf("size: %v", err)
	}
}

func listed(t *testing.T, s *Storage) map[cid.Cid]int {
	t.Helper()
	out := map[cid.Cid]int{}
	for c, err := range s.Blocks().All(context.Background()) {
		ok(t, err)
		out[c]++
	}
	return out
}

func TestPlacesServeBlocksWithoutACopy(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	s, err := Open(dir, Options{})
	ok(t, err)
	blocks := shoaltest.Blocks(1, 3000, 100)
	file := filepath.Join(t.TempDir(), "a file")
	ok(t, inPlace(s).Refer(ctx, lay(t, file, blocks)...))
	wantBlocks(t, s, blocks)
	if s.Held() != 0 {
		t.Fatalf("%d bytes of blocks were copied", s.Held())
	}
	ok(t, s.Blocks().Put(ctx, blocks[0])) // a copy besides
	for i, want := range []bool{true, false} {
		if got, err := inPlace(s).Copied(ctx, blocks[i].CID); err != nil || got != want {
			t.Fatalf("block %d copied: %v, %v", i, got, err)
		}
	}
	all := listed(t, s)
	for _, b := range blocks {
		if all[b.CID] != 1 {
			t.Fatalf("%s is listed %d times", b.CID, all[b.CID])
		}
	}
	if len(all) != len(blocks) {
		t.Fatalf("%d blocks are listed, want %d", len(all), len(blocks))
	}
	ok(t, s.Close())

	s = openAt(t, dir, Options{}) // a restart keeps the notes
	wantBlocks(t, s, blocks)
	ok(t, s.Blocks().Delete(ctx, blocks[0].CID, blocks[1].CID))
	for _, b := range blocks[:2] {
		_, err := s.Blocks().Get(ctx, b.CID)
		wantKind(t, err, shoal.NotFound)
	}
	wantBlocks(t, s, blocks[2:])
	if info, err := os.Stat(file); err != nil || info.Size() != 300_000 {
		t.Fatalf("the user's file was touched: %v", err)
	}
	if got := len(listed(t, s)); got != len(blocks)-2 {
		t.Fatalf("%d blocks are listed after the deletion", got)
	}
}

func TestChangedFilesAreRefusedByName(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(t *testing.T, file string)
		sizeToo bool
	}{
		"longer": {func(t *testing.T, file string) {
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			ok(t, err)
			_, err = f.WriteString("x")
			ok(t, err)
			ok(t, f.Close())
		}, true},
		"shorter": {func(t *testing.T, file string) { ok(t, os.Truncate(file, 100)) }, true},
		"touched": {func(t *testing.T, file string) {
			ok(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)))
		}, true},
		"other bytes, size and time as before": {func(t *testing.T, file string) {
			info, err := os.Stat(file)
			ok(t, err)
			b, err := os.ReadFile(file)
			ok(t, err)
			for i := range b {
				b[i] ^= 1
			}
			ok(t, os.WriteFile(file, b, 0o600))
			ok(t, os.Chtimes(file, time.Time{}, info.ModTime()))
		}, false},
		"gone":   {func(t *testing.T, file string) { ok(t, os.Remove(file)) }, true},
		"folder": {func(t *testing.T, file string) { ok(t, os.Remove(file)); ok(t, os.Mkdir(file, 0o700)) }, true},
		"dangling link": {func(t *testing.T, file string) {
			ok(t, os.Remove(file))
			ok(t, os.Symlink("nowhere", file))
		}, true},
		"link to a secret": {func(t *testing.T, file string) {
			secret := file + ".secret"
			b, err := os.ReadFile(file)
			ok(t, err)
			ok(t, os.WriteFile(secret, bytes.ToUpper(b), 0o600))
			ok(t, os.Remove(file))
			ok(t, os.Symlink(secret, file))
		}, true},
	} {
		t.Run(name, func(t *testing.T) { changing(t, c.change, c.sizeToo) })
	}
}

func changing(t *testing.T, change func(t *testing.T, file string), sizeToo bool) {
	ctx := context.Background()
	s := openAt(t, t.TempDir(), Options{})
	blocks := shoaltest.Blocks(1, 3, 1000)
	file := filepath.Join(t.TempDir(), "data.bin")
	ok(t, inPlace(s).Refer(ctx, lay(t, file, blocks)...))
	wantBlocks(t, s, blocks)
	change(t, file)
	for range 2 { // the answer stays: nothing is dropped
		refused(t, s, blocks[1].CID, file, sizeToo)
	}
	names, bad, files, err := s.Changed(ctx, 5)
	if ok(t, err); sizeToo && (bad != 1 || len(names) != 1 || names[0] != file) || files != 1 {
		t.Fatalf("%d of %d files changed: %q", bad, files, names)
	}
	ok(t, s.Blocks().Put(ctx, blocks[1])) // as fetched from a peer
	wantBlocks(t, s, blocks[1:2])
	_ = os.RemoveAll(file)
	ok(t, inPlace(s).Refer(ctx, lay(t, file, blocks)...)) // put again
	wantBlocks(t, s, blocks)
	if _, bad, _, err := s.Changed(ctx, 5); err != nil || bad != 0 {
		t.Fatalf("%d files changed, %v", bad, err)
	}
}

// A block that lies in two files outlives either.
func TestTwoPlacesOfABlock(t *testing.T) {
	ctx := context.Background()
	s := openAt(t, t.TempDir(), Options{})
	blocks := shoaltest.Blocks(1, 4, 1000)
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	ok(t, inPlace(s).Refer(ctx, lay(t, a, blocks)...))
	ok(t, inPlace(s).Refer(ctx, lay(t, b, blocks)...))
	ok(t, os.Remove(a))
	wantBlocks(t, s, blocks)
	ok(t, inPlace(s).Refer(ctx, lay(t, a, blocks)...))
	ok(t, os.Truncate(b, 1))
	wantBlocks(t, s, blocks)
	ok(t, os.Remove(a))
	refused(t, s, blocks[0].CID, a, true)
	ok(t, s.Blocks().Delete(ctx, blocks[0].CID))
	_, err := s.Blocks().Get(ctx, blocks[0].CID)
	wantKind(t, err, shoal.NotFound)
}

// A copy that rotted is dropped, and the file serves.
func TestPlaceStandsInForACopy(t *testing.T) {
	ctx := context.Background()
	s := openAt(t, t.TempDir(), Options{})
	blocks := shoaltest.Blocks(1, 1, 1000)
	ok(t, s.Blocks().Put(ctx, blocks...))
	ok(t, inPlace(s).Refer(ctx, lay(t, filepath.Join(t.TempDir(), "f"), blocks)...))
	flipOn(t, s, blocks[0].CID)
	wantBlocks(t, s, blocks)
	if s.Held() != 0 {
		t.Fatal("the damaged copy is still there")
	}
}

func TestImpossiblePlaces(t *testing.T) {
	s := openAt(t, t.TempDir(), Options{})
	c := shoal.BlockCID([]byte("x"))
	for _, p := range []shoal.Place{
		{File: "/f", Length: 1, Size: 1},
		{CID: c, File: "f", Length: 1, Size: 1},
		{CID: c, File: "/f", Offset: 1, Length: 1, Size: 1},
		{CID: c, File: "/f", Offset: -1, Length: 1, Size: 1},
		{CID: c, File: "/f", Length: -1, Size: 1},
		{CID: c, File: "/f", Length: wire.MaxBlock + 1, Size: 1 << 40},
		{CID: c, File: "/f", Offset: 1<<63 - 1, Length: 2, Size: 1<<63 - 1},
	} {
		wantKind(t, inPlace(s).Refer(context.Background(), p), shoal.Invalid)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantKind(t, inPlace(s).Refer(ctx, shoal.Place{CID: c, File: "/f", Length: 1, Size: 1}), shoal.Canceled)
}

// The whole contract holds when every block also lies in a file.
func TestStoreContractInPlace(t *testing.T) {
	shoaltest.TestStore(t, func(t *testing.T) (shoal.Store, func(cid.Cid)) {
		s := openAt(t, t.TempDir(), Options{})
		other := shoaltest.Blocks(99, 1, 10)
		ok(t, inPlace(s).Refer(context.Background(), lay(t, filepath.Join(t.TempDir(), "f"), other)...))
		return besides{s.Blocks(), other[0].CID}, func(c cid.Cid) { flipOn(t, s, c) }
	})
}

// besides hides one block of a store from All.
type besides struct {
	shoal.Store
	but cid.Cid
}

func (b besides) All(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for c, err := range b.Store.All(ctx) {
			if !c.Equals(b.but) && !yield(c, err) {
				return
			}
		}
	}
}

// Whatever a disk made of a value, reading a block gives its bytes or an error.
func FuzzPlace(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	data := bytes.Repeat([]byte("0123456789"), 100)
	file := filepath.Join(dir, "user")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		f.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		f.Fatal(err)
	}
	c := shoal.BlockCID(data[10:500])
	at := place{Offset: 10, Length: 490, Size: info.Size(), Time: info.ModTime().UnixNano()}
	f.Add(wire.Marshal(at))
	at.Offset = -1
	f.Add(wire.Marshal(at))
	at.Offset, at.Length = 0, 1<<40
	f.Add(wire.Marshal(at))
	f.Add([]byte{})
	s.places.any.Store(true)
	f.Fuzz(func(t *testing.T, value []byte) {
		ok(t, s.db.Set([]byte(placesPrefix+c.KeyString()+file), value, pebble.NoSync))
		got, err := s.Blocks().Get(context.Background(), c)
		if err == nil && !bytes.Equal(got, data[10:500]) {
			t.Fatalf("wrong bytes for %x", value)
		}
		if _, sizeErr := s.Blocks().Size(context.Background(), c); err == nil && sizeErr != nil {
			t.Fatalf("%v for a block that is there", sizeErr)
		}
	})
}

// Notes are as durable as blocks: they survive power loss once Refer has returned.
func TestPlacesSurvivePowerLoss(t *testing.T) {
	ctx := context.Background()
	disk := vfs.NewCrashableMem()
	blocks := shoaltest.Blocks(1, 200, 500)
	file := filepath.Join(t.TempDir(), "f")
	places := lay(t, file, blocks)
	s, err := Open("/n", Options{FS: disk})
	ok(t, err)
	for i := range places {
		if i%20 == 0 {
			ok(t, inPlace(s).Refer(ctx, places[i:i+20]...))
		}
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{}) // all that was not synced is lost
	_ = s.Close()
	s = openAt(t, "/n", Options{FS: after})
	wantBlocks(t, s, blocks)
}

func BenchmarkReferAndGet(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	blocks := shoaltest.Blocks(1, 64, 1<<20)
	var all []byte
	var places []shoal.Place
	file := filepath.Join(b.TempDir(), "f")
	for i, bl := range blocks {
		all = append(all, bl.Data...)
		places = append(places, shoal.Place{CID: bl.CID, File: file, Offset: int64(i) << 20, Length: 1 << 20, Size: 64 << 20})
	}
	if err := os.WriteFile(file, all, 0o600); err != nil {
		b.Fatal(err)
	}
	info, _ := os.Stat(file)
	for i := range places {
		places[i].Time = info.ModTime()
	}
	if err := inPlace(s).Refer(context.Background(), places...); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1 << 20)
	for i := 0; b.Loop(); i++ {
		if _, err := s.Blocks().Get(context.Background(), blocks[i%64].CID); err != nil {
			b.Fatal(fmt.Errorf("%d: %w", i, err))
		}
	}
}

// Raw does not hash the store's own copies, but never hands out unseen bytes of a user's file.
func TestRaw(t *testing.T) {
	ctx := context.Background()
	s := openAt(t, t.TempDir(), Options{})
	raw := s.Blocks().(shoal.Raw)
	blocks := shoaltest.Blocks(1, 2, 1000)
	file := filepath.Join(t.TempDir(), "f")
	ok(t, s.Blocks().Put(ctx, blocks[0]))
	ok(t, inPlace(s).Refer(ctx, lay(t, file, blocks[1:])...))
	for _, b := range blocks {
		if got, err := raw.Raw(ctx, b.CID, fresh); err != nil || !bytes.Equal(got, b.Data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	flipOn(t, s, blocks[0].CID)
	if got, err := raw.Raw(ctx, blocks[0].CID, fresh); err != nil || bytes.Equal(got, blocks[0].Data) {
		t.Fatalf("the damaged copy: %d bytes, %v", len(got), err)
	}
	info, err := os.Stat(file)
	ok(t, err)
	ok(t, os.WriteFile(file, make([]byte, 1000), 0o600))
	ok(t, os.Chtimes(file, time.Time{}, info.ModTime()))
	_, err = raw.Raw(ctx, blocks[1].CID, fresh)
	wantKind(t, err, shoal.Corrupt)
	_, err = raw.Raw(ctx, shoal.BlockCID([]byte("absent")), fresh)
	wantKind(t, err, shoal.NotFound)
}
