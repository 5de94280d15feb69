package storage

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// observed is a file system that notes what is done to blocks.
type observed struct {
	vfs.FS
	mu   sync.Mutex
	seen []string
	open int
	most int // files open at once
}

func (o *observed) note(what, name string, open int) {
	if !strings.Contains(name, "/tmp/") && !strings.Contains(name, "/blocks/") {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open += open; what != "" {
		o.seen = append(o.seen, what)
	}
	o.most = max(o.most, o.open)
}

func (o *observed) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := o.FS.Create(name, c)
	o.note("write", name, 1)
	return observedFile{f, o, name}, err
}

func (o *observed) OpenDir(name string) (vfs.File, error) {
	f, err := o.FS.OpenDir(name)
	o.note("folder", name, 1)
	return observedFile{f, o, name}, err
}

func (o *observed) Rename(from, to string) error {
	o.note("move", to, 0)
	return o.FS.Rename(from, to)
}

type observedFile struct {
	vfs.File
	o    *observed
	name string
}

func (f observedFile) Sync() error {
	if strings.Contains(f.name, "/tmp/") {
		f.o.note("sync", f.name, 0)
	}
	return f.File.Sync()
}

func (f observedFile) Close() error {
	f.o.note("", f.name, -1)
	return f.File.Close()
}

// All blocks of a Put are written before the first is synced, all are synced before the first is moved
// to where it counts, and a Put of many has few files open.
func TestSyncsAreTogether(t *testing.T) {
	ctx := context.Background()
	fs := &observed{FS: vfs.NewMem()}
	s := openAt(t, "/n", Options{FS: fs})
	fs.mu.Lock()
	fs.seen, fs.most = nil, 0
	fs.mu.Unlock()
	ok(t, s.Blocks().Put(ctx, shoaltest.Blocks(1, 20, 100)...))
	order := slices.Compact(slices.Clone(fs.seen))
	if want := []string{"write", "sync", "move", "folder"}; !slices.Equal(order, want) {
		t.Errorf("the order was %q", order)
	}
	if n := len(slices.DeleteFunc(slices.Clone(fs.seen), func(s string) bool { return s != "sync" })); n != 20 {
		t.Errorf("%d of 20 files were synced", n)
	}
	ok(t, s.Blocks().Put(ctx, shoaltest.Blocks(2, 5*together, 100)...))
	if fs.most > together+shards || fs.open != 0 {
		t.Errorf("%d files were open at once, %d still are", fs.most, fs.open)
	}
}

// Blocks that the caller has checked are not hashed again when they are kept; they are when they are read.
func TestPutRaw(t *testing.T) {
	ctx := context.Background()
	s := openAt(t, "/n", Options{FS: vfs.NewMem()})
	blocks := shoaltest.Blocks(1, 3, 1000)
	raw := s.Blocks().(shoal.Raw)
	ok(t, raw.PutRaw(ctx, blocks[:2]...))
	_, err := s.Blocks().Get(ctx, blocks[1].CID)
	ok(t, err)
	wrong := shoal.Block{CID: blocks[2].CID, Data: blocks[0].Data}
	ok(t, raw.PutRaw(ctx, wrong))
	if _, err := s.Blocks().Get(ctx, wrong.CID); shoal.KindOf(err) != shoal.Corrupt {
		t.Errorf("wrong bytes came back: %v", err)
	}
	if err := s.Blocks().Put(ctx, wrong); shoal.KindOf(err) != shoal.Corrupt {
		t.Errorf("wrong bytes were kept: %v", err)
	}
	if err := raw.PutRaw(ctx, shoal.Block{}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("no CID: %v", err)
	}
	left, err := s.fs.List("/n/tmp")
	ok(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
