package shoaltest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Blocks returns n raw blocks of random bytes, size bytes each, the same for the same seed.
func Blocks(seed uint64, n, size int) []shoal.Block {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	r := rand.NewChaCha8(key)
	out := make([]shoal.Block, n)
	for i := range out {
		b := make([]byte, size)
		_, _ = r.Read(b)
		out[i] = shoal.Block{CID: shoal.BlockCID(b), Data: b}
	}
	return out
}

// TestStore holds a shoal.Store against its contract. open gives an empty store for each subtest,
// and a function that flips a bit of a block behind the store's back, or nil.
func TestStore(t *testing.T, open func(t *testing.T) (s shoal.Store, flip func(cid.Cid))) {
	ctx := context.Background()
	run := func(name string, f func(t *testing.T, s shoal.Store, flip func(cid.Cid))) {
		t.Run(name, func(t *testing.T) {
			s, flip := open(t)
			f(t, s, flip)
		})
	}
	run("put and get", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		blocks := append(Blocks(1, 20, 1000), Blocks(2, 1, 1<<20)...)
		blocks = append(blocks, shoal.Block{CID: shoal.BlockCID(nil), Data: []byte{}})
		mustDo(t, s.Put(ctx, blocks...))
		mustDo(t, s.Put(ctx, blocks...)) // again: nothing changes
		for _, b := range blocks {
			got, err := s.Get(ctx, b.CID)
			if err != nil || !bytes.Equal(got, b.Data) {
				t.Fatalf("get %s: %d bytes, %v; want %d", b.CID, len(got), err, len(b.Data))
			}
			if n, err := s.Size(ctx, b.CID); err != nil || n != len(b.Data) {
				t.Fatalf("size: %d, %v; want %d", n, err, len(b.Data))
			}
		}
		if all := collect(t, s); len(all) != len(blocks) {
			t.Fatalf("All yields %d of %d", len(all), len(blocks))
		}
	})
	run("other codecs and versions", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		data := []byte("the same bytes")
		mh := shoal.BlockCID(data).Hash()
		cids := []cid.Cid{cid.NewCidV0(mh), cid.NewCidV1(cid.DagProtobuf, mh), cid.NewCidV1(cid.Raw, mh)}
		for _, c := range cids {
			mustDo(t, s.Put(ctx, shoal.Block{CID: c, Data: data}))
		}
		all := collect(t, s)
		for _, c := range cids {
			if got, err := s.Get(ctx, c); err != nil || !bytes.Equal(got, data) || !all[c] {
				t.Fatalf("%s: %q, %v, listed %v", c, got, err, all[c])
			}
		}
	})
	run("bytes belong to the caller", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		b := Blocks(3, 1, 100)[0]
		given := bytes.Clone(b.Data)
		mustDo(t, s.Put(ctx, shoal.Block{CID: b.CID, Data: given}))
		if !bytes.Equal(given, b.Data) {
			t.Fatal("Put changed the caller's bytes")
		}
		clear(given)
		got, err := s.Get(ctx, b.CID)
		mustDo(t, err)
		clear(got)
		if again, err := s.Get(ctx, b.CID); err != nil || !bytes.Equal(again, b.Data) {
			t.Fatalf("the store shares memory with its callers: %v", err)
		}
	})
	run("absent", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		c := shoal.BlockCID([]byte("never put"))
		_, err := s.Get(ctx, c)
		wantKind(t, err, shoal.NotFound)
		_, err = s.Size(ctx, c)
		wantKind(t, err, shoal.NotFound)
		_, err = s.Get(ctx, cid.Undef)
		wantKind(t, err, shoal.NotFound)
		mustDo(t, s.Delete(ctx, c))
		mustDo(t, s.Put(ctx))
	})
	run("delete", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		blocks := Blocks(4, 10, 50)
		mustDo(t, s.Put(ctx, blocks...))
		mustDo(t, s.Delete(ctx, blocks[0].CID, blocks[1].CID, shoal.BlockCID([]byte("absent"))))
		_, err := s.Get(ctx, blocks[0].CID)
		wantKind(t, err, shoal.NotFound)
		if all := collect(t, s); len(all) != 8 || all[blocks[1].CID] {
			t.Fatalf("%d blocks after the deletion, want 8", len(all))
		}
		mustDo(t, s.Put(ctx, blocks[0]))
		_, err = s.Get(ctx, blocks[0].CID)
		mustDo(t, err)
	})
	run("wrong bytes", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		b := Blocks(5, 1, 100)[0]
		bad := bytes.Clone(b.Data)
		bad[7] ^= 1
		wantKind(t, s.Put(ctx, shoal.Block{CID: b.CID, Data: bad}), shoal.Corrupt)
		_, err := s.Get(ctx, b.CID)
		wantKind(t, err, shoal.NotFound)
		wantKind(t, s.Put(ctx, shoal.Block{Data: bad}), shoal.Invalid)
	})
	run("bit flip", func(t *testing.T, s shoal.Store, flip func(cid.Cid)) {
		if flip == nil {
			t.Skip("this store's bytes cannot be reached")
		}
		b := Blocks(6, 1, 5000)[0]
		mustDo(t, s.Put(ctx, b))
		flip(b.CID)
		_, err := s.Get(ctx, b.CID)
		wantKind(t, err, shoal.Corrupt)
		_, err = s.Get(ctx, b.CID)
		wantKind(t, err, shoal.NotFound)
		mustDo(t, s.Put(ctx, b))
		if got, err := s.Get(ctx, b.CID); err != nil || !bytes.Equal(got, b.Data) {
			t.Fatalf("after putting it again: %v", err)
		}
	})
	run("canceled", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		b := Blocks(7, 1, 10)[0]
		wantKind(t, s.Put(ctx, b), shoal.Canceled)
		_, err := s.Get(ctx, b.CID)
		wantKind(t, err, shoal.Canceled)
		for _, err := range s.All(ctx) {
			wantKind(t, err, shoal.Canceled)
		}
	})
	run("at once", func(t *testing.T, s shoal.Store, _ func(cid.Cid)) {
		blocks := Blocks(8, 64, 3000)
		errs := make(chan error, 8)
		var wg sync.WaitGroup
		for g := range 8 { // every block is put by two goroutines, while others read and list
			wg.Go(func() {
				mine := blocks[g/2*16 : g/2*16+16]
				if err := s.Put(ctx, mine...); err != nil {
					errs <- err
					return
				}
				for _, b := range mine {
					if got, err := s.Get(ctx, b.CID); err != nil || !bytes.Equal(got, b.Data) {
						errs <- fmt.Errorf("get: %d bytes, %w", len(got), err)
						return
					}
				}
				for _, err := range s.All(ctx) {
					if err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		select {
		case err := <-errs:
			t.Fatal(err)
		default:
		}
		if all := collect(t, s); len(all) != 64 {
			t.Fatalf("%d blocks, want 64", len(all))
		}
	})
}

func collect(t *testing.T, s shoal.Store) map[cid.Cid]bool {
	t.Helper()
	out := map[cid.Cid]bool{}
	for c, err := range s.All(context.Background()) {
		mustDo(t, err)
		if out[c] {
			t.Fatalf("All yields %s twice", c)
		}
		out[c] = true
	}
	return out
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k shoal.Kind) {
	t.Helper()
	if err == nil || shoal.KindOf(err) != k {
		t.Fatalf("got error %v, want one of kind %s", err, k)
	}
}
