package meter

import (
	"fmt"

	"github.com/shoal-fabric/shoal/sandbox/module"
)

// operation is an instruction on a range: it goes through a function that charges for the length first.
type operation struct {
	op   byte
	sub  uint32
	x, y uint32
}

// charged returns the function that stands for an instruction; false if it needs none.
func (w *writer) charged(in *module.Instruction) (uint32, bool, error) {
	o := operation{op: in.Op, sub: in.Sub}
	if in.Op == module.OpBulk {
		switch in.Sub {
		case module.SubMemoryCopy, module.SubMemoryFill:
		case module.SubMemoryInit, module.SubTableGrow, module.SubTableFill:
			o.x = in.X
		case module.SubTableInit, module.SubTableCopy:
			o.x, o.y = in.X, in.Y
		default:
			return 0, false, nil
		}
	}
	if f, ok := w.bulk[o]; ok {
		return f, true, nil
	}
	if len(w.bulk) >= maxBulk {
		return 0, false, fmt.Errorf("more than %d different operations on memory and tables", maxBulk)
	}
	elem := module.FuncRef
	if in.Op == module.OpBulk && (in.Sub == module.SubTableGrow || in.Sub == module.SubTableFill) {
		if uint64(in.X) >= uint64(len(w.tables)) {
			return 0, false, fmt.Errorf("it names table %d, and there are %d", in.X, len(w.tables))
		}
		elem = w.tables[in.X].Elem
	}
	w.bulk[o] = w.bulkFunction(in, elem)
	return w.bulk[o], true, nil
}

// maxBulk bounds the functions added for ranges: each data segment that is copied by hand needs one.
const maxBulk = 100_000

func (w *writer) bulkFunction(in *module.Instruction, elem byte) uint32 {
	const n = module.I32
	b := w.refill([]byte{0})
	switch {
	case in.Op == module.OpMemoryGrow:
		b = w.grow(b, 0, addressPages, gasPage)
		return w.add(w.typ([]byte{n}, []byte{n}), append(in.Append(get(b, 0)), module.OpEnd))
	case in.Sub == module.SubTableGrow:
		b = w.grow(b, 1, module.MaxGrown, gasElement)
		return w.add(w.typ([]byte{elem, n}, []byte{n}), append(in.Append(get(get(b, 0), 1)), module.OpEnd))
	case in.Sub == module.SubTableFill:
		b = w.takeLocal(w.take(b, gasBulk), 2, 0, gasElement)
		return w.add(w.typ([]byte{n, elem, n}, nil), append(three(b, in), module.OpEnd))
	case in.Sub == module.SubTableInit, in.Sub == module.SubTableCopy:
		b = w.takeLocal(w.take(b, gasBulk), 2, 0, gasElement)
		return w.add(w.typ([]byte{n, n, n}, nil), append(three(b, in), module.OpEnd))
	}
	b = w.memory(w.take(b, gasBulk), in)
	return w.add(w.typ([]byte{n, n, n}, nil), append(b, module.OpEnd))
}

// grow charges for growing by the number in a local, if it can succeed at all.
func (w *writer) grow(b []byte, local uint32, most int32, price int64) []byte {
	b = w.take(b, gasGrow)
	b = append(i32(get(b, local), most), i32LeU, module.OpIf, blockNothing)
	return append(w.takeLocal(b, local, 0, price), module.OpEnd)
}

// three writes an instruction on the first three locals.
func three(b []byte, in *module.Instruction) []byte { return in.Append(get(get(get(b, 0), 1), 2)) }

// memory writes a fill, copy or init of the range that begins at local 0 and is as long as local 2 says.
// Local 1 is where it comes from, if not a fill.
//
// More than a piece is done in pieces. An operation that does not fit must trap before it has changed
// anything: the same of length zero at the end of the ranges traps if and only if it does not fit. A
// range that ends beyond the addresses is left to the instruction itself, which traps.
func (w *writer) memory(b []byte, in *module.Instruction) []byte {
	fill := in.Sub == module.SubMemoryFill
	b = append(i32(get(b, 2), pieceBytes), i32LeU, module.OpIf, blockNothing)
	b = w.takeLocal(b, 2, gasBytesLog, 1)
	b = append(three(b, in), module.OpReturn, module.OpEnd)

	for local := uint32(0); local <= 1 && !(fill && local == 1); local++ {
		b = append(get(get(b, local), 2), i32Add)
		b = append(get(b, local), i32LtU, module.OpIf, blockNothing)
		b = append(three(b, in), module.OpReturn, module.OpEnd)
	}
	b = append(get(get(b, 0), 2), i32Add)
	if b = get(b, 1); !fill {
		b = append(get(b, 2), i32Add)
	}
	b = in.Append(i32(b, 0))

	if in.Sub == module.SubMemoryCopy { // backwards when it must be
		b = append(get(get(b, 1), 0), i32LtU, module.OpIf, blockNothing)
		b = w.pieces(b, in, true, false)
		b = append(b, opElse)
		b = w.pieces(b, in, false, false)
		return append(b, module.OpEnd)
	}
	return w.pieces(b, in, false, fill)
}

// pieces writes the loop over pieces. Backwards, the pieces are taken from the end.
func (w *writer) pieces(b []byte, in *module.Instruction, backwards, fill bool) []byte {
	sources := uint32(2) // how many of locals 0 and 1 move on
	if fill {
		sources = 1
	}
	b = append(b, module.OpLoop, blockNothing)
	b = w.refill(b)
	b = append(i32(get(b, 2), pieceBytes), i32GtU, module.OpIf, blockNothing)
	b = w.take(b, pieceBytes/gasBytes)
	b = set(append(i32(get(b, 2), pieceBytes), i32Sub), 2)
	for local := range uint32(2) {
		if b = get(b, local); backwards {
			b = append(get(b, 2), i32Add)
		}
	}
	b = in.Append(i32(b, pieceBytes))
	if !backwards {
		for local := range sources {
			b = set(append(i32(get(b, local), pieceBytes), i32Add), local)
		}
	}
	b = append(b, module.OpBr, 1, module.OpEnd, module.OpEnd)
	return three(w.takeLocal(b, 2, gasBytesLog, 1), in)
}

// wrap adds the function through which the guest reaches one of its imports.
func (w *writer) wrap(im *module.Import, c Call) uint32 {
	t := w.m.Types[im.Type]
	b := w.take(w.refill([]byte{0}), int64(c.Gas))
	for _, limit := range c.Caps {
		if int(limit.Param) < len(t.Params) && t.Params[limit.Param] == module.I32 &&
			len(t.Results) == 1 && t.Results[0] == module.I32 {
			b = append(i32(get(b, limit.Param), int32(limit.Most)), i32GtU, module.OpIf, blockNothing)
			b = append(i32(b, limit.Else), module.OpReturn, module.OpEnd)
		}
	}
	for p := range t.Params {
		b = get(b, uint32(p))
	}
	f := uint32(len(w.added)) // imports come first, so this is the import's own index
	return w.add(im.Type, append(call(b, f), module.OpEnd))
}
