package fluid

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

//go:embed guest/read.wasm
var guest []byte

const (
	replicas = 2
	callers  = 4 // jobs of one node at once
)

// setup is what a node's process is told.
type setup struct {
	Dir, Join, Listen string
	Policy            cost.Policy
}

// ready is what it says of itself.
type ready struct{ ID, Invite string }

// worker is a node in a process of its own.
type worker struct {
	*node.Node
	dir     string
	policy  cost.Policy
	modules map[string]cid.Cid
}

// serve starts a node as `shoal up` does.
func serve(ctx context.Context, s setup) (*rig.Worker, error) {
	release := node.Headroom()
	n, err := node.Open(ctx, node.Config{
		Dir: s.Dir, Join: s.Join, Listen: []string{s.Listen}, NoMDNS: true, Placement: node.Placement{Policy: s.Policy},
	})
	if err != nil {
		return nil, err
	}
	r := ready{ID: string(n.ID())}
	if s.Join == "" {
		if r.Invite, err = n.Invite(ctx, node.InviteOptions{TTL: time.Hour}); err != nil {
			return nil, err
		}
	}
	w := &worker{Node: n, dir: s.Dir, policy: s.Policy}
	return &rig.Worker{
		Ready: r,
		Close: func() { n.Close(); release() },
		Do: map[string]func(context.Context, json.RawMessage) (any, error){
			"met":     rig.Verb(w.met),
			"prepare": rig.Verb(w.prepare),
			"run":     rig.Verb(w.run),
			"traffic": rig.Verb(func(context.Context, *int) (node.Traffic, error) { return n.Traffic(), nil }),
		},
	}, nil
}

// met waits until this node is connected with so many members, and takes them for alive.
func (w *worker) met(ctx context.Context, others int) (any, error) {
	for {
		peers, _, err := w.Peers(ctx, "")
		if err != nil {
			return nil, err
		}
		alive := 0
		for _, p := range peers {
			if p.State == shoal.Alive {
				alive++
			}
		}
		if w.Status().Connected >= others && alive >= others {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// order is a list, and which of the nodes is meant.
type order struct {
	Seed  uint64
	Round int
	Node  int
	List  list
	Roots []string // of the sets, once they are put
}

// prepare puts the sets that are this node's to put, and uploads the modules that its jobs need, as `shoal run` does.
func (w *worker) prepare(ctx context.Context, o order) (map[int]string, error) {
	roots := map[int]string{}
	var mu sync.Mutex
	err := several(len(o.List.Sets), func(i int) error {
		s := o.List.Sets[i]
		if s.Putter != o.Node {
			return nil
		}
		path := filepath.Join(w.dir, fmt.Sprintf("%s-%d-%d", o.List.Name, o.Round, i))
		if err := os.WriteFile(path, noise(s.Bytes, o.Seed, o.Round, o.List.Name, "data", i), 0o600); err != nil {
			return err
		}
		defer os.Remove(path)
		put, err := w.Put(ctx, path, data.PutOptions{Replicas: replicas, PartitionBytes: 64 * mib})
		if err != nil {
			return err
		}
		if put.Short > 0 || len(put.Manifest.Partitions) != 1 {
			return fmt.Errorf("set %d lacks %d copies and has %d partitions: %v", i, put.Short, len(put.Manifest.Partitions), put.Warnings)
		}
		mu.Lock()
		defer mu.Unlock()
		roots[i] = put.Manifest.Root.String()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return roots, w.upload(ctx, o)
}

// several does n things, a few at once, until one fails.
func several(n int, do func(i int) error) error {
	var next atomic.Int64
	var done sync.WaitGroup
	failed := make(chan error, callers)
	for range callers {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done.Wait()
	close(failed)
	return <-failed
}

// ran is what came of a node's jobs.
type ran struct {
	Read uint64 // bytes of data that tasks read
	Here int    // jobs that ran on the node that asked
	On   int    // that ran on a holder
}

// run runs this node's jobs of a list, a few at once.
func (w *worker) run(ctx context.Context, o order) (out ran, err error) {
	jobs := slices.DeleteFunc(slices.Clone(o.List.Jobs), func(j job) bool { return j.Caller != o.Node })
	var mu sync.Mutex
	err = several(len(jobs), func(i int) error {
		r, err := w.one(ctx, o, jobs[i])
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		out.Read += r.DataRead
		if r.Peer == w.ID() {
			out.Here++
		}
		if r.Holder {
			out.On++
		}
		return nil
	})
	return out, err
}

// one runs one job, which reads all of a set.
func (w *worker) one(ctx context.Context, o order, j job) (shoal.Outcome, error) {
	root, err := shoal.ParseCID(o.Roots[j.Set])
	if err != nil {
		return shoal.Outcome{}, err
	}
	begun := time.Now()
	_, out, explain, err := w.RunTask(ctx, node.RunSpec{
		Name: "read", Module: w.modules[moduleName(o, j.Module)], Inputs: []shoal.Input{{Name: "set", CID: root}},
	})
	if err != nil {
		return out, err
	}
	if want := o.List.Sets[j.Set].Bytes; out.Exit != 7 || out.DataRead < uint64(want) {
		return out, fmt.Errorf("a job read %d bytes of %d and ended with %d", out.DataRead, want, out.Exit)
	}
	if path := os.Getenv("FLUID_EXPLAIN"); path != "" { // for tuning
		explained, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return out, err
		}
		defer explained.Close()
		c, _ := explain.Chosen()
		fmt.Fprintf(explained, "%s %s round %d node %d: module %d of %d, set %d of %d; took %.3f s, of it wait %.3f fetch %.3f compile %.3f run %.3f; expected %.3f\n%v\n",
			w.policy, o.List.Name, o.Round, o.Node, j.Module, o.List.Modules[j.Module], j.Set, o.List.Sets[j.Set].Bytes,
			time.Since(begun).Seconds(), out.Wait, out.Fetch, out.Compile, out.Seconds, c.Total, explain)
	}
	return out, nil
}

func moduleName(o order, i int) string { return fmt.Sprintf("%s-%d-%d", o.List.Name, o.Round, i) }

// upload uploads the modules that this node's jobs need.
func (w *worker) upload(ctx context.Context, o order) error {
	w.modules = map[string]cid.Cid{}
	for _, j := range o.List.Jobs {
		name := moduleName(o, j.Module)
		if j.Caller != o.Node || w.modules[name].Defined() {
			continue
		}
		pad := noise(o.List.Modules[j.Module], o.Seed, o.Round, o.List.Name, "module", j.Module)
		c, _, err := w.Upload(ctx, name+".wasm", padded(guest, pad))
		if err != nil {
			return err
		}
		w.modules[name] = c
	}
	return nil
}
