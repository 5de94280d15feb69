package blobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// TestImportAgainWritesNothing: what is in the store is not put again, and a broken import resumes.
func TestImportAgainWritesNothing(t *testing.T) {
	count := &counter{Store: shoaltest.NewStore()}
	b, err := New(Config{Store: count})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(write(t, map[string]string{"f": string(noise(7, 40<<20))}), "f")
	ctx, cancel := context.WithCancel(context.Background())
	_, err = b.Import(ctx, file, ImportOptions{Progress: func(done, _ int64, _ string) {
		if done > 36<<20 {
			cancel()
		}
	}})
	if shoal.KindOf(err) != shoal.Canceled {
		t.Fatalf("canceled: %v", err)
	}
	half := count.bytes() - count.refused
	if half < 16<<20 || half > 40<<20 {
		t.Errorf("%d bytes were put before the cancel", half)
	}
	m := mustImport(t, b, file, ImportOptions{})
	if all := count.bytes() - count.refused; all > 40<<20+20<<10 {
		t.Errorf("the second try put %d bytes after %d", all-half, half)
	}
	calls, before := count.calls, count.bytes()
	again := mustImport(t, b, file, ImportOptions{})
	if again.Root != m.Root || count.bytes() != before || count.calls != calls {
		t.Errorf("a third import put %d bytes in %d calls", count.bytes()-before, count.calls-calls)
	}
	if calls > 6 {
		t.Errorf("%d puts for 40 MiB", calls)
	}
}

// counter counts what is put.
type counter struct {
	*shoaltest.Store
	mu    sync.Mutex
	n     int
	calls int
	drop  bool

	refused int // bytes of n that did not get in, as their caller had gone
}

func (c *counter) Put(ctx context.Context, blocks ...shoal.Block) error {
	c.mu.Lock()
	c.calls++
	sum := 0
	for _, b := range blocks {
		sum += len(b.Data)
	}
	c.n += sum
	c.mu.Unlock()
	if sum > batchBytes+2*leafBytes {
		return errors.New("a batch that large")
	}
	if c.drop {
		return nil
	}
	err := c.Store.Put(ctx, blocks...)
	if err != nil {
		c.mu.Lock()
		c.refused += sum
		c.mu.Unlock()
	}
	return err
}

func (c *counter) bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestImportMemory: memory does not grow with the file.
func TestImportMemory(t *testing.T) {
	b, err := New(Config{Store: &counter{Store: shoaltest.NewStore(), drop: true}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	part := noise(3, 8<<20)
	for i := range 24 {
		copy(part, fmt.Sprint(i))
		part[leafBytes*(i%8)] ^= byte(i)
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	part = nil
	var most uint64
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start := m.HeapInuse
	mustImport(t, b, file, ImportOptions{Split: shoal.SplitLines, Progress: func(done, _ int64, _ string) {
		if done>>20%8 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}})
	if most > start+112<<20 {
		t.Errorf("%d MiB on the heap for a file of 192 MiB", (most-start)>>20)
	}
}

func BenchmarkImport(b *testing.B) {
	bl, err := New(Config{Store: &counter{Store: shoaltest.NewStore(), drop: true}})
	if err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(write(b, map[string]string{"f": string(noise(9, 256<<20))}), "f")
	for _, split := range []shoal.Split{shoal.SplitBytes, shoal.SplitLines} {
		b.Run(string(split), func(b *testing.B) {
			b.SetBytes(256 << 20)
			for b.Loop() {
				mustImport(b, bl, file, ImportOptions{Split: split})
			}
		})
	}
	files := map[string]string{}
	for i := range 5000 {
		files[fmt.Sprintf("d%d/f%d", i%50, i)] = fmt.Sprint(i)
	}
	dir := write(b, files)
	b.Run("5000 files", func(b *testing.B) {
		for b.Loop() {
			mustImport(b, bl, dir, ImportOptions{})
		}
	})
}

func counterOf() *counter { return &counter{Store: shoaltest.NewStore(), drop: true} }

// TestVisible: what is hidden is left out when that is asked for, at every depth, and counts else.
func TestVisible(t *testing.T) {
	b, _ := newTest(t)
	dir := filepath.Join(t.TempDir(), ".top") // its own name does not count
	for _, name := range []string{"a", ".hidden", "sub/b", "sub/.c", ".git/d"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for visible, want := range map[bool]uint64{true: uint64(len("a" + "sub/b")), false: uint64(len("a" + ".hidden" + "sub/b" + "sub/.c" + ".git/d"))} {
		m, err := b.Import(t.Context(), dir, ImportOptions{Visible: visible})
		if err != nil || m.Bytes != want {
			t.Errorf("visible only %v: %d bytes, want %d, %v", visible, m.Bytes, want, err)
		}
	}
}
