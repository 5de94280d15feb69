package hostile

import (
	"fmt"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Guest is a module that means no good, and how it must end.
type Guest struct {
	Name   string
	Wasm   []byte
	Limits shoal.Limits
	Limit  string // that it meets: time, gas, memory, output, stack; none of a trap
	Want   string // of the error
}

// soon is the time limit of guests that end by it.
const soon = 200 * time.Millisecond

// Running are guests that are let in and run wild. Those with an output need /out as their first folder.
func Running() []Guest {
	gib := Pages(1 << 14)
	timely := func(name string, wasm []byte) Guest {
		return Guest{name, wasm, shoal.Limits{Time: soon}, "time", "time limit of 200ms reached"}
	}
	metered := func(name string, wasm []byte, gas uint64) Guest {
		return Guest{name, wasm, shoal.Limits{Gas: gas}, "gas", fmt.Sprintf("gas limit of %d reached", gas)}
	}
	million := strings.Repeat("\x20\x00\x41\x01\x6a\x21\x00", 1<<18) // four instructions each
	const four = "\x60\x04\x7f\x7f\x7f\x7f\x01\x7f"                  // four i32, and one comes back
	return []Guest{
		timely("endless loop", Command("\x00", Forever(""))),
		metered("endless loop, by gas", Command("\x00", Forever("")), 300_000_000),
		timely("2^60 calls, no loop", Doubling(60)),
		metered("2^60 calls, by gas", Doubling(60), 300_000_000),
		timely("memory.fill for ever", Funcs(Pages(1024), false, Forever(fill(1<<26)))),
		timely("memory.copy for ever", Funcs(gib, false, Forever(I32(0)+I32(1)+I32(1<<30-1)+"\xfc\x0a\x00\x00"))),
		metered("one memory.fill of 1 GiB", Funcs(gib, false, fill(1<<30)), 700_000_000),
		timely("memory.grow for ever", Command("\x00", Forever(I32(1)+"\x40\x00\x1a"))),
		{
			"memory.grow until refused", Command("\x00", Forever(I32(16)+"\x40\x00"+I32(-1)+"\x46\x04\x40\x00\x0b")),
			shoal.Limits{Memory: 64 << 20},
			"memory", "memory limit of 64 MiB reached",
		},
		timely("table.grow for ever", Table(1, Forever("\xd0\x70"+I32(1000)+"\xfc\x0f\x00\x1a"))),
		timely("table.fill of 10^6 for ever", Table(1_000_000, Forever(I32(0)+"\xd0\x70"+I32(1_000_000)+"\xfc\x11\x00"))),
		timely("100,000 functions", Funcs(NoMemory, false, append(make([]string, 100_000), Forever("\x10\x00"))...)),
		{"deep recursion", Funcs(NoMemory, false, "\x10\x00"), shoal.Limits{}, "stack", "stack overflow"},
		{"deep recursion by a table", recursive("", "", I32(1)+"\x11\x00\x00"), shoal.Limits{}, "stack", "stack overflow"},
		{"deep recursion, 1000 vectors", vectors(1000), shoal.Limits{}, "stack", "stack overflow"},
		{"output flood", flood(3), shoal.Limits{Output: 64 << 20}, "output", "output limit of 64 MiB"},
		timely("log flood", flood(2)),
		timely("standard output flood", flood(1)),
		timely("path tricks", tricks()),
		timely("start function that loops", Funcs(NoMemory, true, Forever(""))),
		timely("fast, then slow", Funcs(gib, false, "\x01", turning())),
		timely("loop body of 10^6 instructions", Command("\x01\x01\x7f", Forever(million))),
		metered("10^6 instructions, by gas", Command("\x01\x01\x7f", million), 500_000),
		timely("random_get of 512 MiB", calling("random_get", "\x60\x02\x7f\x7f\x01\x7f", 1<<13, I32(0)+I32(1<<29))),
		timely("fd_write of 2^27 empty vectors", calling("fd_write", four, 1<<14, I32(1)+I32(0)+I32(1<<27)+I32(0))),
		timely("path of 512 MiB", calling("path_unlink_file", "\x60\x03\x7f\x7f\x7f\x01\x7f", 1<<14, I32(3)+I32(0)+I32(1<<29))),
		timely("poll of 10^7 events", calling("poll_oneoff", four, 1<<14, I32(0)+I32(1<<29)+I32(10_000_000)+I32(0))),
		{
			"trap with all gas spent", Command("\x00", strings.Repeat("\x01", 5000)+"\x00"),
			shoal.Limits{Gas: 55_000},
			"none", "trap: unreachable",
		},
	}
}

func fill(bytes int32) string { return I32(0) + I32(1) + I32(bytes) + "\xfc\x0b\x00" }

// turning turns a million times a loop that is charged 9,000 instructions each time and does five, then loads
// all over the memory, for ever: a slice that was right for the one is far too long for the other.
func turning() string {
	count := func(n int32, body string) string {
		return I32(0) + I32(n) + "\x36\x02\x00\x03\x40" + body +
			I32(0) + I32(0) + "\x28\x02\x00" + I32(1) + "\x6b\x36\x02\x00" + I32(0) + "\x28\x02\x00\x0d\x00"
	}
	return Forever(count(1_000_000, "") + strings.Repeat("\x01", 9000) + "\x0b" +
		count(1_000_000, I32(0)+"\x28\x02\x00"+I32(1_048_573*64)+"\x6c"+I32(1<<30-4)+"\x71\x28\x02\x00"+I32(4)+"\x6b\x1a") + "\x0b")
}

// The functions of WASI that write and open.
func fdWrite() function { return function{"fd_write", "\x60\x04\x7f\x7f\x7f\x7f\x01\x7f"} }

func pathOpen() function {
	return function{"path_open", "\x60\x09\x7f\x7f\x7f\x7f\x7f\x7e\x7e\x7f\x7f\x01\x7f"}
}

func pathSymlink() function {
	return function{"path_symlink", "\x60\x05\x7f\x7f\x7f\x7f\x7f\x01\x7f"}
}

// open calls function fn, path_open, of a path at a place in memory; the file's number goes to 0.
func open(fn, folder, at, length, oflags int) string {
	return I32(int32(folder)) + I32(1) + I32(int32(at)) + I32(int32(length)) + I32(int32(oflags)) +
		"\x42\xff\xff\xff\x00\x42\x00" + I32(0) + I32(0) + "\x10" + Index(fn)
}

// flood writes 64 KiB at a time for ever to file 1 or 2, or to one that it makes in folder 3.
func flood(file int) []byte {
	start := I32(0) + I32(int32(file)) + "\x36\x02\x00"
	if file == 3 {
		start = open(1, 3, 64, len("flood"), 1) + "\x1a"
	}
	vector := "\x00\x00\x01\x00" + "\x00\x00\x01\x00" // the second page, and its size
	return importing([]function{fdWrite(), pathOpen()}, 2, map[int]string{8: vector, 64: "flood"},
		start+Forever(I32(0)+"\x28\x02\x00"+I32(8)+I32(1)+I32(16)+"\x10\x00\x1a"))
}

// tricks tries for ever to open what lies outside its folder, also by a link, and traps if it can.
func tricks() []byte {
	const link = "link"
	data := map[int]string{1024: link}
	code := I32(128) + I32(int32(len("/etc/passwd"))) + I32(3) + I32(1024) + I32(int32(len(link))) + "\x10\x01\x1a"
	for i, path := range []string{"/etc/passwd", "../../../../../../etc/passwd", "a/../../etc/passwd", "../tasks", "..", link} {
		at := 128 * (i + 1)
		data[at] = path
		code += open(0, 3, at, len(path), 0) + "\x45\x04\x40\x00\x0b" // if it is zero: unreachable
	}
	return importing([]function{pathOpen(), pathSymlink()}, 1, data, Forever(code))
}
