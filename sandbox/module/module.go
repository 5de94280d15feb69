package module

// Module is a module as its sections say, decoded. Slices of bytes are parts of the binary it was read from.
type Module struct {
	Types     []FuncType
	Imports   []Import
	Functions []uint32 // the type of each function of its own
	Tables    []Table
	Memories  []Limits
	Globals   []Global
	Exports   []Export
	Start     *uint32
	Elements  []Element
	DataCount *uint32
	Bodies    [][]byte // locals and instructions of each function of its own
	Data      []Segment
	Customs   []Custom
}

// FuncType is parameters and results, one byte each as the format has them.
type FuncType struct{ Params, Results []byte }

// The kinds of what is imported and exported.
const (
	KindFunc   byte = 0
	KindTable  byte = 1
	KindMemory byte = 2
	KindGlobal byte = 3
)

// The types of values.
const (
	I32       byte = 0x7f
	I64       byte = 0x7e
	F32       byte = 0x7d
	F64       byte = 0x7c
	V128      byte = 0x7b
	FuncRef   byte = 0x70
	ExternRef byte = 0x6f
)

// Import is one import; of Type, Table, Memory and Global the one that Kind says.
type Import struct {
	Module, Name string
	Kind         byte
	Type         uint32
	Table        Table
	Memory       Limits
	Global       GlobalType
}

// Limits bound a memory, in pages, or a table, in elements.
type Limits struct {
	Min     uint32
	Max     uint32 // if Bounded
	Bounded bool
}

// Table is the type of a table.
type Table struct {
	Elem byte
	Limits
}

// GlobalType is the type of a global.
type GlobalType struct {
	Type    byte
	Mutable bool
}

// Global is a global of the module's own.
type Global struct {
	GlobalType
	Init Expr
}

// Expr is a constant expression, which is one instruction.
type Expr struct {
	Op    byte
	V, Hi uint64 // the constant, or the index
}

// Export is one export.
type Export struct {
	Name  string
	Kind  byte
	Index uint32
}

// Element is an element segment. Flags is the format's: 1 passive or declared, 2 with an explicit table
// or declared, 4 with expressions.
type Element struct {
	Flags  uint32
	Table  uint32
	Offset Expr
	Kind   byte
	Funcs  []uint32 // without flag 4
	Exprs  []Expr   // with flag 4
}

// Active reports whether the segment is copied into its table when the module is instantiated.
func (e *Element) Active() bool { return e.Flags&1 == 0 }

// Len is the number of the segment's elements.
func (e *Element) Len() int { return len(e.Funcs) + len(e.Exprs) }

// Segment is a data segment. Flags is the format's: 0 active, 1 passive, 2 active with an explicit memory.
type Segment struct {
	Flags  uint32
	Memory uint32
	Offset Expr
	Bytes  []byte
}

// Active reports whether the segment is copied into memory when the module is instantiated.
func (s *Segment) Active() bool { return s.Flags != 1 }

// Custom is a custom section.
type Custom struct {
	Name string
	Data []byte
}

// Imported counts the imports of a kind.
func (m *Module) Imported(kind byte) (n uint32) {
	for i := range m.Imports {
		if m.Imports[i].Kind == kind {
			n++
		}
	}
	return n
}

// FuncTypes lists the type of each function, imported ones first.
func (m *Module) FuncTypes() []uint32 {
	out := make([]uint32, 0, len(m.Imports)+len(m.Functions))
	for i := range m.Imports {
		if m.Imports[i].Kind == KindFunc {
			out = append(out, m.Imports[i].Type)
		}
	}
	return append(out, m.Functions...)
}

// AllTables lists the type of each table, imported ones first.
func (m *Module) AllTables() []Table {
	var out []Table
	for i := range m.Imports {
		if m.Imports[i].Kind == KindTable {
			out = append(out, m.Imports[i].Table)
		}
	}
	return append(out, m.Tables...)
}
