package region

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

const reserve = 8 << 20

// TestRegionsGrowAsMemoryMust has a region grow at random: what was written stays, what is new is zero, and the
// length is what was asked for.
func TestRegionsGrowAsMemoryMust(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Region
		defer r.Free()
		var want []byte // the region's twin
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			size := uint64(rapid.IntRange(0, reserve>>16+8).Draw(t, "pages")) << 16
			if size < uint64(len(want)) {
				continue // memory never shrinks
			}
			b := r.Resize(size, reserve)
			if size > reserve {
				if b != nil {
					t.Fatalf("%d bytes of %d", size, reserve)
				}
				continue
			}
			if uint64(len(b)) != size {
				t.Fatalf("%d bytes, want %d", len(b), size)
			}
			want = append(want, make([]byte, size-uint64(len(want)))...)
			for i := 0; i < len(b); i += 1 << 12 {
				if b[i] != want[i] {
					t.Fatalf("byte %d is %d, want %d", i, b[i], want[i])
				}
			}
			for range min(10, len(b)) {
				i := rng.IntN(len(b)) &^ (1<<12 - 1) // where the next look finds it
				b[i] = byte(rng.Uint32())
				want[i] = b[i]
			}
		}
	})
}

// TestRecycledRegionsAreClean writes all of a region and has it given to the next.
func TestRecycledRegionsAreClean(t *testing.T) {
	const small = 1 << 20
	var r Region
	b := r.Resize(small, reserve)
	for i := range b {
		b[i] = 0xff
	}
	if !r.Recycle(small) {
		r.Free()
		t.Skip("here regions are on Go's heap, and not used again")
	}
	for i, v := range r.Resize(small, reserve) {
		if v != 0 {
			t.Fatalf("byte %d of the next guest's memory is %d", i, v)
		}
	}
	r.Resize(small+1<<16, reserve)
	if r.Recycle(small) {
		t.Error("a large region is kept")
	}
	r.Free()
	if r.Recycle(small) {
		t.Error("a region that is gone is kept")
	}
	r.Free() // again is no fault
}

// TestFreedRegionsStartAnew has one region used by several guests in turn.
func TestFreedRegionsStartAnew(t *testing.T) {
	var r Region
	for range 3 {
		b := r.Resize(1<<16, reserve)
		if len(b) != 1<<16 || b[0] != 0 || b[len(b)-1] != 0 {
			t.Fatal("a new region is not empty")
		}
		b[0], b[len(b)-1] = 1, 1
		r.Free()
	}
}

// TestAddressSpaceThatIsNotThere asks for more than there is.
func TestAddressSpaceThatIsNotThere(t *testing.T) {
	var r Region
	defer r.Free()
	if b := r.Resize(reserve+1, reserve); b != nil {
		t.Error("more than is set aside was given")
	}
	if b := r.Resize(1<<16, reserve); len(b) != 1<<16 {
		t.Error("a refusal spoils the region")
	}
}

// TestRegionsAreMadeReady has guests come while none gives a region back: after the first, they find regions with pages.
func TestRegionsAreMadeReady(t *testing.T) {
	if !lazy {
		t.Skip("regions are on Go's heap here: none is kept")
	}
	const size = 1 << 20
	var pool Spare
	first := pool.Get()
	if first.Resize(size, 1<<24) == nil {
		t.Fatal("no memory")
	}
	pool.Put(first)
	var taken []Region
	for range 10 {
		r := pool.Get()
		pool.work.Wait()
		if got, reserve := r.opened(); got != size || reserve != 1<<24 {
			t.Fatalf("a region of %d in %d bytes is ready", got, reserve)
		}
		for i, c := range r.Resize(size, 1<<24) {
			if c != 0 {
				t.Fatalf("byte %d is %d", i, c)
			}
		}
		taken = append(taken, r)
		if n := len(pool.idle); n != readyIdle {
			t.Fatalf("%d are ready, want %d", n, readyIdle)
		}
	}
	pool.Close()
	if r := pool.Get(); len(pool.idle) > 0 || pool.warming || r.all != nil {
		t.Error("it goes on after the end")
	}
	for _, r := range taken {
		r.Free()
	}
}
