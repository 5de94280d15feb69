package place

import (
	"context"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "place", Ours: "shoal", Rounds: 9,
		About: []string{
			"`scheduler.Place`, the decision that `scheduler.Run` acts on, over a member table (members/view) with the signed records of 1,000 peers: the table's changes taken in, the requirement (" + "`" + needs + "`" + ") held against every peer, candidates drawn, up to 8 of them asked for offers, costs added up, the explanation made. About a tenth of the peers fit. One input, with three holders of which one fits. Each figure is the median of the round's decisions, on one core.",
			"decision_us: 10 of the peers (1 %) have new records since the decision before, every other one with new attributes, the others with new load; offers are those of the last 250 ms, as within a job. asked_us: the same with an input that nobody was asked about, so that 8 offers are asked for; the peers' answers come from a real scheduler's handler, called in the same process: network apart, it is what a decision without any memory of offers takes.",
			"cold_us: a requirement that was never seen, so that it is compiled and held against all 1,000 (those asked for offers have heard of it before: they compile it on their own machines). unknown_us: by a scheduler that has not looked at the table yet, either.",
			"allocs, kib: what one decision allocates, with 10 changed peers, with none (still_), and for each peer more that changed (allocs_per_change: from 10 to 110). There is no peer to compare with.",
		},
		Ratios: []rig.Ratio{
			{Name: "decision_us", Of: rig.Plain("shoal", "decision_us"), Target: rig.AtMost(300)},
			{Name: "cold_us", Of: rig.Plain("shoal", "cold_us"), Target: rig.AtMost(2000)},
			{Name: "asked_us", Of: rig.Plain("shoal", "asked_us")},
			{Name: "unknown_us", Of: rig.Plain("shoal", "unknown_us")},
			{Name: "allocs_per_change", Of: rig.Plain("shoal", "allocs_per_change")},
		},
		Roles: map[string]rig.Role{"decider": rig.As(decider)},
		Run:   run,
	}
}

func run(ctx context.Context, r *rig.Run) error {
	p, err := r.Procs.Start(ctx, "decider", rig.FirstCore(), r.Seed, nil)
	if err != nil {
		return err
	}
	return r.Turns(ctx, []string{"shoal"}, func(round int, kind string) error {
		var f map[string]float64
		if err := p.Do(ctx, "decide", round, &f); err != nil {
			return err
		}
		for name, v := range f {
			r.Add(round, kind, name, v)
		}
		return nil
	})
}
