package state

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	nodes    = 5
	keys     = 1000
	callers  = 16  // of changes on each of the five nodes
	adders   = 32  // agents of the one node
	each     = 250 // increments of a turn
	rateTime = 2 * time.Second
)

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "state", Ours: "shoal", Rounds: 5,
		About: []string{
			fmt.Sprintf("increments_per_s: one node, a process (`node.Open` with every default but the address); %d agents on it, each called by one caller, over and over, in the node's process. The agents are example code in C; a turn makes %d host calls `state_add`, each of another counter, so that each increment is a change, and a row on disk, of its own. The reply comes when the changes, and then the turn, are on disk, each by a sync that all who wait share. After each measurement the counters must have grown by exactly what was acknowledged.", adders, each),
			"one_per_s: the same with one increment in a turn. same_per_s: 1,000 increments of one counter in a turn, which are one change.",
			fmt.Sprintf("converge: five nodes, each a process; all at once change %d keys each, one change a call by %d callers, each durable on its node when the call returns: a third counters and a third sets that all five change, a third registers of each node's own. converge_ms: from the last of these %d changes until all five have all of them, looked at every 10 ms. bytes_per_change: all that the connections of all five carried from before the first change until then (streams of all kinds, as the connections counted them), over %d.", keys, callers, nodes*keys, nodes*keys),
			"cpu_us: processor time of the node's process for one increment. changes_s: how long the five nodes took to make their changes.",
		},
		Ratios: []rig.Ratio{
			{Name: "increments_per_s", Of: rig.Plain("shoal", "per_s"), Target: rig.AtLeast(100_000)},
			{Name: "converge_ms", Of: rig.Plain("shoal", "converge_ms"), Target: rig.AtMost(2000)},
			{Name: "bytes_per_change", Of: rig.Plain("shoal", "bytes_per_change"), Target: rig.AtMost(400)},
			{Name: "one_per_s", Of: rig.Plain("shoal", "one_per_s")},
			{Name: "same_per_s", Of: rig.Plain("shoal", "same_per_s")},
		},
		Roles: map[string]rig.Role{"node": rig.As(serve)},
		Run:   run,
	}
}

// fabric starts nodes that know each other.
func fabric(ctx context.Context, r *rig.Run, name string, n int) (list []*rig.Proc, err error) {
	var first ready
	for i := range n {
		var is ready
		p, err := r.Procs.Start(ctx, "node", rig.AnyCore, setup{Dir: filepath.Join(r.Work, name, fmt.Sprint("n", i)), Join: first.Invite}, &is)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		if list = append(list, p); i == 0 {
			first = is
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for i, p := range list {
		if err := p.Do(ctx, "met", n-1, nil); err != nil {
			return nil, fmt.Errorf("node %d does not meet the others: %w", i, err)
		}
	}
	return list, nil
}

func run(ctx context.Context, r *rig.Run) error {
	if err := rig.OnDisk(r.Work); err != nil {
		return err
	}
	one, err := fabric(ctx, r, "one", 1)
	if err != nil {
		return err
	}
	var agents []string
	if err := one[0].Do(ctx, "create", adders, &agents); err != nil {
		return err
	}
	five, err := fabric(ctx, r, "five", nodes)
	if err != nil {
		return err
	}
	return r.Turns(ctx, []string{"shoal"}, func(round int, kind string) error {
		for _, m := range []struct {
			field, method string
			n             int
		}{{"per_s", "add", each}, {"one_per_s", "add", 1}, {"same_per_s", "same", 1000}} {
			before := rig.CPU(one...)
			var f rig.Figures
			if err := one[0].Do(ctx, "ring", load{Agents: agents, Method: m.method, N: m.n, Time: rateTime}, &f); err != nil {
				return err
			}
			used := rig.CPU(one...) - before
			r.Add(round, kind, m.field, f.Rate*float64(m.n))
			r.Add(round, kind, m.field[:len(m.field)-len("per_s")]+"p50_us", f.P50)
			r.Add(round, kind, m.field[:len(m.field)-len("per_s")]+"cpu_us", used.Seconds()*1e6/float64(f.Calls*m.n))
		}
		return converge(ctx, r, five, round, kind)
	})
}

// converge has five nodes change keys at once.
func converge(ctx context.Context, r *rig.Run, five []*rig.Proc, round int, kind string) error {
	before, err := traffic(ctx, five)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	begun := time.Now()
	var out [nodes]changed
	errs := make(chan error, nodes)
	var done sync.WaitGroup
	for i, p := range five {
		done.Go(func() {
			o := order{Name: fmt.Sprintf("bench/round-%d-%d", r.Seed, round), Node: i, Nodes: nodes, Keys: keys, Callers: callers}
			if err := p.Do(ctx, "change", o, &out[i]); err != nil {
				errs <- fmt.Errorf("node %d: %w", i, err)
			}
		})
	}
	done.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return err
	}
	after, err := traffic(ctx, five)
	if err != nil {
		return err
	}
	var last, all int64
	for _, c := range out {
		last, all = max(last, c.Last), max(all, c.All)
	}
	r.Add(round, kind, "converge_ms", float64(all-last)/1e6)
	r.Add(round, kind, "bytes_per_change", float64(after-before)/(nodes*keys))
	r.Add(round, kind, "changes_s", time.Unix(0, last).Sub(begun).Seconds())
	return nil
}

func traffic(ctx context.Context, procs []*rig.Proc) (all uint64, err error) {
	for _, p := range procs {
		var n uint64
		if err := p.Do(ctx, "traffic", 0, &n); err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}
