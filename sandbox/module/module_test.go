package module

import (
	"bytes"
	leb "encoding/binary"
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/examples"
	"github.com/shoal-fabric/shoal/wire"
)

// vec is a vector of the binary format: its length and its items.
func vec(items ...string) string {
	return string(leb.AppendUvarint(nil, uint64(len(items)))) + strings.Join(items, "")
}

func name(s string) string { return string(leb.AppendUvarint(nil, uint64(len(s)))) + s }

func section(id byte, content string) string { return string(rune(id)) + name(content) }

// TestGlance has beginnings of good modules, of all lengths, and of those that are beyond a cap.
func TestGlance(t *testing.T) {
	good := [][]byte{[]byte("\x7fELF, and no module"), []byte(command("\x0b")), []byte(importing("m", "f", "\x60\x00\x00"))}
	for _, e := range examples.All() {
		good = append(good, e.Module)
	}
	for i, wasm := range good {
		for n := 0; n < len(wasm); n += 1 + n/200 {
			if err := Glance(wasm[:n]); err != nil {
				t.Fatalf("module %d: %d bytes of %d: %v", i, n, len(wasm), err)
			}
		}
		if err := Glance(wasm); err != nil {
			t.Errorf("module %d: %v", i, err)
		}
	}
	large := command(strings.Repeat("\x01", maxBody) + "\x0b")
	for name, c := range map[string]struct {
		wasm  string
		bytes int
	}{
		"a large function": {large, 100},
		"many functions":   {"\x00asm\x01\x00\x00\x00" + section(3, string(leb.AppendUvarint(nil, maxFunctions+1))+strings.Repeat("\x00", maxFunctions+1)), 20},
	} {
		_, want := Inspect([]byte(c.wasm))
		got := Glance([]byte(c.wasm[:c.bytes]))
		if want == nil || got == nil || got.Error() != want.Error() || shoal.KindOf(got) != shoal.Invalid {
			t.Errorf("%s: %v at a glance, and %v", name, got, want)
		}
		if err := Glance([]byte(c.wasm[:10])); err != nil {
			t.Errorf("%s: %v already", name, err)
		}
	}
}

// command is a module with a _start that has the given body.
func command(body string) string {
	return "\x00asm\x01\x00\x00\x00" +
		section(1, vec("\x60\x00\x00")) +
		section(3, vec("\x00")) +
		section(7, vec(name("_start")+"\x00\x00")) +
		section(10, vec(name("\x00"+body)))
}

func importing(mod, fn, typ string) string {
	return "\x00asm\x01\x00\x00\x00" +
		section(1, vec(typ)) +
		section(2, vec(name(mod)+name(fn)+"\x00\x00")) +
		section(5, vec("\x00\x01"))
}

func TestInspect(t *testing.T) {
	for _, e := range examples.All() {
		info, err := Inspect(e.Module)
		kind := "command"
		if strings.Contains(e.About, "method") {
			kind = "reactor"
		}
		if err != nil || info.Kind != kind || (kind == "reactor") != (len(info.Methods) > 0) || info.Bytes != len(e.Module) || info.Memory == 0 {
			t.Errorf("%s: %+v, %v", e.Name, info, err)
		}
	}
	info, err := Inspect([]byte(command("\x0b")))
	if err != nil || info.Kind != "command" || info.Memory != 0 || len(info.Imports) != 0 {
		t.Errorf("the empty command: %+v, %v", info, err)
	}
	info, err = Inspect([]byte("\x00asm\x01\x00\x00\x00" +
		section(1, vec("\x60\x00\x00")) + section(3, vec("\x00", "\x00")) + section(5, vec("\x01\x02\x04")) +
		section(7, vec(name("_initialize")+"\x00\x00", name("turn")+"\x00\x01")) +
		section(10, vec(name("\x00\x0b"), name("\x00\x0b")))))
	if err != nil || info.Kind != "reactor" || len(info.Exports) != 2 || info.Memory != 2<<16 || info.MaxMem != 4<<16 {
		t.Errorf("the reactor: %+v, %v", info, err)
	}
}

func TestInspectNamesTheFault(t *testing.T) {
	deep := func(op string, n int) string {
		return command(strings.Repeat(op+"\x40", n) + strings.Repeat("\x0b", n+1))
	}
	for _, c := range []struct{ name, wasm, want string }{
		{"empty", "", "the file is empty"},
		{"cut magic", "\x00as", "not WebAssembly"},
		{"cut version", "\x00asm\x01", "ends after 5 bytes"},
		{"text of a poem", "Tyger Tyger", `not WebAssembly: starts with "Tyger Ty"`},
		{"ELF", "\x7fELF\x02\x01\x01\x00\x00", `starts with "\x7fELF\x02\x01\x01\x00", a native program or library (ELF)`},
		{"script", "#!/bin/sh\n", "a script"},
		{"wat", " ;; hello\n(; a\n b ;) ( module)", "text form (.wat)"},
		{"component", "\x00asm\x0d\x00\x01\x00", "component"},
		{"version", "\x00asm\x02\x00\x00\x00", "version 2"},
		{"too large", "\x00asm\x01\x00\x00\x00" + strings.Repeat("\x00", wire.MaxModule), "more than the limit of 67108864"},
		{"cut", command("\x0b")[:len(command("\x0b"))-1], "it ends too early"},
		{"trailing", command("\x0b") + "\x01", "too early"},
		{"order", "\x00asm\x01\x00\x00\x00" + section(3, vec()) + section(1, vec()), "twice or in the wrong place"},
		{"unknown section", "\x00asm\x01\x00\x00\x00" + section(14, ""), "no such section"},
		{"env", importing("env", "foo", "\x60\x00\x00"), "imports env.foo, which is not offered: a function is declared"},
		{"js", importing("gojs", "runtime.wasmExit", "\x60\x00\x00"), "GOOS=wasip1"},
		{"old WASI", importing("wasi_unstable", "fd_write", "\x60\x00\x00"), "older than preview 1"},
		{"unknown WASI", importing(WASI, "fd_fly", "\x60\x00\x00"), "imports wasi_snapshot_preview1.fd_fly, which is not offered"},
		{"WASI type", importing(WASI, "fd_close", "\x60\x00\x00"), "with the type : instead of i:i"},
		{"no memory", "\x00asm\x01\x00\x00\x00" + section(1, vec("\x60\x01\x7f\x01\x7f")) +
			section(2, vec(name(WASI)+name("fd_close")+"\x00\x00")), "no memory"},
		{"memory import", "\x00asm\x01\x00\x00\x00" + section(2, vec(name("env")+name("memory")+"\x02\x00\x01")), "--import-memory"},
		{"shared memory", "\x00asm\x01\x00\x00\x00" + section(5, vec("\x03\x01\x02")), "threads"},
		{"memory64", "\x00asm\x01\x00\x00\x00" + section(5, vec("\x04\x01")), "wasm32"},
		{"two memories", "\x00asm\x01\x00\x00\x00" + section(5, vec("\x00\x01", "\x00\x01")), "several memories"},
		{"huge table", "\x00asm\x01\x00\x00\x00" + section(4, vec("\x70\x00\xff\xff\xff\x0f")), "a table of 33554431 elements"},
		{"object", "\x00asm\x01\x00\x00\x00" + section(0, name("linking")), "link it"},
		{"tail call", command("\x12\x00\x0b"), "tail calls"},
		{"atomics", command("\xfe\x00\x00\x0b"), "atomics"},
		{"exceptions", command("\x06\x40\x0b\x0b"), "exceptions"},
		{"relaxed SIMD", command("\xfd\x80\x02\x0b"), "relaxed SIMD"},
		{"no instruction", command("\xff\x0b"), "0xff is no instruction"},
		{"no end", command("\x01"), "function 0: it ends too early"},
		{"after the end", command("\x0b\x01"), "goes on after its end"},
		{"loops", deep("\x03", maxLoops+1), "one another"},
		{"blocks", deep("\x02", maxNesting+1), "one another"},
		{"locals", "\x00asm\x01\x00\x00\x00" + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00")) +
			section(10, vec(name("\x01\xff\xff\xff\xff\x0f\x7f\x0b"))), "4294967295 locals"},
		{
			"bodies", "\x00asm\x01\x00\x00\x00" + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00")),
			"1 functions are declared and 0 have a body",
		},
		{"start type", "\x00asm\x01\x00\x00\x00" + section(1, vec("\x60\x01\x7f\x00")) + section(3, vec("\x00")) +
			section(7, vec(name("_start")+"\x00\x00")) + section(10, vec(name("\x00\x0b"))), "_start takes parameters"},
		{"types of the future", "\x00asm\x01\x00\x00\x00" + section(1, vec("\x5f\x00")), "newer than WebAssembly 2.0"},
	} {
		_, err := Inspect([]byte(c.wasm))
		if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
			continue
		}
		if len(err.Error()) > 250 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: not one readable line: %v", c.name, err)
		}
	}
	if _, err := Inspect([]byte(deep("\x02", maxNesting))); err != nil {
		t.Errorf("%d blocks: %v", maxNesting, err)
	}
}

// TestInspectSurvivesEveryCut truncates and alters a real module at each place.
func TestInspectSurvivesEveryCut(t *testing.T) {
	hello, _ := examples.Module("hello")
	whole := 0
	for n := range hello {
		if _, err := Inspect(hello[:n]); err == nil {
			whole++
		}
	}
	if whole > 12 { // what stays may be a whole module where a section ends
		t.Errorf("%d cuts went unnoticed", whole)
	}
	for n := 8; n < len(hello); n += 7 {
		b := bytes.Clone(hello)
		b[n] ^= 0x55
		if _, err := Inspect(b); err != nil && shoal.KindOf(err) != shoal.Invalid {
			t.Fatalf("byte %d altered: %v", n, err)
		}
	}
}

// small is seeds that say much in few bytes: the fuzzer makes nothing of large ones.
func small() [][]byte {
	return [][]byte{
		[]byte(command("\x02\x40\x03\x40\x0b\x0b\x0b")),
		[]byte(command("\x41\x00\x0e\x01\x00\x00\x0b")),
		[]byte(command("\x41\x00\x41\x00\x41\x00\xfc\x0b\x00\xfd\x0c" + strings.Repeat("x", 16) + "\x1a\x0b")),
		[]byte(importing(WASI, "fd_close", "\x60\x01\x7f\x01\x7f")),
		[]byte("\x00asm\x01\x00\x00\x00" + section(1, vec("\x60\x00\x00")) + section(3, vec("\x00")) +
			section(4, vec("\x70\x00\x04")) + section(5, vec("\x01\x01\x02")) + section(6, vec("\x7f\x00\x41\x00\x0b")) +
			section(9, vec("\x00\x41\x00\x0b\x01\x00", "\x01\x00\x01\x00", "\x02\x00\x41\x00\x0b\x00\x01\x00", "\x03\x00\x01\x00",
				"\x04\x41\x00\x0b\x01\xd2\x00\x0b", "\x05\x70\x01\xd0\x70\x0b", "\x06\x00\x41\x00\x0b\x70\x01\xd2\x00\x0b", "\x07\x70\x00")) +
			section(12, "\x01") + section(10, vec(name("\x00\x0b"))) + section(11, vec("\x00\x41\x00\x0b\x01x"))),
	}
}

func FuzzInspect(f *testing.F) {
	for _, seed := range small() {
		f.Add(seed)
	}
	f.Add([]byte("(module)"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Inspect(b)
		if err != nil && shoal.KindOf(err) != shoal.Invalid {
			t.Fatalf("kind %v: %v", shoal.KindOf(err), err)
		}
		if err == nil && (info.Kind == "" || info.Bytes != len(b)) {
			t.Fatalf("no error and %+v", info)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	m, _ := examples.Module("wordcount")
	b.SetBytes(int64(len(m)))
	for b.Loop() {
		if _, err := Inspect(m); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzParse wants what decodes to decode to the same again after it was encoded.
func FuzzParse(f *testing.F) {
	for _, seed := range small() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		once := m.Encode()
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("what was encoded: %v", err)
		}
		if twice := again.Encode(); !bytes.Equal(once, twice) {
			t.Fatal("encoded twice, it differs")
		}
		for _, body := range m.Bodies {
			read, err := ReadBody(body)
			if err != nil {
				continue
			}
			var out []byte
			if read.Each(func(in *Instruction) error { out = in.Append(out); return nil }) != nil {
				continue
			}
			var copied []byte
			if err := (Body{code: out}).Each(func(in *Instruction) error { copied = in.Append(copied); return nil }); err != nil {
				t.Fatalf("instructions that were written: %v", err)
			}
			if !bytes.Equal(out, copied) {
				t.Fatal("instructions written twice differ")
			}
		}
	})
}

// TestOneWayToNumberAVectorInstruction: 0xfd 0xed 0x00 is number 109 in two bytes to the standard, and number
// 237 and an unreachable to the engine. It is refused, so that nobody takes it for either.
func TestOneWayToNumberAVectorInstruction(t *testing.T) {
	module := func(body string) []byte {
		code := "\x01" + string(byte(len(body)+2)) + "\x00" + body + "\x0b"
		return []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" +
			"\x0a" + string(byte(len(code))) + code)
	}
	_, err := Inspect(module("\xfd\xed\x00"))
	if shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), "more bytes than it needs") {
		t.Errorf("got %v", err)
	}
	for _, body := range []string{"\xfd\x6d", "\xfd\x8b\x01"} { // as they should be; types are the engine's to judge
		if _, err := Inspect(module(body)); err != nil {
			t.Errorf("%x: %v", body, err)
		}
	}
}
