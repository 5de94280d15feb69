package module

import (
	"maps"
	"slices"
)

// FunctionNames reads the functions' names out of the data of the custom section "name".
func FunctionNames(data []byte) (map[uint32]string, error) {
	r := reader{b: data}
	for !r.done() {
		id := r.byte()
		sub := reader{b: r.bytes(r.u32())}
		if r.err != nil {
			return nil, r.err
		}
		if id != 1 {
			continue
		}
		out := map[uint32]string{}
		for n := sub.count("names", maxFunctions*2); n > 0 && sub.err == nil; n-- {
			f := sub.u32()
			out[f] = sub.name()
		}
		return out, sub.err
	}
	return nil, nil
}

// NameSection writes a custom section with the names of functions.
func NameSection(names map[uint32]string) Custom {
	b := AppendU32(nil, uint32(len(names)))
	for _, f := range slices.Sorted(maps.Keys(names)) {
		b = AppendName(AppendU32(b, f), names[f])
	}
	return Custom{"name", appendBytes([]byte{1}, b)}
}
