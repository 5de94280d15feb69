package agent

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	probes  = 16 // counters that are called all the time, by as many callers
	active  = 1000
	kills   = 20
	settled = 2500 * time.Millisecond // after a node came back: a lease, and time to be trusted again
	most    = 8 * time.Second         // for an outage
)

// Failover is the benchmark of leaders that die.
func Failover() *rig.Bench {
	few := sleepers(false)
	return &rig.Bench{
		Name: "agent-failover", Ours: "shoal", Rounds: kills,
		About: []string{
			fmt.Sprintf("Three keepers, each a process, with %d agents that are in use and %d that sleep (with --long, 50,000); a fourth node calls. %d of the agents are counters that have a caller each, who adds one again and again, 2 ms apart; each call bears a request's name and is repeated under it until it is answered. Half of them are example:counter, half example:counterc.", active, few, probes),
			"A round: the process of the node that leads most of the counters is killed (SIGKILL), and started again; then, once all has settled, the one that leads most then is stopped (SIGSTOP), and goes on after the outage. What counts is the time from the signal to the next acknowledged turn, of each counter that lived there.",
			"kill_median_s, silent_median_s: of all these outages. kill_worst_s, silent_worst_s: the longest of all. lost: replies that were not one more than the last acknowledged one, and what is missing at the end.",
		},
		Ratios: []rig.Ratio{
			{Name: "kill_median_s", Of: rig.Plain("shoal", "kill_median_s"), Target: rig.AtMost(2)},
			{Name: "kill_worst_s", Of: rig.Peak("shoal", "kill_worst_s"), Target: rig.AtMost(3)},
			{Name: "silent_median_s", Of: rig.Plain("shoal", "silent_median_s"), Target: rig.AtMost(2.5)},
			{Name: "silent_worst_s", Of: rig.Peak("shoal", "silent_worst_s"), Target: rig.AtMost(4)},
			{Name: "lost", Of: rig.Peak("shoal", "lost"), Target: rig.AtMost(0)},
			{Name: "kills", Of: count("kill_median_s")},
			{Name: "silences", Of: count("silent_median_s")},
		},
		Roles: roles(),
		Run:   runFailover,
	}
}

// count is how many rounds have a figure.
func count(field string) func(rig.Samples) rig.Spread {
	return func(s rig.Samples) rig.Spread { return rig.Sum([]float64{float64(len(s.Of("shoal", field)))}) }
}

// sleepers is how many agents sleep.
func sleepers(long bool) int {
	if long {
		return 50_000
	}
	return 5_000
}

func runFailover(ctx context.Context, r *rig.Run) error {
	if err := rig.OnDisk(r.Work); err != nil {
		return err
	}
	f, err := newFleet(ctx, r, "fleet", rig.AnyCore, 0)
	if err != nil {
		return err
	}
	begun := time.Now()
	read := request{Method: "get", Read: true}
	asleep, _, err := f.settle(ctx, codes["shoal-c"], "asleep", sleepers(r.Long), time.Hour)
	if err != nil {
		return err
	}
	r.Note("%d sleeping agents were made in %.0f s.", len(asleep), time.Since(begun).Seconds())
	used, err := f.create(ctx, codes["shoal-c"], "active", active-probes, 16, read)
	if err != nil {
		return err
	}
	var counters []string
	for kind, code := range codes {
		made, err := f.create(ctx, code, "probe-"+kind, probes/len(codes), 4, read)
		if err != nil {
			return err
		}
		counters = append(counters, made...)
	}
	if err := f.join(ctx); err != nil {
		return err
	}
	if err := f.meet(ctx); err != nil {
		return err
	}
	for i := range f.setups {
		f.setups[i].Join = "" // from now on they come back
	}
	r.Logf("agent-failover: agents are made, %.0f s", time.Since(begun).Seconds())
	if err := f.caller().Do(ctx, "begin", blows{Agents: counters, Background: used}, nil); err != nil {
		return err
	}
	var hits []hit
	for round := 1; round <= r.Rounds; round++ {
		for _, how := range []string{"kill", "silent"} {
			h, err := f.strike(ctx, round, how, counters)
			if err != nil {
				return fmt.Errorf("%s %d: %w", how, round, err)
			}
			hits = append(hits, h)
		}
		r.Logf("agent-failover: round %d", round)
	}
	var seen []acks
	if err := f.caller().Do(ctx, "end", nil, &seen); err != nil {
		return err
	}
	return f.judge(ctx, r, counters, hits, seen)
}

// hit is what was done to a node, and when.
type hit struct {
	round  int
	how    string
	at     int64
	struck []int // which counters lived there
}

// strike kills or stops the keeper that leads most counters, waits for the outage to pass, and has it back.
func (f *fleet) strike(ctx context.Context, round int, how string, counters []string) (hit, error) {
	h, victim, leaders := hit{round: round, how: how}, -1, []string(nil)
	for end := time.Now().Add(most); ; { // those that slept wake
		if err := f.caller().Do(ctx, "led", counters, &leaders); err != nil {
			return h, err
		}
		if !slices.Contains(leaders, "") {
			break
		}
		if time.Now().After(end) {
			return h, fmt.Errorf("counters are led by nobody: they say %q", leaders)
		}
	}
	for i, id := range f.ids[:keepers] {
		var mine []int
		for k, l := range leaders {
			if l == id {
				mine = append(mine, k)
			}
		}
		if len(mine) > len(h.struck) {
			h.struck, victim = mine, i
		}
	}
	h.at = time.Now().UnixNano()
	p := f.nodes[victim]
	if how == "silent" {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			return h, err
		}
		err := f.caller().Do(ctx, "acked", h.at, nil)
		if err := p.Signal(syscall.SIGCONT); err != nil {
			return h, err
		}
		if err == nil {
			err = pause(ctx, settled)
		}
		return h, err
	}
	if err := f.r.Procs.Kill(p); err != nil {
		return h, err
	}
	if err := f.caller().Do(ctx, "acked", h.at, nil); err != nil {
		return h, err
	}
	if err := f.start(ctx, victim); err != nil {
		return h, err
	}
	if err := f.meet(ctx); err != nil {
		return h, err
	}
	return h, pause(ctx, settled)
}

// judge turns what was seen into samples.
func (f *fleet) judge(ctx context.Context, r *rig.Run, counters []string, hits []hit, seen []acks) error {
	lost, turns, failed := 0.0, 0, 0
	for _, s := range seen {
		turns, failed = turns+len(s.At), failed+s.Tries
		if s.Wrong != "" {
			lost++
			r.Note("A counter: %s.", s.Wrong)
		}
	}
	last := request{Method: "add", Count: true} // one more than was acknowledged, or it fails
	if err := f.caller().Do(ctx, "each", tour{Agents: counters, Parallel: 4, request: last}, nil); err != nil {
		lost++
		r.Note("In the end: %v.", err)
	}
	for _, h := range hits {
		var out []float64
		for _, k := range h.struck {
			d, ok := seen[k].outage(h.at)
			if !ok {
				d = most
				r.Note("%s %d: a counter did not come back.", h.how, h.round)
			}
			out = append(out, d.Seconds())
		}
		r.Add(h.round, "shoal", h.how+"_median_s", rig.Sum(out).Median)
		r.Add(h.round, "shoal", h.how+"_worst_s", slices.Max(out))
		r.Add(h.round, "shoal", h.how+"_counters", float64(len(out)))
	}
	r.Add(1, "shoal", "lost", lost)
	r.Note("%d turns were acknowledged meanwhile; %d calls failed and were repeated.", turns, failed)
	return nil
}

// settle makes up to n agents that nobody calls, as many as can be made in the time, by the first keeper's door. It
// returns how many were made a second.
func (f *fleet) settle(ctx context.Context, code, name string, n int, budget time.Duration) (keys []string, rate float64, err error) {
	const portion = 2000
	var took time.Duration
	for first := 0; first < n && took < budget; first += portion {
		var b born
		at := birth{Code: code, Name: name, First: first, N: min(portion, n-first), Parallel: callers}
		if err := f.nodes[0].Do(ctx, "create", at, &b); err != nil {
			return nil, 0, err
		}
		keys, took = append(keys, b.Keys...), took+b.Took
		f.r.Logf("%s: %d of %d agents are made, %.0f a second", name, len(keys), n, float64(len(b.Keys))/b.Took.Seconds())
	}
	return keys, float64(len(keys)) / took.Seconds(), nil
}
