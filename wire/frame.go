package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/shoal-fabric/shoal"
)

// AppendFrame appends payload to b, preceded by its length (unsigned varint).
func AppendFrame(b, payload []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(payload)))
	return append(b, payload...)
}

// WriteFrame writes one frame in a single Write. A payload over limit bytes is refused with Invalid.
func WriteFrame(w io.Writer, payload []byte, limit int) error {
	if len(payload) > limit {
		return tooLarge(uint64(len(payload)), limit)
	}
	_, err := w.Write(AppendFrame(make([]byte, 0, len(payload)+binary.MaxVarintLen32), payload))
	return err
}

// Reader is what ReadFrame needs: bufio.Reader has it.
type Reader interface {
	io.Reader
	io.ByteReader
}

// ReadFrame reads one frame of at most limit bytes. At a clean end it returns io.EOF; in the middle
// of a frame io.ErrUnexpectedEOF. It allocates no more than arrives, in steps of 64 KiB.
func ReadFrame(r Reader, limit int) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, err
	case n > uint64(limit):
		return nil, tooLarge(n, limit)
	}
	const step = 64 << 10
	out := make([]byte, 0, min(int(n), step))
	for len(out) < int(n) {
		k := min(int(n)-len(out), step)
		at := len(out)
		out = append(out, make([]byte, k)...)
		if _, err := io.ReadFull(r, out[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return out, nil
}

func tooLarge(n uint64, limit int) error {
	return shoal.E(shoal.Invalid, "frame", fmt.Sprintf("%d bytes, more than the limit of %d", n, limit),
		"send large bodies on a stream of their own")
}
