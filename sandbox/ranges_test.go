package sandbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal/sandbox/meter"
)

// TestLargeRangesOfTables fills, copies and initialises ranges of a table that are done in pieces, at random: what is null
// and what is not, and what traps, is as without the meter.
func TestLargeRangesOfTables(t *testing.T) {
	const size, segment = 300_000, 100_000
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var w wasmBuilder
	w.Sections[1] = vec("\x60\x00\x00", "\x60\x00\x01\x7f")
	w.Sections[4] = vec("\x70\x00"+index(size), "\x70\x00"+index(size))
	var elements strings.Builder
	for range segment {
		if rng.IntN(3) == 0 {
			elements.WriteString("\xd0\x70\x0b")
		} else {
			elements.WriteString("\xd2\x00\x0b")
		}
	}
	w.Sections[9] = vec("\x05\x70" + index(segment) + elements.String())
	functions, bodies, exports := []string{"\x01"}, []string{sized(hash(size))}, []string{sized("hash") + "\x00\x00"}
	most := func() int32 { return int32(rng.IntN(size + size/8)) }
	const rounds = 60
	for i := range rounds {
		to, from, n := most()/2, most()/2, most()/2
		if rng.IntN(8) == 0 {
			to, n = -1-int32(rng.IntN(1000)), int32(rng.Uint32()) // beyond all addresses
		}
		tables := []string{"\x00\x00", "\x00\x01", "\x01\x01", "\x01\x00"}[rng.IntN(4)]
		ref := []string{"\xd0\x70", "\xd2\x00"}[rng.IntN(2)]
		code := []string{
			i32c(to) + ref + i32c(n) + "\xfc\x11" + tables[:1],
			i32c(to) + i32c(from) + i32c(n) + "\xfc\x0e" + tables,
			i32c(to) + i32c(from/4) + i32c(n/4) + "\xfc\x0c\x00" + tables[:1],
		}[rng.IntN(3)]
		functions = append(functions, "\x00")
		bodies = append(bodies, sized("\x00"+code+"\x0b"))
		exports = append(exports, sized(fmt.Sprint("f", i))+"\x00"+index(i+1))
	}
	w.Sections[3], w.Sections[7], w.Sections[10] = vec(functions...), vec(exports...), vec(bodies...)
	wasm := w.Build()
	metered, _, err := meter.Rewrite(wasm, func(string, string) meter.Call { return meter.Call{} })
	if err != nil {
		t.Fatal(err)
	}
	var said [2]string
	for side, b := range [][]byte{wasm, metered} {
		g := newGas(t.Context(), 0, 1000)
		ctx := context.WithValue(t.Context(), gasKey{}, g)
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2))
		if err := instantiateMeter(ctx, r); err != nil {
			t.Fatal(err)
		}
		m, err := r.Instantiate(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		call := func(name string) string {
			f := m.ExportedFunction(name)
			g.called = f
			v, err := f.Call(ctx)
			if err != nil {
				return name + ": " + firstLine(err.Error()) + "\n"
			}
			return fmt.Sprintf("%s: %x\n", name, v)
		}
		for i := range rounds {
			said[side] += call(fmt.Sprint("f", i)) + call("hash")
		}
		if err := r.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if said[0] != said[1] {
		t.Fatalf("seed %d:\n%s\nmetered:\n%s", seed, said[0], said[1])
	}
	if traps := strings.Count(said[0], "invalid table access"); traps == 0 || traps > rounds/2 {
		t.Errorf("%d of %d trap: that means little", traps, rounds)
	}
}

// hash is a body that returns a number of which elements of the two tables are null.
func hash(size int32) string {
	one := func(table string) string {
		return "\x20\x01" + i32c(31) + "\x6c\x20\x00\x25" + table + "\xd1\x6a\x21\x01"
	}
	return "\x01\x02\x7f\x03\x40" + one("\x00") + one("\x01") +
		"\x20\x00" + i32c(1) + "\x6a\x22\x00" + i32c(size) + "\x48\x0d\x00\x0b\x20\x01\x0b"
}
