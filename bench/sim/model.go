package sim

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/simulations/model"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

//go:embed town.yaml
var town string

// Of a run of 100,000 nodes; one of more is as many times shorter.
const (
	townTime    = time.Hour
	lookupRate  = 0.5
	jobEvery    = 24 * time.Second
	onlyLookups = 100_000 // of the run that does nothing else
)

// modeller is the worker: each order is one run of the model.
func modeller(_ context.Context, seed uint64) (*rig.Worker, error) {
	return &rig.Worker{Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"model": rig.Verb(func(ctx context.Context, kind string) (map[string]float64, error) { return measure(ctx, kind, seed) }),
	}}, nil
}

// scene is the scenario for so many nodes.
func scene(nodes int) (*scenario.Scenario, error) {
	times := float64(nodes) / 1e5
	shorter := func(d time.Duration) time.Duration { return time.Duration(float64(d) / times) }
	text := fmt.Sprintf(town, nodes-4, shorter(townTime), lookupRate*times, shorter(jobEvery))
	return scenario.Parse("town.yaml", []byte(text), scenario.Options{})
}

func measure(ctx context.Context, kind string, seed uint64) (map[string]float64, error) {
	nodes := sizes[kind]
	if nodes == 0 {
		nodes = 1e6
	}
	s, err := scene(nodes)
	if err != nil {
		return nil, err
	}
	if kind == "lookups" {
		s.Load = s.Load[:1]
		s.Load[0].Rate = onlyLookups / s.Duration.Seconds()
		for i := range s.Classes {
			s.Classes[i].Session = 0
		}
	}
	r, err := model.Run(ctx, s, seed, model.Options{})
	if err != nil {
		return nil, err
	}
	if kind == "lookups" {
		return map[string]float64{"lookup_us": r.Wall * 1e6 / r.Figures["lookups"]}, nil
	}
	percent := func(n uint64) float64 { return 100 * float64(n) / float64(r.Events) }
	decisions, lookups := r.Leaves["cost"], uint64(r.Figures["lookups"])
	f := map[string]float64{
		"events_per_s_" + kind: r.Figures["events_per_s"], "events_" + kind: float64(r.Events),
		"decision_percent_" + kind: percent(decisions), "lookup_percent_" + kind: percent(lookups), "churn_percent_" + kind: percent(r.Mix["churn"]),
		"task_percent_" + kind: percent(r.Events - r.Mix["churn"] - r.Mix["dht"] - r.Mix["members"] - decisions),
	}
	if most := resident(); nodes == 1e6 && most > 0 {
		f["bytes_per_node"] = most / float64(nodes)
	}
	return f, nil
}

// resident is the greatest resident size of this process so far, in bytes; 0: the system does not tell.
func resident() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 64)
			return kib * 1024
		}
	}
	return 0
}
