package expr

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/shoal-fabric/shoal"
)

// shownVar is a variable that a part mentions; label is set if it is one label.
type shownVar struct{ name, label string }

// maxShown bounds how many values a reason shows.
const maxShown = 3

// isTest reports whether x compares two values and holds no macro.
func isTest(x ast.Expr) bool {
	if x.Kind() != ast.CallKind {
		return false
	}
	switch x.AsCall().FunctionName() {
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater,
		operators.GreaterEquals, operators.In:
		return true
	}
	return false
}

// mentioned lists the variables of x in their order, names bound by a macro apart.
func (e *env) mentioned(x ast.Expr) (found []shownVar) {
	add := func(v shownVar) {
		if !slices.Contains(found, v) {
			found = append(found, v)
		}
	}
	var walk func(x ast.Expr, bound []string)
	walk = func(x ast.Expr, bound []string) {
		if l, ok := labelOf(x); ok && !slices.Contains(bound, "labels") {
			add(shownVar{"labels", l})
			return
		}
		if name := dotted(x); name != "" && e.get[name] != nil && !slices.Contains(bound, strings.Split(name, ".")[0]) {
			add(shownVar{name: name})
			return
		}
		switch x.Kind() {
		case ast.SelectKind:
			walk(x.AsSelect().Operand(), bound)
		case ast.ListKind:
			for _, el := range x.AsList().Elements() {
				walk(el, bound)
			}
		case ast.MapKind:
			for _, en := range x.AsMap().Entries() {
				walk(en.AsMapEntry().Key(), bound)
				walk(en.AsMapEntry().Value(), bound)
			}
		case ast.CallKind:
			c, args := x.AsCall(), x.AsCall().Args()
			if c.IsMemberFunction() {
				walk(c.Target(), bound)
				if len(args) > 1 && args[0].Kind() == ast.IdentKind && isMacro(c.FunctionName()) {
					bound, args = append(slices.Clone(bound), args[0].AsIdent()), args[1:]
				}
			}
			for _, a := range args {
				walk(a, bound)
			}
		}
	}
	walk(x, nil)
	return found
}

func isMacro(name string) bool {
	switch name {
	case "exists", "all", "exists_one", "existsOne", "map", "filter":
		return true
	}
	return false
}

// labelOf returns the label that x names, as labels.x or labels["x"].
func labelOf(x ast.Expr) (string, bool) {
	isLabels := func(x ast.Expr) bool { return x.Kind() == ast.IdentKind && x.AsIdent() == "labels" }
	switch x.Kind() {
	case ast.SelectKind:
		return x.AsSelect().FieldName(), isLabels(x.AsSelect().Operand())
	case ast.CallKind:
		c := x.AsCall()
		if c.FunctionName() == operators.Index && len(c.Args()) == 2 && isLabels(c.Args()[0]) {
			return literalString(c.Args()[1])
		}
	}
	return "", false
}

func literalString(x ast.Expr) (string, bool) {
	if x.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := x.AsLiteral().(types.String)
	return string(s), ok
}

// dotted returns the name of an identifier or of a field of one, else "".
func dotted(x ast.Expr) string {
	switch x.Kind() {
	case ast.IdentKind:
		return x.AsIdent()
	case ast.SelectKind:
		if o := x.AsSelect().Operand(); o.Kind() == ast.IdentKind && !x.AsSelect().IsTestOnly() {
			return o.AsIdent() + "." + x.AsSelect().FieldName()
		}
	}
	return ""
}

// reason says why the part, which is false of m, failed.
func (pt *part) reason(m *shoal.Member) string {
	out := shorten(pt.text)
	if !pt.test {
		out += " is false"
	}
	if vs := pt.values(m); vs != "" {
		out += ": " + vs
	}
	return out
}

// lacking says what m lacked, so that the part could not be told.
func (pt *part) lacking(m *shoal.Member, cause string) string {
	for _, v := range pt.shown {
		if _, ok := m.Attributes.Labels[v.label]; v.label != "" && !ok {
			return shorten(pt.text) + ": " + show(v, m)
		}
	}
	out := shorten(pt.text) + ": " + strings.TrimSpace(cause)
	if vs := pt.values(m); vs != "" {
		out += ", " + vs
	}
	return out
}

func (pt *part) values(m *shoal.Member) string {
	var out []string
	for i, v := range pt.shown {
		if i == maxShown {
			break
		}
		out = append(out, show(v, m))
	}
	return strings.Join(out, ", ")
}

// show says what m has for v.
func show(v shownVar, m *shoal.Member) string {
	switch a := &m.Attributes; {
	case v.label != "":
		val, ok := a.Labels[v.label]
		if !ok {
			return "labels has no " + clean(v.label)
		}
		return "labels." + clean(v.label) + " is '" + clean(val) + "'"
	case v.name == "labels":
		if len(a.Labels) == 0 {
			return "labels is empty"
		}
		var ls []string
		for k, val := range a.Labels {
			ls = append(ls, clean(k)+"="+clean(val))
		}
		slices.Sort(ls)
		return "labels is " + shorten(strings.Join(ls, ", "))
	case v.name == "gpus":
		if len(a.GPUs) == 0 {
			return "gpus is empty"
		}
		var gs []string
		for _, g := range a.GPUs {
			text := clean(g.Vendor) + " " + clean(g.Model) + " " + size(g.Memory)
			if free, known := m.Load.GPUFree(g.ID); known {
				text += " (" + size(free) + " free)"
			}
			if !g.Healthy() {
				text += " (" + clean(g.Health) + ")"
			}
			gs = append(gs, strings.Join(strings.Fields(text), " "))
		}
		return "gpus is " + shorten(strings.Join(gs, ", "))
	case v.name == "cpu.features":
		if len(a.CPU.Features) == 0 {
			return "cpu.features is empty"
		}
		return "cpu.features is " + shorten(clean(strings.Join(a.CPU.Features, ", ")))
	case v.name == "executors":
		if len(a.Executors) == 0 {
			return "executors is empty"
		}
		return "executors is " + shorten(clean(strings.Join(a.Executors, ", ")))
	case v.name == "memory":
		return "memory is " + size(a.Memory)
	case v.name == "disk":
		return "disk is " + size(a.Disk)
	case v.name == "load.disk_free":
		return "load.disk_free is " + size(m.Load.DiskFree)
	case v.name == "load.held":
		return "load.held is " + size(m.Load.HeldBytes)
	}
	switch val := shared().get[v.name](m).(type) {
	case types.String:
		return v.name + " is '" + clean(string(val)) + "'"
	case types.Double:
		return v.name + " is " + strconv.FormatFloat(float64(val), 'g', 4, 64)
	default:
		return fmt.Sprint(v.name, " is ", val)
	}
}

// size writes bytes as people do.
func size(n uint64) string {
	unit, name := uint64(1), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if n/unit < 1024 {
			break
		}
		unit, name = unit*1024, next
	}
	s := strconv.FormatFloat(float64(n)/float64(unit), 'f', 1, 64)
	return strings.TrimSuffix(s, ".0") + name
}

// clean makes what a peer said of itself fit to be shown: short and free of control characters.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > 40 {
		s = string(r[:37]) + "..."
	}
	return s
}

// shorten cuts the middle out of a long text.
func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:52]) + " ... " + string(r[len(r)-20:])
	}
	return s
}
