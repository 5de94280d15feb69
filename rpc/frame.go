package rpc

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// The frames of the shared stream. Each is a wire frame (length, payload); the payload starts with
// the kind and the ID of the call.
const (
	frameAsk    = 1 // asker: budget, total, method length, method, body or its first part
	frameMore   = 2 // both: the next part of a body
	frameReply  = 3 // asked: time spent, total, body or its first part
	frameFail   = 4 // asked: a wire.Error, encoded
	frameCancel = 5 // asker: nobody waits any more
)

const (
	partSize  = 64 << 10       // bytes of a body that one frame carries
	maxMethod = 128            // bytes of a method's name
	maxFrame  = partSize + 256 // bytes of a frame's payload: a part, a method and the numbers
	maxFail   = 16 << 10       // bytes of an error
	maxBudget = 30 * 24 * time.Hour
)

// frame is a decoded frame. method and body are parts of the bytes it was read from.
type frame struct {
	kind   byte
	id     uint64
	budget time.Duration // ask: the time left, 0 for no deadline
	spent  time.Duration // reply: how long the asked had it
	total  int           // ask, reply: bytes of the whole body
	method []byte
	body   []byte
	owned  bool // the bytes are the reader's to keep
}

var errFrame = errors.New("the peer broke the rules of the protocol")

// appendFrame appends f to b as a wire frame. The body must fit (see partSize).
func appendFrame(b []byte, f *frame) []byte {
	var head [1 + 4*binary.MaxVarintLen64 + maxMethod]byte
	h := append(head[:0], f.kind)
	h = binary.AppendUvarint(h, f.id)
	switch f.kind {
	case frameAsk:
		h = binary.AppendUvarint(h, micros(f.budget))
		h = binary.AppendUvarint(h, uint64(f.total))
		h = binary.AppendUvarint(h, uint64(len(f.method)))
		h = append(h, f.method...)
	case frameReply:
		h = binary.AppendUvarint(h, micros(f.spent))
		h = binary.AppendUvarint(h, uint64(f.total))
	}
	b = binary.AppendUvarint(b, uint64(len(h)+len(f.body)))
	b = append(b, h...)
	return append(b, f.body...)
}

// parseFrame decodes a payload and checks every number in it against the limits.
func parseFrame(p []byte) (f frame, err error) {
	if len(p) == 0 {
		return f, errFrame
	}
	r := numbers{rest: p[1:]}
	f.kind, f.id = p[0], r.next(math.MaxUint64)
	switch f.kind {
	case frameAsk:
		f.budget = time.Duration(r.next(uint64(maxBudget/time.Microsecond))) * time.Microsecond
		f.total = int(r.next(wire.MaxFrame))
		f.method = r.bytes(int(r.next(maxMethod)))
	case frameReply:
		f.spent = time.Duration(r.next(uint64(maxBudget/time.Microsecond))) * time.Microsecond
		f.total = int(r.next(wire.MaxFrame))
	case frameMore, frameFail, frameCancel:
	default:
		return f, errFrame
	}
	f.body = r.rest
	switch {
	case r.bad,
		(f.kind == frameAsk || f.kind == frameReply) && (len(f.body) > f.total || len(f.body) == 0 && f.total > 0),
		f.kind == frameMore && len(f.body) == 0,
		f.kind == frameFail && len(f.body) > maxFail,
		f.kind == frameCancel && len(f.body) > 0:
		return f, errFrame
	}
	return f, nil
}

// readFrame reads the next frame. Of one that fits into the buffer the parts are valid until the next
// read only. What breaks a rule gives errFrame, the end of the stream io.EOF.
func readFrame(in *bufio.Reader) (frame, error) {
	if _, err := in.Peek(1); err != nil { // until something is there
		return frame{}, err
	}
	head, _ := in.Peek(min(in.Buffered(), binary.MaxVarintLen32))
	if n, k := binary.Uvarint(head); k > 0 && n <= maxFrame && k+int(n) <= in.Size() {
		p, err := in.Peek(k + int(n))
		if err != nil {
			return frame{}, noEOF(err)
		}
		in.Discard(len(p)) // which leaves the bytes where they are
		return parseFrame(p[k:])
	}
	p, err := wire.ReadFrame(in, maxFrame)
	if err != nil {
		if shoal.KindOf(err) == shoal.Invalid {
			err = errFrame
		}
		return frame{}, err
	}
	f, err := parseFrame(p)
	f.owned = true
	return f, err
}

// micros is d in microseconds, rounded up, so that what is there at all is not read as nothing.
func micros(d time.Duration) uint64 {
	return uint64((min(max(d, 0), maxBudget) + time.Microsecond - 1) / time.Microsecond)
}

// numbers reads unsigned varints; once one is missing or too large, bad stays set.
type numbers struct {
	rest []byte
	bad  bool
}

func (r *numbers) next(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *numbers) bytes(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

// parts puts a body together again. Memory grows with what arrives, not with what was announced.
type parts struct {
	total int
	body  []byte
}

func newParts(f *frame) parts {
	switch {
	case len(f.body) < f.total:
		return parts{f.total, append(make([]byte, 0, min(f.total, 4*partSize)), f.body...)}
	case f.owned:
		return parts{f.total, f.body[:f.total:f.total]}
	}
	return parts{f.total, bytes.Clone(f.body)}
}

func (p *parts) whole() bool { return len(p.body) == p.total }

func (p *parts) add(b []byte) error {
	if len(b) > p.total-len(p.body) {
		return errFrame
	}
	p.body = append(p.body, b...)
	return nil
}

// shorten keeps an error's text within what a frame may carry, and decodable.
func shorten(s string) string {
	const most = maxFail/4 - 10
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// encodeError returns err as the wire carries it, at most maxFail bytes.
func encodeError(err error) []byte {
	e := wire.FromError(err)
	e.What, e.Why, e.Try = shorten(e.What), shorten(e.Why), shorten(e.Try)
	return wire.Marshal(e)
}

// decodeError returns the error that b describes, or errFrame in place of garbage.
func decodeError(b []byte) error {
	var e wire.Error
	if wire.Unmarshal("error", b, &e) != nil {
		return errFrame
	}
	return e.Err()
}

// The records of a stream of its own. It begins with the request, a wire frame. Then, both ways,
// records of four bytes (kind, length as 24 bits, little endian) and their payload.
const (
	recordData  = 0 // bytes; an empty one means nothing and tells that the way is open
	recordEnd   = 1 // the sender has written all; it may still read
	recordClose = 2 // the sender neither writes nor reads any more; what it measured (two numbers)
	recordFail  = 3 // the handler failed: a wire.Error, encoded
)

const (
	headSize = 4
	// chunkSize is the most that one record may carry.
	chunkSize = 256<<10 - headSize
	// cut is what the muxer sends at once, so that with its header it fills whole records of TLS; a record
	// of fullSize bytes and its header are cut without a remainder.
	cut      = 64<<10 - 12
	fullSize = 4*cut - headSize
	maxSaid  = 2 * binary.MaxVarintLen64
	// maxOpen is the frame that begins a stream: a request and the time left.
	maxOpen = wire.MaxFrame + binary.MaxVarintLen64
)

func putHead(b []byte, kind byte, n int) {
	binary.LittleEndian.PutUint32(b, uint32(kind)|uint32(n)<<8)
}

// parseHead decodes a header and checks the length against what the kind may have.
func parseHead(b []byte) (kind byte, n int, err error) {
	v := binary.LittleEndian.Uint32(b)
	kind, n = byte(v), int(v>>8)
	limit := 0
	switch kind {
	case recordData:
		limit = chunkSize
	case recordEnd:
	case recordClose:
		limit = maxSaid
	case recordFail:
		limit = maxFail
	default:
		return 0, 0, errFrame
	}
	if n > limit {
		return 0, 0, errFrame
	}
	return kind, n, nil
}

// said encodes what a receiver has measured, for the record that closes its side.
func said(f *flow) []byte {
	f.finish()
	if f.told.bytes == 0 {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(f.told.bytes))
	return binary.AppendUvarint(b, micros(f.told.time))
}

// heard decodes said. Nonsense counts as nothing: it is only a hint.
func heard(b []byte) (bytes int64, d time.Duration) {
	r := numbers{rest: b}
	n, us := r.next(math.MaxInt64), r.next(uint64(maxBudget/time.Microsecond))
	if r.bad {
		return 0, 0
	}
	return int64(n), time.Duration(us) * time.Microsecond
}

// opening encodes the request that begins a stream.
func opening(budget time.Duration, request []byte) []byte {
	b := make([]byte, 0, len(request)+2*binary.MaxVarintLen64)
	head := binary.AppendUvarint(nil, micros(budget))
	b = binary.AppendUvarint(b, uint64(len(head)+len(request)))
	return append(append(b, head...), request...)
}

// readOpening is its twin.
func readOpening(in wire.Reader) (budget time.Duration, request []byte, err error) {
	p, err := wire.ReadFrame(in, maxOpen)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if shoal.KindOf(err) == shoal.Invalid {
			err = errFrame
		}
		return 0, nil, err
	}
	r := numbers{rest: p}
	budget = time.Duration(r.next(uint64(maxBudget/time.Microsecond))) * time.Microsecond
	if r.bad || len(r.rest) > wire.MaxFrame {
		return 0, nil, errFrame
	}
	return budget, r.rest, nil
}
