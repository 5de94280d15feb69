package module

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// errCut says that a part ends before what it announces.
var errCut = errors.New("it ends too early")

// reader walks over a part of the binary. After the first error all reads return zero values, so that
// callers check err once per item.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.b)
}

func (r *reader) done() bool { return r.at >= len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail(errCut)
		return 0
	}
	c := r.b[r.at]
	r.at++
	return c
}

// rest returns all that is left.
func (r *reader) rest() []byte {
	at := r.at
	r.at = len(r.b)
	return r.b[at:]
}

// bytes returns the next n bytes, which stay the binary's.
func (r *reader) bytes(n uint32) []byte {
	at := r.at
	if uint64(n) > uint64(len(r.b)-at) {
		r.fail(errCut)
		return nil
	}
	r.at += int(n)
	return r.b[at:r.at]
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 { // as a rule
		r.at++
		return uint32(r.b[r.at-1])
	}
	var v uint64
	for i := range 5 {
		c := r.byte()
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if v > math.MaxUint32 {
				r.fail(errors.New("a number is larger than 32 bits"))
				return 0
			}
			return uint32(v)
		}
	}
	r.fail(errors.New("a number has too many bytes"))
	return 0
}

// signed reads a signed LEB128 of so many bits, and extends the sign to 64.
func (r *reader) signed(bits int) uint64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		if shift+7 > bits { // the last byte: what is beyond must be the sign
			beyond := int8(c<<1) >> (bits - shift)
			if c < 0x80 && beyond != 0 && beyond != -1 {
				r.fail(fmt.Errorf("a number is larger than %d bits", bits))
				return 0
			}
		}
		v |= int64(c&0x7f) << shift
		if c < 0x80 {
			if left := 64 - shift - 7; left > 0 {
				v = v << left >> left
			}
			return uint64(v)
		}
	}
	r.fail(errors.New("a number has too many bytes"))
	return 0
}

// fixed reads n bytes as a number, the lowest first.
func (r *reader) fixed(n uint32) (v uint64) {
	for i, c := range r.bytes(n) {
		v |= uint64(c) << (8 * i)
	}
	return v
}

// zero reads the byte that stands for the one memory.
func (r *reader) zero() {
	if r.byte() != 0 && r.err == nil {
		r.fail(errors.New("it has several memories, and one is offered"))
	}
}

// count reads the length of a vector of what, at most limit.
func (r *reader) count(what string, limit uint32) uint32 {
	n := r.u32()
	if n > limit {
		r.fail(fmt.Errorf("%d %s, more than the limit of %d", n, what, limit))
		return 0
	}
	if n > uint32(len(r.b)-r.at) && r.err == nil { // each item takes a byte at least
		r.fail(errCut)
		return 0
	}
	return n
}

func (r *reader) name() string {
	b := r.bytes(r.u32())
	if !utf8.Valid(b) {
		r.fail(errors.New("a name is not UTF-8"))
		return ""
	}
	return string(b)
}

// limits reads the bounds of a table or memory.
func (r *reader) limits(what string) Limits {
	switch flags := r.byte(); flags {
	case 0:
		return Limits{Min: r.u32()}
	case 1:
		return Limits{r.u32(), r.u32(), true}
	case 2, 3:
		r.fail(fmt.Errorf("it uses threads (a shared %s), which are not offered: build it without -pthread", what))
	case 4, 5:
		r.fail(fmt.Errorf("its %s has 64-bit addresses, which are not offered: build it for wasm32", what))
	default:
		r.fail(fmt.Errorf("the limits of a %s have unknown flags 0x%x", what, flags))
	}
	return Limits{}
}
