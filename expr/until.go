package expr

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/shoal-fabric/shoal"
)

// Until is a condition on an object of mergeable state that, once it holds, holds for ever, whatever is merged: that
// a counter that only grows, or the size of a set that only grows, is at least so much, that such a set has an
// element, and what && and || make of these (Hellerstein and Alvaro: Keeping CALM, 2020).
type Until struct {
	src    string
	prog   cel.Program
	number bool // asks for value
	set    bool // asks for size or items
}

// growing is what a condition may speak of.
var growing = sync.OnceValue(func() *cel.Env {
	e, err := cel.NewEnv(
		cel.Variable("value", cel.IntType), cel.Variable("size", cel.IntType), cel.Variable("items", cel.ListType(cel.StringType)),
		cel.ParserExpressionSizeLimit(maxSource), cel.ParserRecursionLimit(maxDepth), cel.ExpressionNodeLimit(maxNodes), cel.ClearMacros(),
	)
	if err != nil {
		panic("expr: " + err.Error())
	}
	return e
})

// CompileUntil reads a condition. Invalid: it is malformed, or need not go on holding; the error points at the place.
func CompileUntil(src string) (*Until, error) {
	u := &Until{src: strings.TrimSpace(src)}
	what := "condition " + quote(u.src)
	checked, issues := growing().Compile(u.src)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		msg := strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimSuffix(first.Message, " (in container '')"), "Syntax error: ")), " ")
		return nil, shoal.E(shoal.Invalid, what, fmt.Sprintf("column %d: %s", first.Location.Column()+1, msg), untilHelp)
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, shoal.E(shoal.Invalid, what, "it is not true or false", untilHelp)
	}
	tree := checked.NativeRep()
	if bad, why := u.grows(tree.Expr()); bad != nil {
		at := tree.SourceInfo().GetStartLocation(bad.ID())
		return nil, shoal.E(shoal.Invalid, what, fmt.Sprintf("column %d: %s", at.Column()+1, why), untilHelp)
	}
	prog, err := growing().Program(checked)
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	u.prog = prog
	return u, nil
}

const untilHelp = "what holds for ever is: value >= 1000 of a counter; size >= 3, or \"x\" in items, of a growset; and && and || of these"

// grows returns the part that may cease to hold, and why; nil if none does.
func (u *Until) grows(x ast.Expr) (ast.Expr, string) {
	if x.Kind() != ast.CallKind {
		return x, "it says nothing that comes to hold"
	}
	c := x.AsCall()
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalAnd, operators.LogicalOr:
		for _, a := range args {
			if bad, why := u.grows(a); bad != nil {
				return bad, why
			}
		}
		return nil, ""
	case operators.GreaterEquals, operators.Greater:
		return u.bound(x, args[0], args[1])
	case operators.LessEquals, operators.Less:
		return u.bound(x, args[1], args[0])
	case operators.In:
		if args[1].Kind() == ast.IdentKind && args[1].AsIdent() == "items" && args[0].Kind() == ast.LiteralKind {
			u.set = true
			return nil, ""
		}
		return x, "only a text in items comes to hold"
	}
	return x, "it may hold, and cease to"
}

// bound is that a growing number is at least some number.
func (u *Until) bound(x, grown, least ast.Expr) (ast.Expr, string) {
	if grown.Kind() != ast.IdentKind || !fixed(least) {
		return x, "it may hold, and cease to: only what grows, at least some number, goes on holding"
	}
	switch grown.AsIdent() {
	case "value":
		u.number = true
	case "size":
		u.set = true
	default:
		return x, "a list is no number"
	}
	return nil, ""
}

// fixed reports whether x speaks of numbers only.
func fixed(x ast.Expr) bool {
	switch x.Kind() {
	case ast.LiteralKind:
		return true
	case ast.CallKind:
		for _, a := range x.AsCall().Args() {
			if !fixed(a) {
				return false
			}
		}
		return true
	}
	return false
}

// Number reports whether it speaks of a counter, Set whether of a set.
func (u *Until) Number() bool { return u.number }

// Set is Number, of a set.
func (u *Until) Set() bool { return u.set }

// Hold reports whether it holds of a counter's value, or a set's elements.
func (u *Until) Hold(value int64, items []string) (bool, error) {
	v, _, err := u.prog.Eval(map[string]any{"value": value, "size": int64(len(items)), "items": items})
	if err != nil {
		return false, shoal.Wrap(shoal.Invalid, "condition "+quote(u.src), err)
	}
	return v == types.True, nil
}
