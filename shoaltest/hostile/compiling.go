package hostile

import (
	leb "encoding/binary"
	"strings"
)

// Refused are modules that no bound on time or memory needs to stop: they are refused before they are compiled.
// Their Want is the reason.
func Refused() []Guest {
	rep := strings.Repeat
	caps := func(name, want string, wasm []byte) Guest {
		return Guest{Name: name, Wasm: wasm, Limit: "caps", Want: want}
	}
	return []Guest{
		caps("2,000 nested loops, 500 locals", "blocks or loops in one another", Command("\x01\xf4\x03\x7f", rep("\x03\x40", 2000)+rep("\x0b", 2000))),
		caps("a table of 2^27", "a table of 134217728 elements", Table(1<<27, "")),
		caps("300,000 functions", "300000 functions, more than", Funcs(NoMemory, false, make([]string, 300_000)...)),
		caps("4,000,000 locals", "4000000 locals, more than", Command("\x01\x80\x92\xf4\x01\x7f", "")),
		caps("a function of 9 MiB", "more than the limit of 8388608", Command("\x00", rep("\x01", 9<<20))),
	}
}

// Branches is a module, within all caps, of so many branches, each of which may change one of 500 locals that are
// all read in the end: with 5,000 it keeps the compiler busy for seconds, and takes a gigabyte.
func Branches(n int) []byte {
	local := func(op byte, n int) string { return string(leb.AppendUvarint([]byte{op}, uint64(n%500))) }
	var ifs strings.Builder
	for i := range n {
		ifs.WriteString(local(0x20, i+1) + "\x04\x40" + local(0x20, i+7) + local(0x21, i) + "\x0b")
	}
	for i := range 500 {
		ifs.WriteString(local(0x20, i) + "\x1a")
	}
	return Command("\x01\xf4\x03\x7f", ifs.String())
}

// Marked is a module with a section of its own at the end that changes nothing but its name.
func Marked(wasm []byte, mark string) []byte {
	return append(append([]byte(nil), wasm...), "\x00"+Sized(Sized("mark")+mark)...)
}
