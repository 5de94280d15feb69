package meter

import "github.com/shoal-fabric/shoal/sandbox/module"

// FirstRoom is how much stack is taken before the host looks at it for the first time, in bytes.
const FirstRoom = 1 << 20

// What the engine puts into a frame, in bytes. It gives each value a slot of its own that must outlast a call or finds no
// register, and most values do neither: what is here is about what a frame has at the most in programs that mean well.
const (
	frameLeast  = 64
	frameValue  = 8
	frameVector = 16
	frameOther  = 4 // an instruction, of which not each makes a value that lasts
	frameMost   = 1 << 28
)

// frame estimates what a function takes of the stack while its instructions are read.
type frame struct {
	w      *writer
	bytes  int64
	locals int64
	widest int64   // of the locals, in bytes
	sets   int64   // of locals, so far
	outer  []int64 // sets at the start of each open block
	calls  bool    // a function of the guest's: others call none back
}

func (w *writer) frame(b module.Body, typ uint32) frame {
	f := frame{w: w, bytes: frameLeast}
	t := w.m.Types[typ]
	f.values(t.Results)
	for _, p := range t.Params {
		f.local(1, p)
	}
	for _, l := range b.Locals {
		f.local(int64(l.N), l.Type)
	}
	return f
}

func (f *frame) local(n int64, typ byte) {
	size := sizeOf(typ)
	f.locals += n
	f.bytes += n * size
	f.widest = max(f.widest, size)
}

func sizeOf(typ byte) int64 {
	if typ == module.V128 {
		return frameVector
	}
	return frameValue
}

func (f *frame) values(types []byte) {
	for _, t := range types {
		f.bytes += sizeOf(t)
	}
}

// add counts an instruction. Where ways join, each local that was set on one of them becomes a new value, and so
// does each value that a block gives or a loop takes.
func (f *frame) add(in *module.Instruction) {
	f.bytes += frameOther
	switch in.Op {
	case module.OpVector, module.OpGlobalGet:
		f.bytes += frameVector - frameOther
	case module.OpLocalSet, module.OpLocalTee:
		f.sets++
	case module.OpBlock, module.OpIf, module.OpLoop:
		f.outer = append(f.outer, f.sets)
		if v := int64(in.V); v >= 0 && v < int64(f.w.types) {
			f.values(f.w.m.Types[v].Params)
			f.values(f.w.m.Types[v].Results)
		}
	case module.OpEnd:
		if n := len(f.outer); n > 0 {
			f.bytes += f.widest * min(f.sets-f.outer[n-1], f.locals)
			f.outer = f.outer[:n-1]
		}
	case module.OpCall:
		if uint64(in.X) < uint64(len(f.w.functions)) {
			f.calls = f.calls || in.X >= f.w.imported
			f.call(f.w.functions[in.X])
		}
	case module.OpCallIndirect:
		f.calls = true
		if in.X < f.w.types {
			f.call(in.X)
		}
	}
}

// call counts what a call gives back.
func (f *frame) call(typ uint32) { f.values(f.w.m.Types[typ].Results) }

func (f *frame) size() int32 { return int32(min(f.bytes, frameMost)) }
