package expr

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/shoal-fabric/shoal"
)

// gpuName is the name of the type of gpus' elements.
const gpuName = "gpu"

func gpuType() *types.Type { return types.NewObjectType(gpuName) }

// gpu is a GPU as a CEL value.
type gpu struct {
	*shoal.GPU
	free uint64 // bytes of memory, 0 where that is not known; never more than there are, by which it is indexed
}

func gpuList(m *shoal.Member) ref.Val {
	gs := m.Attributes.GPUs
	vals := make([]ref.Val, len(gs))
	for i := range gs {
		free, _ := m.Load.GPUFree(gs[i].ID)
		vals[i] = &gpu{&gs[i], min(free, gs[i].Memory)}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, vals)
}

// gpuFields are the fields of a GPU, in the order in which errors show them.
func gpuFields() []gpuField {
	return []gpuField{
		{"vendor", types.StringType, func(g *gpu) any { return types.String(g.Vendor) }},
		{"model", types.StringType, func(g *gpu) any { return types.String(g.Model) }},
		{"memory", types.IntType, func(g *gpu) any { return bytesOf(g.Memory) }},
		{"free", types.IntType, func(g *gpu) any { return bytesOf(g.free) }},
		{"id", types.StringType, func(g *gpu) any { return types.String(g.ID) }},
		{"driver", types.StringType, func(g *gpu) any { return types.String(g.Driver) }},
		{"healthy", types.BoolType, func(g *gpu) any { return types.Bool(g.Healthy()) }},
		{"health", types.StringType, func(g *gpu) any { return types.String(g.Health) }},
		{"tflops", types.DoubleType, func(g *gpu) any { return types.Double(g.TFlops) }},
		{"declared", types.BoolType, func(g *gpu) any { return types.Bool(g.Declared) }},
	}
}

type gpuField struct {
	name string
	typ  *types.Type
	get  func(g *gpu) any
}

func gpuFieldNames() (names []string) {
	for _, f := range gpuFields() {
		names = append(names, f.name)
	}
	return names
}

// gpuFieldType returns the type and getter of a field of a GPU.
func gpuFieldType(name string) (*types.FieldType, bool) {
	for _, f := range gpuFields() {
		if f.name == name {
			return &types.FieldType{
				Type:    f.typ,
				IsSet:   func(any) bool { return true },
				GetFrom: func(obj any) (any, error) { return f.get(obj.(*gpu)), nil },
			}, true
		}
	}
	return nil, false
}

func (g *gpu) Type() ref.Type { return gpuType() }
func (g *gpu) Value() any     { return g }

func (g *gpu) Equal(other ref.Val) ref.Val {
	o, ok := other.(*gpu)
	return types.Bool(ok && *o.GPU == *g.GPU)
}

func (g *gpu) ConvertToType(t ref.Type) ref.Val {
	switch {
	case t.TypeName() == gpuName:
		return g
	case t == types.TypeType:
		return gpuType()
	}
	return types.NewErr("a gpu is no %s", t.TypeName())
}

func (g *gpu) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeOf(g).AssignableTo(t) {
		return g, nil
	}
	return nil, fmt.Errorf("a gpu is no %v", t)
}
