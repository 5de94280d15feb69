package memnet

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// sniff reads along while two sides agree on a stream's protocol, by multistream-select: a length and a line at a time.
type sniff struct {
	rest  [2][]byte // of each side, a line that is not whole yet
	lines [2]int
	asks  bool // the next line of who opened names a protocol
}

const maxLine = 1024

// listen learns the protocol of a stream from what one side writes.
func (p *pair) listen(n *Net, h *half, b []byte) {
	side := 0
	if h == &p.halves[1] {
		side = 1
	}
	for s := p.sniff; s != nil && (side == 1 || s.lines[0] < 2 || s.asks); s = p.sniff {
		s.rest[side] = append(s.rest[side], b[:min(len(b), maxLine)]...)
		b = nil
		size, k := binary.Uvarint(s.rest[side])
		if k == 0 || k > 0 && size <= maxLine && len(s.rest[side]) < k+int(size) {
			return // there is more to come
		}
		if k < 0 || size > maxLine || size == 0 {
			p.sniff = nil
			return
		}
		line := string(bytes.TrimSuffix(s.rest[side][k:k+int(size)], []byte("\n")))
		s.rest[side] = s.rest[side][k+int(size):]
		s.lines[side]++
		switch {
		case s.lines[side] == 1:
			if !strings.HasPrefix(line, "/multistream/") {
				p.sniff = nil
			}
		case side == 0:
			p.bytes, s.asks = n.protocol(line), false
		case line == "na":
			s.asks = true
		default: // agreed
			p.sniff = nil
		}
	}
}

// count adds bytes that leave.
func (p *pair) count(_ *Net, h *half, n int) {
	if h == &p.halves[0] {
		p.bytes.Asked += uint64(n)
	} else {
		p.bytes.Answered += uint64(n)
	}
}

// protocol returns the counter of a protocol.
func (n *Net) protocol(id string) *Bytes {
	b := n.bytes[id]
	if b == nil {
		b = &Bytes{}
		n.bytes[id] = b
	}
	return b
}
