package topicask

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	bodyBytes = 1 << 10
	askTime   = 400 * time.Millisecond // of one measurement
	nodes     = 4
)

// Bench is the benchmark of requests and replies through a topic.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "topic-ask", Ours: "shoal", Rounds: 9,
		About: []string{
			"One request of 1 KiB after the other, each answered with the same bytes, which are compared; the process of a kind on one core.",
			"shoal: four nodes as `shoal up` makes them, in one process, over loopback. The agent that answers (agent/guest, in C) has three keepers, of which the asker is none; it is bound with `--mode ask --read`, and answers under its leader's lease. agent-call: the same agent called by its name from the same node, in the same process, in turns with shoal.",
			"nats: NATS core's request and reply, the server in the same process, one connection for each side. nats-room: the same with the headroom of the collector that `shoal up` has (node.Headroom).",
		},
		Ratios: []rig.Ratio{
			{Name: "p50_vs_agent_call", Of: rig.Pair("shoal", "agent-call", "p50_us"), Target: rig.AtMost(1.5)},
			{Name: "p50_vs_nats", Of: rig.Pair("shoal", "nats", "p50_us"), Target: rig.AtMost(1)},
			{Name: "p50_vs_nats_room", Of: rig.Pair("shoal", "nats-room", "p50_us")},
		},
		Roles: map[string]rig.Role{"askers": rig.As(worker)},
		Run:   run,
	}
}

var names = []string{"shoal", "agent-call", "nats", "nats-room"}

// setup is what a worker is told.
type setup struct{ Kind, Dir string }

// figures come of one measurement.
type figures struct {
	Asked    int
	P50, P99 float64 // µs
}

func run(ctx context.Context, r *rig.Run) error {
	procs := map[string]*rig.Proc{}
	for _, name := range names {
		if name == "agent-call" {
			procs[name] = procs["shoal"]
			continue
		}
		dir, err := os.MkdirTemp(r.Work, name)
		if err != nil {
			return err
		}
		var ready struct{}
		if procs[name], err = r.Procs.Start(ctx, "askers", rig.FirstCore(), setup{Kind: name, Dir: dir}, &ready); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return r.Turns(ctx, names, func(round int, kind string) error {
		var f figures
		verb := "ask"
		if kind == "agent-call" {
			verb = "call"
		}
		before := rig.CPU(procs[kind])
		if err := procs[kind].Do(ctx, verb, askTime, &f); err != nil {
			return err
		}
		r.Add(round, kind, "p50_us", f.P50)
		r.Add(round, kind, "p99_us", f.P99)
		r.Add(round, kind, "cpu_us_per_request", (rig.CPU(procs[kind])-before).Seconds()*1e6/float64(f.Asked))
		return nil
	})
}
