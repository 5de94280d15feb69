package fluid

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// The links, as DESIGN has them.
const (
	bits  = 100e6
	delay = 20 * time.Millisecond // one way
)

// policies are the kinds.
var policies = map[string]cost.Policy{"fluid": cost.Fluid, "ship-data": cost.ShipData, "ship-code": cost.ShipCode}

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "fluid", Ours: "fluid", Rounds: 3,
		About: about,
		Table: table,
		Ratios: []rig.Ratio{
			{Name: "time_vs_best_policy", Of: worst("s"), Target: rig.AtMost(1.05)},
			{Name: "bytes_vs_best_policy", Of: worst("mb")},
			{Name: "bytes_vs_ship_data", Of: rig.Pair("fluid", "ship-data", "skewed_mb"), Target: rig.AtMost(0.2)},
			{Name: "local_share", Of: rig.Plain("fluid", "local_share"), Target: rig.AtLeast(0.95)},
		},
		Roles: map[string]rig.Role{"node": rig.As(serve)},
		Run:   run,
	}
}

var about = []string{
	fmt.Sprintf("Five nodes, each a process in a network namespace of its own, on links of %.0f Mbit/s in each direction and %v one way; this process carries their packets from one tun device to another (the bench's rig.LAN), since not every kernel has netem. TCP, TLS and all of the production path; modules are compiled in the node's process, as five machines' compilers on the cores of one would be all that is seen.", bits/1e6, delay),
	fmt.Sprintf("Each policy has a fabric of its own, of the same binary: ship-data (tasks run where they are asked for), ship-code (on a holder of all data, the cheapest) and fluid (the costs decide) are placement.policy. All three run each list in turn, in an order drawn from the seed; data and code are new in each round, and the first round, in which nothing was learnt yet, is dropped. Sets are put with %d replicas before the clock runs, and modules uploaded by the nodes whose they are; %d jobs of each node are under way at once, and the time is until the last has ended.", replicas, callers),
	"Lists: big-code: 60 jobs with 10 modules of 2 to 4 MiB over 40 sets of 8 to 64 KiB; big-data: 60 jobs with 5 modules of 1 to 64 KiB over 12 sets of 2 to 4 MiB; skewed: 150 jobs with 10 modules of 16 KiB to 1 MiB over 30 sets of 32 KiB to 6 MiB, the k-th of each as popular as (1+k)^-1.2. Each module is one node's own. A job reads all of its set; what code is larger than the guest is a custom section, as debug information is.",
	"Figures: s, the time of a list; mb, IP packets that the links carried for it, everything included; code_mb and data_mb, what the connections of nodes counted on streams of each kind. time_vs_best_policy and bytes_vs_best_policy: the worst list's median of fluid over the better of the other two; local_share: of the bytes that tasks read in all three lists, those that had not come over a link.",
}

// table has a row for each list and policy.
func table(s rig.Samples) [][]string {
	fields := []string{"s", "mb", "code_mb", "data_mb", "here", "on_holders", "local_share", "cpu_s"}
	rows := [][]string{append([]string{"list", "policy"}, fields...)}
	for _, l := range shapes {
		for _, kind := range []string{"fluid", "ship-data", "ship-code"} {
			row := []string{l.name, kind}
			for _, f := range fields {
				row = append(row, rig.Plain(kind, l.name+"_"+f)(s).String())
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// worst is, of all lists, the greatest median ratio of a figure under fluid to the less of what the other two make of it.
func worst(field string) func(rig.Samples) rig.Spread {
	return func(s rig.Samples) rig.Spread {
		w := rig.Sum(nil)
		for i, l := range shapes {
			f := l.name + "_" + field
			var ratios []float64
			a, b := s.Of("ship-data", f), s.Of("ship-code", f)
			for round, v := range s.Of("fluid", f) {
				if best := min(a[round], b[round]); best > 0 {
					ratios = append(ratios, v/best)
				}
			}
			x := rig.Sum(ratios)
			if math.IsNaN(x.Median) { // what was not measured reaches nothing
				return x
			}
			if i == 0 || x.Median > w.Median {
				w = x
			}
		}
		return w
	}
}

// fabric is five nodes on a network of their own, all under one policy.
type fabric struct {
	lan   *rig.LAN
	nodes [nodes]*rig.Proc
}

// start starts the nodes: one that founds the fabric, and the others, which join.
func (f *fabric) start(ctx context.Context, r *rig.Run, kind string) error {
	one := func(i int, invite string) (is ready, err error) {
		err = f.lan.Plug(func(address string) (err error) {
			f.nodes[i], err = r.Procs.Start(ctx, "node", rig.AnyCore, setup{
				Dir: filepath.Join(r.Work, kind, fmt.Sprint("n", i)), Join: invite, Listen: "/ip4/" + address + "/tcp/4170", Policy: policies[kind],
			}, &is)
			return err
		})
		return is, err
	}
	first, err := one(0, "")
	if err == nil {
		err = f.each(func(i int, _ *rig.Proc) error {
			if i == 0 {
				return nil
			}
			_, err := one(i, first.Invite)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return f.each(func(_ int, p *rig.Proc) error { return p.Do(ctx, "met", nodes-1, nil) })
}

// each gives all nodes an order at once.
func (f *fabric) each(do func(i int, p *rig.Proc) error) error {
	var wait sync.WaitGroup
	errs := make(chan error, nodes)
	for i, p := range f.nodes {
		wait.Go(func() {
			if err := do(i, p); err != nil {
				errs <- fmt.Errorf("node %d: %w", i, err)
			}
		})
	}
	wait.Wait()
	close(errs)
	return <-errs
}

// traffic sums what the connections of all nodes have counted.
func (f *fabric) traffic(ctx context.Context) (sum node.Traffic, err error) {
	var mu sync.Mutex
	err = f.each(func(_ int, p *rig.Proc) error {
		var t node.Traffic
		if err := p.Do(ctx, "traffic", 0, &t); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		sum = sum.Plus(t)
		return nil
	})
	return sum, err
}

func run(ctx context.Context, r *rig.Run) error {
	fabrics, kinds := map[string]*fabric{}, []string{}
	for _, kind := range []string{"fluid", "ship-data", "ship-code"} {
		if !r.Skips(kind) {
			fabrics[kind] = &fabric{lan: rig.NewLAN(bits, delay)}
			kinds = append(kinds, kind)
		}
	}
	defer func() {
		r.Procs.Close() // while they can still say goodbye
		for _, f := range fabrics {
			f.lan.Close()
		}
	}()
	started := make(chan error, len(kinds))
	for _, kind := range kinds {
		go func() { started <- fabrics[kind].start(ctx, r, kind) }()
	}
	var failed []error
	for range kinds {
		failed = append(failed, <-started)
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	for round := range r.Rounds + 1 {
		before := len(r.Samples)
		rng := rand.New(rand.NewPCG(r.Seed, uint64(round)))
		moved, read := map[string]float64{}, map[string]float64{}
		for _, l := range draw(r.Seed, round) {
			rng.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
			for _, kind := range kinds { // one list under all policies, and then the next: so the machine is about the same
				m, n, err := fabrics[kind].list(ctx, r, round, kind, l)
				if err != nil {
					return fmt.Errorf("%s, %s, round %d: %w", kind, l.Name, round, err)
				}
				moved[kind], read[kind] = moved[kind]+m, read[kind]+n
			}
		}
		for _, kind := range kinds {
			r.Add(round, kind, "local_share", 1-moved[kind]/read[kind])
		}
		if round == 0 { // nothing was learnt yet
			r.Samples = r.Samples[:before]
		}
	}
	return nil
}

// list runs one list and says how many bytes of data came to nodes, and how many tasks have read.
func (f *fabric) list(ctx context.Context, r *rig.Run, round int, kind string, l list) (moved, read float64, err error) {
	o := order{Seed: r.Seed, Round: round, List: l, Roots: make([]string, len(l.Sets))}
	var mu sync.Mutex
	begun := time.Now()
	err = f.each(func(i int, p *rig.Proc) error {
		o := o
		o.Node = i
		var roots map[int]string
		if err := p.Do(ctx, "prepare", o, &roots); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for k, root := range roots {
			o.Roots[k] = root
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	before, err := f.traffic(ctx)
	if err != nil {
		return 0, 0, err
	}
	carried, dropped, used := f.lan.Carried(), f.lan.Dropped(), rig.CPU(f.nodes[:]...)
	var sum ran
	prepared := time.Since(begun)
	begun = time.Now()
	err = f.each(func(i int, p *rig.Proc) error {
		o := o
		o.Node = i
		var out ran
		if err := p.Do(ctx, "run", o, &out); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		sum.Read, sum.Here, sum.On = sum.Read+out.Read, sum.Here+out.Here, sum.On+out.On
		return nil
	})
	took := time.Since(begun)
	if err != nil {
		return 0, 0, err
	}
	carried, dropped, used = f.lan.Carried()-carried, f.lan.Dropped()-dropped, rig.CPU(f.nodes[:]...)-used
	after, err := f.traffic(ctx)
	if err != nil {
		return 0, 0, err
	}
	t := after.Minus(before)
	add := func(field string, v float64) { r.Add(round, kind, l.Name+"_"+field, v) }
	add("s", took.Seconds())
	add("mb", float64(carried)/1e6)
	add("code_mb", float64(t.Code)/1e6)
	add("data_mb", float64(t.Data)/1e6)
	add("other_mb", float64(t.Other+t.Result)/1e6)
	add("here", float64(sum.Here))
	add("on_holders", float64(sum.On))
	add("local_share", 1-float64(t.Data)/float64(sum.Read))
	add("cpu_s", used.Seconds())
	r.Logf("%d %-9s %-8s %.2f s, %.1f MB (code %.1f, data %.1f, other %.1f), %d of %d on the caller, %d on holders, cpu %.1f s, %d packets dropped; put in %.1f s",
		round, kind, l.Name, took.Seconds(), float64(carried)/1e6, float64(t.Code)/1e6, float64(t.Data)/1e6, float64(t.Other+t.Result)/1e6,
		sum.Here, len(l.Jobs), sum.On, used.Seconds(), dropped, prepared.Seconds())
	return float64(t.Data), float64(sum.Read), nil
}
