package storage

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// TestPowerLoss cuts the power at random points while blocks and state are written, drops a random
// part of what was not synced, and wants back everything that was acknowledged before the cut.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { powerLoss(t, seed) })
	}
}

// acked is what a writer was promised.
type acked struct {
	mu      sync.Mutex
	blocks  []shoal.Block
	state   map[string]string
	batches map[string]string // the last that a sync followed, by key
}

func (a *acked) snapshot() ([]shoal.Block, map[string]string, map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.blocks[:len(a.blocks):len(a.blocks)], maps.Clone(a.state), maps.Clone(a.batches)
}

func powerLoss(t *testing.T, seed uint64) {
	ctx := context.Background()
	r := rand.New(rand.NewPCG(seed, 1))
	disk := vfs.NewCrashableMem()
	for life := range 3 {
		s, err := Open("/a/b", Options{FS: disk})
		ok(t, err)
		a := &acked{state: map[string]string{}, batches: map[string]string{}}
		stop := make(chan struct{})
		cut := make(chan struct{}) // asks for the power cut after some acknowledgements
		cutAfter := 1 + r.IntN(30)
		var once sync.Once
		note := func(f func()) {
			a.mu.Lock()
			f()
			n := len(a.blocks) + len(a.state)
			a.mu.Unlock()
			if n >= cutAfter {
				once.Do(func() { close(cut) })
			}
		}
		var wg sync.WaitGroup
		for w := range 3 {
			blocks := shoaltest.Blocks(seed*100+uint64(life*10+w), 2*together, 1+r.IntN(9000))
			batch := 1 + r.IntN(8)
			put := s.Blocks().Put
			if w == 2 { // as a fetch does
				batch = 1 + r.IntN(len(blocks))
				put = s.Blocks().(shoal.Raw).PutRaw
			}
			wg.Go(func() {
				for len(blocks) > 0 {
					n := min(batch, len(blocks))
					select {
					case <-stop:
						return
					default:
					}
					if err := put(ctx, blocks[:n]...); err != nil {
						t.Error(err)
						return
					}
					note(func() { a.blocks = append(a.blocks, blocks[:n]...) })
					blocks = blocks[n:]
				}
			})
			wg.Go(func() {
				for i := range 60 {
					select {
					case <-stop:
						return
					default:
					}
					key, value := fmt.Sprintf("%d/%d/%d", life, w, i), fmt.Sprint(seed, i)
					if err := s.KV("r").Set(key, []byte(value)); err != nil {
						t.Error(err)
						return
					}
					note(func() { a.state[key] = value })
				}
			})
			wg.Go(func() {
				for i := range 60 {
					select {
					case <-stop:
						return
					default:
					}
					value := fmt.Appendf(nil, "%03d", i)
					one := fmt.Appendf(nil, "%d/%d/one", life, w)
					two := fmt.Appendf(nil, "%d/%d/two", life, w)
					sync := i%3 == 2
					err := s.Table("t").Commit(sync, shoal.Write{Key: one, Value: value}, shoal.Write{Key: two, Value: value})
					if err != nil {
						t.Error(err)
						return
					}
					if sync {
						note(func() { a.batches[string(one)], a.batches[string(two)] = string(value), string(value) })
					}
				}
			})
		}
		<-cut
		blocks, state, batches := a.snapshot()
		after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		close(stop)
		wg.Wait()
		ok(t, s.Close())

		disk = after
		s, err = Open("/a/b", Options{FS: disk})
		if err != nil {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		for _, b := range blocks {
			if got, err := s.Blocks().Get(ctx, b.CID); err != nil || !bytes.Equal(got, b.Data) {
				t.Fatalf("seed %d, life %d: lost an acknowledged block: %v", seed, life, err)
			}
		}
		for k, v := range state {
			if got, err := s.KV("r").Get(k); err != nil || string(got) != v {
				t.Fatalf("seed %d, life %d: lost %s: %q, %v", seed, life, k, got, err)
			}
		}
		for k, v := range batches {
			if got, _, err := s.Table("t").Get([]byte(k)); err != nil || string(got) < v {
				t.Fatalf("seed %d, life %d: %s is %q, %v, and %q was durable", seed, life, k, got, err, v)
			}
		}
		last := "" // the halves of a batch are neighbours in order of keys
		for p, err := range s.Table("t").Scan(nil, nil) {
			ok(t, err)
			if strings.HasSuffix(string(p.Key), "two") && string(p.Value) != last {
				t.Fatalf("seed %d, life %d: half a batch at %s: %q and %q", seed, life, p.Key, last, p.Value)
			}
			last = string(p.Value)
		}
		// Nothing torn is handed out, and what is there can be acknowledged again at once.
		for c, err := range s.Blocks().All(ctx) {
			ok(t, err)
			if _, err := s.Blocks().Get(ctx, c); err != nil {
				t.Fatalf("seed %d, life %d: block %s: %v", seed, life, c, err)
			}
		}
		ok(t, s.Close())
	}
}

// A process that is killed between the rename and the folder's sync leaves a block that is visible
// but not durable. The next process must not acknowledge it without syncing.
func TestVisibleIsNotDurable(t *testing.T) {
	ctx := context.Background()
	disk := vfs.NewCrashableMem()
	s, err := Open("/n", Options{FS: disk})
	ok(t, err)
	b := shoaltest.Blocks(1, 1, 100)[0]
	ok(t, s.blocks.keep(ctx, []shoal.Block{b}, true)) // no folder sync: killed here
	ok(t, s.Close())
	s, err = Open("/n", Options{FS: disk})
	ok(t, err)
	ok(t, s.Blocks().Put(ctx, b))
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	ok(t, s.Close())
	s = openAt(t, "/n", Options{FS: after})
	_, err = s.Blocks().Get(ctx, b.CID)
	ok(t, err)
}
