package module

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// The caps on what a module may hold. They bound the time and memory of compiling it, and lie far above
// what compilers emit.
const (
	maxFunctions = 200_000
	maxTypes     = 100_000
	maxNames     = 100_000   // imports, exports, globals, element segments
	maxEntries   = 1_000_000 // of any other vector
	maxLocals    = 50_000    // of one function
	maxBody      = 8 << 20   // bytes of one function
	maxTables    = 1000
	maxNesting   = 20_000 // blocks in one another; compilers turn a switch into a nest of blocks
	maxLoops     = 100    // loops in one another
	maxParams    = 1000   // of one function
	maxPages     = 1 << 16

	// MaxTable is how many elements all tables may start with.
	MaxTable = 1 << 20

	// MaxGrown is how many elements the tables that grow beyond that may have, all together. Growing copies a
	// table, and nothing else has the processor meanwhile: a mebibyte is what may be copied at once.
	MaxGrown = 1 << 17
)

const pageSize = 64 << 10

const tryBuild = "build it as a WASI command: wasm32-wasi (C, Rust) or GOOS=wasip1 GOARCH=wasm (Go)"

// Inspect says what a module is. The error has kind Invalid and names what is wrong: with the file, or
// with what the module needs. wasm stays the caller's; nothing of it is kept.
func Inspect(wasm []byte) (shoal.ModuleInfo, error) {
	info := shoal.ModuleInfo{Bytes: len(wasm)}
	if len(wasm) > wire.MaxModule {
		return info, invalid(fmt.Sprintf("%d bytes, more than the limit of %d", len(wasm), wire.MaxModule),
			"strip it, or put the data it carries into a dataset")
	}
	if why, try := foreign(wasm); why != "" {
		return info, invalid(why, try)
	}
	m, err := Parse(wasm)
	if err == nil {
		err = m.walk()
	}
	if err == nil {
		err = m.judge()
	}
	if err != nil {
		return info, err
	}
	for _, i := range m.Imports {
		info.Imports = append(info.Imports, i.Module+"."+i.Name)
	}
	info.Kind = "library"
	for _, e := range m.Exports {
		info.Exports = append(info.Exports, e.Name)
		switch {
		case e.Kind == KindFunc && e.Name == "_start":
			info.Kind = "command"
		case e.Kind == KindFunc && e.Name == "_initialize" && info.Kind == "library":
			info.Kind = "reactor"
		}
	}
	if info.Kind != "command" {
		if info.Methods, err = m.methods(); err != nil {
			return info, err
		}
		slices.Sort(info.Methods)
	}
	for _, l := range m.Memories {
		info.Memory, info.MaxMem = uint64(l.Min)*pageSize, 1<<32
		if l.Bounded {
			info.MaxMem = uint64(min(l.Max, maxPages)) * pageSize
		}
	}
	return info, nil
}

// walk looks at each instruction, as far as nesting and features are concerned.
func (m *Module) walk() error {
	for i, b := range m.Bodies {
		body, err := ReadBody(b)
		if err == nil {
			err = body.Each(func(*Instruction) error { return nil })
		}
		if err != nil {
			return broken(sectionName(10), fmt.Errorf("function %d: %w", int(m.Imported(KindFunc))+i, err))
		}
	}
	return nil
}

func invalid(why, try string) *shoal.Error { return shoal.E(shoal.Invalid, "module", why, try) }

// foreign recognises files that are no core module: it says what they are instead, or nothing.
func foreign(b []byte) (why, try string) {
	if bytes.HasPrefix(b, []byte("\x00asm")) {
		switch {
		case len(b) < 8:
			return "not WebAssembly: it ends after " + fmt.Sprint(len(b)) + " bytes", "build or copy it again"
		case bytes.Equal(b[4:8], []byte{1, 0, 0, 0}):
			return "", ""
		case b[6] == 1 && b[7] == 0:
			return "a WebAssembly component, and components are not offered",
				"build a core module: target wasm32-wasip1, not wasip2"
		}
		return fmt.Sprintf("WebAssembly version %d, and only version 1 is offered", b[4]), tryBuild
	}
	if len(b) == 0 {
		return "not WebAssembly: the file is empty", "build or copy it again"
	}
	what := ""
	for _, f := range []struct{ magic, what string }{
		{"\x7fELF", "a native program or library (ELF)"},
		{"MZ", "a Windows program"},
		{"\xcf\xfa\xed\xfe", "a macOS program"},
		{"\xca\xfe\xba\xbe", "a macOS program or Java class"},
		{"!<arch>\n", "a library archive"},
		{"BC\xc0\xde", "LLVM bitcode"},
		{"#!", "a script"},
		{"PK\x03\x04", "a zip file"},
		{"\x1f\x8b", "a gzip file"},
	} {
		if bytes.HasPrefix(b, []byte(f.magic)) {
			what = ", " + f.what
			break
		}
	}
	if text(b) {
		return "not WebAssembly: it is the text form (.wat)", "assemble it: wat2wasm FILE"
	}
	return fmt.Sprintf("not WebAssembly: starts with %q%s", b[:min(len(b), 8)], what), tryBuild
}

// text reports whether b looks like the text format: "(module" after blanks and comments.
func text(b []byte) bool {
	s := string(b[:min(len(b), 64<<10)])
	for {
		s = strings.TrimLeft(s, " \t\r\n\ufeff")
		switch {
		case strings.HasPrefix(s, ";;"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "(;"):
			_, s, _ = strings.Cut(s, ";)")
		case strings.HasPrefix(s, "("):
			s = strings.TrimLeft(s[1:], " \t\r\n")
			return strings.HasPrefix(s, "module") || strings.HasPrefix(s, "component")
		default:
			return false
		}
	}
}

// judge holds what the sections say against what the sandbox offers.
func (m *Module) judge() error {
	for _, c := range m.Customs {
		if c.Name == "linking" || strings.HasPrefix(c.Name, "reloc.") {
			return invalid("an object file that was not linked yet", "link it: compile without -c")
		}
	}
	for i := range m.Imports {
		if err := m.offer(&m.Imports[i]); err != nil {
			return err
		}
	}
	types := m.FuncTypes()
	for _, e := range m.Exports {
		if e.Kind != KindFunc || e.Name != "_start" {
			continue
		}
		if uint64(e.Index) >= uint64(len(types)) {
			return broken(sectionName(7), errNoFunction(e.Index))
		}
		s, err := m.signature(types[e.Index])
		if err != nil {
			return broken(sectionName(3), err)
		}
		if s != ":" {
			return invalid("its _start takes parameters or returns results: it is no WASI command", tryBuild)
		}
	}
	if len(m.Imports) > 0 && len(m.Memories) == 0 {
		return invalid("it imports functions and has no memory for them", tryBuild)
	}
	return nil
}

func errNoFunction(i uint32) error { return fmt.Errorf("there is no function %d", i) }

// signature writes type i as the table of WASI has it.
func (m *Module) signature(i uint32) (string, error) {
	if uint64(i) >= uint64(len(m.Types)) {
		return "", fmt.Errorf("there is no type %d", i)
	}
	var s strings.Builder
	for i, types := range [][]byte{m.Types[i].Params, m.Types[i].Results} {
		if i == 1 {
			s.WriteByte(':')
		}
		for _, t := range types {
			switch t {
			case I32:
				s.WriteByte('i')
			case I64:
				s.WriteByte('I')
			default:
				s.WriteByte('?')
			}
		}
	}
	return s.String(), nil
}

// offer fails for an import that the sandbox does not offer, with a guess at where it comes from.
func (m *Module) offer(i *Import) error {
	mod, name := i.Module, i.Name
	full := mod + "." + name
	want := ""
	switch {
	case i.Kind != KindFunc:
	case mod == WASI:
		want = signature(name)
	case mod == Agent:
		want = AgentCall(name)
	}
	if want != "" {
		got, err := m.signature(i.Type)
		if err != nil {
			return broken(sectionName(2), err)
		}
		if got != want {
			return invalid(fmt.Sprintf("imports %s with the type %s instead of %s", full, got, want), tryBuild)
		}
		return nil
	}
	try := tryBuild
	switch {
	case i.Kind == KindMemory:
		try = "link it with a memory of its own: without --import-memory"
	case mod == "gojs" || mod == "go":
		try = "it was built for browsers (GOOS=js): build it with GOOS=wasip1 GOARCH=wasm"
	case strings.HasPrefix(mod, "wbg") || strings.HasPrefix(mod, "__wbindgen"):
		try = "it was built for browsers (wasm-bindgen): build it for wasm32-wasip1"
	case mod == "env" && strings.HasPrefix(name, "emscripten"), mod == "a" && len(name) == 1:
		try = "it was built for browsers (Emscripten): add -sSTANDALONE_WASM, or build it with wasi-sdk"
	case mod == "wasi_unstable":
		try = "it was built for a WASI older than preview 1: build it with a newer compiler"
	case mod == Agent:
		try = "it was built for a newer node: update this one, or build it with an older SDK"
	case strings.HasPrefix(mod, "wasi:"):
		try = "it was built for WASI preview 2: build it for wasm32-wasip1"
	case mod == "env":
		try = "a function is declared and not linked in, or it was not built for wasm32-wasi"
	}
	return invalid("imports "+full+", which is not offered", try)
}
