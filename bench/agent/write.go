package agent

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	callers     = 64
	latencyTime = 500 * time.Millisecond // of one measurement
	rateTime    = 700 * time.Millisecond
)

// Write is the benchmark of durable turns.
func Write() *rig.Bench {
	return &rig.Bench{
		Name: "agent-write", Ours: "shoal", Rounds: 5,
		About: []string{
			"One durable turn after another: a caller has a counter add one, and the reply is there when a majority of three keepers has the turn on disk. Each keeper is a process (`node.Open` with every default but the address), the caller is a fourth, which keeps nothing; all on one disk, with sync. Every reply must be one more than the last. shoal: example:counter, built with the Go SDK. shoal-c: example:counterc.",
			"etcd: three members, each a process (embed), TLS between them as ours has; a fourth process puts 8 bytes under a key by clientv3, in plain text, at the leader. Defaults, but for logging. etcd-tls: TLS to the client too, which ours has as well.",
			"jetstream: three servers, each a process, TLS between them, one stream of three replicas, file store, sync always; a fourth process publishes 8 bytes and waits for the ack, in plain text, at the stream's leader.",
			"p50: one caller. rate: 64 callers, each with an agent, a key or a subject of its own; the 64 agents are led by all three keepers, the keys and subjects by one leader. All cores for both: each reply needs several processes, and disks that sync at once.",
			"cpu_us: processor time of all processes of a kind for one turn or put.",
		},
		Ratios: []rig.Ratio{
			{Name: "p50_vs_etcd", Of: rig.Pair("shoal", "etcd", "p50_us"), Target: rig.AtMost(1.1)},
			{Name: "p50_vs_etcd_c", Of: rig.Pair("shoal-c", "etcd", "p50_us"), Target: rig.AtMost(1.1)},
			{Name: "rate_vs_etcd", Of: rig.Pair("shoal", "etcd", "per_s"), Target: rig.AtLeast(2)},
			{Name: "rate_vs_etcd_c", Of: rig.Pair("shoal-c", "etcd", "per_s"), Target: rig.AtLeast(2)},
			{Name: "p50_vs_etcd_tls", Of: rig.Pair("shoal", "etcd-tls", "p50_us")},
			{Name: "rate_vs_etcd_tls", Of: rig.Pair("shoal", "etcd-tls", "per_s")},
			{Name: "cpu_vs_etcd", Of: rig.Pair("shoal", "etcd", "cpu_us")},
			{Name: "jetstream_p50", Of: rig.Pair("shoal", "jetstream", "p50_us")},
			{Name: "jetstream_rate", Of: rig.Pair("shoal", "jetstream", "per_s")},
		},
		Roles: map[string]rig.Role{
			"node": rig.As(serve), "etcd": rig.As(etcdMember), "etcd-client": rig.As(etcdClient),
			"jetstream": rig.As(StreamServer), "jetstream-client": rig.As(streamClient),
		},
		Run: runWrite,
	}
}

// peer is a kind that is ready to be measured.
type peer struct {
	procs []*rig.Proc // the last is the one that asks
	ask   func(ctx context.Context, callers int, d time.Duration) (rig.Figures, error)
}

func runWrite(ctx context.Context, r *rig.Run) error {
	if err := rig.OnDisk(r.Work); err != nil {
		return err
	}
	kinds := map[string]peer{}
	if !r.Skips("shoal") || !r.Skips("shoal-c") {
		f, err := newFleet(ctx, r, "shoal", rig.AnyCore, 0)
		if err != nil {
			return err
		}
		made := map[string][]string{}
		for kind, code := range codes {
			if made[kind], err = f.create(ctx, code, kind, callers, 8, request{Method: "get", Read: true}); err != nil {
				return err
			}
		}
		if err := f.join(ctx); err != nil {
			return err
		}
		if err := f.meet(ctx); err != nil {
			return err
		}
		for kind := range codes {
			kinds[kind] = peer{f.nodes, func(ctx context.Context, callers int, d time.Duration) (out rig.Figures, err error) {
				return out, f.caller().Do(ctx, "ring", load{
					Agents: made[kind][:callers], Time: d, request: request{Method: "add", Count: true},
				}, &out)
			}}
		}
		r.Logf("agent-write: agents are made")
	}
	if !r.Skips("etcd") || !r.Skips("etcd-tls") {
		if err := startEtcd(ctx, r, kinds); err != nil {
			return err
		}
		r.Logf("agent-write: etcd is up")
	}
	if !r.Skips("jetstream") {
		if err := startStream(ctx, r, kinds); err != nil {
			return err
		}
		r.Logf("agent-write: jetstream is up")
	}
	return r.Turns(ctx, []string{"shoal", "shoal-c", "etcd", "etcd-tls", "jetstream"}, func(round int, kind string) error {
		k := kinds[kind]
		for _, part := range []struct {
			callers        int
			time           time.Duration
			p50, rate, cpu string
		}{{1, latencyTime, "p50_us", "lone_per_s", "lone_cpu_us"}, {callers, rateTime, "busy_p50_us", "per_s", "cpu_us"}} {
			before := rig.CPU(k.procs...)
			f, err := k.ask(ctx, part.callers, part.time)
			if err != nil {
				return err
			}
			used := rig.CPU(k.procs...) - before
			r.Add(round, kind, part.p50, f.P50)
			r.Add(round, kind, part.rate, f.Rate)
			r.Add(round, kind, part.cpu, used.Seconds()*1e6/float64(f.Calls))
			if part.callers == 1 {
				r.Add(round, kind, "p99_us", f.P99)
			}
		}
		return nil
	})
}
