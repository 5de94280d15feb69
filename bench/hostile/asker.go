package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/bench/rig"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/shoaltest/hostile"
)

const (
	pingEvery = 2 * time.Millisecond
	pingTime  = 10 * time.Second // to wait for one
)

// place says where the asker lives, and whom it asks.
type place struct {
	Dir string
	Of  ready
}

// asker is the other node: it sends the guests and pings.
type asker struct {
	*node.Node
	to   shoal.PeerID
	dir  string
	all  []hostile.Guest
	cids map[string]cid.Cid
}

// stormed is what the asker saw of one storm.
type stormed struct {
	StopMS  float64 // the worst of the guests', as the node tells
	TookMS  float64 // from the first request to the last answer
	PingMS  float64 // the worst ping
	Median  float64
	Pings   int
	Refused string // why, in the words of the node
}

func ask(ctx context.Context, p place) (*rig.Worker, error) {
	n, err := open(ctx, filepath.Join(p.Dir, "asker"), p.Of.Invite)
	if err != nil {
		return nil, err
	}
	a := &asker{n, shoal.PeerID(p.Of.ID), p.Dir, guests(), map[string]cid.Cid{}}
	return &rig.Worker{Close: func() { n.Close() }, Do: map[string]func(context.Context, json.RawMessage) (any, error){
		"storm": rig.Verb(a.storm),
		"ping": rig.Verb(func(ctx context.Context, d time.Duration) (stormed, error) {
			return a.pinged(ctx, func() error { time.Sleep(d); return nil })
		}),
	}}, nil
}

// order is to send a guest, by its place in the list. Mark makes modules that are refused new to the node.
type order struct {
	Guest int
	Mark  string
}

// storm sends a guest once for each processor, all at once, and pings until all have been stopped.
func (a *asker) storm(ctx context.Context, o order) (out stormed, err error) {
	g := a.all[o.Guest]
	n := runtime.GOMAXPROCS(0)
	modules := make([]cid.Cid, n)
	for i := range modules {
		mark := ""
		if g.Limit == "caps" || g.Limit == "compiling" { // or the node would know it
			mark = fmt.Sprint(o.Mark, i)
		}
		if modules[i], err = a.put(ctx, g, mark); err != nil {
			return out, err
		}
	}
	var mu sync.Mutex
	stop, said := 0.0, ""
	out, err = a.pinged(ctx, func() error {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i, c := range modules {
			wg.Go(func() {
				_, ran, _, err := a.RunTask(ctx, node.RunSpec{
					Name: "guest", Module: c, On: a.to, Limits: g.Limits, Stdout: io.Discard, Stderr: io.Discard,
				})
				if err == nil || !strings.Contains(err.Error(), g.Want) {
					errs[i] = fmt.Errorf("%s: it ended with %v, not %q", g.Name, err, g.Want)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				over := ran.Over
				if g.Limit == "caps" { // from when the module is there
					over = ran.Compile
				}
				stop, said = max(stop, over*1e3), err.Error()
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	})
	out.StopMS, out.Refused = stop, said
	return out, err
}

// put makes a module of this fabric's, without a look at it: the other node shall have that.
func (a *asker) put(ctx context.Context, g hostile.Guest, mark string) (cid.Cid, error) {
	wasm := g.Wasm
	if mark != "" {
		wasm = hostile.Marked(wasm, mark)
	} else if c, ok := a.cids[g.Name]; ok {
		return c, nil
	}
	path, err := write(a.dir, wasm)
	if err != nil {
		return cid.Undef, err
	}
	res, err := a.Put(ctx, path, data.PutOptions{Replicas: 1})
	a.cids[g.Name] = res.Manifest.Root
	return res.Manifest.Root, err
}

// pinged pings while f runs.
func (a *asker) pinged(ctx context.Context, f func() error) (out stormed, err error) {
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- f() }()
	var all []time.Duration
	for {
		one, cancel := context.WithTimeout(ctx, pingTime)
		took, pinged := a.Ping(one, a.to)
		cancel()
		if pinged != nil {
			<-done
			return out, fmt.Errorf("a ping failed: %w", pinged)
		}
		all = append(all, took)
		select {
		case err = <-done:
			out.TookMS = ms(time.Since(began))
			slices.Sort(all)
			out.PingMS, out.Median, out.Pings = ms(all[len(all)-1]), ms(all[len(all)/2]), len(all)
			return out, err
		case <-time.After(pingEvery):
		}
	}
}
