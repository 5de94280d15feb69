package expr

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/shoal-fabric/shoal"
)

// gpu is a GPU as a CEL value.
type gpu struct{ *shoal.GPU }

func gpuList(gs []shoal.GPU) ref.Val {
	vals := make([]ref.Val, len(gs))
	for i := range gs {
		vals[i] = gpu{&gs[i]}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

func (g gpu) Type() ref.Type { return gpuType() }
func (g gpu) Value() any     { return g.GPU }

func (g gpu) Equal(other ref.Val) ref.Val {
	o, ok := other.(gpu)
	return types.Bool(ok && *o.GPU == *g.GPU)
}

func (g gpu) ConvertToType(t ref.Type) ref.Val {
	switch {
	case t.TypeName() == gpuName:
		return g
	case t == types.TypeType:
		return gpuType()
	}
	return types.NewErr("a gpu is no %s", t.TypeName())
}

func (g gpu) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeOf(g.GPU).AssignableTo(t) {
		return g.GPU, nil
	}
	return nil, fmt.Errorf("a gpu is no %v", t)
}
