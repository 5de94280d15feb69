package expr

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/shoal-fabric/shoal"
)

// Bounds on what others may ask us to evaluate.
const (
	maxSource  = 4096  // code points
	maxDepth   = 32    // nesting of the source
	maxNodes   = 2000  // of the syntax tree, macros expanded
	maxNesting = 2     // comprehensions within comprehensions
	maxRegexp  = 1000  // instructions of a regular expression
	maxCost    = 20000 // CEL cost units of one evaluation: about a millisecond
)

// Program is a compiled expression. It is immutable; any number of goroutines may use it.
type Program struct {
	src   string
	parts []*part
	whole cel.Program // all of it, not counting what it costs; nil: it may cost too much
	keys  []Index
}

// part is one operand of the outermost conjunction.
type part struct {
	text   string // as the author wrote it, or nearly
	test   bool   // whether it is a plain comparison
	shown  []shownVar
	source *env
	once   sync.Once
	tree   *ast.AST // what prog is made from; nil once it is
	prog   cel.Program
	err    error // why there is none
}

// env is CEL, set up once. All of it is immutable.
type env struct {
	full  *cel.Env // checks and plans
	plain *cel.Env // parses only, leaving macros alone, so that the tree looks like the source
	vars  []variable
	get   map[string]func(m *shoal.Member) any
}

// shared builds the environment on first use; it never changes afterwards.
var shared = sync.OnceValue(func() *env {
	e := &env{vars: variables(), get: map[string]func(m *shoal.Member) any{}}
	reg, err := types.NewRegistry()
	if err != nil {
		panic("expr: " + err.Error())
	}
	opts := []cel.EnvOption{
		cel.CustomTypeAdapter(reg),
		cel.CustomTypeProvider(provider{reg}),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserErrorRecoveryLimit(4),
		cel.ExpressionNodeLimit(maxNodes),
		cel.RegexProgramSizeLimit(maxRegexp),
		cel.ASTValidators(cel.ValidateComprehensionNestingLimit(maxNesting), cel.ValidateRegexLiterals()),
		scale("gib", 1<<30),
		scale("mib", 1<<20),
		versionFunction(),
		cel.CrossTypeNumericComparisons(true), // "rate.gas >= 1000000000" is no error of type
	}
	for _, v := range e.vars {
		opts = append(opts, cel.Variable(v.name, v.typ))
		e.get[v.name] = v.get
	}
	if e.full, err = cel.NewEnv(opts...); err == nil {
		e.plain, err = cel.NewEnv(append(opts, cel.ClearMacros())...)
	}
	if err != nil {
		panic("expr: " + err.Error())
	}
	return e
})

// scale declares a function that turns a number of units into bytes.
func scale(name string, unit int64) cel.EnvOption {
	return cel.Function(name,
		cel.Overload(name+"_int", []*cel.Type{cel.IntType}, cel.IntType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			n := int64(v.(types.Int))
			if n > math.MaxInt64/unit || n < math.MinInt64/unit {
				return types.NewErr("%s(%d) is too large", name, n)
			}
			return types.Int(n * unit)
		})),
		cel.Overload(name+"_double", []*cel.Type{cel.DoubleType}, cel.IntType, cel.UnaryBinding(func(v ref.Val) ref.Val {
			n := float64(v.(types.Double)) * float64(unit)
			if math.IsNaN(n) || math.Abs(n) >= 1<<62 {
				return types.NewErr("%s(%g) is too large", name, float64(v.(types.Double)))
			}
			return types.Int(n)
		})))
}

// Compile checks src, which must give true or false, and prepares it. The empty expression matches
// every peer. Errors have kind Invalid.
func Compile(src string) (*Program, error) {
	p := &Program{src: strings.TrimSpace(src)}
	if p.src == "" {
		return p, nil
	}
	e := shared()
	what := "requirement " + quote(p.src)
	if len(p.src) > maxSource {
		return nil, shoal.E(shoal.Invalid, what, fmt.Sprintf("longer than %d characters", maxSource), "shorten it")
	}
	var err error
	whole, issues := e.full.Compile(p.src)
	if issues.Err() != nil {
		return nil, e.explain(what, issues)
	}
	if !whole.OutputType().IsExactType(cel.BoolType) {
		return nil, shoal.E(shoal.Invalid, what, "it gives a value of type "+whole.OutputType().String()+
			", not true or false", "compare it with something, as in 'cpus >= 8'")
	}
	if p.whole, err = e.quick(whole); err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	plain, issues := e.plain.Parse(p.src)
	if issues.Err() != nil {
		return nil, e.explain(what, issues)
	}
	root := plain.NativeRep().Expr()
	operands := conjuncts(root, nil)
	p.keys = indexes(operands)
	trees := conjuncts(whole.NativeRep().Expr(), nil)
	if len(trees) != len(operands) { // macros made it another conjunction: take all as one part
		operands, trees = []ast.Expr{root}, []ast.Expr{whole.NativeRep().Expr()}
	}
	for i, x := range operands {
		text, err := cel.ExprToString(x, plain.NativeRep().SourceInfo())
		if err != nil {
			text = p.src
		}
		p.parts = append(p.parts, &part{
			text: strings.Join(strings.Fields(text), " "), test: isTest(x), shown: e.mentioned(x), source: e,
			tree: cut(whole.NativeRep(), trees[i]),
		})
	}
	return p, nil
}

// cut takes one operand out of a checked expression.
func cut(whole *ast.AST, x ast.Expr) *ast.AST {
	kinds, refs := map[int64]*types.Type{}, map[int64]*ast.ReferenceInfo{}
	ast.PreOrderVisit(x, ast.NewExprVisitor(func(y ast.Expr) {
		id := y.ID()
		if t := whole.TypeMap()[id]; t != nil {
			kinds[id] = t
		}
		if r := whole.ReferenceMap()[id]; r != nil {
			refs[id] = r
		}
	}))
	return ast.NewCheckedAST(ast.NewAST(x, ast.NewSourceInfo(nil)), kinds, refs)
}

// eval prepares the operand when it is first asked for: most are never, as another one fails before.
func (p *part) eval(a *activation) (ref.Val, error) {
	p.once.Do(func() {
		checked, err := ast.ToProto(p.tree)
		if err == nil {
			p.prog, err = p.source.full.Program(cel.CheckedExprToAst(checked), cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
		}
		p.tree, p.err = nil, err
	})
	if p.err != nil {
		return nil, p.err
	}
	v, _, err := p.prog.Eval(a)
	return v, err
}

// conjuncts appends the operands of the outermost conjunction, in their order.
func conjuncts(x ast.Expr, to []ast.Expr) []ast.Expr {
	if x.Kind() == ast.CallKind && x.AsCall().FunctionName() == operators.LogicalAnd {
		for _, arg := range x.AsCall().Args() {
			to = conjuncts(arg, to)
		}
		return to
	}
	return append(to, x)
}

// explain puts CEL's first complaint into one line.
func (e *env) explain(what string, issues *cel.Issues) error {
	why := "it cannot be read"
	if errs := issues.Errors(); len(errs) > 0 {
		msg := strings.TrimSuffix(errs[0].Message, " (in container '')")
		msg = strings.Join(strings.Fields(strings.TrimPrefix(msg, "Syntax error: ")), " ")
		if len(msg) > 200 {
			msg = strings.ToValidUTF8(msg[:200], "") + "..."
		}
		why = fmt.Sprintf("column %d: %s", errs[0].Location.Column()+1, msg)
		if l := errs[0].Location.Line(); l > 1 {
			why = fmt.Sprintf("line %d, %s", l, why)
		}
	}
	names := make([]string, len(e.vars))
	for i, v := range e.vars {
		names[i] = v.name
	}
	return shoal.E(shoal.Invalid, what, why, "there are "+strings.Join(names, ", ")+
		"; of each of gpus: "+strings.Join(gpuFieldNames(), ", ")+"; and gib(n), mib(n), version(text)")
}

// Match reports whether m satisfies the expression, and if not, why: the first part that failed and
// what the peer has instead. The error, of kind Invalid, says that the expression cost more than
// anybody should spend on it; no peer will do better.
func (p *Program) Match(m *shoal.Member) (bool, string, error) {
	if len(p.parts) == 0 {
		return true, "", nil
	}
	a := activation{get: p.parts[0].source.get, m: m}
	missing, reason := -1, ""
	for i := range p.parts {
		v, err := p.parts[i].eval(&a)
		if err != nil {
			var stop interpreter.EvalCancelledError
			if errors.As(err, &stop) {
				return false, "", shoal.E(shoal.Invalid, "requirement "+quote(p.src), "it takes too long to evaluate",
					"write a simpler one")
			}
			if missing < 0 {
				missing, reason = i, err.Error()
			}
			continue // a later part that is plainly false explains better
		}
		if v != types.True {
			return false, p.parts[i].reason(m), nil
		}
	}
	if missing >= 0 {
		return false, p.parts[missing].lacking(m, reason), nil
	}
	return true, "", nil
}

// Clause returns the part of the expression that keeps m from satisfying it, as Match finds it; "" if it does satisfy it.
func (p *Program) Clause(m *shoal.Member) string {
	missing := ""
	for i := range p.parts {
		v, err := p.parts[i].eval(&activation{get: p.parts[0].source.get, m: m})
		if err == nil && v != types.True {
			return p.parts[i].text
		}
		if err != nil && missing == "" {
			missing = p.parts[i].text
		}
	}
	return missing
}

// String returns the expression's source.
func (p *Program) String() string { return p.src }

// quote shortens and quotes source for an error.
func quote(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	return "'" + strings.ToValidUTF8(s, "?") + "'"
}
