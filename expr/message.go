package expr

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/shoal-fabric/shoal"
)

// Letter is what expressions on a message of a topic may speak of: body (text), json (the body read as JSON, null if it is none),
// size (bytes of the body), key, publisher and data (the CID of a body that is a dataset, else ""). The zero value is an
// empty message. It serves one goroutine.
type Letter struct {
	Body                 []byte
	Key, Publisher, Data string

	parsed bool
	json   any
}

// ResolveName implements CEL's activation: what an expression does not ask for is not worked out.
func (l *Letter) ResolveName(name string) (any, bool) {
	switch name {
	case "body":
		return strings.ToValidUTF8(string(l.Body), "�"), true
	case "json":
		if !l.parsed {
			l.parsed = true
			if json.Unmarshal(l.Body, &l.json) != nil {
				l.json = nil
			}
		}
		if l.json == nil {
			return types.NullValue, true
		}
		return l.json, true
	case "size":
		return int64(len(l.Body)), true
	case "key":
		return l.Key, true
	case "publisher":
		return l.Publisher, true
	case "data":
		return l.Data, true
	}
	return nil, false
}

// Parent implements CEL's activation.
func (*Letter) Parent() cel.Activation { return nil }

// OnMessage is a compiled expression on a message. It is immutable; any number of goroutines may use it.
type OnMessage struct {
	src  string
	prog cel.Program // nil: the empty expression
}

// letters is CEL for messages, set up once.
var letters = sync.OnceValue(func() *cel.Env {
	e, err := cel.NewEnv(
		cel.Variable("body", cel.StringType), cel.Variable("json", cel.DynType), cel.Variable("size", cel.IntType),
		cel.Variable("key", cel.StringType), cel.Variable("publisher", cel.StringType), cel.Variable("data", cel.StringType),
		cel.ParserExpressionSizeLimit(maxSource), cel.ParserRecursionLimit(maxDepth), cel.ParserErrorRecoveryLimit(4),
		cel.ExpressionNodeLimit(maxNodes), cel.RegexProgramSizeLimit(maxRegexp), cel.CrossTypeNumericComparisons(true),
		cel.ASTValidators(cel.ValidateComprehensionNestingLimit(maxNesting), cel.ValidateRegexLiterals()),
	)
	if err != nil {
		panic("expr: " + err.Error())
	}
	return e
})

const letterHelp = "there are body, json, size, key, publisher and data, as in 'json.amount > 100 && key != \"test\"'"

// CompileFilter reads a condition on messages; "" holds of all. Invalid: it is malformed; the error points at the place.
func CompileFilter(src string) (*OnMessage, error) {
	return compileLetter("filter", src, cel.BoolType, "true or false")
}

// CompileKey reads an expression that gives a message's key, a text; "" gives Letter.Key.
func CompileKey(src string) (*OnMessage, error) {
	return compileLetter("key", src, cel.StringType, "a text")
}

func compileLetter(kind, src string, want *cel.Type, wants string) (*OnMessage, error) {
	m := &OnMessage{src: strings.TrimSpace(src)}
	if m.src == "" {
		return m, nil
	}
	what := kind + " " + quote(m.src)
	checked, issues := letters().Compile(m.src)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		msg := strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimSuffix(first.Message, " (in container '')"), "Syntax error: ")), " ")
		return nil, shoal.E(shoal.Invalid, what, fmt.Sprintf("column %d: %s", first.Location.Column()+1, msg), letterHelp)
	}
	if t := checked.OutputType(); !t.IsExactType(want) && !t.IsExactType(cel.DynType) {
		return nil, shoal.E(shoal.Invalid, what, "it gives a value of type "+t.String()+", not "+wants, letterHelp)
	}
	var err error
	if m.prog, err = letters().Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost)); err != nil {
		return nil, shoal.Wrap(shoal.Invalid, what, err)
	}
	return m, nil
}

// Holds reports whether a filter lets a message through. One that it cannot be asked of, as it lacks what the filter
// speaks of, is not let through.
func (m *OnMessage) Holds(l *Letter) bool {
	return m.prog == nil || m.eval(l) == types.True
}

// Of returns a message's key. Of a message that lacks what the expression speaks of it is Letter.Key.
func (m *OnMessage) Of(l *Letter) string {
	if m.prog == nil {
		return l.Key
	}
	switch v := m.eval(l).(type) {
	case types.String:
		return string(v)
	case types.Int, types.Uint, types.Double, types.Bool: // of JSON
		return fmt.Sprint(v.Value())
	}
	return l.Key
}

func (m *OnMessage) eval(l *Letter) ref.Val {
	v, _, err := m.prog.Eval(l)
	if err != nil {
		return nil
	}
	return v
}
