package world

import (
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

var (
	many    = flag.Int("nodes", 0, "nodes of TestMany")
	profile = flag.String("profile", "", "of TestMany: write a heap profile there")
	wall    = flag.Duration("wall", time.Hour, "of TestMany: after which it is stopped")
	file    = flag.String("scenario", "", "of TestMany: a scenario's file")
	span    = flag.Duration("span", 0, "of TestMany: how long the load lasts; 0: as the scenario says")
	set     = flag.String("set", "", "of TestMany: values in place of the scenario's, such as load=[];data=[]")
)

// small is a scenario with a bit of everything.
func small(nodes int) *scenario.Scenario {
	return &scenario.Scenario{
		Name: "small", Duration: time.Minute, Settle: 30 * time.Second, Start: "warm",
		Regions: []scenario.Region{{Name: "here", Share: 1}}, Latency: [][]time.Duration{{5 * time.Millisecond}}, Jitter: 0.1,
		Classes: []scenario.Class{{
			Name: "pc", Count: nodes, Cores: 4, Gas: 1e9, Memory: 8 << 30, Disk: 100 << 30, DiskRate: 500e6, Sync: time.Millisecond,
			Up: 125e6, Down: 125e6,
		}},
		Data:   []scenario.Dataset{{Name: "set", Count: 2, Bytes: 8 << 20, Partition: 2 << 20, Replicas: 2}},
		Agents: []scenario.Agents{{Name: "agent", Count: 2, State: 1 << 10, Replicas: 3}},
		Topics: []scenario.Topics{{Name: "topic", Count: 1, Subscribers: 2}, {Name: "log", Count: 1, Subscribers: 2, Durable: true}},
		Load: []scenario.Load{
			{Name: "lookup", Ask: scenario.Lookup, Rate: 1},
			{Name: "find", Ask: scenario.Find, Rate: 0.5},
			{Name: "task", Ask: scenario.Task, Rate: 0.5, Work: scenario.Work{Code: 64 << 10, Modules: 2, Gas: 1e8, PerByte: 10, Result: 1 << 10, Deadline: time.Minute}},
			{Name: "call", Ask: scenario.Call, Rate: 1, Bytes: 256},
			{Name: "read", Ask: scenario.Read, Rate: 1, Bytes: 64},
			{Name: "say", Ask: scenario.Publish, On: "topic", Rate: 1, Bytes: 256},
			{Name: "log", Ask: scenario.Publish, On: "log", Rate: 1, Bytes: 256},
		},
	}
}

// simulate runs a scenario in a bubble of the test's.
func simulate(t *testing.T, s *scenario.Scenario, o Options) (r *report.Run) {
	t.Helper()
	if o.Log == nil && testing.Verbose() && os.Getenv("WORLD_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	begun := time.Now()
	if testing.Verbose() {
		o.told = func(note string) { t.Log(note) }
	}
	bubble.Test(t, func(t *testing.T) {
		var err error
		if r, err = Run(t.Context(), s, 1, o); err != nil {
			t.Fatal(err)
		}
	})
	b, _ := json.MarshalIndent(r.Figures, "", " ")
	t.Logf("%v: %s\nbytes %v\nevents %d\nbroken %q", time.Since(begun), b, r.Bytes, r.Events, r.Broken)
	return r
}

func TestFive(t *testing.T) {
	r := simulate(t, small(5), Options{})
	if r.Figures["availability"] < 1 || len(r.Broken) > 0 {
		t.Error("something failed in a quiet cluster")
	}
}

// TestMany is for measurements: go test -run Many -nodes 1000.
func TestMany(t *testing.T) {
	if *many == 0 {
		t.Skip("set -nodes")
	}
	s := small(*many)
	if *file != "" {
		var err error
		o := scenario.Options{Nodes: *many}
		for one := range strings.SplitSeq(*set, ";") {
			if path, value, ok := strings.Cut(one, "="); ok {
				o.Set = append(o.Set, scenario.Setting{Path: path, Value: value})
			}
		}
		if s, err = scenario.ReadFile(*file, o); err != nil {
			t.Fatal(err)
		}
	}
	if *span > 0 {
		s.Duration, s.Settle = *span, time.Second
	}
	begun, stop := time.Now(), &atomic.Bool{}
	time.AfterFunc(*wall, func() { stop.Store(true) })
	phase, told := "", time.Duration(0)
	phases, done := make(chan string), make(chan struct{})
	go func() { // outside of the bubble: each phase has a profile of its own
		defer close(done)
		for p := range phases {
			pprof.StopCPUProfile()
			f, _ := os.Create(*profile + ".cpu." + p)
			_ = pprof.StartCPUProfile(f)
		}
		pprof.StopCPUProfile()
	}()
	defer func() { close(phases); <-done }()
	simulate(t, s, Options{Stop: stop, Progress: func(p Progress) {
		if p.Phase != phase && *profile != "" {
			phases <- p.Phase
		}
		if p.Phase != phase || busy() > told+2*time.Second {
			phase, told = p.Phase, busy()
			t.Logf("%s, cpu %v: %+v, %d goroutines, %s", uptime(), busy().Round(time.Millisecond), p, runtime.NumGoroutine(), resident())
			if p.At == 0 && p.Phase == "load" && *profile != "" {
				for name, debug := range map[string]int{"heap": 0, "goroutine": 1} {
					f, _ := os.Create(*profile + "." + name)
					_ = pprof.Lookup(name).WriteTo(f, debug)
					_ = f.Close()
				}
			}
		}
	}})
	t.Logf("%v in all, cpu %v, %s, peak %d MiB", time.Since(begun), busy(), resident(), peak()>>20)
}
