package expr

import (
	"math"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"github.com/shoal-fabric/shoal"
)

// variable is what an expression may ask of a peer.
type variable struct {
	name string
	typ  *cel.Type
	get  func(m *shoal.Member) any
}

// variables lists them in the order in which errors show them.
func variables() []variable {
	return []variable{
		{"os", cel.StringType, func(m *shoal.Member) any { return types.String(m.Attributes.OS) }},
		{"arch", cel.StringType, func(m *shoal.Member) any { return types.String(m.Attributes.Arch) }},
		{"cpus", cel.IntType, func(m *shoal.Member) any { return types.Int(max(m.Attributes.CPUs, 0)) }},
		{"memory", cel.IntType, func(m *shoal.Member) any { return bytesOf(m.Attributes.Memory) }},
		{"disk", cel.IntType, func(m *shoal.Member) any { return bytesOf(m.Attributes.Disk) }},
		{"gpus", cel.ListType(gpuType()), func(m *shoal.Member) any { return gpuList(m) }},
		{"labels", cel.MapType(cel.StringType, cel.StringType), func(m *shoal.Member) any {
			return types.NewStringStringMap(types.DefaultTypeAdapter, m.Attributes.Labels)
		}},
		{"executors", cel.ListType(cel.StringType), func(m *shoal.Member) any {
			return types.NewStringList(types.DefaultTypeAdapter, m.Attributes.Executors)
		}},
		{"version", cel.StringType, func(m *shoal.Member) any { return types.String(m.Attributes.Version) }},
		{"hash_mbs", cel.DoubleType, func(m *shoal.Member) any { return types.Double(m.Attributes.HashMBs) }},
		{"cpu.model", cel.StringType, func(m *shoal.Member) any { return types.String(m.Attributes.CPU.Model) }},
		{"cpu.cores", cel.IntType, func(m *shoal.Member) any { return types.Int(max(m.Attributes.CPU.Cores, 0)) }},
		{"cpu.features", cel.ListType(cel.StringType), func(m *shoal.Member) any {
			return types.NewStringList(types.DefaultTypeAdapter, m.Attributes.CPU.Features)
		}},
		{"rate.gas", cel.DoubleType, func(m *shoal.Member) any { return types.Double(m.Attributes.Rates.Gas) }},
		{"rate.memory_gbs", cel.DoubleType, func(m *shoal.Member) any { return types.Double(m.Attributes.Rates.Memory) }},
		{"rate.disk_gbs", cel.DoubleType, func(m *shoal.Member) any { return types.Double(m.Attributes.Rates.Disk) }},
		{"id", cel.StringType, func(m *shoal.Member) any { return types.String(m.ID) }},
		{"load.slots", cel.IntType, func(m *shoal.Member) any { return types.Int(m.Load.Slots) }},
		{"load.running", cel.IntType, func(m *shoal.Member) any { return types.Int(m.Load.Running) }},
		{"load.queued", cel.IntType, func(m *shoal.Member) any { return types.Int(m.Load.Queued) }},
		{"load.task_s", cel.DoubleType, func(m *shoal.Member) any { return types.Double(m.Load.TaskSecs) }},
		{"load.disk_free", cel.IntType, func(m *shoal.Member) any { return bytesOf(m.Load.DiskFree) }},
		{"load.held", cel.IntType, func(m *shoal.Member) any { return bytesOf(m.Load.HeldBytes) }},
	}
}

// bytesOf keeps CEL's arithmetic on one integer type; nobody has more than 8 EiB.
func bytesOf(n uint64) types.Int { return types.Int(min(n, math.MaxInt64)) }

// activation shows one member to a program; a value is converted when the program asks for it.
type activation struct {
	get map[string]func(m *shoal.Member) any // shared, read only
	m   *shoal.Member
}

func (a *activation) ResolveName(name string) (any, bool) {
	get, ok := a.get[name]
	if !ok {
		return nil, false
	}
	return get(a.m), true
}

func (a *activation) Parent() interpreter.Activation { return nil }

// provider adds the type gpu to CEL's own, so that a mistyped field is an error of Compile.
type provider struct{ types.Provider }

func (p provider) FindStructType(name string) (*types.Type, bool) {
	if name == gpuName {
		return types.NewTypeTypeWithParam(gpuType()), true
	}
	return p.Provider.FindStructType(name)
}

func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if name == gpuName {
		return gpuFieldNames(), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if name == gpuName {
		return gpuFieldType(field)
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue is asked to make a literal, which makes no sense for a GPU.
func (p provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if name == gpuName {
		return types.NewErr("a gpu cannot be written out")
	}
	return p.Provider.NewValue(name, fields)
}
