package module

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestCodeBytes(t *testing.T) {
	section := func(id byte, n int) []byte {
		return append(binary.AppendUvarint([]byte{id}, uint64(n)), make([]byte, n)...)
	}
	head := []byte("\x00asm\x01\x00\x00\x00")
	for name, c := range map[string]struct {
		b    []byte
		want int64
	}{
		"code between others":   {bytes.Join([][]byte{head, section(1, 300), section(10, 70_000), section(0, 1<<20)}, nil), 70_000},
		"no code":               {bytes.Join([][]byte{head, section(1, 3)}, nil), 0},
		"nothing":               {nil, 0},
		"cut in a section head": {bytes.Join([][]byte{head, section(10, 5), {0}}, nil), 0},
		"a length beyond all":   {append(head, 10, 0xff, 0xff, 0xff, 0xff, 0x7f), 0},
		"endless sections":      {append(head, bytes.Repeat([]byte{0, 0}, 10_000)...), 0},
	} {
		if got := CodeBytes(bytes.NewReader(c.b), int64(len(c.b))); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
