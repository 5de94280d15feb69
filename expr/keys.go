package expr

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/shoal-fabric/shoal"
)

// Index names what peers with some attribute announce: {"gpu", ""} any GPU, {"gpu/vendor",
// "nvidia"}, {"exec", "train"} a native executor of that name, {"gpu/model", "A100"}, {"gpu/memory", "16GiB"} a GPU with that much or more, {"label",
// "zone=a"}, {"memory", "64GiB"} and {"cpus", "8"} that much or more, {"arch", "arm64"}, {"os",
// "linux"}. Amounts are powers of two.
type Index struct{ Kind, Name string }

// Key returns the key under which the peers announce themselves.
func (i Index) Key() shoal.Key { return shoal.NameKey(i.Kind, i.Name) }

// String returns "gpu/memory=16GiB", or the kind alone.
func (i Index) String() string {
	if i.Name == "" {
		return i.Kind
	}
	return i.Kind + "=" + i.Name
}

// rank orders kinds from those that few peers have to those that most have.
func rank(kind string) int {
	return slices.Index([]string{"exec", "gpu/model", "gpu/memory", "gpu/vendor", "gpu", "label", "cpus", "memory", "arch", "os"}, kind)
}

// Keys returns the indexes that every matching peer announces, those that few peers have first; a
// directory looks up one of them. There are none if the expression implies none: what it says
// outside its outermost conjunction, of load or of names is not indexed.
func (p *Program) Keys() []Index { return slices.Clone(p.keys) }

// MemberKeys returns the keys under which m, this node, announces itself.
func MemberKeys(m *shoal.Member) []shoal.Key {
	var keys []shoal.Key
	for _, i := range memberIndexes(&m.Attributes) {
		keys = append(keys, i.Key())
	}
	return keys
}

func memberIndexes(a *shoal.Attributes) []Index {
	is := []Index{{"os", a.OS}, {"arch", a.Arch}}
	for n := 1; n > 0 && n <= a.CPUs; n *= 2 {
		is = append(is, Index{"cpus", strconv.Itoa(n)})
	}
	is = append(is, amounts("memory", a.Memory)...)
	for _, g := range a.GPUs {
		is = append(is, Index{"gpu", ""}, Index{"gpu/vendor", g.Vendor}, Index{"gpu/model", g.Model})
		is = append(is, amounts("gpu/memory", g.Memory)...)
	}
	for _, name := range a.Executors {
		is = append(is, Index{"exec", name})
	}
	for k, v := range a.Labels {
		is = append(is, Index{"label", k + "=" + v})
	}
	slices.SortFunc(is, compare)
	return slices.Compact(is)
}

func compare(a, b Index) int {
	return cmp.Or(cmp.Compare(rank(a.Kind), rank(b.Kind)), cmp.Compare(a.Name, b.Name))
}

// amounts returns an index for each power of two, in GiB, up to n.
func amounts(kind string, n uint64) (is []Index) {
	for g := uint64(1); g <= n>>30; g *= 2 {
		is = append(is, Index{kind, strconv.FormatUint(g, 10) + "GiB"})
	}
	return is
}

// indexes returns what the operands of a conjunction imply.
func indexes(operands []ast.Expr) []Index {
	var is []Index
	for _, x := range operands {
		is = append(is, implied(x)...)
	}
	slices.SortFunc(is, compare)
	return slices.Compact(is)
}

// implied returns the indexes of every peer of which x is true.
func implied(x ast.Expr) []Index {
	if is, ok := gpuExists(x); ok {
		return is
	}
	if name, ok := execIn(x); ok {
		return []Index{{"exec", name}}
	}
	op, left, right, ok := comparison(x)
	if !ok {
		return nil
	}
	if s, isStr := literalString(right); isStr && op == operators.Equals {
		if l, isLabel := labelOf(left); isLabel {
			return []Index{{"label", l + "=" + s}}
		}
		if name := dotted(left); name == "os" || name == "arch" {
			return []Index{{name, s}}
		}
	}
	n, isNum := atLeast(op, right)
	if !isNum || n < 1 {
		return nil
	}
	switch name := dotted(left); {
	case name == "cpus":
		return []Index{{"cpus", strconv.FormatUint(floor2(uint64(n)), 10)}}
	case name == "memory":
		return gibIndex("memory", n)
	case isCount(left):
		return []Index{{"gpu", ""}}
	}
	return nil
}

// execIn reads "NAME" in executors.
func execIn(x ast.Expr) (name string, ok bool) {
	if x.Kind() != ast.CallKind || x.AsCall().FunctionName() != operators.In || len(x.AsCall().Args()) != 2 ||
		dotted(x.AsCall().Args()[1]) != "executors" {
		return "", false
	}
	return literalString(x.AsCall().Args()[0])
}

// gpuExists reads gpus.exists(g, ...) and exists_one.
func gpuExists(x ast.Expr) ([]Index, bool) {
	if x.Kind() != ast.CallKind {
		return nil, false
	}
	c := x.AsCall()
	if !c.IsMemberFunction() || dotted(c.Target()) != "gpus" || len(c.Args()) != 2 ||
		c.Args()[0].Kind() != ast.IdentKind {
		return nil, false
	}
	if f := c.FunctionName(); f != "exists" && f != "exists_one" && f != "existsOne" {
		return nil, false
	}
	g, is := c.Args()[0].AsIdent(), []Index{{"gpu", ""}}
	for _, x := range conjuncts(c.Args()[1], nil) {
		op, left, right, ok := comparison(x)
		if !ok {
			continue
		}
		if s, isStr := literalString(right); isStr && op == operators.Equals {
			for _, field := range []string{"vendor", "model"} {
				if dotted(left) == g+"."+field {
					is = append(is, Index{"gpu/" + field, s})
				}
			}
		}
		field := dotted(left)
		if n, isNum := atLeast(op, right); isNum && (field == g+".memory" || field == g+".free") {
			is = append(is, gibIndex("gpu/memory", n)...)
		}
	}
	return is, true
}

// comparison returns x as "left op right" with the constant, if there is one, on the right.
func comparison(x ast.Expr) (op string, left, right ast.Expr, ok bool) {
	if x.Kind() != ast.CallKind || x.AsCall().IsMemberFunction() || len(x.AsCall().Args()) != 2 {
		return "", nil, nil, false
	}
	op, left, right = x.AsCall().FunctionName(), x.AsCall().Args()[0], x.AsCall().Args()[1]
	_, isNum := constant(left)
	_, isStr := literalString(left)
	if isNum || isStr {
		left, right = right, left
		switch op {
		case operators.Less:
			op = operators.Greater
		case operators.LessEquals:
			op = operators.GreaterEquals
		case operators.Greater:
			op = operators.Less
		case operators.GreaterEquals:
			op = operators.LessEquals
		}
	}
	switch op {
	case operators.Equals, operators.NotEquals, operators.Greater, operators.GreaterEquals:
		return op, left, right, true
	}
	return "", nil, nil, false
}

// atLeast returns the least number that satisfies "x op right" for a natural number x.
func atLeast(op string, right ast.Expr) (int64, bool) {
	n, ok := constant(right)
	switch {
	case !ok:
		return 0, false
	case op == operators.Equals, op == operators.GreaterEquals:
		return n, true
	case op == operators.Greater:
		return n + 1, n+1 > n
	}
	return 1, op == operators.NotEquals && n == 0
}

// constant evaluates numbers as people write amounts: 8, gib(16), 4 * gib(1).
func constant(x ast.Expr) (int64, bool) {
	switch x.Kind() {
	case ast.LiteralKind:
		n, ok := x.AsLiteral().(types.Int)
		return int64(n), ok
	case ast.CallKind:
		c := x.AsCall()
		var ns []int64
		for _, a := range c.Args() {
			n, ok := constant(a)
			if !ok || n < 0 {
				return 0, false
			}
			ns = append(ns, n)
		}
		switch f := c.FunctionName(); {
		case c.IsMemberFunction():
		case f == "gib" && len(ns) == 1:
			return product(ns[0], 1<<30)
		case f == "mib" && len(ns) == 1:
			return product(ns[0], 1<<20)
		case f == operators.Multiply && len(ns) == 2:
			return product(ns[0], ns[1])
		case f == operators.Add && len(ns) == 2:
			return ns[0] + ns[1], ns[0]+ns[1] >= ns[0]
		}
	}
	return 0, false
}

// product multiplies natural numbers, unless that overflows.
func product(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return int64(lo), hi == 0 && lo>>63 == 0
}

// isCount reports whether x is the number of GPUs.
func isCount(x ast.Expr) bool {
	if x.Kind() != ast.CallKind || x.AsCall().FunctionName() != "size" {
		return false
	}
	c := x.AsCall()
	if c.IsMemberFunction() {
		return len(c.Args()) == 0 && dotted(c.Target()) == "gpus"
	}
	return len(c.Args()) == 1 && dotted(c.Args()[0]) == "gpus"
}

// floor2 returns the greatest power of two that is not above n, which is not 0.
func floor2(n uint64) uint64 { return 1 << (bits.Len64(n) - 1) }

// gibIndex returns the index of peers with n bytes or more, if n is a GiB at least.
func gibIndex(kind string, n int64) []Index {
	if n < 1<<30 {
		return nil
	}
	return []Index{{kind, strconv.FormatUint(floor2(uint64(n)>>30), 10) + "GiB"}}
}
