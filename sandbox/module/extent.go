package module

import (
	"encoding/binary"
	"io"
)

const (
	maxSections = 256 // looked at; a compiler writes a dozen
	codeSection = 10
)

// CodeBytes returns how many bytes of a module of so many bytes are code that is compiled: its heads are read, not what the
// sections hold. 0: it is no module, or one that is not read so quickly.
func CodeBytes(r io.ReaderAt, size int64) (sum int64) {
	at := int64(8) // after magic and version
	for range maxSections {
		if at >= size {
			return sum
		}
		var head [1 + binary.MaxVarintLen32]byte
		n, err := r.ReadAt(head[:], at)
		if n < 2 || err != nil && err != io.EOF {
			return 0
		}
		length, k := binary.Uvarint(head[1:n])
		if k <= 0 || length > uint64(size) {
			return 0
		}
		if head[0] == codeSection {
			sum += int64(length)
		}
		at += 1 + int64(k) + int64(length)
	}
	return 0
}
