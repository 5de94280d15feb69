package topic

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	bodyBytes   = 1 << 10
	subscribers = 4
	window      = 128 // messages that the publisher is ahead of the slowest subscriber at most

	latencyTime = 400 * time.Millisecond // of one measurement
	rateTime    = 400 * time.Millisecond
)

// Bench is the benchmark of fast topics.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "topic", Ours: "shoal", Rounds: 9,
		About: []string{
			"Five nodes of a kind in one process, over loopback: one publishes messages of 1 KiB, four subscribe, and each checks the number and the bytes of every message it gets.",
			"shoal: five nodes as `shoal up` makes them, in one fabric (TLS over TCP, the gate asked for each stream), and a fast topic; the audience being small, its messages go by streams. shoal-large: the same of a topic made with `--audience large`: signed envelopes over gossipsub.",
			"gossipsub: five plain go-libp2p hosts, TLS over TCP, each connected with each, go-libp2p-pubsub with its defaults (StrictSign, flood publishing), but for queues of 1024 messages (to a neighbour, to be checked, of a subscription): with 32 it loses messages of a window of 128.",
			"nats: NATS core, the server in the same process, five connections; the client gathers and flushes as it does by default. nats-room: the same with the headroom of the collector that `shoal up` has (node.Headroom).",
			"rate: the publisher is at most 128 messages ahead of the slowest subscriber; deliveries of all four, on all cores. lost: messages in 1,000 that a subscriber did not get within 250 ms, after which the publisher goes on.",
			"p50, p99: one message after the other, half a millisecond apart, until the last of the four has it, the process on one core.",
		},
		Ratios: []rig.Ratio{
			{Name: "rate_vs_gossipsub", Of: rig.Pair("shoal", "gossipsub", "deliveries_per_s"), Target: rig.AtLeast(15)},
			{Name: "rate_vs_nats", Of: rig.Pair("shoal", "nats", "deliveries_per_s"), Target: rig.AtLeast(0.3)},
			{Name: "p50_vs_gossipsub", Of: rig.Pair("shoal", "gossipsub", "p50_us"), Target: rig.AtMost(0.5)},
			{Name: "p50_vs_nats", Of: rig.Pair("shoal", "nats", "p50_us")},
			{Name: "rate_vs_nats_room", Of: rig.Pair("shoal", "nats-room", "deliveries_per_s")},
			{Name: "large_rate_vs_gossipsub", Of: rig.Pair("shoal-large", "gossipsub", "deliveries_per_s")},
			{Name: "large_p50_vs_gossipsub", Of: rig.Pair("shoal-large", "gossipsub", "p50_us")},
			{Name: "lost_per_1000", Of: rig.Plain("shoal", "lost_per_1000"), Target: rig.AtMost(0)},
		},
		Roles: map[string]rig.Role{"world": rig.As(worker)},
		Run:   run,
	}
}

var names = []string{"shoal", "shoal-large", "gossipsub", "nats", "nats-room"}

// setup is what a worker is told.
type setup struct {
	Kind string
	Dir  string
	Seed uint64
}

func run(ctx context.Context, r *rig.Run) error {
	for _, part := range []struct {
		verb string
		core int
		time time.Duration
	}{{"latency", rig.FirstCore(), latencyTime}, {"rate", rig.AnyCore, rateTime}} {
		procs := map[string]*rig.Proc{}
		for _, name := range names {
			if r.Skips(name) {
				continue
			}
			dir, err := os.MkdirTemp(r.Work, name)
			if err != nil {
				return err
			}
			var ready struct{}
			if procs[name], err = r.Procs.Start(ctx, "world", part.core, setup{Kind: name, Dir: dir, Seed: r.Seed}, &ready); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		err := r.Turns(ctx, names, func(round int, kind string) error {
			var f figures
			p := procs[kind]
			before := rig.CPU(p)
			if err := p.Do(ctx, part.verb, part.time, &f); err != nil {
				return err
			}
			used := (rig.CPU(p) - before).Seconds() * 1e6
			if part.verb == "latency" {
				r.Add(round, kind, "p50_us", f.P50)
				r.Add(round, kind, "p99_us", f.P99)
				r.Add(round, kind, "cpu_us_per_lone_message", used/float64(f.Messages))
				return nil
			}
			r.Add(round, kind, "deliveries_per_s", f.Rate)
			r.Add(round, kind, "cpu_us_per_delivery", used/float64(f.Messages*subscribers))
			r.Add(round, kind, "lost_per_1000", f.Lost*1000)
			return nil
		})
		r.Procs.Close()
		if err != nil {
			return err
		}
		r.Logf("topic: %s measured", part.verb)
	}
	return nil
}
