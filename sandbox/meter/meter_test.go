package meter

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/module"
)

func free(string, string) Call { return Call{} }

// command is a module with one type, (i32) -> i32, a mutable global, and one function.
func command(change func(*module.Module), body ...byte) []byte {
	m := &module.Module{
		Types:     []module.FuncType{{Params: []byte{module.I32}, Results: []byte{module.I32}}},
		Functions: []uint32{0},
		Memories:  []module.Limits{{Min: 1}},
		Tables:    []module.Table{{Elem: module.FuncRef, Limits: module.Limits{Min: 4}}},
		Globals:   []module.Global{{GlobalType: module.GlobalType{Type: module.I64, Mutable: true}, Init: module.Expr{Op: module.OpI64Const}}},
		Bodies:    [][]byte{append(append([]byte{0}, body...), module.OpEnd)},
	}
	if change != nil {
		change(m)
	}
	return m.Encode()
}

// TestNothingAddedCanBeNamed has guests that name what would be theirs if it were not ours.
func TestNothingAddedCanBeNamed(t *testing.T) {
	export := func(name string, kind byte, index uint32) func(*module.Module) {
		return func(m *module.Module) { m.Exports = []module.Export{{Name: name, Kind: kind, Index: index}} }
	}
	one := uint32(1)
	expr := func(op byte, v uint64) module.Expr { return module.Expr{Op: op, V: v} }
	for _, c := range []struct {
		name, want string
		wasm       []byte
	}{
		{"global.get", "global 1, and there are 1", command(nil, 0x23, 1)},
		{"global.set", "global 1, and there are 1", command(nil, 0x42, 0, 0x24, 1)},
		{"exported global", "global 1, and there are 1", command(export("g", module.KindGlobal, 1))},
		{"exported function", "function 1, and there are 1", command(export("f", module.KindFunc, 1))},
		{"call", "function 1, and there are 1", command(nil, 0x10, 1)},
		{"ref.func", "function 1, and there are 1", command(nil, 0xd2, 1)},
		{"block type", "type 1, and there are 1", command(nil, 0x02, 1, 0x0b)},
		{"loop type", "type 1, and there are 1", command(nil, 0x03, 1, 0x0b)},
		{"call_indirect", "type 1, and there are 1", command(nil, 0x11, 1, 0)},
		{"label beyond loops", "a branch leaves 2 blocks, and 1 are open", command(nil, 0x03, 0x40, 0x0c, 2, 0x0b)},
		{"br_table", "a branch leaves 9 blocks", command(nil, 0x0e, 1, 0, 9)},
		{"function type", "a function has type 1", command(func(m *module.Module) { m.Functions[0] = 1 })},
		{"imported function type", "a function has type 7", command(func(m *module.Module) {
			m.Imports = []module.Import{{Module: "m", Name: "f", Type: 7}}
		})},
		{"start function", "its start function is 1", command(func(m *module.Module) { m.Start = &one })},
		{"start function's type", "takes parameters", command(func(m *module.Module) { m.Start = new(uint32) })},
		{"element", "function 5, and there are 1", command(func(m *module.Module) {
			m.Elements = []module.Element{{Offset: expr(module.OpI32Const, 0), Funcs: []uint32{5}}}
		})},
		{"element expression", "function 5, and there are 1", command(func(m *module.Module) {
			m.Elements = []module.Element{{Flags: 5, Kind: module.FuncRef, Exprs: []module.Expr{expr(module.OpRefFunc, 5)}}}
		})},
		{"offset", "global 1, and there are 1", command(func(m *module.Module) {
			m.Data = []module.Segment{{Offset: expr(module.OpGlobalGet, 1)}}
		})},
		{"initialiser", "global 2, and there are 2", command(func(m *module.Module) {
			m.Globals = append(m.Globals, module.Global{GlobalType: m.Globals[0].GlobalType, Init: expr(module.OpGlobalGet, 2)})
		})},
		{"table of table.fill", "table 1, and there are 1", command(nil, 0x41, 0, 0xd0, 0x70, 0x41, 0, 0xfc, 17, 1)},
		{"reserved export", "reserved", command(export(Fuel, module.KindFunc, 0))},
		{"another reserved export", "reserved", command(export("shoal:", module.KindFunc, 0))},
		{"reserved import", "reserved", command(func(m *module.Module) {
			m.Imports = []module.Import{{Module: HostModule, Name: Refuel, Type: 0}}
		})},
		{"another reserved import", "reserved", command(func(m *module.Module) {
			m.Imports = []module.Import{{Module: HostModule, Name: Deep, Type: 0}}
		})},
		{"global.set of the second that is ours", "global 2, and there are 1", command(nil, 0x41, 0, 0x24, 2)},
		{"call of the host's second", "function 2, and there are 1", command(nil, 0x10, 2)},
		{"no module", "does not start as a module", []byte("(module)")},
	} {
		_, _, err := Rewrite(c.wasm, free)
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// TestEveryInstructionIsCharged compares the weights of a body with its instructions, for bodies of
// blocks at random.
func TestEveryInstructionIsCharged(t *testing.T) {
	for _, c := range []struct {
		name    string
		body    string
		weights []int64
		extra   []int
	}{
		{"straight", strings.Repeat("\x01", 9) + "\x0b", []int64{10}, nil},
		{"loop", "\x01\x03\x40\x01\x01\x0b\x01\x0b", []int64{4, 3}, nil},
		{"loops in one another", "\x03\x40\x01\x03\x40\x01\x0b\x01\x0b\x0b", []int64{2, 4, 2}, nil},
		{"long", strings.Repeat("\x01", stretch+5) + "\x0b", []int64{stretch, 6}, []int{stretch}},
		{
			"long, in a branch that may not be taken", "\x41\x00\x04\x40" + strings.Repeat("\x01", stretch) + "\x0b\x01\x0b",
			[]int64{stretch, 3, 2},
			[]int{stretch, stretch + 3},
		},
	} {
		body, err := module.ReadBody([]byte("\x00" + c.body))
		if err != nil {
			t.Fatal(err)
		}
		p, err := newWriter(&module.Module{Types: make([]module.FuncType, 1)}).survey(body, 0)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		sum, n := int64(0), int64(0)
		for _, w := range p.weights {
			sum += w
		}
		_ = body.Each(func(*module.Instruction) error { n++; return nil })
		if sum != n {
			t.Errorf("%s: %d of %d instructions are charged", c.name, sum, n)
		}
		if !equal(p.weights, c.weights) || !equal(p.extra, c.extra) {
			t.Errorf("%s: %v at %v, want %v at %v", c.name, p.weights, p.extra, c.weights, c.extra)
		}
	}
}

func equal[T comparable](a, b []T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestFramesAreGuessed has functions that take more stack for each of the reasons there are, and leaves, which nothing is
// called from.
func TestFramesAreGuessed(t *testing.T) {
	thousand := bytes.Repeat([]byte{module.I64}, 1000)
	w := newWriter(&module.Module{
		Types:     []module.FuncType{{}, {Params: thousand}, {Results: thousand}},
		Imports:   []module.Import{{Module: "m", Name: "f"}},
		Functions: []uint32{0, 2}, Bodies: make([][]byte, 2),
	})
	set := "\x41\x00\x21\x00"
	for _, c := range []struct {
		name  string
		typ   uint32
		body  string
		calls bool
		bytes int64
	}{
		{"leaf", 0, "\x00\x0b", false, 4},
		{"a call of an import", 0, "\x00\x10\x00\x0b", false, 8},
		{"a call", 0, "\x00\x10\x01\x0b", true, 8},
		{"a call by a table", 0, "\x00\x41\x00\x11\x00\x00\x0b", true, 12},
		{"parameters", 1, "\x00\x0b", false, 8004},
		{"results", 2, "\x00\x0b", false, 8004},
		{"results of a call", 0, "\x00\x10\x02\x0b", true, 8008},
		{"results of a call by a table", 0, "\x00\x41\x00\x11\x02\x00\x0b", true, 8012},
		{"results of a block", 0, "\x00\x02\x02\x0b\x0b", false, 8012},
		{"locals", 0, "\x01\x64\x7f\x0b", false, 804},
		{"vectors", 0, "\x01\x64\x7b\x0b", false, 1604},
		{"a local that is set, and no join", 0, "\x01\x64\x7f" + set + "\x0b", false, 812},
		{"a join", 0, "\x01\x64\x7f\x02\x40" + set + "\x0b\x0b", false, 828},
		{"a vector's join", 0, "\x01\x64\x7b\x02\x40" + set + "\x0b\x0b", false, 1636},
		{"two joins", 0, "\x01\x64\x7f\x02\x40\x02\x40" + set + set + "\x0b\x0b\x0b", false, 800 + 9*4 + 4*8},
		{"one local set twice", 0, "\x01\x01\x7f\x02\x40" + set + set + "\x0b\x0b", false, 8 + 7*4 + 8},
		{"an instruction on vectors", 0, "\x00\xfd\x4d\x0b", false, 20},
	} {
		body, err := module.ReadBody([]byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.survey(body, c.typ)
		if err != nil || p.frame.calls != c.calls || int64(p.frame.size()) != frameLeast+c.bytes {
			t.Errorf("%s: %d bytes, calls %v, %v; want %d and %v", c.name, p.frame.size()-frameLeast, p.frame.calls, err, c.bytes, c.calls)
		}
	}
}

// TestInstancePrice has what costs before the first instruction.
func TestInstancePrice(t *testing.T) {
	_, small, err := Rewrite(command(nil, 0x20, 0), free)
	if err != nil {
		t.Fatal(err)
	}
	_, large, err := Rewrite(command(func(m *module.Module) {
		m.Memories[0].Min = 1000
		m.Tables[0].Min = 1000
		m.Data = []module.Segment{{Offset: module.Expr{Op: module.OpI32Const}, Bytes: make([]byte, 1<<20)}}
	}, 0x20, 0), free)
	if want := uint64(999*gasPage + 996*gasElement + 1<<20/gasBytes); err != nil || large.Instance-small.Instance != want {
		t.Errorf("%d more, want %d, %v", large.Instance-small.Instance, want, err)
	}
}

// TestTablesGrowLittle has all tables of a module grow as far as they may.
func TestTablesGrowLittle(t *testing.T) {
	for _, c := range []struct {
		tables []module.Limits
		want   []uint32
	}{
		{[]module.Limits{{Min: 4}}, []uint32{module.MaxGrown}},
		{[]module.Limits{{Min: 4, Max: 10, Bounded: true}}, []uint32{10}},
		{[]module.Limits{{Min: 4, Max: 1 << 31, Bounded: true}, {Min: 500_000}}, []uint32{module.MaxGrown / 2, 500_000}},
		{make([]module.Limits, 1000), slices.Repeat([]uint32{module.MaxGrown / 1000}, 1000)},
	} {
		out, _, err := Rewrite(command(func(m *module.Module) {
			m.Tables = nil
			for _, l := range c.tables {
				m.Tables = append(m.Tables, module.Table{Elem: module.FuncRef, Limits: l})
			}
		}, 0x20, 0), free)
		if err != nil {
			t.Fatal(err)
		}
		m, err := module.Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			if l := m.Tables[i].Limits; !l.Bounded || l.Max != w {
				t.Errorf("table %d of %d: %+v, want %d at most", i, len(c.want), l, w)
			}
		}
	}
}

// FuzzRewrite wants no panic, and what comes out to be a module that decodes to itself and that is
// refused if it comes again.
func FuzzRewrite(f *testing.F) {
	f.Add(command(nil, 0x03, 0, 0x23, 0, 0x42, 1, 0x24, 0, 0x41, 1, 0x0d, 0, 0x0b))
	f.Add(command(nil, 0x02, 0x40, 0x41, 0, 0x0e, 2, 0, 1, 0, 0x0b))
	f.Add(command(nil, 0x41, 1, 0x41, 2, 0x41, 3, 0xfc, 11, 0, 0x41, 1, 0x40, 0))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		before := bytes.Clone(wasm)
		out, info, err := Rewrite(wasm, func(string, string) Call { return Call{Gas: 7, Caps: []Cap{{0, 10, 1}}} })
		if !bytes.Equal(before, wasm) {
			t.Fatal("the module has changed under our hands")
		}
		if err != nil {
			if shoal.KindOf(err) != shoal.Invalid {
				t.Fatalf("kind %v: %v", shoal.KindOf(err), err)
			}
			return
		}
		if info.Instance < gasInstance {
			t.Fatalf("an instance costs %d", info.Instance)
		}
		m, err := module.Parse(out)
		if err != nil {
			if strings.Contains(err.Error(), "more than the limit of") { // what is added counts too
				return
			}
			t.Fatalf("what came out: %v", err)
		}
		if again := m.Encode(); !bytes.Equal(again, out) {
			t.Fatal("what came out is not in its shortest form")
		}
		if _, _, err := Rewrite(out, free); err == nil {
			t.Fatal("a metered module is taken for a guest's")
		}
	})
}
