package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
)

const (
	settle = 45 * time.Second // agents, such as the directory, sleep after 30
	window = 20 * time.Second
	nodes  = 3
)

// Bench is the benchmark.
func Bench() *rig.Bench {
	return &rig.Bench{
		Name: "node", Ours: "shoal", Rounds: 1,
		About: []string{
			fmt.Sprintf("`shoal up`, the binary as the README builds it, on loopback with every default but the address. After %v of settling, %v are watched: resident memory each second (the most counts; memory_mib is the part that is no file), processor time from /proc.", settle, window),
			fmt.Sprintf("First one node alone, then %d in one fabric, of which the worst counts. The ratios are the worse of both. There is no peer to compare with.", nodes),
		},
		Ratios: []rig.Ratio{
			{Name: "idle_rss_mib", Of: rig.Most("shoal", "alone_rss_mib", "fabric_rss_mib"), Target: rig.AtMost(80)},
			{Name: "idle_core_percent", Of: rig.Most("shoal", "alone_core_percent", "fabric_core_percent"), Target: rig.AtMost(1)},
		},
		Run: run,
	}
}

func run(ctx context.Context, r *rig.Run) error {
	if rig.RSSOf(1) == 0 {
		return fmt.Errorf("this system does not tell memory and processor time in /proc: run it on Linux")
	}
	binary := filepath.Join(r.Work, "shoal")
	if err := build(ctx, binary); err != nil {
		return err
	}
	for round := 1; round <= r.Rounds; round++ {
		for _, n := range []int{1, nodes} {
			name := "fabric"
			if n == 1 {
				name = "alone"
			}
			worst, err := idle(ctx, binary, filepath.Join(r.Work, fmt.Sprint(name, round)), n)
			if err != nil {
				return err
			}
			r.Add(round, "shoal", name+"_rss_mib", worst.rss/(1<<20))
			r.Add(round, "shoal", name+"_memory_mib", worst.memory/(1<<20))
			r.Add(round, "shoal", name+"_core_percent", worst.core*100)
			r.Logf("node: %s measured", name)
		}
	}
	return nil
}

// use is what a process takes.
type use struct {
	rss, memory float64 // bytes
	core        float64 // of one core
}

// idle starts n nodes in one fabric, lets them settle, watches them, and returns the worst of each figure.
func idle(ctx context.Context, binary, dir string, n int) (worst use, err error) {
	f := &fabric{binary: binary, dir: dir}
	defer f.close()
	for range n {
		if err := f.add(ctx); err != nil {
			return worst, err
		}
	}
	if err := f.meet(ctx); err != nil {
		return worst, err
	}
	if err := sleep(ctx, settle); err != nil {
		return worst, err
	}
	start := time.Now()
	begun := make([]time.Duration, n)
	for i, p := range f.procs {
		begun[i] = rig.CPUOf(p.Process.Pid)
	}
	for time.Since(start) < window {
		if err := sleep(ctx, time.Second); err != nil {
			return worst, err
		}
		for _, p := range f.procs {
			worst.rss = max(worst.rss, float64(rig.RSSOf(p.Process.Pid)))
			worst.memory = max(worst.memory, float64(rig.MemoryOf(p.Process.Pid)))
		}
	}
	took := time.Since(start)
	for i, p := range f.procs {
		if rig.RSSOf(p.Process.Pid) == 0 {
			return worst, fmt.Errorf("a node has ended: %s", f.said(i))
		}
		worst.core = max(worst.core, (rig.CPUOf(p.Process.Pid)-begun[i]).Seconds()/took.Seconds())
	}
	return worst, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
