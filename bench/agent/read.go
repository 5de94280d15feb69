package agent

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/shoal-fabric/shoal/bench/call"
	"github.com/shoal-fabric/shoal/bench/rig"
)

//go:embed guest/echo.wasm
var echoInC []byte

// Echo is a module whose method "echo" replies what it is given; the bytes are the caller's.
func Echo() []byte { return bytes.Clone(echoInC) }

const (
	readBytes = 1 << 10
	readTime  = 400 * time.Millisecond
)

// Read is the benchmark of reads under the lease.
func Read() *rig.Bench {
	r := roles()
	maps.Copy(r, call.Roles())
	return &rig.Bench{
		Name: "agent-read", Ours: "shoal", Rounds: 7,
		About: []string{
			"A warm read: the agent's method replies the 1 KiB that it is given, under the leader's lease; every reply is compared. The agent has three keepers, each a process, as in agent-write; the caller is a fourth node. shoal: built with the Go SDK; shoal-c: in C (agent/guest).",
			"stream: two plain libp2p hosts, TLS over TCP, an open stream, a fixed frame: the kind of that name in call.",
			"p50_us: one caller, all processes of the kind on one core.",
			"local_us: the same call, made in the process of the leader (`Node.CallAgent`), on all cores. local_per_s: calls of a method that does nothing, in that process, by two callers for each core, all of one agent; local_many_per_s: each of an agent of its own.",
		},
		Ratios: []rig.Ratio{
			{Name: "p50_vs_stream", Of: rig.Pair("shoal", "stream", "p50_us"), Target: rig.AtMost(1.3)},
			{Name: "p50_vs_stream_c", Of: rig.Pair("shoal-c", "stream", "p50_us"), Target: rig.AtMost(1.3)},
			{Name: "local_us", Of: rig.Plain("shoal", "local_us"), Target: rig.AtMost(5)},
			{Name: "local_us_c", Of: rig.Plain("shoal-c", "local_us"), Target: rig.AtMost(5)},
			{Name: "local_rate", Of: rig.Plain("shoal", "local_per_s"), Target: rig.AtLeast(300000)},
			{Name: "local_rate_c", Of: rig.Plain("shoal-c", "local_per_s"), Target: rig.AtLeast(300000)},
			{Name: "local_many_rate", Of: rig.Plain("shoal", "local_many_per_s")},
			{Name: "local_many_rate_c", Of: rig.Plain("shoal-c", "local_many_per_s")},
		},
		Roles: r,
		Run:   runRead,
	}
}

func runRead(ctx context.Context, r *rig.Run) error {
	guests, err := echoes(ctx, r.Work)
	if err != nil {
		return err
	}
	payload := make([]byte, readBytes)
	rand.NewChaCha8([32]byte{byte(r.Seed), 'r', 'e', 'a', 'd'}).Read(payload)
	echo := request{Method: "echo", Payload: payload, Read: true, Echo: true}
	many := 2 * runtime.NumCPU()

	for _, core := range []int{rig.FirstCore(), rig.AnyCore} {
		f, err := newFleet(ctx, r, fmt.Sprint("core", core), core, 0)
		if err != nil {
			return err
		}
		made := map[string][]string{}
		for kind, file := range guests {
			if made[kind], err = f.create(ctx, file, kind, many, 4, request{Method: "none", Read: true}); err != nil {
				return err
			}
		}
		// All that follows is of the agents that the first keeper made, and leads.
		mine := func(kind string) []string { return made[kind][:(many+keepers-1)/keepers] }
		if err := f.join(ctx); err != nil {
			return err
		}
		if err := f.meet(ctx); err != nil {
			return err
		}
		var stream []*rig.Proc
		names := []string{"shoal", "shoal-c"}
		if core != rig.AnyCore && !r.Skips("stream") {
			names = append(names, "stream")
			if stream, err = call.Start(ctx, r, "stream", core); err != nil {
				return err
			}
		}
		r.Logf("agent-read: agents are made")
		err = r.Turns(ctx, names, func(round int, kind string) error {
			measure := func(field string, p *rig.Proc, verb string, order any, of func(rig.Figures) float64) error {
				var got rig.Figures
				if err := p.Do(ctx, verb, order, &got); err != nil {
					return err
				}
				r.Add(round, kind, field, of(got))
				return nil
			}
			p50 := func(f rig.Figures) float64 { return f.P50 }
			rate := func(f rig.Figures) float64 { return f.Rate }
			if kind == "stream" {
				return measure("p50_us", stream[1], "latency", readTime, p50)
			}
			if core != rig.AnyCore {
				return measure("p50_us", f.caller(), "ring", load{Agents: mine(kind)[:1], Time: readTime, request: echo}, p50)
			}
			none := request{Method: "none", Read: true}
			home := f.nodes[0]
			if err := measure("local_us", home, "ring", load{Agents: mine(kind)[:1], Time: readTime, request: echo}, p50); err != nil {
				return err
			}
			one := load{Agents: mine(kind)[:1], Callers: many, Time: readTime, request: none}
			if err := measure("local_per_s", home, "ring", one, rate); err != nil {
				return err
			}
			each := load{Agents: mine(kind), Callers: many / len(mine(kind)), Time: readTime, request: none}
			return measure("local_many_per_s", home, "ring", each, rate)
		})
		r.Procs.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// echoes writes the guest in both languages to dir. The Go one is built anew.
func echoes(ctx context.Context, dir string) (map[string]string, error) {
	at := map[string]string{"shoal": filepath.Join(dir, "echo-go.wasm"), "shoal-c": filepath.Join(dir, "echo-c.wasm")}
	if err := os.WriteFile(at["shoal-c"], echoInC, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags", "-s -w", "-o", at["shoal"],
		"github.com/shoal-fabric/shoal/bench/agent/guest/echo")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the Go guest: %w: %s: run it in bench/", err, out)
	}
	return at, nil
}
