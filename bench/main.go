// Command bench measures ours and theirs side by side: go run . NAME --json, or go run . all.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/shoal-fabric/shoal/bench/agent"
	"github.com/shoal-fabric/shoal/bench/call"
	"github.com/shoal-fabric/shoal/bench/data"
	"github.com/shoal-fabric/shoal/bench/fluid"
	"github.com/shoal-fabric/shoal/bench/gas"
	"github.com/shoal-fabric/shoal/bench/hostile"
	"github.com/shoal-fabric/shoal/bench/node"
	"github.com/shoal-fabric/shoal/bench/place"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/bench/service"
	"github.com/shoal-fabric/shoal/bench/sim"
	"github.com/shoal-fabric/shoal/bench/state"
	"github.com/shoal-fabric/shoal/bench/topic"
	"github.com/shoal-fabric/shoal/bench/topicask"
	"github.com/shoal-fabric/shoal/bench/topicdurable"
)

// benches are all benchmarks, in the order of RESULTS.md.
func benches() []*rig.Bench {
	return []*rig.Bench{
		call.Bench(), data.Bench(), gas.Bench(), node.Bench(), hostile.Bench(),
		agent.Write(), agent.Read(), agent.Failover(), agent.Sleep(), place.Bench(), fluid.Bench(), service.Bench(), state.Bench(), topic.Bench(), topicask.Bench(), topicdurable.Bench(), sim.Bench(),
	}
}

func find(name string) *rig.Bench {
	for _, b := range benches() {
		if b.Name == name {
			return b
		}
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := mainE(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func mainE(ctx context.Context, args []string) error {
	if len(args) == 4 && args[0] == rig.WorkerArg {
		return work(args[1], args[2], args[3])
	}
	if len(args) == 2 && args[0] == "report" {
		return report(args[1])
	}
	if len(args) > 0 && args[0] == hostile.CompileArg {
		return hostile.Compile(args[1:])
	}
	var names []string
	for _, b := range benches() {
		names = append(names, b.Name)
	}
	usage := fmt.Errorf("usage: go run . NAME|all [--json] [--seed N] [--rounds N] [--long] [--out DIR] [--work DIR] [--update] [--only KINDS] [--profile DIR]: NAME is one of %s",
		strings.Join(names, ", "))
	if len(args) == 0 {
		return usage
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON value")
	out := flags.String("out", "", "write raw samples to this directory (all: default samples)")
	work := flags.String("work", "", "directory for scratch files (default: the system's temporary directory)")
	o := rig.Options{Log: os.Stderr}
	flags.Uint64Var(&o.Seed, "seed", 1, "of inputs and orders")
	flags.IntVar(&o.Rounds, "rounds", 0, "rounds (default: the benchmark's own number)")
	update := flags.Bool("update", false, "write the samples to samples, and this section of RESULTS.md anew")
	only := flags.String("only", "", "measure these kinds alone, a comma between them, for tuning")
	flags.StringVar(&o.Profile, "profile", "", "write CPU profiles of the worker processes to this directory")
	flags.BoolVar(&o.Long, "long", false, "five times as many rounds")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.Rounds < 0 || *update && (*out != "" || *only != "" || o.Profile != "") {
		return usage
	}
	if *update {
		*out = "samples"
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	var err error
	if o.Work, err = os.MkdirTemp(*work, "shoal-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.Work)
	if args[0] == "all" {
		return all(ctx, o, *out, *asJSON)
	}
	b := find(args[0])
	if b == nil {
		return usage
	}
	res, err := measure(ctx, b, o, *out)
	if err != nil {
		return err
	}
	if *update {
		if err := renew(b, res); err != nil {
			return err
		}
	}
	return show(os.Stdout, b, res, *asJSON)
}

// work is the life of a worker process; it ends with its standard input.
func work(bench, role, profile string) error {
	b := find(bench)
	if b == nil || b.Roles[role] == nil {
		return fmt.Errorf("no worker %q of %q", role, bench)
	}
	if profile != "" {
		return rig.Profiled(context.Background(), b.Roles[role], os.Stdin, os.Stdout, profile, bench+"-"+role)
	}
	return rig.Work(context.Background(), b.Roles[role], os.Stdin, os.Stdout)
}

// report computes a benchmark's figures anew from its samples, keeps them there, and prints the section of RESULTS.md.
func report(name string) error {
	b := find(name)
	if b == nil {
		return fmt.Errorf("no benchmark %q", name)
	}
	old, err := rig.Load("samples", name)
	if err != nil {
		return err
	}
	res := rig.Compute(b, old.Samples)
	res.Seed, res.Rounds, res.Notes, res.Machine, res.Seconds = old.Seed, old.Rounds, old.Notes, old.Machine, old.Seconds
	if err := res.Save("samples"); err != nil {
		return err
	}
	res.WriteMarkdown(os.Stdout, b)
	return nil
}

// measure runs one benchmark with a scratch directory of its own.
func measure(ctx context.Context, b *rig.Bench, o rig.Options, out string) (*rig.Result, error) {
	o.Work = filepath.Join(o.Work, b.Name)
	if err := os.Mkdir(o.Work, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(o.Work)
	res, err := rig.Measure(ctx, b, o)
	if err == nil && out != "" {
		err = res.Save(out)
	}
	return res, err
}

func show(w io.Writer, b *rig.Bench, res *rig.Result, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(res)
	}
	res.WriteText(w, b)
	return nil
}
