package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	worldScenario = "campus-1000"
	worldTime     = 10 * time.Minute // most that a world may take
)

// sizes are the models that are run.
var sizes = map[string]int{"1e5": 1e5, "1e6": 1e6}

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "sim", Ours: "shoal", Rounds: 3,
		About: []string{
			"`model.Run` on one core, a process for each run, of the scenario bench/sim/town.yaml with 100,000 (1e5) and a million nodes (1e6), about four million events each. An event is what the model's queue hands out and a handler carries out to its end. The whole model takes part: when a node goes, all that it was about is looked through.",
			"The mix is in the figures, as percents of all events: churn_ (a session begins or ends, with the next one drawn), decision_ (a task placed by scheduler/match and scheduler/cost among the hundred members that its node knows, caller and holders; at least 0.1 is asked for), task_ (what else tasks do: transfers, offers, compiling, queues, results), lookup_ (a lookup in the DHT, with all its requests and answers, is one event). events_per_s is events over wall time, the making of the nodes apart. Real lookups are dear and real Raft groups dearer: planet-like loads have fewer events a second, see lookup_us.",
			"bytes_per_node: the greatest resident size of the run of a million nodes over its nodes, the program itself included. lookup_us: of a run of a million nodes with lookups alone, wall time over lookups.",
			"world_mib_per_node: memory_per_node of `shoal sim run " + worldScenario + " --storey world`, with as many nodes as the scenario has. There is no peer to compare with.",
		},
		Ratios: []rig.Ratio{
			{Name: "events_per_s_1e5", Of: rig.Plain("shoal", "events_per_s_1e5"), Target: rig.AtLeast(2e6)},
			{Name: "events_per_s_1e6", Of: rig.Plain("shoal", "events_per_s_1e6"), Target: rig.AtLeast(1e6)},
			{Name: "decision_percent_1e5", Of: rig.Plain("shoal", "decision_percent_1e5"), Target: rig.AtLeast(0.1)},
			{Name: "decision_percent_1e6", Of: rig.Plain("shoal", "decision_percent_1e6"), Target: rig.AtLeast(0.1)},
			{Name: "bytes_per_node", Of: rig.Plain("shoal", "bytes_per_node"), Target: rig.AtMost(1024)},
			{Name: "world_mib_per_node", Of: rig.Plain("shoal", "world_mib_per_node"), Target: rig.AtMost(6)},
			{Name: "lookup_us", Of: rig.Plain("shoal", "lookup_us")},
		},
		Roles: map[string]rig.Role{"modeller": rig.As(modeller)},
		Run:   run,
	}
}

func run(ctx context.Context, r *rig.Run) error {
	kinds := []string{"1e5", "1e6", "lookups"}
	err := r.Turns(ctx, kinds, func(round int, kind string) error {
		p, err := r.Procs.Start(ctx, "modeller", rig.FirstCore(), r.Seed, nil)
		if err != nil {
			return err
		}
		var f map[string]float64
		if err := p.Do(ctx, "model", kind, &f); err != nil {
			return err
		}
		if err := r.Procs.Kill(p); err != nil { // its memory is for the next
			return err
		}
		for name, v := range f {
			r.Add(round, "shoal", name, v)
		}
		return nil
	})
	if err != nil || r.Skips("world") {
		return err
	}
	v, err := world(ctx, r)
	if err != nil {
		r.Note("No world was measured: %v.", err)
		r.Logf("sim: no world: %v", err)
		return nil
	}
	r.Add(1, "shoal", "world_mib_per_node", v/(1<<20))
	return nil
}

// world runs a world by the ordinary binary and returns the bytes of a node in it.
func world(ctx context.Context, r *rig.Run) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, worldTime)
	defer cancel()
	at, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shoal-fabric/shoal").Output()
	if err != nil {
		return 0, fmt.Errorf("find the source of shoal: %w: run it in bench/", err)
	}
	binary := filepath.Join(r.Work, "shoal")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/shoal")
	build.Dir = strings.TrimSpace(string(at))
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build shoal: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, binary, "sim", "run", worldScenario, "--storey", "world", "--seed", strconv.FormatUint(max(r.Seed, 1), 10),
		"--out", filepath.Join(r.Work, "world"), "--json").Output()
	var result struct {
		Figures map[string]float64 `json:"figures"`
	}
	if e := json.Unmarshal(out, &result); e != nil || result.Figures["memory_per_node"] == 0 { // an expectation that does not hold is no matter here
		return 0, fmt.Errorf("'shoal sim run %s --storey world' told no memory: %w", worldScenario, firstOf(err, e))
	}
	return result.Figures["memory_per_node"], nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("the figure is missing")
}
