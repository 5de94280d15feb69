package module

import (
	"bytes"
	"errors"
	"fmt"
)

// parser is a module while its sections are read.
type parser struct {
	Module
	part     string // what is being read, for errors
	elements int    // of all segments
	glance   bool   // what is read may be the beginning only
}

// Parse decodes a module's sections. Bodies of functions are cut out and not looked into; see ReadBody.
// Indexes and types are not checked. The error has kind Invalid.
func Parse(wasm []byte) (*Module, error) {
	var p parser
	if err := p.sections(wasm); err != nil {
		return nil, broken(p.part, err)
	}
	return &p.Module, nil
}

// Glance looks at the beginning of a module, of any length: nil, or what Parse refuses it for, if that can be seen there.
// Who gets a module piece by piece need not get all of one that is beyond a cap. What is no module is left to Inspect,
// which says what it is instead.
func Glance(start []byte) error {
	if !bytes.HasPrefix(start, []byte(header)) {
		return nil
	}
	p := parser{glance: true}
	if err := p.sections(start); err != nil && !errors.Is(err, errCut) {
		return broken(p.part, err)
	}
	return nil
}

func broken(part string, err error) error {
	if part != "" {
		part = "its " + part + " is broken: "
	}
	return invalid(part+err.Error(), "build or copy it again")
}

func sectionName(id byte) string {
	names := [...]string{
		"custom section", "type section", "import section", "function section", "table section",
		"memory section", "global section", "export section", "start section", "element section",
		"code section", "data section", "data count section", "tag section",
	}
	if int(id) < len(names) {
		return names[id]
	}
	return fmt.Sprintf("section %d", id)
}

// rank is a section's place in the order that the format wants.
func rank(id byte) int {
	switch {
	case id == 12: // data count comes before code
		return 19
	case id >= 10:
		return int(id) * 2
	}
	return int(id)
}

func (p *parser) sections(wasm []byte) error {
	if len(wasm) < 8 || string(wasm[:8]) != header {
		return errors.New("it does not start as a module does")
	}
	all := reader{b: wasm, at: 8}
	last := 0
	for !all.done() {
		id := all.byte()
		p.part = sectionName(id)
		size := all.u32()
		if p.glance {
			size = min(size, uint32(len(wasm)-all.at))
		}
		r := reader{b: all.bytes(size)}
		switch {
		case all.err != nil:
			return all.err
		case id == 13:
			return errors.New("it uses exceptions, which are not offered: build it without -fwasm-exceptions")
		case id > 13:
			return errors.New("no such section is known")
		case id > 0 && rank(id) <= last:
			return errors.New("it stands twice or in the wrong place")
		case id > 0:
			last = rank(id)
		}
		p.section(id, &r)
		if r.err == nil && !r.done() {
			r.fail(errors.New("it goes on after its last entry"))
		}
		if r.err != nil {
			return r.err
		}
	}
	p.part = ""
	if len(p.Bodies) != len(p.Functions) && !p.glance {
		return fmt.Errorf("%d functions are declared and %d have a body", len(p.Functions), len(p.Bodies))
	}
	return nil
}

// vector reads n items.
func vector[T any](r *reader, what string, limit uint32, read func(*reader) T) []T {
	n := r.count(what, limit)
	out := make([]T, 0, n)
	for ; n > 0 && r.err == nil; n-- {
		out = append(out, read(r))
	}
	return out
}

func (p *parser) section(id byte, r *reader) {
	switch id {
	case 0:
		p.Customs = append(p.Customs, Custom{r.name(), r.rest()})
	case 1:
		p.Types = vector(r, "types", maxTypes, funcType)
	case 2:
		p.Imports = vector(r, "imports", maxNames, imported)
	case 3:
		p.Functions = vector(r, "functions", maxFunctions, (*reader).u32)
	case 4:
		p.Tables = vector(r, "tables", maxTables, table)
		total := uint64(0)
		for _, t := range p.Tables {
			total += uint64(t.Min)
		}
		if total > MaxTable {
			r.fail(fmt.Errorf("a table of %d elements, more than the limit of %d", total, MaxTable))
		}
	case 5:
		p.Memories = vector(r, "memories", maxEntries, memory)
		if len(p.Memories) > 1 {
			r.fail(errors.New("it has several memories, and one is offered"))
		}
	case 6:
		p.Globals = vector(r, "globals", maxNames, func(r *reader) Global { return Global{globalType(r), expr(r)} })
	case 7:
		p.Exports = vector(r, "exports", maxNames, func(r *reader) Export { return Export{r.name(), r.byte(), r.u32()} })
	case 8:
		f := r.u32()
		p.Start = &f
	case 9:
		p.Elements = vector(r, "element segments", maxNames, p.element)
	case 10:
		p.Bodies = vector(r, "functions", maxFunctions, body)
	case 11:
		p.Data = vector(r, "data segments", maxEntries, segment)
	case 12:
		n := r.u32()
		p.DataCount = &n
	}
}

func funcType(r *reader) FuncType {
	if form := r.byte(); form != 0x60 && r.err == nil {
		r.fail(errors.New("it uses types newer than WebAssembly 2.0 (garbage collection), which are not offered"))
	}
	return FuncType{valueTypes(r), valueTypes(r)}
}

func valueTypes(r *reader) []byte {
	all := r.bytes(r.count("parameters", maxParams))
	for _, t := range all {
		if !valueType(t) {
			r.fail(fmt.Errorf("0x%x is no type of WebAssembly 2.0", t))
		}
	}
	return all
}

func imported(r *reader) Import {
	i := Import{Module: r.name(), Name: r.name(), Kind: r.byte()}
	switch i.Kind {
	case KindFunc:
		i.Type = r.u32()
	case KindTable:
		i.Table = table(r)
	case KindMemory:
		i.Memory = memory(r)
	case KindGlobal:
		i.Global = globalType(r)
	case 4:
		r.fail(errors.New("it uses exceptions, which are not offered: build it without -fwasm-exceptions"))
	default:
		r.fail(fmt.Errorf("%s.%s has the unknown kind %d", i.Module, i.Name, i.Kind))
	}
	return i
}

func table(r *reader) Table {
	t := Table{Elem: r.byte()}
	if t.Elem != FuncRef && t.Elem != ExternRef && r.err == nil {
		r.fail(fmt.Errorf("0x%x is no type of a table in WebAssembly 2.0", t.Elem))
	}
	t.Limits = r.limits("table")
	return t
}

func memory(r *reader) Limits {
	l := r.limits("memory")
	if l.Min > maxPages {
		r.fail(fmt.Errorf("it wants %d pages of memory, and %d can be addressed", l.Min, maxPages))
	}
	return l
}

func globalType(r *reader) GlobalType {
	g := GlobalType{Type: r.byte()}
	if !valueType(g.Type) && r.err == nil {
		r.fail(fmt.Errorf("0x%x is no type of WebAssembly 2.0", g.Type))
	}
	switch r.byte() {
	case 0:
	case 1:
		g.Mutable = true
	default:
		r.fail(errors.New("a global is neither constant nor mutable"))
	}
	return g
}

// expr reads a constant expression. WebAssembly 2.0 has those of one instruction only.
func expr(r *reader) Expr {
	var in Instruction
	r.instruction(&in)
	e := Expr{Op: in.Op, V: in.V, Hi: in.Hi}
	switch in.Op {
	case OpI32Const, OpI64Const, OpF32Const, OpF64Const:
	case OpGlobalGet, OpRefFunc:
		e.V = uint64(in.X)
	case OpRefNull:
		e.V = uint64(in.Lane)
	case OpVector:
		if in.Sub == SubV128Const {
			break
		}
		fallthrough
	default:
		r.fail(fmt.Errorf("0x%x in a constant expression, which WebAssembly 2.0 has not", in.Op))
	}
	if r.byte() != OpEnd {
		r.fail(errors.New("a constant expression of several instructions, which WebAssembly 2.0 has not"))
	}
	return e
}

func (p *parser) element(r *reader) Element {
	e := Element{Flags: r.u32()}
	if e.Flags > 7 {
		r.fail(fmt.Errorf("an element segment has unknown flags 0x%x", e.Flags))
	}
	if e.Active() {
		if e.Flags&2 != 0 {
			e.Table = r.u32()
		}
		e.Offset = expr(r)
	}
	if e.Flags&3 != 0 {
		e.Kind = r.byte()
	}
	if e.Flags&4 == 0 {
		e.Funcs = vector(r, "elements", maxEntries, (*reader).u32)
	} else {
		e.Exprs = vector(r, "elements", maxEntries, expr)
	}
	if p.elements += e.Len(); p.elements > maxEntries {
		r.fail(fmt.Errorf("%d elements, more than the limit of %d", p.elements, maxEntries))
	}
	return e
}

func body(r *reader) []byte {
	n := r.u32()
	if n > maxBody {
		r.fail(fmt.Errorf("a function of %d bytes, more than the limit of %d", n, maxBody))
	}
	return r.bytes(n)
}

func segment(r *reader) Segment {
	s := Segment{Flags: r.u32()}
	if s.Flags > 2 {
		r.fail(fmt.Errorf("a data segment has unknown flags 0x%x", s.Flags))
	}
	if s.Flags == 2 {
		s.Memory = r.u32()
	}
	if s.Active() {
		s.Offset = expr(r)
	}
	s.Bytes = r.bytes(r.u32())
	return s
}
