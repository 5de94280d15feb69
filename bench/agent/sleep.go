package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	sampled  = 200             // agents that are woken
	found    = 100             // that are looked for
	idleTime = 2 * time.Second // after which agents sleep here, so that none need be waited for
	quiet    = 10 * time.Second
	makeTime = 2 * time.Minute // for making agents, unless --long
)

// Sleep is the benchmark of agents that nobody uses.
func Sleep() *rig.Bench {
	return &rig.Bench{
		Name: "agent-sleep", Ours: "shoal", Rounds: 1,
		About: []string{
			fmt.Sprintf("Three keepers, each a process, and agents of three keepers each: 50,000, or as many as are made in two minutes (a million with --long; the figure agents says how many), made by the first keeper's `Node.CreateAgent`, %d at once: the name is taken and confirmed in the directory, an agent of three keepers too, and every keeper has the birth on disk. shoal: of example:counter; shoal-c: up to a tenth as many more, of example:counterc.", callers),
			"bytes_per_agent: by how much Go's heap has grown for each, after a collection, in the worst of the keepers: what announces them, and what they announced to each other, included, though it lies on disk but for what is underway; Pebble's cache and tables are outside of it. Code is ready everywhere before. resident_per_agent: the same of the whole process, the cache included.",
			fmt.Sprintf("wake: the first call of an agent that sleeps, an add, from a fourth node that has called it before; warm: the third call, right after. %d agents, at random; agents sleep after %v here. cold: the first call of all, for which the caller must find the keepers first.", sampled, idleTime),
			fmt.Sprintf("found: of %d random keys, how many the fourth node, which has no name for them, had described by their leader or a keeper.", found),
			"announcement_bytes: what all other nodes hear while the last keeper, started again, announces all that it keeps, over as long a silence's; announced anew every ten hours, so a tenth of it is the hourly cost. Nodes of a small fabric all get every announcement; in a large one, twenty do.",
		},
		Ratios: []rig.Ratio{
			{Name: "bytes_per_agent", Of: rig.Plain("shoal", "bytes_per_agent"), Target: rig.AtMost(200)},
			{Name: "resident_per_agent", Of: rig.Plain("shoal", "resident_per_agent")},
			{Name: "create_rate", Of: rig.Plain("shoal", "create_per_s"), Target: rig.AtLeast(1000)},
			{Name: "wake_vs_warm_turn", Of: over("shoal", "wake_us", "warm_us"), Target: rig.AtMost(4)},
			{Name: "wake_vs_warm_turn_c", Of: over("shoal-c", "wake_us", "warm_us"), Target: rig.AtMost(4)},
			{Name: "found", Of: rig.Plain("shoal", "found"), Target: rig.AtLeast(found)},
			{Name: "announcement_bytes_per_agent_hour", Of: rig.Plain("shoal", "announced_per_hour")},
			{Name: "agents", Of: rig.Plain("shoal", "agents")},
		},
		Roles: roles(),
		Run:   runSleep,
	}
}

// over is one figure of a kind over another, round by round.
func over(kind, a, b string) func(rig.Samples) rig.Spread {
	return func(s rig.Samples) rig.Spread {
		var all []float64
		bs := s.Of(kind, b)
		for round, v := range s.Of(kind, a) {
			if w, ok := bs[round]; ok {
				all = append(all, v/w)
			}
		}
		return rig.Sum(all)
	}
}

func runSleep(ctx context.Context, r *rig.Run) error {
	if err := rig.OnDisk(r.Work); err != nil {
		return err
	}
	n, budget := 50_000, makeTime
	if r.Long {
		n, budget = 1_000_000, 24*time.Hour
	}
	f, err := newFleet(ctx, r, "fleet", rig.AnyCore, idleTime)
	if err != nil {
		return err
	}
	warm := 200 // so that what a node needs once is there
	for kind, code := range codes {
		if _, _, err := f.settle(ctx, code, "warm-"+kind+"-", warm/len(codes), budget); err != nil {
			return err
		}
	}
	if err := pause(ctx, quiet); err != nil { // for code to be ready everywhere
		return err
	}
	before, err := f.weigh(ctx)
	if err != nil {
		return err
	}
	made, all := map[string][]string{}, 0.0
	for kind, share := range map[string]int{"shoal": 1, "shoal-c": 10} {
		var rate float64
		if made[kind], rate, err = f.settle(ctx, codes[kind], kind, n/share, budget/time.Duration(share)); err != nil {
			return err
		}
		r.Add(1, kind, "create_per_s", rate)
		all += float64(len(made[kind]))
	}
	if err := pause(ctx, quiet); err != nil { // announcements go on for a while
		return err
	}
	after, err := f.weigh(ctx)
	if err != nil {
		return err
	}
	heap, resident := 0.0, 0.0
	for i := range after {
		heap = max(heap, (after[i].Heap-before[i].Heap)/all)
		resident = max(resident, (after[i].Resident-before[i].Resident)/all)
		r.Add(1, "shoal", fmt.Sprintf("node%d_bytes_per_agent", i), (after[i].Heap-before[i].Heap)/all)
	}
	r.Add(1, "shoal", "agents", all)
	r.Add(1, "shoal", "bytes_per_agent", heap)
	r.Add(1, "shoal", "resident_per_agent", resident)
	if err := f.join(ctx); err != nil {
		return err
	}
	if err := f.meet(ctx); err != nil {
		return err
	}
	for kind := range codes {
		if err := f.wake(ctx, kind, made[kind]); err != nil {
			return err
		}
	}
	return f.announce(ctx, all+float64(warm))
}

// weigh asks the keepers what they hold.
func (f *fleet) weigh(ctx context.Context) ([]memory, error) {
	out := make([]memory, keepers)
	for i, p := range f.nodes[:keepers] {
		if err := p.Do(ctx, "memory", nil, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// wake finds some agents from the fourth node, then calls others of which it knows nothing, lets them sleep, and
// calls them again.
func (f *fleet) wake(ctx context.Context, kind string, keys []string) error {
	rng := rand.New(rand.NewPCG(f.r.Seed, uint64(len(keys))))
	pick := make([]string, 0, sampled+found)
	for _, i := range rng.Perm(len(keys))[:sampled+found] {
		pick = append(pick, keys[i])
	}
	var leaders []string
	if err := f.caller().Do(ctx, "led", pick[sampled:], &leaders); err != nil {
		return fmt.Errorf("find: %w", err)
	}
	f.r.Add(1, kind, "found", float64(len(leaders)))
	add := request{Method: "add", Count: true}
	for _, first := range []string{"cold_us", "wake_us"} {
		var times [][]float64
		if err := f.caller().Do(ctx, "each", tour{Agents: pick[:sampled], Times: 3, request: add}, &times); err != nil {
			return fmt.Errorf("%s: %w", first, err)
		}
		f.r.Add(1, kind, first, rig.Sum(times[0]).Median)
		if first == "wake_us" {
			f.r.Add(1, kind, "warm_us", rig.Sum(times[2]).Median)
			return nil
		}
		if err := pause(ctx, 4*idleTime); err != nil {
			return err
		}
	}
	return nil
}

// announce has the last keeper announce all anew, by starting it again, and counts what the others hear.
func (f *fleet) announce(ctx context.Context, agents float64) error {
	last := keepers - 1
	others := slices.Concat(f.nodes[:last], f.nodes[keepers:])
	hear := func() (sum float64, err error) {
		for _, p := range others {
			var n float64
			if err := p.Do(ctx, "heard", nil, &n); err != nil {
				return 0, err
			}
			sum += n
		}
		return sum, nil
	}
	listen := func(do func() error) (float64, error) {
		was, err := hear()
		if err == nil {
			err = do()
		}
		if err == nil {
			err = pause(ctx, quiet)
		}
		if err != nil {
			return 0, err
		}
		is, err := hear()
		return is - was, err
	}
	silence, err := listen(func() error { return nil })
	if err != nil {
		return err
	}
	f.setups[last].Join = "" // it comes back
	said, err := listen(func() error {
		if err := f.r.Procs.Kill(f.nodes[last]); err != nil {
			return err
		}
		if err := f.start(ctx, last); err != nil {
			return err
		}
		return f.meet(ctx)
	})
	if err != nil {
		return err
	}
	f.r.Add(1, "shoal", "announced_bytes", (said-silence)/agents)
	f.r.Add(1, "shoal", "announced_per_hour", (said-silence)/agents/announceHours)
	return nil
}

// announceHours is the dht's default between two announcements of a key.
const announceHours = 10
