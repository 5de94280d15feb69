package topicdurable

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shoal-fabric/shoal/bench/agent"
	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	keepers     = 3
	publishers  = 64
	body        = 1 << 10
	latencyTime = 500 * time.Millisecond // of one measurement
	rateTime    = time.Second
)

// The kinds.
const (
	ours   = "shoal"
	always = "jetstream"
	lazy   = "jetstream-lazy"
)

// Bench is the benchmark of durable topics.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "topic-durable", Ours: ours, Rounds: 5,
		About: []string{
			"Messages of 1 KiB, published one after the other by each publisher, who waits until a majority of three replicas has his message on disk. Whoever publishes is a fourth process, which keeps nothing; all on one disk. At the end the log is read: it must have every message that was acknowledged, and each publisher's in his order.",
			"shoal: a durable topic with three keepers, each a process (`node.Open` with every default but the address); messages go through PubSub.Publish of the fourth node, encrypted and authenticated as all between nodes, and are on disk with sync.",
			"jetstream: three servers, each a process, TLS between them, one stream of three replicas, file store, sync always: the same durability. The client publishes and waits for the ack, in plain text, at the stream's leader.",
			"jetstream-lazy: the same by its default, which syncs every two minutes: what a majority acknowledged is lost if their machines lose power at once.",
			"p50: one publisher. rate: 64. cpu_us: processor time of all processes of a kind for one message.",
		},
		Ratios: []rig.Ratio{
			{Name: "rate_vs_jetstream", Of: rig.Pair(ours, always, "per_s"), Target: rig.AtLeast(3)},
			{Name: "p50_vs_jetstream", Of: rig.Pair(ours, always, "p50_us")},
			{Name: "rate_vs_jetstream_lazy", Of: rig.Pair(ours, lazy, "per_s")},
			{Name: "p50_vs_jetstream_lazy", Of: rig.Pair(ours, lazy, "p50_us")},
			{Name: "cpu_vs_jetstream", Of: rig.Pair(ours, always, "cpu_us")},
		},
		Roles: map[string]rig.Role{
			"node": rig.As(serve), "jetstream": rig.As(agent.StreamServer), "jetstream-client": rig.As(client),
		},
		Run: run,
	}
}

// side is a kind that is ready to be measured.
type side struct {
	procs []*rig.Proc // the last is the one that publishes
}

func (s side) publisher() *rig.Proc { return s.procs[len(s.procs)-1] }

func run(ctx context.Context, r *rig.Run) error {
	if err := rig.OnDisk(r.Work); err != nil {
		return err
	}
	kinds := map[string]side{}
	for kind, start := range map[string]func(context.Context, *rig.Run, string) (side, error){ours: startOurs, always: startStream, lazy: startStream} {
		if r.Skips(kind) {
			continue
		}
		var err error
		if kinds[kind], err = start(ctx, r, kind); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		r.Logf("topic-durable: %s is up", kind)
	}
	err := r.Turns(ctx, []string{ours, always, lazy}, func(round int, kind string) error {
		k := kinds[kind]
		for _, part := range []struct {
			publishers     int
			time           time.Duration
			p50, rate, cpu string
		}{{1, latencyTime, "p50_us", "lone_per_s", "lone_cpu_us"}, {publishers, rateTime, "busy_p50_us", "per_s", "cpu_us"}} {
			before := rig.CPU(k.procs...)
			var f rig.Figures
			if err := k.publisher().Do(ctx, "ring", order{Publishers: part.publishers, Time: part.time}, &f); err != nil {
				return err
			}
			used := rig.CPU(k.procs...) - before
			r.Add(round, kind, part.p50, f.P50)
			r.Add(round, kind, part.rate, f.Rate)
			r.Add(round, kind, part.cpu, used.Seconds()*1e6/float64(f.Calls))
			if part.publishers == 1 {
				r.Add(round, kind, "p99_us", f.P99)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for kind, k := range kinds {
		var n int
		if err := k.publisher().Do(ctx, "check", nil, &n); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		r.Logf("topic-durable: %s has all of %d messages", kind, n)
	}
	return nil
}

// startOurs starts a fabric: as many keepers as a topic has, and who publishes, who keeps none of it.
func startOurs(ctx context.Context, r *rig.Run, kind string) (s side, err error) {
	invite := ""
	join := func(i int) error {
		at, err := agent.FreePort()
		if err != nil {
			return err
		}
		var is ready
		p, err := r.Procs.Start(ctx, "node", rig.AnyCore, setup{Dir: filepath.Join(r.Work, kind, fmt.Sprint("n", i)), Join: invite, Listen: at}, &is)
		if err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		if s.procs = append(s.procs, p); is.Invite != "" {
			invite = is.Invite
		}
		return nil
	}
	met := func() error {
		for i, p := range s.procs {
			if err := p.Do(ctx, "met", len(s.procs)-1, nil); err != nil {
				return fmt.Errorf("node %d does not meet the others: %w", i, err)
			}
		}
		return nil
	}
	for i := range keepers {
		if err := join(i); err != nil {
			return s, err
		}
	}
	if err := met(); err != nil {
		return s, err
	}
	if err := s.procs[0].Do(ctx, "create", nil, nil); err != nil {
		return s, err
	}
	if err := join(keepers); err != nil {
		return s, err
	}
	return s, met()
}

// startStream brings up the servers and the client.
func startStream(ctx context.Context, r *rig.Run, kind string) (s side, err error) {
	all, err := agent.StreamNodes(filepath.Join(r.Work, kind))
	if err != nil {
		return s, err
	}
	at := map[string]string{}
	for _, n := range all {
		n.Lazy = kind == lazy
		is := ""
		p, err := r.Procs.Start(ctx, "jetstream", rig.AnyCore, n, &is)
		if err != nil {
			return s, err
		}
		s.procs, at[n.Name] = append(s.procs, p), is
	}
	c, err := r.Procs.Start(ctx, "jetstream-client", rig.AnyCore, at, nil)
	if err != nil {
		return s, err
	}
	s.procs = append(s.procs, c)
	return s, nil
}
