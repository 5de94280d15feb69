package meter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/module"
)

// Rewrite returns the module with a counter of gas and one of stack, every number in its shortest form. calls says what an
// import of a function costs; the error has kind Invalid.
//
// A host instantiates it with HostModule, charges Info.Instance, and calls the export Start, if there is
// one, before any other: the module has no start function any more. At each call Refuel gets the counter
// and returns what it shall be then. At the end of a call, and within its own functions, the host finds in
// the global Fuel what is left of what it gave; it may charge there for its own work. An instance that
// trapped is not to be used again.
//
// Deep is called when functions may have taken FirstRoom bytes of stack, or what it returned the last time, since then:
// the host looks at the stack and ends the guest if it is too deep. When it is called tells nothing about depth, as
// what was taken may have been given back, and it does not matter how calls from the host come between.
//
// It checks the indexes that it shifts, or that could otherwise reach what it adds. All else is left to
// the engine, which must validate what comes out.
func Rewrite(wasm []byte, calls func(module, name string) Call) ([]byte, Info, error) {
	m, err := module.Parse(wasm)
	if err != nil {
		return nil, Info{}, err
	}
	w := newWriter(m)
	info, err := w.rewrite(calls)
	if err != nil {
		return nil, info, shoal.E(shoal.Invalid, "module", err.Error(), "build it again")
	}
	return m.Encode(), info, nil
}

// writer rewrites one module in place.
type writer struct {
	m          *module.Module
	types      uint32   // that the guest has
	functions  []uint32 // the type of each function that the guest has
	imported   uint32   // how many of them are imported
	globals    uint32   // that the guest has, and so the index of the counter of gas; that of stack comes next
	tables     []module.Table
	added      [][]byte // bodies of functions of ours, after the guest's
	addedTypes []uint32
	bulk       map[operation]uint32 // the functions that charge for them
	names      map[uint32]string    // of functions, as the guest has them
}

func newWriter(m *module.Module) *writer {
	return &writer{
		m: m, types: uint32(len(m.Types)), functions: m.FuncTypes(), imported: m.Imported(module.KindFunc),
		globals: m.Imported(module.KindGlobal) + uint32(len(m.Globals)), tables: m.AllTables(),
		bulk: map[operation]uint32{}, names: functionNames(m.Customs),
	}
}

func (w *writer) rewrite(calls func(module, name string) Call) (info Info, err error) {
	m := w.m
	if err := w.check(); err != nil {
		return info, err
	}
	info = Info{Start: m.Start != nil, Instance: w.instance()}
	m.JoinData()
	names := map[uint32]string{}
	for f, name := range w.names {
		if uint64(f) < uint64(len(w.functions)) {
			g, _ := w.function(f)
			names[g] = name
		}
	}
	for i := range m.Imports { // in the order of their indexes, before all other functions of ours
		if im := &m.Imports[i]; im.Kind == module.KindFunc {
			names[w.wrap(im, calls(im.Module, im.Name))] = im.Name
		}
	}
	for i, b := range m.Bodies {
		at := w.imported + uint32(i)
		if m.Bodies[i], err = w.body(b, w.functions[at]); err != nil {
			return info, fmt.Errorf("function %d: %w", at, err)
		}
	}
	if err := w.sections(); err != nil {
		return info, err
	}
	m.Imports = append(m.Imports, module.Import{
		Module: HostModule, Name: Refuel, Type: w.typ([]byte{module.I64}, []byte{module.I64}),
	}, module.Import{
		Module: HostModule, Name: Deep, Type: w.typ([]byte{module.I32}, []byte{module.I32}),
	})
	names[w.refuel()], names[w.deep()] = reserved+Refuel, reserved+Deep
	m.Functions = append(m.Functions, w.addedTypes...)
	m.Bodies = append(m.Bodies, w.added...)
	m.Globals = append(m.Globals, module.Global{
		GlobalType: module.GlobalType{Type: module.I64, Mutable: true},
		Init:       module.Expr{Op: module.OpI64Const},
	}, module.Global{
		GlobalType: module.GlobalType{Type: module.I32, Mutable: true},
		Init:       module.Expr{Op: module.OpI32Const, V: FirstRoom},
	})
	m.Exports = append(m.Exports, module.Export{Name: Fuel, Kind: module.KindGlobal, Index: w.globals})
	m.Customs = nil
	if len(w.names) > 0 {
		m.Customs = []module.Custom{module.NameSection(names)}
	}
	return info, nil
}

// check refuses what could reach something that is added, and names of ours.
func (w *writer) check() error {
	m := w.m
	for _, t := range w.functions {
		if t >= w.types {
			return fmt.Errorf("a function has type %d, and there are %d types", t, w.types)
		}
	}
	for i := range m.Imports {
		if strings.HasPrefix(m.Imports[i].Module, reserved) {
			return fmt.Errorf("it imports from %q: names that begin with %q are reserved", m.Imports[i].Module, reserved)
		}
	}
	for _, e := range m.Exports {
		if strings.HasPrefix(e.Name, reserved) {
			return fmt.Errorf("it exports %q: names that begin with %q are reserved", e.Name, reserved)
		}
		if e.Kind == module.KindGlobal && e.Index >= w.globals {
			return fmt.Errorf("it exports global %d, and there are %d", e.Index, w.globals)
		}
	}
	if m.Start != nil {
		if uint64(*m.Start) >= uint64(len(w.functions)) {
			return fmt.Errorf("its start function is %d, and there are %d functions", *m.Start, len(w.functions))
		}
		if t := m.Types[w.functions[*m.Start]]; len(t.Params)+len(t.Results) > 0 {
			return errors.New("its start function takes parameters or returns results")
		}
	}
	return nil
}

// instance is the price of an instance.
func (w *writer) instance() uint64 {
	gas := uint64(gasInstance) + uint64(len(w.m.Globals)) + uint64(len(w.m.Exports))
	for _, l := range w.m.Memories {
		gas += uint64(l.Min) * gasPage
	}
	for _, t := range w.m.Tables {
		gas += uint64(t.Min) * gasElement
	}
	for i := range w.m.Elements {
		gas += uint64(w.m.Elements[i].Len()) * gasElement
	}
	for i := range w.m.Data {
		gas += uint64(len(w.m.Data[i].Bytes)) / gasBytes
	}
	return gas
}

// hosts is the number of functions of the host: they come after the imports of the guest.
const hosts = 2

func (w *writer) refuel() uint32 { return w.imported }

func (w *writer) deep() uint32 { return w.imported + 1 }

// function is what a function's index has become. The guest's imports are reached through ours.
func (w *writer) function(f uint32) (uint32, error) {
	switch {
	case f < w.imported:
		return w.addition(f), nil
	case uint64(f) < uint64(len(w.functions)):
		return f + hosts, nil
	}
	return 0, fmt.Errorf("it names function %d, and there are %d", f, len(w.functions))
}

// addition is the index of our function n.
func (w *writer) addition(n uint32) uint32 { return uint32(len(w.functions)) + hosts + n }

// add takes a function of ours and returns its index.
func (w *writer) add(typ uint32, body []byte) uint32 {
	w.added = append(w.added, body)
	w.addedTypes = append(w.addedTypes, typ)
	return w.addition(uint32(len(w.added) - 1))
}

// typ returns the index of a type that is added.
func (w *writer) typ(params, results []byte) uint32 {
	for i := int(w.types); i < len(w.m.Types); i++ {
		if t := w.m.Types[i]; string(t.Params) == string(params) && string(t.Results) == string(results) {
			return uint32(i)
		}
	}
	w.m.Types = append(w.m.Types, module.FuncType{Params: params, Results: results})
	return uint32(len(w.m.Types) - 1)
}

// sections shifts the indexes outside functions.
func (w *writer) sections() (err error) {
	m := w.m
	shift := func(f *uint32) {
		g, e := w.function(*f)
		if *f = g; e != nil && err == nil {
			err = e
		}
	}
	expr := func(x *module.Expr) {
		switch x.Op {
		case module.OpRefFunc:
			f := uint32(x.V)
			shift(&f)
			x.V = uint64(f)
		case module.OpGlobalGet:
			if x.V >= uint64(w.globals) && err == nil {
				err = fmt.Errorf("it names global %d, and there are %d", x.V, w.globals)
			}
		}
	}
	for i := range m.Globals {
		expr(&m.Globals[i].Init)
	}
	for i := range m.Exports {
		if e := &m.Exports[i]; e.Kind == module.KindFunc {
			shift(&e.Index)
		}
	}
	for i := range m.Elements {
		e := &m.Elements[i]
		if e.Active() {
			expr(&e.Offset)
		}
		for j := range e.Funcs {
			shift(&e.Funcs[j])
		}
		for j := range e.Exprs {
			expr(&e.Exprs[j])
		}
	}
	for i := range m.Data {
		if m.Data[i].Active() {
			expr(&m.Data[i].Offset)
		}
	}
	for i := range m.Tables { // growing one fails at the cap, as it may
		if t, most := &m.Tables[i], module.MaxGrown/uint32(len(m.Tables)); !t.Bounded || t.Max > most {
			t.Max, t.Bounded = max(t.Min, most), true
		}
	}
	if m.Start != nil {
		shift(m.Start) // through a function of ours: being exported would entitle it to more
		f := w.add(w.typ(nil, nil), append(call([]byte{0}, *m.Start), module.OpEnd))
		m.Exports = append(m.Exports, module.Export{Name: Start, Kind: module.KindFunc, Index: f})
		m.Start = nil
	}
	return err
}

// functionNames reads the names of functions, which stack traces show; a broken section has none.
func functionNames(customs []module.Custom) map[uint32]string {
	for _, c := range customs {
		if c.Name == "name" {
			if names, err := module.FunctionNames(c.Data); err == nil {
				return names
			}
		}
	}
	return nil
}
