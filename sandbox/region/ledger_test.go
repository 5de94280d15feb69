package region

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// TestLedger has random guests take memory in steps. Whatever they do, the total is kept, nobody waits
// for ever, and all is given back.
func TestLedger(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	for round := range 50 {
		bubble.Test(t, func(t *testing.T) {
			l := &Ledger{Total: 100, Patience: time.Hour}
			began := time.Now()
			var wg sync.WaitGroup
			for i := range 12 {
				wg.Go(func() {
					r := rand.New(rand.NewPCG(seed, uint64(round*100+i)))
					a := &Account{L: l}
					defer a.GiveBack()
					for want := uint64(0); want < 90; want += uint64(r.IntN(40)) {
						time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
						if !a.Reach(t.Context(), want) {
							return
						}
						l.mu.Lock()
						if l.used > l.Total || a.held < want {
							t.Errorf("%d of %d are used; the account has %d, wants %d", l.used, l.Total, a.held, want)
						}
						l.mu.Unlock()
					}
				})
			}
			wg.Wait()
			if took := time.Since(began); took > 30*time.Minute {
				t.Errorf("somebody waited until patience ended: %v", took)
			}
			if l.used != 0 || l.holders != 0 || len(l.queue) != 0 {
				t.Errorf("left: %d bytes, %d holders, %d waiting", l.used, l.holders, len(l.queue))
			}
		})
	}
}

func TestLedgerGivesUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := &Ledger{Total: 100, Patience: time.Second}
		first, second := &Account{L: l}, &Account{L: l}
		if !first.Reach(t.Context(), 80) || first.Reach(t.Context(), 101) {
			t.Error("80 fit, 101 do not")
		}
		began := time.Now()
		if second.Reach(t.Context(), 30) || time.Since(began) != time.Second {
			t.Errorf("30 more: gave up after %v", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if began := time.Now(); second.Reach(ctx, 30) || time.Since(began) != time.Millisecond {
			t.Errorf("30 more until the context ends: gave up after %v", time.Since(began))
		}
		got := make(chan bool)
		go func() { got <- second.Reach(t.Context(), 30) }()
		synctest.Wait()
		first.GiveBack()
		if !<-got || l.used != 30 {
			t.Errorf("after the first gave back: %d used", l.used)
		}
		second.GiveBack()
	})
}

// TestRegionsAreZero hands memory from guest to guest.
func TestRegionsAreZero(t *testing.T) {
	var pool Spare
	defer pool.Close()
	for round := range 20 {
		r := pool.Get()
		for size := uint64(64 << 10); size <= 1<<20; size *= 2 {
			b := r.Resize(size, 1<<24)
			if uint64(len(b)) != size {
				t.Fatalf("%d bytes, want %d", len(b), size)
			}
			for i, c := range b[size/2:] {
				if c != 0 && size > 64<<10 {
					t.Fatalf("round %d: byte %d is %d", round, int(size/2)+i, c)
				}
			}
			for i := range b {
				b[i] = byte(i) | 1
			}
		}
		pool.Put(r)
	}
	r := pool.Get()
	if r.Resize(1<<24, 1<<24) == nil || r.Resize(1<<25, 1<<24) != nil {
		t.Error("the reserve is not what bounds a region")
	}
	pool.Put(r)
}
