package hostile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

// controlTime is how long Go's own loops run in the place of a guest: about as long as most guests.
const controlTime = 200 * time.Millisecond

// guests are all, those that are refused or given up before they run last.
func guests() []hostile.Guest {
	return append(append(hostile.Running(), hostile.Refused()...), hostile.Guest{
		Name: "20,000 branches, 500 locals", Wasm: hostile.Branches(20_000), Limit: "compiling", Want: "compiling it takes more than",
	})
}

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "hostile", Ours: "shoal", Rounds: 3,
		About: []string{
			"A node (`node.Open` with every default but the address, compiling in a child) in a process of its own; a second node, another process, sends it a guest for each processor at once, over TCP and TLS, and pings it every 2 ms until both have been stopped. Meanwhile a 1 ms timer ticks in the node's process, and the collector is called every 20 ms.",
			"stop: from the limit to the end of the run, its memory given back, the worst of the guests, as the node measures it and reports it with each task. The moment of a time limit is known. Gas is counted by the guest itself and seen by the node between slices, so the time counts from the beginning of the slice in which it ran out: what is printed is never too short. Memory and output: from the refusal. Stack: as gas. Compiling: from the last look at which the child was within its limits to its being killed and its task's end (the system takes a gibibyte from it behind that); caps: from when the module was there to the refusal.",
			"ping: opening a stream and two echoes, three round trips, the whole of it; the worst of all rounds. control: the same node, the same pings, ticker and collector, with Go's own loops, one for each processor, in the place of the guests, in turns with them. others_percent: of the processor time spent meanwhile, what neither node took: the rest of the machine, and children that compile.",
			"A guest is right only if it ends with the limit that it is meant to meet; any other end fails the benchmark. The one that the compiler must be stopped at has one round.",
		},
		Ratios: []rig.Ratio{
			{Name: "stop_worst_ms", Of: rig.Peak("shoal", fields("stop_ms")...), Target: rig.AtMost(100)},
			{Name: "ping_worst_ms", Of: rig.Peak("shoal", fields("ping_ms")...), Target: rig.AtMost(50)},
			{Name: "ping_median_ms", Of: usual("shoal", "ping_p50_ms")},
			{Name: "ping_median_control_ms", Of: usual("control", "ping_p50_ms")},
			{Name: "ticker_worst_ms", Of: rig.Peak("shoal", fields("ticker_ms")...)},
			{Name: "ping_control_ms", Of: rig.Peak("control", fields("ping_ms")...)},
			{Name: "ticker_control_ms", Of: rig.Peak("control", fields("ticker_ms")...)},
			{Name: "collection_worst_ms", Of: rig.Peak("shoal", fields("collect_ms")...)},
			{Name: "collection_control_ms", Of: rig.Peak("control", fields("collect_ms")...)},
			{Name: "pause_worst_ms", Of: rig.Peak("shoal", fields("pause_ms")...)},
			{Name: "others_percent", Of: usual("shoal", "others_percent")},
			{Name: "collections_least", Of: rig.Bottom("shoal", fields("collections")...), Target: rig.AtLeast(1)},
		},
		Table: table,
		Roles: map[string]rig.Role{"node": rig.As(target), "asker": rig.As(ask)},
		Run:   run,
	}
}

// usual is the median of a figure over all guests and rounds.
func usual(kind, figure string) func(rig.Samples) rig.Spread {
	return func(s rig.Samples) rig.Spread {
		var all []float64
		for _, f := range fields(figure) {
			for _, v := range s.Of(kind, f) {
				all = append(all, v)
			}
		}
		return rig.Sum(all)
	}
}

func fields(figure string) (out []string) {
	for _, g := range guests() {
		out = append(out, slug(g.Name)+"_"+figure)
	}
	return out
}

func run(ctx context.Context, r *rig.Run) error {
	var of ready
	n, err := r.Procs.Start(ctx, "node", rig.AnyCore, filepath.Join(r.Work, "node"), &of)
	if err != nil {
		return err
	}
	a, err := r.Procs.Start(ctx, "asker", rig.AnyCore, place{r.Work, of}, nil)
	if err != nil {
		return err
	}
	before := load()
	for i, g := range guests() {
		err := r.Turns(ctx, []string{"shoal", "control"}, func(round int, kind string) error {
			if g.Limit == "compiling" && round != 1 {
				return nil // it takes seconds, and there is nothing to warm up
			}
			spin := controlTime
			if kind == "shoal" {
				spin = 0
			}
			all, ours := rig.Busy(), rig.CPU(n, a)
			if err := n.Do(ctx, "begin", spin, nil); err != nil {
				return err
			}
			var s stormed
			var w seen
			if kind == "shoal" {
				err = a.Do(ctx, "storm", order{i, fmt.Sprint(round, ".")}, &s)
			} else {
				err = a.Do(ctx, "ping", controlTime, &s)
			}
			if err != nil {
				return err
			}
			if err := n.Do(ctx, "end", nil, &w); err != nil {
				return err
			}
			if all = rig.Busy() - all; all > 0 {
				r.Add(round, kind, slug(g.Name)+"_others_percent", 100*(1-min(1, (rig.CPU(n, a)-ours).Seconds()/all.Seconds())))
			}
			add := func(figure string, v float64) { r.Add(round, kind, slug(g.Name)+"_"+figure, v) }
			if kind == "shoal" {
				add("stop_ms", s.StopMS)
				add("took_ms", s.TookMS)
			}
			add("ping_ms", s.PingMS)
			add("ping_p50_ms", s.Median)
			add("pings", float64(s.Pings))
			add("ticker_ms", w.TickerMS)
			add("collect_ms", w.CollectMS)
			add("pause_ms", w.PauseMS)
			add("collections", float64(w.Collections))
			return nil
		})
		if err != nil {
			return err
		}
		r.Logf("hostile: %s: %s", g.Name, g.Want)
	}
	r.Note("Load of the machine when it began: %s; when it ended: %s; niceness of the benchmark: %d. These are times by the clock: what else the machine does is in them, and in the control's.", before, load(), rig.Niceness())
	return nil
}

// load is how many processes have run or waited to, over 1, 5 and 15 minutes.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

// table has a row for each guest: the worst of all rounds, with the control's beside it.
func table(s rig.Samples) [][]string {
	rows := [][]string{{"guest", "limit", "stop ms", "worst ping ms (control)", "median ping ms (control)", "pings", "worst ticker ms (control)", "longest collection ms (control)", "longest pause ms", "collections"}}
	for _, g := range guests() {
		worst := func(kind, figure string) string { return rig.Number(rig.Peak(kind, slug(g.Name)+"_"+figure)(s).Median) }
		beside := func(figure string) string { return worst("shoal", figure) + " (" + worst("control", figure) + ")" }
		sum := func(figure string) string {
			total := 0.0
			for _, v := range s.Of("shoal", slug(g.Name)+"_"+figure) {
				total += v
			}
			return fmt.Sprint(int(total))
		}
		stop := worst("shoal", "stop_ms")
		if g.Limit == "none" {
			stop = "-"
		}
		rows = append(rows, []string{
			g.Name, limit(g), stop, beside("ping_ms"), beside("ping_p50_ms"), sum("pings"), beside("ticker_ms"), beside("collect_ms"),
			worst("shoal", "pause_ms"), sum("collections"),
		})
	}
	return rows
}

// limit says which limit a guest meets.
func limit(g hostile.Guest) string {
	switch g.Limit {
	case "time":
		return fmt.Sprint("time, ", g.Limits.Time)
	case "gas":
		return fmt.Sprint("gas, ", g.Limits.Gas)
	case "memory":
		return fmt.Sprint("memory, ", g.Limits.Memory>>20, " MiB")
	case "output":
		return fmt.Sprint("output, ", g.Limits.Output>>20, " MiB")
	case "none":
		return "none: it traps"
	case "caps":
		return "caps before compiling"
	case "compiling":
		return "compiling, 10s or 1024 MiB"
	}
	return g.Limit
}
