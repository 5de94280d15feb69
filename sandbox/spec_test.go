package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/shoal-fabric/shoal/sandbox/meter"
)

// specCommand is a step of the WebAssembly core test suite, as wast2json writes it.
type specCommand struct {
	Type       string     `json:"type"`
	Line       int        `json:"line"`
	Name       string     `json:"name"`
	Filename   string     `json:"filename"`
	As         string     `json:"as"`
	ModuleType string     `json:"module_type"`
	Action     specAction `json:"action"`
}

type specAction struct {
	Type   string      `json:"type"`
	Module string      `json:"module"`
	Field  string      `json:"field"`
	Args   []specValue `json:"args"`
}

type specValue struct {
	Type string          `json:"type"`
	Lane string          `json:"lane_type"`
	Raw  json.RawMessage `json:"value"`
}

// bits is the value as the engine takes it.
func (v specValue) bits(t *testing.T) []uint64 {
	number := func(s, typ string) uint64 {
		switch {
		case s == "null":
			return 0
		case strings.HasPrefix(s, "nan"):
			if strings.Contains(typ, "32") {
				return 0x7fc00000
			}
			return 0x7ff8 << 48
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			signed, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			n = uint64(signed)
		}
		switch {
		case typ == "externref":
			n++ // zero is null
		case strings.Contains(typ, "32"):
			n = uint64(uint32(n))
		}
		return n
	}
	if v.Type != "v128" {
		var s string
		_ = json.Unmarshal(v.Raw, &s)
		if s == "" {
			s = "null"
		}
		return []uint64{number(s, v.Type)}
	}
	var lanes []string
	if err := json.Unmarshal(v.Raw, &lanes); err != nil {
		t.Fatal(err)
	}
	width, out := 128/len(lanes), make([]uint64, 2)
	for i, s := range lanes {
		n := number(s, v.Lane)
		if width < 64 {
			n &= 1<<width - 1
		}
		out[i*width/64] |= n << (i * width % 64)
	}
	return out
}

// specSide is one of two engines that go through the same steps: of modules as they are, or metered.
type specSide struct {
	t       *testing.T
	ctx     context.Context
	r       wazero.Runtime
	metered bool
	gas     *gas
	named   map[string]api.Module
	last    api.Module
}

func newSpecSide(t *testing.T, spectest []byte, metered bool) *specSide {
	s := &specSide{t: t, metered: metered, named: map[string]api.Module{}}
	s.gas = newGas(t.Context(), 0, 0)
	s.ctx = context.WithValue(t.Context(), gasKey{}, s.gas)
	s.r = wazero.NewRuntimeWithConfig(s.ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(65535))
	t.Cleanup(func() { _ = s.r.Close(context.Background()) })
	if err := instantiateMeter(s.ctx, s.r); err != nil {
		t.Fatal(err)
	}
	if _, err := s.r.InstantiateWithConfig(s.ctx, spectest, wazero.NewModuleConfig()); err != nil {
		t.Fatal(err)
	}
	return s
}

// errUnmetered says that the rewriter refused a module.
type errUnmetered struct{ error }

func (s *specSide) instantiate(wasm []byte, name string) (api.Module, error) {
	info := meter.Info{}
	if s.metered {
		out, i, err := meter.Rewrite(wasm, callOf)
		if err != nil {
			return nil, errUnmetered{err}
		}
		wasm, info = out, i
	}
	m, err := s.r.InstantiateWithConfig(s.ctx, wasm, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
	if err == nil && info.Start {
		if err = s.gas.call(s.ctx, m.ExportedFunction(meter.Start), nil); err != nil {
			_ = m.Close(s.ctx)
		}
	}
	return m, err
}

// act does what an action says, and writes down what came of it.
func (s *specSide) act(a specAction) (out string) {
	m := s.last
	if a.Module != "" {
		m = s.named[a.Module]
	}
	if m == nil {
		return "no module"
	}
	if a.Type == "get" {
		return fmt.Sprint(m.ExportedGlobal(a.Field).Get())
	}
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.bits(s.t)...)
	}
	f := m.ExportedFunction(a.Field)
	s.gas.called = f
	results, err := f.Call(s.ctx, args...)
	if err != nil {
		return firstLine(err.Error())
	}
	i := 0
	for _, t := range f.Definition().ResultTypes() {
		switch {
		case t == api.ValueTypeI32 || t == api.ValueTypeF32:
			out += fmt.Sprintf("%x ", uint32(results[i]))
		case t == 0x70 && results[i] != 0: // a function: the address differs
			out += "function "
		case t == 0x7b:
			out += fmt.Sprintf("%x:", results[i])
			i++
			fallthrough
		default:
			out += fmt.Sprintf("%x ", results[i])
		}
		i++
	}
	return out
}

// memory is the memory of the last module, or the first part of a large one.
func (s *specSide) memory() []byte {
	if s.last == nil {
		return nil
	}
	m := s.last.Memory()
	if m == nil || reflect.ValueOf(m).IsNil() {
		return nil
	}
	b, _ := m.Read(0, min(m.Size(), 1<<20))
	return b
}

// specDir is where the engine keeps the WebAssembly core test suite.
func specDir(t *testing.T) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
}

// TestSpecSuite takes the WebAssembly core test suite through the engine twice, as it is and metered, and
// wants the same results, traps and refusals.
func TestSpecSuite(t *testing.T) {
	dir := specDir(t)
	spectest, err := os.ReadFile(filepath.Join(dir, "testdata", "spectest.wasm"))
	if err != nil {
		t.Skip("the engine's source comes without the WebAssembly core test suite: ", err)
	}
	cases, err := filepath.Glob(filepath.Join(dir, "v2", "testdata", "*.json"))
	if err != nil || len(cases) < 100 {
		t.Fatalf("%d files of cases, %v", len(cases), err)
	}
	total := map[string]int{}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			maps.Copy(total, specCase(t, path, spectest, total))
		})
	}
	for _, kind := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%6d %s", total[kind], kind)
	}
	if total["assert_return"] < 20_000 || total["assert_trap"] < 1000 {
		t.Errorf("too little was compared: %v", total)
	}
}

func specCase(t *testing.T, path string, spectest []byte, before map[string]int) map[string]int {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var suite struct {
		Commands []specCommand `json:"commands"`
	}
	if err := json.Unmarshal(raw, &suite); err != nil {
		t.Fatal(err)
	}
	count := maps.Clone(before)
	plain, metered := newSpecSide(t, spectest, false), newSpecSide(t, spectest, true)
	for i, c := range suite.Commands {
		var wasm []byte
		if c.Filename != "" && strings.HasSuffix(c.Filename, ".wasm") {
			if wasm, err = os.ReadFile(filepath.Join(filepath.Dir(path), c.Filename)); err != nil {
				t.Fatal(err)
			}
		}
		switch c.Type {
		case "module":
			as := ""
			if i+1 < len(suite.Commands) && suite.Commands[i+1].Type == "register" {
				as = suite.Commands[i+1].As
			}
			for _, s := range []*specSide{plain, metered} {
				m, err := s.instantiate(wasm, as)
				if err != nil {
					t.Fatalf("line %d: %s: metered %v: %v", c.Line, c.Filename, s.metered, err)
				}
				s.last = m
				if c.Name != "" {
					s.named[c.Name] = m
				}
			}
		case "register":
			continue
		case "assert_return", "action", "assert_trap", "assert_exhaustion":
			want, got := plain.act(c.Action), metered.act(c.Action)
			if want != got {
				t.Errorf("line %d: %s %s: %q, metered %q", c.Line, c.Type, c.Action.Field, want, got)
			}
			if !bytes.Equal(plain.memory(), metered.memory()) && c.Type != "assert_exhaustion" {
				t.Errorf("line %d: %s: the memory differs", c.Line, c.Action.Field)
			}
		case "assert_malformed", "assert_invalid", "assert_unlinkable", "assert_uninstantiable":
			if wasm == nil {
				count[c.Type+" as text, left out"]++
				continue
			}
			_, want := plain.instantiate(wasm, "")
			_, got := metered.instantiate(wasm, "")
			if (want == nil) != (got == nil) {
				t.Errorf("line %d: %s: %s: %v, metered %v", c.Line, c.Type, c.Filename, want, got)
			}
		default:
			t.Fatalf("line %d: %s is unknown", c.Line, c.Type)
		}
		count[c.Type]++
	}
	if g := metered.gas.given; g > math.MaxInt64/2 {
		t.Errorf("%d gas was given", g)
	}
	return count
}
