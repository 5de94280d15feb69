package module

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Instruction is one instruction, decoded.
type Instruction struct {
	Op     byte
	Sub    uint32   // the instruction after the prefixes 0xfc and 0xfd
	X, Y   uint32   // indexes; the alignment and offset of a memory access
	V, Hi  uint64   // a constant, sign extended; Hi: the upper half of a vector; V: the type of a block
	Lane   byte     // a lane; the type of ref.null
	Labels []uint32 // of br_table, the default last; valid until the next instruction
	Types  []byte   // of select
}

// The opcodes that have a name elsewhere.
const (
	OpUnreachable  = 0x00
	OpBlock        = 0x02
	OpLoop         = 0x03
	OpIf           = 0x04
	OpElse         = 0x05
	OpEnd          = 0x0b
	OpBr           = 0x0c
	OpBrIf         = 0x0d
	OpBrTable      = 0x0e
	OpReturn       = 0x0f
	OpCall         = 0x10
	OpCallIndirect = 0x11
	OpLocalGet     = 0x20
	OpLocalSet     = 0x21
	OpLocalTee     = 0x22
	OpGlobalGet    = 0x23
	OpGlobalSet    = 0x24
	OpMemoryGrow   = 0x40
	OpI32Const     = 0x41
	OpI64Const     = 0x42
	OpF32Const     = 0x43
	OpF64Const     = 0x44
	OpRefNull      = 0xd0
	OpRefFunc      = 0xd2
	OpBulk         = 0xfc // prefix
	OpVector       = 0xfd // prefix

	SubMemoryInit = 8
	SubMemoryCopy = 10
	SubMemoryFill = 11
	SubTableInit  = 12
	SubTableCopy  = 14
	SubTableGrow  = 15
	SubTableFill  = 17
	SubV128Const  = 12
)

// BlockEmpty is the V of a block without parameters and results; another negative V is the type of its
// one result, and one that is not negative is the index of a type.
const BlockEmpty = ^uint64(63) // -64

// shape is what immediates follow an opcode.
type shape byte

const (
	sNone   shape = iota
	sIndex        // X
	sIndex2       // X, Y
	sBlock
	sTable
	sSelect
	sZero  // a zero byte
	sZero2 // two zero bytes
	sIndexZero
	sRef
	sI32
	sI64
	sF32
	sF64
	sV128
	sMemory
	sLane
	sMemoryLane
	sBad
)

func shapeOf(op byte, sub uint32) (shape, error) {
	switch {
	case op <= 0x01, op == 0x05, op == 0x0b, op == 0x0f, op == 0x1a, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1:
		return sNone, nil
	case op <= 0x04:
		return sBlock, nil
	case op == 0x0c, op == 0x0d, op == 0x10, op >= 0x20 && op <= 0x26, op == 0xd2:
		return sIndex, nil
	case op == 0x0e:
		return sTable, nil
	case op == 0x11:
		return sIndex2, nil
	case op >= 0x28 && op <= 0x3e:
		return sMemory, nil
	case op == 0x1c:
		return sSelect, nil
	case op == 0x3f, op == 0x40:
		return sZero, nil
	case op == 0xd0:
		return sRef, nil
	case op >= 0x41 && op <= 0x44:
		return sI32 + shape(op-0x41), nil
	case op == OpBulk:
		return bulkShape(sub)
	case op == OpVector:
		return vectorShape(sub)
	case op >= 0x06 && op <= 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		return sBad, errors.New("it uses exceptions, which are not offered: build it without -fwasm-exceptions")
	case op == 0x12, op == 0x13:
		return sBad, errors.New("it uses tail calls, which are not offered: build it without -mtail-call")
	case op >= 0x14 && op <= 0x17, op >= 0xd3 && op <= 0xd6, op == 0xfb:
		return sBad, errors.New("it uses typed references or garbage collection, which are not offered: build it for WebAssembly 2.0")
	case op == 0xfe:
		return sBad, errors.New("it uses atomics, which are not offered: build it without -pthread")
	}
	return sBad, fmt.Errorf("0x%x is no instruction of WebAssembly 2.0", op)
}

// bulkShape is for saturating truncations, bulk memory and tables.
func bulkShape(sub uint32) (shape, error) {
	switch sub {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		return sNone, nil
	case 9, 13, 15, 16, 17:
		return sIndex, nil
	case 12, 14:
		return sIndex2, nil
	case 8:
		return sIndexZero, nil
	case 10:
		return sZero2, nil
	case 11:
		return sZero, nil
	}
	return sBad, fmt.Errorf("0xfc %d is no instruction of WebAssembly 2.0", sub)
}

func vectorShape(sub uint32) (shape, error) {
	switch {
	case sub <= 11, sub == 92, sub == 93:
		return sMemory, nil
	case sub == 12, sub == 13:
		return sV128, nil
	case sub >= 21 && sub <= 34:
		return sLane, nil
	case sub >= 84 && sub <= 91:
		return sMemoryLane, nil
	case sub <= 255:
		return sNone, nil
	}
	return sBad, errors.New("it uses relaxed SIMD, which is not offered: build it without -mrelaxed-simd")
}

// instruction reads the next one.
func (r *reader) instruction(in *Instruction) {
	in.Op, in.Sub = r.byte(), 0
	if in.Op == OpBulk || in.Op == OpVector {
		at := r.at
		in.Sub = r.u32()
		// The engine takes the number of a vector instruction for one byte (and what follows 128 and more for
		// a nop): a number written longer than it must be would mean another instruction to it.
		if short := len(AppendU32(nil, in.Sub)); in.Op == OpVector && r.err == nil && r.at-at != short {
			r.fail(errors.New("the number of a vector instruction is written in more bytes than it needs"))
		}
	}
	s, err := shapeOf(in.Op, in.Sub)
	if r.err != nil {
		return
	}
	switch s {
	case sIndex:
		in.X = r.u32()
	case sIndex2:
		in.X, in.Y = r.u32(), r.u32()
	case sBlock:
		in.V = r.signed(33)
		if v := int64(in.V); v < 0 && v != -64 && !valueType(byte(v&0x7f)) {
			r.fail(fmt.Errorf("a block has the type 0x%x, which WebAssembly 2.0 has not", v&0x7f))
		}
	case sTable:
		in.Labels = in.Labels[:0]
		for n := r.count("branches", maxEntries); n > 0 && r.err == nil; n-- {
			in.Labels = append(in.Labels, r.u32())
		}
		in.Labels = append(in.Labels, r.u32())
	case sSelect:
		in.Types = r.bytes(r.count("types", maxParams))
	case sZero:
		r.zero()
	case sZero2:
		r.zero()
		r.zero()
	case sIndexZero:
		in.X = r.u32()
		r.zero()
	case sRef:
		if in.Lane = r.byte(); in.Lane != FuncRef && in.Lane != ExternRef && r.err == nil {
			r.fail(errors.New("it uses typed references, which are not offered: build it for WebAssembly 2.0"))
		}
	case sI32:
		in.V = r.signed(32)
	case sI64:
		in.V = r.signed(64)
	case sF32:
		in.V = uint64(r.fixed(4))
	case sF64:
		in.V = r.fixed(8)
	case sV128:
		in.V, in.Hi = r.fixed(8), r.fixed(8)
	case sMemory:
		in.X, in.Y = r.u32(), r.u32()
	case sLane:
		in.Lane = r.byte()
	case sMemoryLane:
		in.X, in.Y, in.Lane = r.u32(), r.u32(), r.byte()
	case sBad:
		r.fail(err)
	}
}

// Append writes the instruction in its shortest form.
func (in *Instruction) Append(b []byte) []byte {
	b = append(b, in.Op)
	if in.Op == OpBulk || in.Op == OpVector {
		b = AppendU32(b, in.Sub)
	}
	s, _ := shapeOf(in.Op, in.Sub)
	switch s {
	case sIndex:
		b = AppendU32(b, in.X)
	case sIndex2, sMemory:
		b = AppendU32(AppendU32(b, in.X), in.Y)
	case sBlock, sI32, sI64:
		b = AppendSigned(b, int64(in.V))
	case sTable:
		b = AppendU32(b, uint32(len(in.Labels)-1))
		for _, l := range in.Labels {
			b = AppendU32(b, l)
		}
	case sSelect:
		b = append(AppendU32(b, uint32(len(in.Types))), in.Types...)
	case sZero:
		b = append(b, 0)
	case sZero2:
		b = append(b, 0, 0)
	case sIndexZero:
		b = append(AppendU32(b, in.X), 0)
	case sRef, sLane:
		b = append(b, in.Lane)
	case sF32:
		b = binary.LittleEndian.AppendUint32(b, uint32(in.V))
	case sF64:
		b = binary.LittleEndian.AppendUint64(b, in.V)
	case sV128:
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, in.V), in.Hi)
	case sMemoryLane:
		b = append(AppendU32(AppendU32(b, in.X), in.Y), in.Lane)
	}
	return b
}

// AppendU32 writes an unsigned number in its shortest form.
func AppendU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// AppendSigned writes a signed number in its shortest form.
func AppendSigned(b []byte, v int64) []byte {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}
