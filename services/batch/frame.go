package batch

import (
	"encoding/binary"
	"fmt"

	"github.com/shoal-fabric/shoal"
)

// Answer is what came of one payload: a reply, or why it failed.
type Answer struct {
	Reply  []byte
	Failed bool
	Why    string // with Failed
}

// The answers' first word.
const (
	good = 0
	bad  = 1
)

// Room is how many bytes a payload takes in a batch.
func Room(payload []byte) int { return 4 + len(payload) }

// Pack writes payloads as docs/abi.md says: how many there are, and each with its length before it, as little-endian u32.
func Pack(payloads [][]byte) []byte {
	n := 4
	for _, p := range payloads {
		n += Room(p)
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, n), uint32(len(payloads)))
	for _, p := range payloads {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// Unpack reads the answers to n payloads: how many there are, and for each a u32 that is 0 for a reply and 1 for a failure, the
// length of what follows, and the reply or the reason. The answers are parts of b.
func Unpack(n int, b []byte) ([]Answer, error) {
	wrong := func(why string) ([]Answer, error) {
		return nil, shoal.E(shoal.Failed, "answers to a batch", why, "mend the program: docs/abi.md says how they are written")
	}
	word := func() (v uint32, ok bool) {
		if len(b) < 4 {
			return 0, false
		}
		v, b = binary.LittleEndian.Uint32(b), b[4:]
		return v, true
	}
	if count, ok := word(); !ok || uint64(count) != uint64(n) {
		return wrong(fmt.Sprintf("there are not as many as calls, which are %d", n))
	}
	out := make([]Answer, n)
	for i := range out {
		kind, ok := word()
		size, sized := word()
		if !ok || !sized || uint64(size) > uint64(len(b)) {
			return wrong(fmt.Sprintf("answer %d is cut off", i))
		}
		body := b[:size:size]
		b = b[size:]
		switch kind {
		case good:
			out[i].Reply = body
		case bad:
			out[i].Failed, out[i].Why = true, string(body)
		default:
			return wrong(fmt.Sprintf("answer %d is neither a reply nor a failure", i))
		}
	}
	if len(b) > 0 {
		return wrong(fmt.Sprintf("%d bytes too many", len(b)))
	}
	return out, nil
}
