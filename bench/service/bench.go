package service

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	batchOf   = 10
	textBytes = 1 << 10
	loadBytes = 64 << 10
	loadWait  = 5 * time.Millisecond
	lapTime   = 700 * time.Millisecond
	peak      = 500 // calls a second
	rampTime  = 25 * time.Second
	idle      = time.Minute
)

// Bench is the benchmark of services.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "service", Ours: "shoal", Rounds: 9,
		About: []string{
			"A batch is ten messages of 1 KiB, drawn from the seed, that are classified by `example:classify` (C, in the sandbox); each answer is compared. p50_us: one caller, one batch after the other, all processes of the kind on one core.",
			"shoal: the caller's node calls the service ten times at once. The service is free to be where it is called: its first instance is on the node that made it, and after some calls there is one on the caller's. shoal-far: it is kept on another node (`--needs`), and all calls cross the connection between them, with TLS.",
			"local: the same ten calls of an instance, in the caller's process, one after the other, without a service.",
			"redis: redis-server of Debian on loopback, in plain text, without persistence (`--save '' --appendonly no`); the caller pushes ten messages to a list in one command; a worker takes them by BLPOP and LPOP with a count, classifies them by the same module in the same sandbox, handed over together, and pushes the answers to a second list in one command, which the caller takes in the same way.",
			"The load: three nodes, on all cores, of which one calls, at random moments, with texts of 64 KiB, which take half a millisecond each, at a rate that grows from 0 to 500 a second within 25 s and back (`--target-wait 5ms`); then there are no calls for 62 s (the idle time is the default, 60 s). first_ms: from the first call of a service to its answer, the module compiled on no node but the maker's. again_ms: from nothing once more, after the idle time.",
		},
		Ratios: []rig.Ratio{
			{Name: "overhead_vs_local_ms", Of: over("shoal", "local"), Target: rig.AtMost(1)},
			{Name: "overhead_far_vs_local_ms", Of: over("shoal-far", "local")},
			{Name: "p50_vs_redis_queue", Of: rig.Pair("shoal", "redis", "p50_us"), Target: rig.AtMost(0.7)},
			{Name: "p50_far_vs_redis_queue", Of: rig.Pair("shoal-far", "redis", "p50_us")},
			{Name: "instances_after_idle", Of: rig.Plain("load", "instances_after_idle"), Target: rig.AtMost(0)},
			{Name: "failed", Of: rig.Plain("load", "failed"), Target: rig.AtMost(0)},
		},
		Roles: map[string]rig.Role{
			"node": rig.As(serve), "local": rig.As(local),
			"redis-server": rig.As(redisServer), "redis-worker": rig.As(redisWorker), "redis-client": rig.As(redisClient),
		},
		Run: run,
	}
}

// over is the difference of two kinds' p50_us in milliseconds, round by round.
func over(ours, theirs string) func(rig.Samples) rig.Spread {
	return func(s rig.Samples) rig.Spread {
		a, b := s.Of(ours, "p50_us"), s.Of(theirs, "p50_us")
		var list []float64
		for round, v := range a {
			if w, ok := b[round]; ok {
				list = append(list, (v-w)/1000)
			}
		}
		return rig.Sum(list)
	}
}

// texts draws messages, and says what becomes of each.
func texts(seed uint64, n, bytes int) (list []message) {
	clean := strings.Fields("the of and to a in is it you that he was for on are with as his they at be this from have or by one had not but")
	dirty := strings.Fields("darn heck dang shoot crap gosh rats shucks")
	rng := rand.New(rand.NewPCG(seed, 's'))
	for range n {
		var b strings.Builder
		found := 0
		for b.Len() < bytes {
			w := clean[rng.IntN(len(clean))]
			if rng.IntN(50) == 0 {
				w = dirty[rng.IntN(len(dirty))]
				found++
			}
			b.WriteString(w + " ")
		}
		want := "clean"
		if found > 0 {
			want = fmt.Sprint("dirty ", found)
		}
		list = append(list, message{b.String(), want})
	}
	return list
}

// message is one, and the answer to it.
type message struct{ Text, Want string }

func run(ctx context.Context, r *rig.Run) error {
	if err := latency(ctx, r); err != nil {
		return err
	}
	if r.Skips("load") {
		return nil
	}
	return follow(ctx, r)
}

// latency measures batches, of all kinds in turn.
func latency(ctx context.Context, r *rig.Run) error {
	core := rig.FirstCore()
	all := texts(r.Seed, 20*batchOf, textBytes)
	f, err := fabric(ctx, r, "latency", core)
	if err != nil {
		return err
	}
	for name, needs := range map[string]string{"far": `labels.n == "1"`, "free": ""} {
		if err := f[0].Do(ctx, "create", creation{Name: name, Needs: needs}, nil); err != nil {
			return err
		}
	}
	caller := f[2]
	callers := map[string]*rig.Proc{"shoal": caller, "shoal-far": caller}
	orders := map[string]any{"shoal": order{"free", all, lapTime}, "shoal-far": order{"far", all, lapTime}}
	start := func(kind, role string, arg, ready any) error {
		p, err := r.Procs.Start(ctx, role, core, arg, ready)
		callers[kind], orders[kind] = p, order{"", all, lapTime}
		return err
	}
	if err := start("local", "local", nil, nil); err != nil {
		return err
	}
	if why := redisMissing(); why != "" {
		r.Note("redis was not measured: %s", why)
	} else if !r.Skips("redis") {
		var at string
		if err := start("redis", "redis-server", r.Work, &at); err != nil {
			return err
		}
		if err := start("redis", "redis-worker", at, nil); err != nil {
			return err
		}
		if err := start("redis", "redis-client", at, nil); err != nil {
			return err
		}
	}
	err = r.Turns(ctx, slices.Sorted(maps.Keys(callers)), func(round int, kind string) error {
		var got rig.Figures
		if err := callers[kind].Do(ctx, "batches", orders[kind], &got); err != nil {
			return err
		}
		r.Add(round, kind, "p50_us", got.P50)
		r.Add(round, kind, "p99_us", got.P99)
		return nil
	})
	r.Procs.Close()
	return err
}

// follow measures how instances follow a load.
func follow(ctx context.Context, r *rig.Run) error {
	f, err := fabric(ctx, r, "load", rig.AnyCore)
	if err != nil {
		return err
	}
	defer r.Procs.Close()
	if err := f[0].Do(ctx, "create", creation{Name: "load", Target: loadWait}, nil); err != nil {
		return err
	}
	r.Logf("service: a load of 0 to %d calls a second and back, then %v without", peak, idle)
	var got curve
	if err := f[2].Do(ctx, "ramp", ramp{"load", texts(r.Seed, 20, loadBytes), peak, rampTime, r.Seed}, &got); err != nil {
		return err
	}
	r.Add(1, "load", "first_ms", got.FirstMS)
	r.Add(1, "load", "calls", float64(got.Calls))
	r.Add(1, "load", "failed", float64(got.Failed))
	r.Add(1, "load", "p50_ms", got.P50)
	r.Add(1, "load", "p99_ms", got.P99)
	r.Add(1, "load", "p99_up_ms", got.P99Up)
	r.Add(1, "load", "most_instances", float64(slices.Max(got.Instances)))
	r.Note("instances, every 2 s of the load: %s", strings.Trim(fmt.Sprint(got.Instances), "[]"))
	if got.Failed > 0 {
		r.Note("the first call that failed: %s", got.Failure)
	}
	select {
	case <-time.After(idle + 2*time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	var left int
	if err := f[1].Do(ctx, "instances", "load", &left); err != nil {
		return err
	}
	r.Add(1, "load", "instances_after_idle", float64(left))
	var again float64
	if err := f[2].Do(ctx, "first", ramp{Service: "load", Texts: texts(r.Seed, 1, textBytes)}, &again); err != nil {
		return err
	}
	r.Add(1, "load", "again_ms", again)
	return nil
}

// fabric starts three nodes, of which the last is to call.
func fabric(ctx context.Context, r *rig.Run, name string, core int) (list []*rig.Proc, err error) {
	var invite string
	for i := range 3 {
		at, err := freePort()
		if err != nil {
			return nil, err
		}
		var is ready
		p, err := r.Procs.Start(ctx, "node", core, setup{
			Dir: filepath.Join(r.Work, name, fmt.Sprint(i)), Join: invite, Listen: at, Label: fmt.Sprint(i),
		}, &is)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", i, err)
		}
		if list = append(list, p); is.Invite != "" {
			invite = is.Invite
		}
	}
	for i, p := range list {
		if err := p.Do(ctx, "met", len(list)-1, nil); err != nil {
			return nil, fmt.Errorf("node %d does not meet the others: %w", i, err)
		}
	}
	return list, nil
}

// freePort returns an address of this machine that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
