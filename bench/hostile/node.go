package hostile

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/sandbox"
)

const (
	tick         = time.Millisecond
	collectEvery = 20 * time.Millisecond
	// CompileArg is the first argument of a child that compiles for the node.
	CompileArg = "compile-module"
)

// Compile is the life of such a child.
func Compile(args []string) error {
	os.Exit(sandbox.CompileMain(args))
	return nil
}

// ready is what the node says of itself.
type ready struct{ ID, Invite string }

// target is the node under attack.
func target(ctx context.Context, dir string) (*rig.Worker, error) {
	n, err := open(ctx, dir, "")
	if err != nil {
		return nil, err
	}
	invite, err := n.Invite(ctx, node.InviteOptions{TTL: time.Hour})
	if err != nil {
		return nil, err
	}
	var w *watch
	return &rig.Worker{
		Ready: ready{string(n.ID()), invite},
		Close: func() { n.Close() },
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"begin": rig.Verb(func(_ context.Context, spin time.Duration) (any, error) { w = begin(spin); return nil, nil }),
			"end":   rig.Verb(func(context.Context, *int) (seen, error) { return w.end(), nil }),
		},
	}, nil
}

// open starts a node as `shoal up` does, on loopback.
func open(ctx context.Context, dir, invite string) (*node.Node, error) {
	return node.Open(ctx, node.Config{
		Dir: dir, Join: invite, Listen: []string{"127.0.0.1:0"}, NoMDNS: true,
		Compiler: func(ctx context.Context, args ...string) *exec.Cmd {
			return exec.CommandContext(ctx, "/proc/self/exe", append([]string{CompileArg}, args...)...)
		},
	})
}

// seen is how the node's process fared.
type seen struct {
	TickerMS    float64 // the worst lateness
	CollectMS   float64 // the longest collection, from its call to its end
	PauseMS     float64 // the longest time for which a collection stopped all
	Collections int
}

// watch has a ticker tick and the collector run.
type watch struct {
	stop  chan struct{}
	work  sync.WaitGroup
	since debug.GCStats
	seen  seen
}

// begin starts watching. With spin, Go's own loops keep every processor busy for so long.
func begin(spin time.Duration) *watch {
	w := &watch{stop: make(chan struct{})}
	debug.ReadGCStats(&w.since)
	w.work.Go(func() {
		for w.goesOn() {
			due := time.Now().Add(tick)
			time.Sleep(tick)
			w.seen.TickerMS = max(w.seen.TickerMS, ms(time.Since(due)))
		}
	})
	w.work.Go(func() {
		for w.goesOn() {
			at := time.Now()
			runtime.GC()
			w.seen.CollectMS = max(w.seen.CollectMS, ms(time.Since(at)))
			w.seen.Collections++
			time.Sleep(collectEvery)
		}
	})
	if spin > 0 {
		for range runtime.GOMAXPROCS(0) {
			w.work.Go(func() {
				for end := time.Now().Add(spin); time.Now().Before(end); {
				}
			})
		}
	}
	return w
}

func (w *watch) goesOn() bool {
	select {
	case <-w.stop:
		return false
	default:
		return true
	}
}

func (w *watch) end() seen {
	close(w.stop)
	w.work.Wait()
	var now debug.GCStats
	debug.ReadGCStats(&now)
	fresh := min(int(now.NumGC-w.since.NumGC), len(now.Pause)) // the latest come first
	for _, p := range now.Pause[:fresh] {
		w.seen.PauseMS = max(w.seen.PauseMS, ms(p))
	}
	return w.seen
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }

// slug makes a guest's name part of a field's.
func slug(name string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "_")
}

// write writes a module to a file of the folder given.
func write(dir string, wasm []byte) (string, error) {
	path := filepath.Join(dir, "module.wasm")
	return path, os.WriteFile(path, wasm, 0o600)
}
