package module

import (
	"errors"
	"fmt"
)

// Body is a function's body while it is read: its locals, then one instruction after the other.
type Body struct {
	Locals []Local
	code   []byte
}

// Local is a group of locals of one type.
type Local struct {
	N    uint32
	Type byte
}

// ReadBody reads the locals of one of Module.Bodies.
func ReadBody(b []byte) (Body, error) {
	r := reader{b: b}
	var out Body
	total := uint64(0)
	for n := r.count("groups of locals", maxLocals); n > 0 && r.err == nil; n-- {
		l := Local{r.u32(), r.byte()}
		if total += uint64(l.N); !valueType(l.Type) && r.err == nil {
			r.fail(fmt.Errorf("a local has the type 0x%x, which WebAssembly 2.0 has not", l.Type))
		}
		out.Locals = append(out.Locals, l)
	}
	if total > maxLocals && r.err == nil {
		r.fail(fmt.Errorf("%d locals, more than the limit of %d", total, maxLocals))
	}
	if r.err == nil {
		out.code = r.b[r.at:]
	}
	return out, r.err
}

// Each calls f for each instruction in order, the final end included. It holds the body against the caps
// on nesting, and fails if blocks do not match their ends; types are not looked at. f may change what it
// is given, which is gone after the call.
func (b Body) Each(f func(*Instruction) error) error {
	r := reader{b: b.code}
	var in Instruction
	var nest []byte // the opcode of each open block
	loops := 0
	for {
		r.instruction(&in)
		if r.err != nil {
			return r.err
		}
		op := in.Op
		switch op {
		case OpBlock, OpLoop, OpIf:
			nest = append(nest, op)
			if op == OpLoop {
				loops++
			}
			if len(nest) > maxNesting || loops > maxLoops {
				return fmt.Errorf("blocks or loops in one another more than %d or %d deep", maxNesting, maxLoops)
			}
		case OpElse:
			if len(nest) == 0 || nest[len(nest)-1] != OpIf {
				return errors.New("an else without its if")
			}
			nest[len(nest)-1] = OpElse
		}
		if err := f(&in); err != nil {
			return err
		}
		if op == OpEnd {
			if len(nest) == 0 {
				if !r.done() {
					return errors.New("it goes on after its end")
				}
				return nil
			}
			if nest[len(nest)-1] == OpLoop {
				loops--
			}
			nest = nest[:len(nest)-1]
		}
	}
}

func valueType(t byte) bool { return t >= V128 && t <= I32 || t == FuncRef || t == ExternRef }
