package hostile

import (
	leb "encoding/binary"
	"fmt"
	"strings"
)

// Deep are modules that call themselves for ever, with frames of all kinds. What a frame takes is the engine's to
// decide, and the meter's to guess: most of these are made for values that all outlast a call.
func Deep() (all []Guest) {
	rep := strings.Repeat
	add := func(name string, wasm []byte) {
		all = append(all, Guest{Name: name, Wasm: wasm, Limit: "stack", Want: "stack overflow"})
	}
	load := func(i int) string { return I32(int32(4*i%pageBytes)) + "\x28\x02\x00" }
	write := "\x24\x00" // global.set

	add("nothing in it", recursive("", "", call(1)))
	add("by a table", recursive("", "", I32(1)+"\x11\x00\x00"))
	for _, n := range []int{100, 1000, 4000} {
		add(fmt.Sprint(n, " locals"), recursive("", Index(n)+"\x7f",
			times(n, func(i int) string { return load(i) + set(i) })+call(1)+times(n, func(i int) string { return get(i) + write })))
		add(fmt.Sprint(n, " vectors"), vectors(n))
		add(fmt.Sprint(n, " operands"), recursive("", "", times(n, load)+call(1)+rep(write, n)))
		add(fmt.Sprint(n, " globals"), recursive("", "", rep("\x23\x00", n)+call(1)+rep(write, n)))
		add(fmt.Sprint(n, " selected vectors"), recursive("", Index(1)+"\x7b",
			times(n, func(int) string { return get(0) + "\x22\x00\x23\x01\x23\x00\x1b" })+call(1)+rep("\x24\x01", n)))
		add(fmt.Sprint(n, " branches of a table"), recursive("", Index(100)+"\x7f", rep("\x02\x40", 100)+load(0)+
			"\x0e"+Index(n)+times(n, func(i int) string { return Index(i % 100) })+Index(0)+
			times(100, func(i int) string { return load(i) + set(i) + "\x0b" + call(1) })+times(100, func(i int) string { return get(i) + write })))
	}
	for _, n := range []int{100, 1000} {
		add(fmt.Sprint(n, " branches"), recursive("", Index(500)+"\x7f",
			times(n, func(i int) string { return get((i+1)%500) + "\x04\x40" + load(i) + set(i%500) + "\x0b" + call(1) })+
				times(500, func(i int) string { return get(i) + write })))
	}
	for _, n := range []int{20, 100} {
		each := func(from int) string {
			return Index(n) + times(n+1, func(i int) string { return Index(from + min(i, n-1)) })
		}
		setAll := times(n, func(i int) string { return load(i) + set(i) })
		add(fmt.Sprint(n, " locals that differ at ", n, " joins"), recursive("", Index(n)+"\x7f",
			rep("\x02\x40", n)+setAll+"\x02\x40"+load(0)+"\x0d\x00"+load(1)+"\x0e"+each(1)+"\x0b"+setAll+load(1)+"\x0e"+each(0)+
				times(n, func(int) string { return "\x0b" + load(2) + "\x04\x40" + get(1) + set(0) + "\x0b" + call(1) })+
				times(n, func(i int) string { return get(i) + write })))
		add(fmt.Sprint("1000 operands that a block moves on, ", n, " times"), recursive("", "",
			times(1000, load)+rep(load(1)+"\x04\x02"+load(3)+"\x0c\x00\x05\x0b"+call(1), n)+rep(write, 1000)))
		add(fmt.Sprint("1000 operands in loops, ", n, " times"), recursive("", "",
			times(1000, load)+rep("\x03\x02"+load(1)+load(3)+"\x0d\x00"+"\x24\x00"+load(3)+call(1)+"\x24\x00\x0b", n)+rep(write, 1000)))
		add(fmt.Sprint("1000 results, ", n, " times"), recursive("", "", rep(call(2), n)+call(1)+rep(write, 1000*n)))
	}
	thousand := rep("\x7f", 1000)
	add("1000 parameters", recursive(thousand, "", times(1000, get)+call(1)+times(1000, func(i int) string { return get(i) + write })))
	return all
}

const pageBytes = 64 << 10

// vectors has so many locals that outlast a call.
func vectors(n int) []byte {
	load := func(i int) string { return I32(int32(16*i%pageBytes)) + "\xfd\x00\x04\x00" + set(i) }
	return recursive("", Index(n)+"\x7b", times(n, load)+call(1)+times(n, func(i int) string { return get(i) + "\x24\x01" }))
}

func op(code byte, n int) string { return string(leb.AppendUvarint([]byte{code}, uint64(n))) }

func get(n int) string { return op(0x20, n) }

func set(n int) string { return op(0x21, n) }

func call(n int) string { return op(0x10, n) }

func times(n int, f func(int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(i))
	}
	return b.String()
}

// recursive is a command that calls function 1, which has the parameters, group of locals and instructions given, the
// last end apart. There are two globals, an i32 and a vector, function 2, which gives a thousand i32, and type 2, which
// takes and gives a thousand.
func recursive(params, locals, code string) []byte {
	var w Builder
	thousand := Sized(strings.Repeat("\x7f", 1000))
	if locals = Index(0) + locals; len(locals) > 1 {
		locals = Index(1) + locals[1:]
	}
	w.Sections[1] = Vec(None, "\x60"+Sized(params)+"\x00", "\x60"+thousand+thousand, "\x60\x00"+thousand)
	w.Sections[3] = Vec("\x00", "\x01", "\x03")
	w.Sections[4] = Vec("\x70\x00\x02")
	w.Sections[5] = Pages(1)
	w.Sections[6] = Vec("\x7f\x01"+I32(5)+"\x0b", "\x7b\x01\xfd\x0c"+strings.Repeat("\x07", 16)+"\x0b")
	w.Sections[7] = Vec(Sized("_start") + "\x00\x00")
	w.Sections[9] = Vec("\x00" + I32(0) + "\x0b" + Vec("\x00", "\x01"))
	w.Sections[10] = Vec(
		Sized("\x00"+strings.Repeat(I32(1), len(params))+call(1)+"\x0b"),
		Sized(locals+code+"\x0b"),
		Sized("\x00"+times(1000, func(i int) string { return I32(int32(4*i)) + "\x28\x02\x00" })+"\x0b"),
	)
	return w.Build()
}
