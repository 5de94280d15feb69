package meter

import (
	"fmt"

	"github.com/shoal-fabric/shoal/sandbox/module"
)

// plan says where a body is charged, and how much: at its start, at the head of each loop, and before
// the instructions in extra; in the order of the text. frame is what it takes of the stack.
type plan struct {
	weights []int64
	extra   []int
	frame   frame
}

// survey counts instructions. Each belongs to the last point that has run whenever it does: of the points
// before it, the last that is not inside a block which has ended.
func (w *writer) survey(b module.Body, typ uint32) (plan, error) {
	p := plan{weights: make([]int64, 1, 8), frame: w.frame(b, typ)}
	for _, l := range b.Locals {
		p.weights[0] += int64(l.N)
	}
	p.weights[0] /= gasLocals
	cur, n := 0, 0
	var outer []int // the point at the start of each open block
	err := b.Each(func(in *module.Instruction) error {
		if p.weights[cur] >= stretch && in.Op != module.OpEnd && in.Op != module.OpElse {
			p.weights = append(p.weights, 0)
			p.extra = append(p.extra, n)
			cur = len(p.weights) - 1
		}
		n++
		p.weights[cur]++
		p.frame.add(in)
		switch in.Op {
		case module.OpBlock, module.OpIf:
			outer = append(outer, cur)
		case module.OpLoop:
			outer = append(outer, cur)
			p.weights = append(p.weights, 0)
			cur = len(p.weights) - 1
		case module.OpElse:
			cur = outer[len(outer)-1]
		case module.OpEnd:
			if len(outer) > 0 {
				cur = outer[len(outer)-1]
				outer = outer[:len(outer)-1]
			}
		}
		return nil
	})
	return p, err
}

// body rewrites one function.
func (w *writer) body(b []byte, typ uint32) ([]byte, error) {
	body, err := module.ReadBody(b)
	if err != nil {
		return nil, err
	}
	p, err := w.survey(body, typ)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(b)+len(b)/8+64*len(p.weights))
	out = module.AppendU32(out, uint32(len(body.Locals)))
	for _, l := range body.Locals {
		out = append(module.AppendU32(out, l.N), l.Type)
	}
	e := emitter{w: w, out: out, p: p, loops: []int32{0}}
	e.charge()
	if p.frame.calls {
		e.out = w.enter(e.out, p.frame.size())
	}
	err = body.Each(e.instruction)
	return e.out, err
}

// emitter writes one body.
type emitter struct {
	w     *writer
	out   []byte
	p     plan
	n     int     // instructions read
	open  []bool  // whether each open block is a loop
	loops []int32 // how many of the first so many open blocks are
}

func (e *emitter) instruction(in *module.Instruction) (err error) {
	if len(e.p.extra) > 0 && e.p.extra[0] == e.n {
		e.p.extra = e.p.extra[1:]
		e.charge()
	}
	e.n++
	w := e.w
	switch in.Op {
	case module.OpBlock, module.OpIf, module.OpLoop:
		if v := int64(in.V); v >= int64(w.types) {
			return fmt.Errorf("a block has type %d, and there are %d types", v, w.types)
		}
		e.enter(in.Op == module.OpLoop)
		if in.Op == module.OpLoop {
			e.loop(in)
			return nil
		}
	case module.OpEnd:
		if e.leave() {
			e.out = append(e.out, module.OpEnd)
		}
	case module.OpBr, module.OpBrIf:
		in.X, err = e.label(in.X)
	case module.OpBrTable:
		for i := range in.Labels {
			if in.Labels[i], err = e.label(in.Labels[i]); err != nil {
				return err
			}
		}
	case module.OpCall, module.OpRefFunc:
		in.X, err = w.function(in.X)
	case module.OpCallIndirect:
		if in.X >= w.types {
			return fmt.Errorf("it calls type %d, and there are %d", in.X, w.types)
		}
	case module.OpGlobalGet, module.OpGlobalSet:
		if in.X >= w.globals {
			return fmt.Errorf("it names global %d, and there are %d", in.X, w.globals)
		}
	case module.OpMemoryGrow, module.OpBulk:
		if f, charged, err := w.charged(in); err != nil {
			return err
		} else if charged {
			e.out = call(e.out, f)
			return nil
		}
	}
	if err != nil {
		return err
	}
	e.out = in.Append(e.out)
	return nil
}

func (e *emitter) enter(loop bool) {
	n := e.loops[len(e.loops)-1]
	if loop {
		n++
	}
	e.open = append(e.open, loop)
	e.loops = append(e.loops, n)
}

// leave reports whether what ends is a loop. The end of the body leaves nothing.
func (e *emitter) leave() (loop bool) {
	if n := len(e.open); n > 0 {
		loop = e.open[n-1]
		e.open = e.open[:n-1]
		e.loops = e.loops[:n]
	}
	return loop
}

// label is what a label has become: whoever leaves a loop leaves the one around it too.
func (e *emitter) label(l uint32) (uint32, error) {
	n := len(e.open)
	if uint64(l) > uint64(n) {
		return 0, fmt.Errorf("a branch leaves %d blocks, and %d are open", l, n)
	}
	return l + uint32(e.loops[n]-e.loops[n-int(l)]), nil
}

// loop writes the head of a loop, in a loop of the same type: from the inner one, what is left is tested
// and the outer one, where the call is, begun again.
//
//	loop bt
//	  (if left <= 0 then left = refuel(left))
//	  loop bt
//	    br_if 1 (left <= 0)
//	    left -= weight
func (e *emitter) loop(in *module.Instruction) {
	e.out = in.Append(e.out)
	e.out = e.w.refill(e.out)
	e.out = in.Append(e.out)
	e.out = append(e.w.spent(e.out), module.OpBrIf, 1)
	e.out = e.w.take(e.out, e.next())
}

// charge writes a charge outside the head of a loop.
func (e *emitter) charge() {
	e.out = e.w.refill(e.out)
	e.out = e.w.take(e.out, e.next())
}

func (e *emitter) next() int64 {
	weight := e.p.weights[0]
	e.p.weights = e.p.weights[1:]
	return weight
}
