package meter

import "github.com/shoal-fabric/shoal/sandbox/module"

// Opcodes that only this package writes.
const (
	opElse       = module.OpElse
	i32LtS       = 0x48
	i32LtU       = 0x49
	i32GtU       = 0x4b
	i32LeU       = 0x4d
	i32Add       = 0x6a
	i32Sub       = 0x6b
	i64LeS       = 0x57
	i64Sub       = 0x7d
	i64Mul       = 0x7e
	i64ShrU      = 0x88
	i64ExtendU   = 0xad
	blockNothing = 0x40
)

func get(b []byte, local uint32) []byte {
	return module.AppendU32(append(b, module.OpLocalGet), local)
}

func set(b []byte, local uint32) []byte {
	return module.AppendU32(append(b, module.OpLocalSet), local)
}

func call(b []byte, f uint32) []byte { return module.AppendU32(append(b, module.OpCall), f) }

func i32(b []byte, v int32) []byte {
	return module.AppendSigned(append(b, module.OpI32Const), int64(v))
}

func i64(b []byte, v int64) []byte { return module.AppendSigned(append(b, module.OpI64Const), v) }

// left pushes what is left.
func (w *writer) left(b []byte) []byte {
	return module.AppendU32(append(b, module.OpGlobalGet), w.globals)
}

func (w *writer) setLeft(b []byte) []byte {
	return module.AppendU32(append(b, module.OpGlobalSet), w.globals)
}

// spent pushes whether nothing is left.
func (w *writer) spent(b []byte) []byte { return append(i64(w.left(b), 0), i64LeS) }

// refill calls the host if nothing is left.
func (w *writer) refill(b []byte) []byte {
	b = append(w.spent(b), module.OpIf, blockNothing)
	b = w.setLeft(call(w.left(b), w.refuel()))
	return append(b, module.OpEnd)
}

// enter takes bytes of stack off what may still be taken, and calls the host if that was not enough.
func (w *writer) enter(b []byte, bytes int32) []byte {
	room := w.globals + 1
	b = append(i32(module.AppendU32(append(b, module.OpGlobalGet), room), bytes), i32Sub)
	b = module.AppendU32(append(b, module.OpGlobalSet), room)
	b = append(i32(module.AppendU32(append(b, module.OpGlobalGet), room), 0), i32LtS, module.OpIf, blockNothing)
	b = call(module.AppendU32(append(b, module.OpGlobalGet), room), w.deep())
	return append(module.AppendU32(append(b, module.OpGlobalSet), room), module.OpEnd)
}

// take takes a weight off what is left.
func (w *writer) take(b []byte, weight int64) []byte {
	return w.setLeft(append(i64(w.left(b), weight), i64Sub))
}

// takeLocal takes the unsigned i32 in a local, divided by 1<<shift, times price.
func (w *writer) takeLocal(b []byte, local uint32, shift, price int64) []byte {
	b = append(get(w.left(b), local), i64ExtendU)
	if shift > 0 {
		b = append(i64(b, shift), i64ShrU)
	}
	if price > 1 {
		b = append(i64(b, price), i64Mul)
	}
	return w.setLeft(append(b, i64Sub))
}
