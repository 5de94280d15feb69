package module

import "encoding/binary"

// header is the magic number and version 1.
const header = "\x00asm\x01\x00\x00\x00"

// Encode writes the module with every number in its shortest form and sections in their order, custom
// ones last.
func (m *Module) Encode() []byte {
	size := 0
	for _, b := range m.Bodies {
		size += len(b) + 5
	}
	for _, d := range m.Data {
		size += len(d.Bytes) + 16
	}
	out := append(make([]byte, 0, size+size/8+4096), header...)
	out = listSection(out, 1, m.Types, appendType)
	out = listSection(out, 2, m.Imports, appendImport)
	out = listSection(out, 3, m.Functions, AppendU32)
	out = listSection(out, 4, m.Tables, appendTable)
	out = listSection(out, 5, m.Memories, appendLimits)
	out = listSection(out, 6, m.Globals, func(b []byte, g Global) []byte { return appendExpr(appendGlobal(b, g.GlobalType), g.Init) })
	out = listSection(out, 7, m.Exports, func(b []byte, e Export) []byte { return AppendU32(append(AppendName(b, e.Name), e.Kind), e.Index) })
	if m.Start != nil {
		out = plainSection(out, 8, AppendU32(nil, *m.Start))
	}
	out = listSection(out, 9, m.Elements, appendElement)
	if m.DataCount != nil {
		out = plainSection(out, 12, AppendU32(nil, *m.DataCount))
	}
	out = listSection(out, 10, m.Bodies, appendBytes)
	out = listSection(out, 11, m.Data, appendSegment)
	for _, c := range m.Customs {
		out = plainSection(out, 0, append(AppendName(nil, c.Name), c.Data...))
	}
	return out
}

func plainSection(out []byte, id byte, content []byte) []byte {
	return appendBytes(append(out, id), content)
}

// listSection writes a vector of items, unless it is empty.
func listSection[T any](out []byte, id byte, items []T, write func([]byte, T) []byte) []byte {
	if len(items) == 0 {
		return out
	}
	b := AppendU32(nil, uint32(len(items)))
	for _, i := range items {
		b = write(b, i)
	}
	return plainSection(out, id, b)
}

func appendBytes(b, content []byte) []byte {
	return append(AppendU32(b, uint32(len(content))), content...)
}

// AppendName writes a string with its length.
func AppendName(b []byte, s string) []byte { return append(AppendU32(b, uint32(len(s))), s...) }

func appendType(b []byte, t FuncType) []byte {
	return appendBytes(appendBytes(append(b, 0x60), t.Params), t.Results)
}

func appendImport(b []byte, i Import) []byte {
	b = append(AppendName(AppendName(b, i.Module), i.Name), i.Kind)
	switch i.Kind {
	case KindFunc:
		return AppendU32(b, i.Type)
	case KindTable:
		return appendTable(b, i.Table)
	case KindMemory:
		return appendLimits(b, i.Memory)
	}
	return appendGlobal(b, i.Global)
}

func appendTable(b []byte, t Table) []byte { return appendLimits(append(b, t.Elem), t.Limits) }

func appendLimits(b []byte, l Limits) []byte {
	if !l.Bounded {
		return AppendU32(append(b, 0), l.Min)
	}
	return AppendU32(AppendU32(append(b, 1), l.Min), l.Max)
}

func appendGlobal(b []byte, g GlobalType) []byte {
	if g.Mutable {
		return append(b, g.Type, 1)
	}
	return append(b, g.Type, 0)
}

func appendExpr(b []byte, e Expr) []byte {
	b = append(b, e.Op)
	switch e.Op {
	case OpGlobalGet, OpRefFunc:
		b = AppendU32(b, uint32(e.V))
	case OpRefNull:
		b = append(b, byte(e.V))
	case OpI32Const, OpI64Const:
		b = AppendSigned(b, int64(e.V))
	case OpF32Const:
		b = binary.LittleEndian.AppendUint32(b, uint32(e.V))
	case OpF64Const:
		b = binary.LittleEndian.AppendUint64(b, e.V)
	case OpVector:
		b = AppendU32(b, SubV128Const)
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, e.V), e.Hi)
	}
	return append(b, OpEnd)
}

func appendElement(b []byte, e Element) []byte {
	b = AppendU32(b, e.Flags)
	if e.Active() {
		if e.Flags&2 != 0 {
			b = AppendU32(b, e.Table)
		}
		b = appendExpr(b, e.Offset)
	}
	if e.Flags&3 != 0 {
		b = append(b, e.Kind)
	}
	b = AppendU32(b, uint32(e.Len()))
	for _, f := range e.Funcs {
		b = AppendU32(b, f)
	}
	for _, x := range e.Exprs {
		b = appendExpr(b, x)
	}
	return b
}

func appendSegment(b []byte, s Segment) []byte {
	b = AppendU32(b, s.Flags)
	if s.Flags == 2 {
		b = AppendU32(b, s.Memory)
	}
	if s.Active() {
		b = appendExpr(b, s.Offset)
	}
	return appendBytes(b, s.Bytes)
}
