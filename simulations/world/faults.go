package world

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// faults lets go wrong what the scenario says. Sessions come and go until calm, the end of the load; each fault has its own time, which may
// be longer. ctx is that of the run.
func (w *world) faults(ctx, calm context.Context) {
	churned := map[*machine]bool{} // by a fault, in place of their classes' figures
	for i := range w.s.Faults {
		f := &w.s.Faults[i]
		who := w.concerned(f, scenario.Dice(w.seed, "fault "+string(rune('0'+i))))
		if f.Kind == scenario.Churn {
			for _, m := range who {
				churned[m] = true
			}
		}
		w.ends.Go(func() {
			w.sleep(ctx, time.Until(w.zero.Add(f.At)))
			if ctx.Err() != nil {
				return
			}
			over, end := context.WithCancel(calm) // a step of the clock may have no end of its own
			defer end()
			if f.For > 0 {
				over, end = context.WithTimeout(ctx, f.For)
				defer end()
			}
			defer w.history.Fault(f.Kind)()
			w.fault(over, i, who)
		})
	}
	spells := w.s.Spells(w.seed, -1)
	for _, m := range w.machines {
		if m.class.Session > 0 && !churned[m] {
			w.ends.Go(func() { w.churn(calm, m, m.class.Session, m.class.Downtime, spells) })
		}
	}
}

// concerned draws the machines that a fault is about. The first node, which founded the fabric, is among them as any other.
func (w *world) concerned(f *scenario.Fault, dice *rand.Rand) (who []*machine) {
	for _, m := range w.machines {
		if (f.Class == "" || m.class.Name == f.Class) && (f.Region == "" || w.s.Regions[m.region].Name == f.Region) {
			who = append(who, m)
		}
	}
	n := len(who)
	switch {
	case f.Nodes > 0:
		n = min(n, f.Nodes)
	case f.Share > 0:
		n = int(f.Share*float64(n) + 0.5)
	default:
		return who
	}
	dice.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
	return who[:n]
}

// fault is one fault, by its index, until ctx ends.
func (w *world) fault(ctx context.Context, i int, who []*machine) {
	f := &w.s.Faults[i]
	factor := f.Factor
	if factor <= 0 {
		factor = 10
	}
	each := func(do func(m *machine)) {
		for _, m := range who {
			do(m)
		}
	}
	hold := func() { <-ctx.Done() }
	switch f.Kind {
	case scenario.Kill, scenario.Wipe:
		each(func(m *machine) { m.fail(f.Kind == scenario.Wipe) })
		hold()
		if w.ctx.Err() == nil && f.At+f.For < w.s.Duration+w.s.Settle { // else they are lost for good
			each(func(m *machine) { w.ends.Go(func() { m.mend(w.ctx) }) })
		}
	case scenario.Churn:
		spells := w.s.Spells(w.seed, i)
		each(func(m *machine) {
			w.ends.Go(func() { w.churn(ctx, m, f.Session, f.Downtime, spells) })
		})
		hold()
	case scenario.Partition, scenario.OneWay, scenario.SlowLink:
		some := map[*machine]bool{}
		each(func(m *machine) { some[m] = true })
		undo := w.links.add(func(a, b *machine) (cut bool, slow float64) {
			switch {
			case f.Kind == scenario.Partition:
				return some[a] != some[b], 1
			case f.Kind == scenario.OneWay:
				return some[a] && !some[b], 1
			case some[a] || some[b]:
				return false, factor
			}
			return false, 1
		})
		hold()
		undo()
	case scenario.SlowDisk:
		each(func(m *machine) { m.disk.SetSync(time.Duration(factor * float64(m.class.Sync))) })
		hold()
		each(func(m *machine) { m.disk.SetSync(m.class.Sync) })
	case scenario.SlowGPU:
		each(func(m *machine) { m.slowGPU.set(factor) })
		hold()
		each(func(m *machine) { m.slowGPU.set(1) })
	case scenario.SlowCPU:
		each(func(m *machine) { m.slowCPU.set(factor) })
		hold()
		each(func(m *machine) { m.slowCPU.set(1) })
	case scenario.ClockStep:
		each(func(m *machine) { m.step.Add(int64(f.Step)) })
		hold()
		each(func(m *machine) { m.step.Add(-int64(f.Step)) })
	}
}

// churn has a machine come and go until ctx ends.
func (w *world) churn(ctx context.Context, m *machine, session, downtime time.Duration, spells scenario.Spells) {
	if session <= 0 {
		return
	}
	for nth := 0; ; nth += 2 {
		w.sleep(ctx, spells.Of(m.i, nth, session))
		if ctx.Err() != nil {
			return
		}
		m.fail(false)
		w.sleep(ctx, spells.Of(m.i, nth+1, downtime))
		m.mend(w.ctx)
	}
}
