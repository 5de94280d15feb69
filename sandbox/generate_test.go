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

// generator writes modules at random that validate and end: loops count down, and functions call only
// those before them. They trap now and then.
type generator struct {
	*rand.Rand
	wasmBuilder
	self   int // the function being written; those before it may be called
	room   int // instructions that may still come
	labels []string
	code   strings.Builder
}

// The types of the functions: all take and give one i32 or i64.
const (
	genFuncs   = 8
	genLocals  = 6 // of type i32, the parameter among them, then as many i64
	genCounter = 2 * genLocals
	genSignals = "\x60\x01\x7f\x01\x7f" // (i32) -> i32
)

func (g *generator) emit(s ...string) { g.code.WriteString(strings.Join(s, "")) }

// i32 writes code that leaves an i32.
func (g *generator) i32(depth int) {
	g.room--
	if depth <= 0 || g.room <= 0 {
		switch g.IntN(4) {
		case 0:
			g.emit(i32c(int32(g.Uint32() >> g.IntN(32))))
		case 1:
			g.emit("\x23\x00") // global.get
		default:
			g.emit("\x20" + index(g.IntN(genLocals)))
		}
		return
	}
	switch g.IntN(14) {
	case 0, 1, 2:
		g.i32(depth - 1)
		g.i32(depth - 1)
		g.emit(string(rune("\x6a\x6b\x6c\x71\x72\x73\x74\x75\x76\x46\x48\x49\x4a"[g.IntN(13)])))
	case 3: // division, which may trap
		g.i32(depth - 1)
		g.i32(depth - 1)
		if g.IntN(20) > 0 {
			g.emit(i32c(1), "\x72")
		}
		g.emit(string([]byte{"\x6d\x6e\x6f\x70"[g.IntN(4)]}))
	case 4:
		g.i32(depth - 1)
		g.emit("\x22" + index(g.IntN(genLocals))) // local.tee
	case 5: // a load, in bounds as a rule
		g.i32(depth - 1)
		if g.IntN(60) > 0 {
			g.emit(i32c(0xff00), "\x71")
		}
		g.emit("\x28\x02", index(g.IntN(100)))
	case 6:
		if g.self > 0 {
			g.i32(depth - 1)
			g.emit("\x10" + index(g.IntN(g.self)+1)) // after the one import
			return
		}
		g.i32(depth - 1)
	case 7: // through the table: of a lower function, or a trap
		g.i32(depth - 1)
		to := genFuncs // an element that is null
		if g.self > 0 && g.IntN(100) > 0 {
			to = g.IntN(g.self)
		}
		g.emit(i32c(int32(to)), "\x11\x00\x00")
	case 8: // if with a result
		g.i32(depth - 1)
		g.emit("\x04\x7f")
		g.open("\x7f")
		g.i32(depth - 1)
		g.emit("\x05")
		g.i32(depth - 1)
		g.close()
	case 9: // a block with a result, left early or not
		g.emit("\x02\x7f")
		g.open("\x7f")
		g.i32(depth - 1)
		g.i32(depth - 1)
		g.emit("\x0d\x00")
		g.close()
	case 10: // a loop with a parameter and a result
		g.i32(depth - 1)
		g.loop("\x00", func() {
			g.i32(depth - 2)
			g.emit("\x6a")
		})
	case 11:
		g.emit("\x10\x00") // the import
	case 12:
		g.i32(depth - 1)
		g.i32(depth - 1)
		g.i32(depth - 1)
		g.emit("\x1b") // select
	case 13:
		g.emit(i32c(int32(g.IntN(3))), "\x40\x00") // memory.grow
	}
}

func (g *generator) open(label string) { g.labels = append(g.labels, label) }

func (g *generator) close() {
	g.emit("\x0b")
	g.labels = g.labels[:len(g.labels)-1]
}

// loop writes a loop that is begun again as long as a counter of its own lasts. Its type is block, whose
// parameters stay on the stack.
func (g *generator) loop(block string, body func()) {
	counter := index(genCounter + len(g.labels)%8)
	g.emit(i32c(int32(1+g.IntN(5))), "\x21"+counter, "\x03"+block)
	label := "loop"
	g.open(label)
	body()
	g.emit("\x20"+counter, i32c(1), "\x6b\x22"+counter, i32c(0), "\x4a\x0d\x00")
	g.close()
}

// statement writes code that leaves nothing.
func (g *generator) statement(depth int) {
	if g.room--; g.room <= 0 || depth <= 0 {
		return
	}
	switch g.IntN(12) {
	case 0, 1:
		g.i32(depth)
		g.emit("\x21" + index(g.IntN(genLocals)))
	case 2:
		g.i32(depth)
		g.emit("\x24\x00")
	case 3, 4:
		g.loop("\x40", func() { g.statements(depth - 1) })
	case 5:
		g.i32(depth - 1)
		g.emit("\x04\x40")
		g.open("")
		g.statements(depth - 1)
		g.emit("\x05")
		g.statements(depth - 1)
		g.close()
	case 6:
		g.emit("\x02\x40")
		g.open("")
		g.statements(depth - 1)
		if to := g.forward(""); to >= 0 {
			g.i32(1)
			g.emit("\x0d" + index(to))
		}
		g.statements(depth - 1)
		g.close()
	case 7:
		if to := g.forward(""); to >= 0 { // br_table over one and the same and others like it
			g.i32(depth - 1)
			g.emit("\x0e\x02", index(to), index(to), index(g.forward("")))
			// what follows cannot be reached, and must validate
		}
	case 8:
		g.i32(2)
		g.emit(i32c(0xfff0), "\x71")
		g.i32(depth - 1)
		g.emit("\x36\x02\x00")
	case 9: // a range, large at times, beyond the memory at times
		n := g.IntN(200)
		if g.IntN(40) == 0 {
			n = 1 << (12 + g.IntN(12))
		}
		to, from := int32(g.IntN(0x8000)), int32(g.IntN(0x8000))
		beyond := int32(g.IntN(30) / 29 * 8)
		g.emit([]string{
			i32c(to) + i32c(from) + i32c(int32(n)) + "\xfc\x0b\x00",
			i32c(to) + i32c(from) + i32c(int32(n)) + "\xfc\x0a\x00\x00",
			i32c(to) + i32c(int32(g.IntN(10))+beyond) + i32c(int32(g.IntN(10))) + "\xfc\x08\x01\x00",
			i32c(int32(g.IntN(4))+beyond) + "\xd2" + index(1+g.IntN(genFuncs)) + i32c(int32(g.IntN(5))) + "\xfc\x11\x01",
			i32c(int32(g.IntN(4))+beyond) + i32c(int32(g.IntN(5))) + i32c(int32(g.IntN(5))) + "\xfc\x0e\x01\x00",
			i32c(int32(g.IntN(4))+beyond) + i32c(0) + i32c(int32(g.IntN(3))) + "\xfc\x0c\x01\x01",
			"\xd0\x70" + i32c(int32(g.IntN(4))) + "\xfc\x0f\x01\x1a",
		}[g.IntN(7)])
	case 10:
		g.emit("\x20" + index(genLocals+g.IntN(genLocals)) + "\x20" + index(g.IntN(genLocals)) + "\xad\x7e\x42\x7f\x85\x21" + index(genLocals+g.IntN(genLocals)))
	case 11:
		if g.IntN(20) == 0 {
			g.i32(1)
			g.emit("\x0f") // return
		} else {
			g.emit("\xfd\x0c", strings.Repeat("\x07", 16), "\x20", index(g.IntN(genLocals)), "\xfd\x1c\x01", "\xfd\x1b\x02", "\x1a")
		}
	}
}

// forward is a label that leaves a block of the type given, or -1.
func (g *generator) forward(label string) int {
	var fit []int
	for i, l := range g.labels {
		if l == label {
			fit = append(fit, len(g.labels)-1-i)
		}
	}
	if len(fit) == 0 {
		return -1
	}
	return fit[g.IntN(len(fit))]
}

func (g *generator) statements(depth int) {
	for range 1 + g.IntN(4) {
		g.statement(depth)
	}
}

// generate writes the module of a seed, with functions of about so many instructions: they are exported as
// f0, f1, ...
func generate(seed uint64, room int) wasmBuilder {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7))}
	g.Sections[1] = vec(genSignals, "\x60\x00\x01\x7f")
	g.Sections[2] = vec(sized("env") + sized("next") + "\x00\x01")
	g.Sections[3] = index(genFuncs) + strings.Repeat("\x00", genFuncs)
	g.Sections[4] = vec("\x70\x00\x09", "\x70\x00\x09")
	g.Sections[5] = vec("\x01\x01\x09")
	g.Sections[6] = vec("\x7f\x01\x41\x05\x0b", "\x70\x00\xd2\x01\x0b")
	var exports, all []string
	elements := ""
	for i := range genFuncs {
		exports = append(exports, sized(fmt.Sprintf("f%d", i))+"\x00"+index(i+1))
		elements += index(i + 1)
	}
	exports = append(exports, sized("g")+"\x03\x00", sized("import")+"\x00\x00", sized("memory")+"\x02\x00")
	g.Sections[7] = vec(exports...)
	g.Sections[9] = vec(
		"\x00\x41\x00\x0b"+index(genFuncs)+elements,
		"\x05\x70\x04\xd2\x00\x0b\xd2\x03\x0b\xd0\x70\x0b\xd2\x08\x0b",
		"\x06\x01\x41\x01\x0b\x70\x02\xd2\x02\x0b\xd0\x70\x0b",
	)
	g.Sections[12] = "\x02"
	g.Sections[11] = vec("\x00\x41\x10\x0b"+sized("some data"), "\x01"+sized("to be copied by hand"))
	for i := range genFuncs {
		g.self, g.room = i, room
		g.code.Reset()
		g.statements(5)
		g.i32(4)
		all = append(all, sized("\x03"+index(genLocals-1)+"\x7f"+index(genLocals)+"\x7e\x08\x7f"+g.code.String()+"\x0b"))
	}
	g.Sections[10] = vec(all...)
	return g.wasmBuilder
}

// TestRandomModules calls each function of modules made at random, as they are and metered, and compares
// results, traps, the global and the memory.
func TestRandomModules(t *testing.T) {
	seed, rounds := rand.Uint64(), 200
	if testing.Short() {
		rounds = 50
	}
	t.Log("seed", seed)
	traps, results := 0, 0
	for i := range rounds {
		wasm := generate(seed+uint64(i), 150).Build()
		metered, _, err := meter.Rewrite(wasm, func(string, string) meter.Call { return meter.Call{Gas: 3} })
		if err != nil {
			t.Fatalf("seed %d: %v", seed+uint64(i), err)
		}
		var said [2]string
		for side, b := range [][]byte{wasm, metered} {
			said[side] = runAll(t, b, seed+uint64(i), int64(1+i%3*500))
		}
		if said[0] != said[1] {
			t.Fatalf("seed %d:\n%s\nmetered:\n%s", seed+uint64(i), said[0], said[1])
		}
		traps += strings.Count(said[0], "error")
		results += strings.Count(said[0], "gives")
	}
	t.Logf("%d results, %d traps", results, traps)
	if results < 4*rounds || traps < rounds/20 {
		t.Errorf("%d results and %d traps of %d modules are too few to mean anything", results, traps, rounds)
	}
}

// runAll writes down what the functions of a module do.
func runAll(t *testing.T, wasm []byte, seed uint64, slice int64) (said string) {
	g := newGas(t.Context(), 0, slice)
	ctx := context.WithValue(t.Context(), gasKey{}, g)
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2))
	defer r.Close(ctx)
	if err := instantiateMeter(ctx, r); err != nil {
		t.Fatal(err)
	}
	next := int32(0)
	_, err := r.NewHostModuleBuilder("env").NewFunctionBuilder().WithFunc(func() int32 { next += 3; return next }).Export("next").Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Instantiate(ctx, wasm)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for i := range genFuncs {
		for _, arg := range []uint64{0, 1, 77777} {
			f := m.ExportedFunction(fmt.Sprint("f", i))
			g.called = f
			v, err := f.Call(ctx, arg)
			if err != nil {
				said += fmt.Sprintf("f%d(%d): error %s\n", i, arg, firstLine(err.Error()))
			} else {
				said += fmt.Sprintf("f%d(%d) gives %x\n", i, arg, uint32(v[0]))
			}
		}
	}
	b, _ := m.Memory().Read(0, m.Memory().Size())
	sum := uint64(len(b))
	for _, c := range b {
		sum = sum*31 + uint64(c)
	}
	return said + fmt.Sprintf("global %x, memory %x, imports called %d", m.ExportedGlobal("g").Get(), sum, next)
}
