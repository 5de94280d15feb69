package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"

	"github.com/shoal-fabric/shoal"
)

// What a member has at most; view refuses records with more. It bounds what an expression over it can cost.
const (
	mostItems = 64  // labels, and GPUs
	mostText  = 256 // bytes of each text
)

// quick prepares an expression that cannot cost more than it may, whatever the member: counting its cost while it
// runs would take longer than running it. nil: it could.
func (e *env) quick(checked *cel.Ast) (cel.Program, error) {
	most, err := e.full.EstimateCost(checked, sizes{})
	if err != nil || most.Max > maxCost {
		return nil, nil // then it is counted
	}
	return e.full.Program(checked, cel.EvalOptions(cel.OptOptimize))
}

// sizes tells CEL how large what a member has can be.
type sizes struct{}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if n.Path() == nil { // made by the expression itself
		return nil
	}
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		return &cost.SizeEstimate{Max: mostItems}
	case types.StringKind:
		return &cost.SizeEstimate{Max: mostText}
	}
	return nil
}

// Fits is Match without the reason, and faster. An expression that costs too much fits nobody.
func (p *Program) Fits(m *shoal.Member) bool {
	if len(p.parts) == 0 {
		return true
	}
	a := activation{get: p.parts[0].source.get, m: m}
	if p.whole != nil && len(m.Attributes.GPUs) <= mostItems && len(m.Attributes.Labels) <= mostItems {
		v, _, err := p.whole.Eval(&a)
		return err == nil && v == types.True
	}
	for i := range p.parts {
		if v, err := p.parts[i].eval(&a); err != nil || v != types.True {
			return false
		}
	}
	return true
}
