package hostile

import (
	leb "encoding/binary"
	"strings"

	"github.com/shoal-fabric/shoal/sandbox/module"
)

// Builder puts a module together out of its sections, by their number.
type Builder struct{ Sections [13]string }

// Build returns the module.
func (w Builder) Build() []byte {
	out := "\x00asm\x01\x00\x00\x00"
	for _, id := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11} {
		if w.Sections[id] != "" {
			out += string(rune(id)) + Sized(w.Sections[id])
		}
	}
	return []byte(out)
}

// Index writes a number as WebAssembly writes indices and sizes.
func Index(n int) string { return string(leb.AppendUvarint(nil, uint64(n))) }

// Vec is a vector: the number of items, and these.
func Vec(items ...string) string { return Index(len(items)) + strings.Join(items, "") }

// Sized is bytes with their length before them.
func Sized(s string) string { return Index(len(s)) + s }

// I32 is the instruction that has a number.
func I32(v int32) string { return string(module.AppendSigned([]byte{0x41}, int64(v))) }

// Pages is a section with one memory of so many pages.
func Pages(n int) string { return Vec("\x00" + Index(n)) }

// NoMemory is a section with a memory of no page, that may have one.
const NoMemory = "\x01\x00\x01"

// None is the type of functions without parameters and results.
const None = "\x60\x00\x00"

// Command is a module of one function, _start, with the locals and instructions given, the last end apart, and a page.
func Command(locals, code string) []byte { return command(Pages(1), "", locals+code) }

func command(memory, table, code string) []byte {
	var w Builder
	w.Sections[1] = Vec(None)
	w.Sections[3] = Vec("\x00")
	w.Sections[4] = table
	w.Sections[5] = memory
	w.Sections[7] = Vec(Sized("_start") + "\x00\x00")
	w.Sections[10] = Vec(Sized(code + "\x0b"))
	return w.Build()
}

// Table is a command, without locals, with a table that may grow.
func Table(size int, code string) []byte {
	return command(NoMemory, Vec("\x70\x00"+Index(size)), "\x00"+code)
}

// Funcs is a module of functions without parameters, of which the last is _start, or the start function too.
func Funcs(memory string, start bool, bodies ...string) []byte {
	var w Builder
	w.Sections[1] = Vec(None)
	w.Sections[3] = Index(len(bodies)) + strings.Repeat("\x00", len(bodies))
	w.Sections[5] = memory
	last := Index(len(bodies) - 1)
	w.Sections[7] = Vec(Sized("_start") + "\x00" + last)
	if start {
		w.Sections[8] = last
	}
	all := make([]string, len(bodies))
	for i, b := range bodies {
		all[i] = Sized("\x00" + b + "\x0b")
	}
	w.Sections[10] = Vec(all...)
	return w.Build()
}

// Doubling is n functions that each call the one before twice: 2^n calls and no loop.
func Doubling(n int) []byte {
	bodies := []string{""}
	for i := range n {
		bodies = append(bodies, strings.Repeat("\x10"+Index(i), 2))
	}
	return Funcs(NoMemory, false, bodies...)
}

// Forever is an endless loop.
func Forever(body string) string { return "\x03\x40" + body + "\x0c\x00\x0b" }

// function is a function of WASI and its type.
type function struct{ name, typ string }

// importing is a command that may call functions of WASI, the first as number 0, and has data in its memory.
func importing(fns []function, memory int, data map[int]string, code string) []byte {
	var w Builder
	types, imports := []string{None}, []string{}
	for i, f := range fns {
		types = append(types, f.typ)
		imports = append(imports, Sized(module.WASI)+Sized(f.name)+"\x00"+Index(i+1))
	}
	var segments []string
	for at, bytes := range data {
		segments = append(segments, "\x00"+I32(int32(at))+"\x0b"+Sized(bytes))
	}
	w.Sections[1] = Vec(types...)
	w.Sections[2] = Vec(imports...)
	w.Sections[3] = Vec("\x00")
	w.Sections[5] = Pages(memory)
	w.Sections[7] = Vec(Sized("_start") + "\x00" + Index(len(fns)))
	w.Sections[10] = Vec(Sized("\x00" + code + "\x0b"))
	if len(segments) > 0 {
		w.Sections[11] = Vec(segments...)
	}
	return w.Build()
}

// calling calls one function of WASI for ever, with the arguments given.
func calling(fn, typ string, memory int, args string) []byte {
	return importing([]function{{fn, typ}}, memory, nil, Forever(args+"\x10\x00\x1a"))
}
