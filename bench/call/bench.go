package call

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	bodyBytes = 1 << 10
	callers   = 64

	latencyTime = 300 * time.Millisecond // of one measurement
	rateTime    = 500 * time.Millisecond
)

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "call", Ours: "shoal", Rounds: 9,
		About: []string{
			"One process asks another, over loopback, for an echo of 1 KiB; every reply is compared with what was sent.",
			"shoal: the rooms host, members and rpc as a node wires them (TLS over TCP, the gate asked for each stream, limits, link measuring, gossip of members going on), a CBOR message encoded, and decoded in place (wire.View), at both ends.",
			"stream: plain go-libp2p hosts, TLS over TCP, one open stream for each caller, a fixed frame, no encoding, no routing.",
			"grpc: one connection for all callers, as its guide says; BytesValue; NumStreamWorkers set to the processors, which keeps its stacks as our handlers' do. grpc-tls: with TLS 1.3.",
			"nats: a broker in a process of its own, one connection at each side, core request/reply with its multiplexed inbox. nats-tls: TLS 1.3 to the broker at both sides.",
			"The processes of shoal hold the collector back as `shoal up` does (node.Headroom: it runs when 16 MiB more of garbage have gathered than by Go's rule). stream-room, grpc-room, nats-room: the same as without -room, with the same headroom for all their processes.",
			"cpu_us_per_call, cpu_us_per_lone_call: of all processes of the kind, with 64 callers and with one.",
			"p50: one caller, all processes of the kind on one core. rate: 64 callers, both cores.",
		},
		Ratios: []rig.Ratio{
			{Name: "p50_vs_stream", Of: rig.Pair("shoal", "stream", "p50_us"), Target: rig.AtMost(1.25)},
			{Name: "p50_vs_grpc", Of: rig.Pair("shoal", "grpc", "p50_us"), Target: rig.AtMost(0.75)},
			{Name: "rate_vs_grpc", Of: rig.Pair("shoal", "grpc", "calls_per_s"), Target: rig.AtLeast(3.5)},
			{Name: "rate_vs_nats", Of: rig.Pair("shoal", "nats", "calls_per_s"), Target: rig.AtLeast(2.2)},
			{Name: "p50_vs_grpc_tls", Of: rig.Pair("shoal", "grpc-tls", "p50_us")},
			{Name: "rate_vs_grpc_tls", Of: rig.Pair("shoal", "grpc-tls", "calls_per_s")},
			{Name: "rate_vs_nats_tls", Of: rig.Pair("shoal", "nats-tls", "calls_per_s")},
			{Name: "p50_vs_nats", Of: rig.Pair("shoal", "nats", "p50_us")},
			{Name: "lone_cpu_vs_stream", Of: rig.Pair("shoal", "stream", "cpu_us_per_lone_call")},
			{Name: "cpu_vs_grpc", Of: rig.Pair("shoal", "grpc", "cpu_us_per_call")},
			{Name: "cpu_vs_nats", Of: rig.Pair("shoal", "nats", "cpu_us_per_call")},
			{Name: "rate_vs_stream", Of: rig.Pair("shoal", "stream", "calls_per_s")},
			{Name: "p50_vs_stream_room", Of: rig.Pair("shoal", "stream-room", "p50_us")},
			{Name: "p50_vs_grpc_room", Of: rig.Pair("shoal", "grpc-room", "p50_us")},
			{Name: "rate_vs_grpc_room", Of: rig.Pair("shoal", "grpc-room", "calls_per_s")},
			{Name: "rate_vs_nats_room", Of: rig.Pair("shoal", "nats-room", "calls_per_s")},
		},
		Roles: Roles(),
		Run:   run,
	}
}

// setup is what a worker is told.
type setup struct {
	Kind string
	Dir  string // for ours
	Seed uint64
	At   ready // what the worker before it said
}

// ready is what a worker says for those who come after it.
type ready struct {
	Address string
	Peer    string // for libp2p
	CA      []byte // the certificate to trust, PEM
}

var names = []string{"shoal", "stream", "stream-room", "grpc", "grpc-room", "grpc-tls", "nats", "nats-room", "nats-tls"}

func run(ctx context.Context, r *rig.Run) error {
	for _, part := range []struct {
		verb string
		core int
		time time.Duration
	}{{"latency", rig.FirstCore(), latencyTime}, {"rate", rig.AnyCore, rateTime}} {
		procs, err := start(ctx, r, part.core)
		if err != nil {
			return err
		}
		err = r.Turns(ctx, names, func(round int, kind string) error {
			var f rig.Figures
			ps := procs[kind]
			before := rig.CPU(ps...)
			if err := ps[len(ps)-1].Do(ctx, part.verb, part.time, &f); err != nil {
				return err
			}
			used := rig.CPU(ps...) - before
			if part.verb == "latency" {
				r.Add(round, kind, "p50_us", f.P50)
				r.Add(round, kind, "p99_us", f.P99)
				r.Add(round, kind, "cpu_us_per_lone_call", used.Seconds()*1e6/float64(f.Calls))
				return nil
			}
			r.Add(round, kind, "calls_per_s", f.Rate)
			r.Add(round, kind, "cpu_us_per_call", used.Seconds()*1e6/float64(f.Calls))
			return nil
		})
		r.Procs.Close()
		if err != nil {
			return err
		}
		r.Logf("call: %s measured", part.verb)
	}
	if !rig.CanPin {
		r.Note("this system cannot pin processes: latencies depend on whether wake-ups crossed cores")
	}
	return nil
}

// start starts the processes of all kinds; the last of each kind is the one that asks.
func start(ctx context.Context, r *rig.Run, core int) (map[string][]*rig.Proc, error) {
	procs := map[string][]*rig.Proc{}
	for _, name := range names {
		if r.Skips(name) {
			continue
		}
		var err error
		if procs[name], err = Start(ctx, r, name, core); err != nil {
			return nil, err
		}
	}
	return procs, nil
}

// Start starts the processes of one kind, for any benchmark that has the roles of this one. The last takes the
// orders "latency" and "rate", with a time, and answers with rig.Figures.
func Start(ctx context.Context, r *rig.Run, name string, core int) (procs []*rig.Proc, err error) {
	dir, err := os.MkdirTemp(r.Work, name)
	if err != nil {
		return nil, err
	}
	s := setup{Kind: name, Dir: dir, Seed: r.Seed}
	roles := []string{"answer", "ask"}
	if kinds[name].broker != nil {
		roles = []string{"broker", "answer", "ask"}
	}
	for _, role := range roles {
		p, err := r.Procs.Start(ctx, role, core, s, &s.At)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		procs = append(procs, p)
	}
	return procs, nil
}

// Roles are those of the processes of all kinds.
func Roles() map[string]rig.Role {
	return map[string]rig.Role{"broker": rig.As(broker), "answer": rig.As(answer), "ask": rig.As(ask)}
}
