package gas

import (
	"context"
	"fmt"
	"slices"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "gas", Ours: "shoal", Rounds: 7,
		About: []string{
			"The same modules with the same arguments: by `sandbox.Run` (shoal: rewritten with a gas counter, adaptive slices, virtual clock) and by the bare engine (bare: wazero, compiling, not interruptible, with the sandbox's allocator of guest memory: its own takes it from Go's heap). Their checksums are compared.",
			"Figures of kernels are processor time of the process between the guest's two lines, begin and end: loading and starting do not count. C is clang -O2, simd adds -msimd128 -ffast-math; Go is built for wasip1 when the benchmark runs.",
			"warm_call_us: a call of an instance that is kept, 1 KiB in and out, its gas given and read, by the engine itself.",
			"sdk_turn_us: a method of the Go SDK, the add of example:counter, turn after turn on an instance that is kept. shoal: as agents have it, by the sandbox. bare: the same host calls, without gas, bounds, clock or dice of the sandbox's.",
			"stop_ms and ticker_late_ms: GOMAXPROCS guests that never end are running. stop_ms: from the end of their context to the return of the last Run, the worst of all rounds. ticker_late_ms: the worst lateness of a 1 ms timer in half a second, during which the collector runs every 20 ms. The bare engine has neither figure: such a guest cannot be ended there, and freezes the process.",
			"Instances: the memory that one more guest takes, blocked in a read.",
		},
		Ratios: []rig.Ratio{
			{Name: "c_mean", Of: rig.GeoMean("shoal", "bare", fields(scalar)...), Target: rig.AtMost(1.25)},
			{Name: "simd_mean", Of: rig.GeoMean("shoal", "bare", fields(simd)...), Target: rig.AtMost(1.4)},
			{Name: "go_mean", Of: rig.GeoMean("shoal", "bare", fields(golang)...), Target: rig.AtMost(1.4)},
			{Name: "c_simd_worst", Of: rig.Worst("shoal", "bare", fields(scalar, simd)...), Target: rig.AtMost(1.6)},
			{Name: "go_worst", Of: rig.Worst("shoal", "bare", fields(golang)...), Target: rig.AtMost(2.2)},
			{Name: "warm_call_us", Of: rig.Plain("shoal", "warm_call_us"), Target: rig.AtMost(1)},
			{Name: "stop_ms", Of: rig.Peak("shoal", "stop_ms"), Target: rig.AtMost(100)},
			{Name: "ticker_late_ms", Of: rig.Plain("shoal", "ticker_late_ms"), Target: rig.AtMost(10)},
			{Name: "warm_call_vs_bare", Of: rig.Pair("shoal", "bare", "warm_call_us")},
			{Name: "sdk_turn_vs_bare", Of: rig.Pair("shoal", "bare", "sdk_turn_us")},
		},
		Roles: map[string]rig.Role{"guests": rig.As(guests)},
		Run:   run,
	}
}

// setup is what a worker is told.
type setup struct {
	Kind    string // "shoal" or "bare"
	Modules map[string]string
}

var names = []string{"shoal", "bare"}

func run(ctx context.Context, r *rig.Run) error {
	at, err := modules(ctx, r.Work)
	if err != nil {
		return err
	}
	r.Logf("gas: guests are built")
	procs := map[string]*rig.Proc{}
	for _, kind := range names {
		if procs[kind], err = r.Procs.Start(ctx, "guests", rig.AnyCore, setup{kind, at}, nil); err != nil {
			return err
		}
		for _, m := range []string{"c", "go"} {
			var kib float64
			if err := procs[kind].Do(ctx, "instances", m, &kib); err != nil {
				return err
			}
			r.Add(1, kind, m+"_instance_kib", kib)
		}
	}
	sums := map[string]string{}
	for _, k := range slices.Concat(scalar, simd, golang) {
		err := r.Turns(ctx, names, func(round int, kind string) error {
			var f finished
			if err := procs[kind].Do(ctx, "run", order{k.module, k.name, k.size}, &f); err != nil {
				return err
			}
			if old, seen := sums[k.field()]; seen && old != f.Sum {
				return fmt.Errorf("%s: the checksums differ: %s and %s", k.field(), old, f.Sum)
			}
			sums[k.field()] = f.Sum
			r.Add(round, kind, k.field(), f.MS)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return r.Turns(ctx, names, func(round int, kind string) error {
		var us float64
		if err := procs[kind].Do(ctx, "warm", nil, &us); err != nil {
			return err
		}
		r.Add(round, kind, "warm_call_us", us)
		if err := procs[kind].Do(ctx, "sdk", nil, &us); err != nil {
			return err
		}
		r.Add(round, kind, "sdk_turn_us", us)
		if kind == "bare" {
			return nil
		}
		var s spun
		if err := procs[kind].Do(ctx, "spin", nil, &s); err != nil {
			return err
		}
		r.Add(round, kind, "stop_ms", s.StopMS)
		r.Add(round, kind, "ticker_late_ms", s.LateMS)
		r.Add(round, kind, "ticker_late_p99_ms", s.LateP99MS)
		return nil
	})
}
