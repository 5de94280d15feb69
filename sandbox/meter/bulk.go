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
	}
	b = w.take(b, gasBulk)
	switch in.Sub {
	case module.SubTableFill:
		b = rangeOf{w, in, pieceElements, gasElement, 0}.write(b)
		return w.add(w.typ([]byte{n, elem, n}, nil), append(b, module.OpEnd))
	case module.SubTableInit, module.SubTableCopy:
		b = rangeOf{w, in, pieceElements, gasElement, 0}.write(b)
	default:
		b = rangeOf{w, in, pieceBytes, 1, gasBytesLog}.write(b)
	}
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

// rangeOf writes a fill, copy or init of a range of memory or of a table, in pieces: nothing else has the processor during
// one. What is in a range costs price for each 1<<shift.
type rangeOf struct {
	w     *writer
	in    *module.Instruction
	piece int32
	price int64
	shift int64
}

func (r rangeOf) fill() bool {
	return r.in.Sub == module.SubMemoryFill || r.in.Sub == module.SubTableFill
}

func (r rangeOf) copy() bool {
	return r.in.Sub == module.SubMemoryCopy || r.in.Sub == module.SubTableCopy
}

// rest charges for and does what is left, which is no more than a piece.
func (r rangeOf) rest(b []byte) []byte {
	return three(r.w.takeLocal(b, 2, r.shift, r.price), r.in)
}

// write writes the range that begins at local 0 and is as long as local 2 says. Local 1 is where it comes from or, of a
// fill, what it is filled with.
//
// An operation that does not fit must trap before it has changed anything: the same of length zero at the end of the ranges
// traps if and only if it does not fit. A range that ends beyond the addresses is left to the instruction itself, which traps.
func (r rangeOf) write(b []byte) []byte {
	b = append(i32(get(b, 2), r.piece), i32LeU, module.OpIf, blockNothing)
	b = append(r.rest(b), module.OpReturn, module.OpEnd)

	for local := uint32(0); local <= 1 && !(r.fill() && local == 1); local++ {
		b = append(get(get(b, local), 2), i32Add)
		b = append(get(b, local), i32LtU, module.OpIf, blockNothing)
		b = append(three(b, r.in), module.OpReturn, module.OpEnd)
	}
	b = append(get(get(b, 0), 2), i32Add)
	if b = get(b, 1); !r.fill() {
		b = append(get(b, 2), i32Add)
	}
	b = r.in.Append(i32(b, 0))

	if r.copy() { // backwards when it must be
		b = append(get(get(b, 1), 0), i32LtU, module.OpIf, blockNothing)
		b = r.pieces(b, true)
		b = append(b, opElse)
		b = r.pieces(b, false)
		return append(b, module.OpEnd)
	}
	return r.pieces(b, false)
}

// pieces writes the loop over pieces. Backwards, the pieces are taken from the end.
func (r rangeOf) pieces(b []byte, backwards bool) []byte {
	moving := uint32(2) // how many of locals 0 and 1 move on
	if r.fill() {
		moving = 1
	}
	b = append(b, module.OpLoop, blockNothing)
	b = r.w.refill(b)
	b = append(i32(get(b, 2), r.piece), i32GtU, module.OpIf, blockNothing)
	b = r.w.take(b, int64(r.piece)*r.price>>r.shift)
	b = set(append(i32(get(b, 2), r.piece), i32Sub), 2)
	for local := range uint32(2) {
		if b = get(b, local); backwards {
			b = append(get(b, 2), i32Add)
		}
	}
	b = r.in.Append(i32(b, r.piece))
	if !backwards {
		for local := range moving {
			b = set(append(i32(get(b, local), r.piece), i32Add), local)
		}
	}
	b = append(b, module.OpBr, 1, module.OpEnd, module.OpEnd)
	return r.rest(b)
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
