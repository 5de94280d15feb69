//go:build process && linux

package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/api"
	"github.com/shoal-fabric/shoal/internal/nemesis"
)

// faults are what is done to the processes; each returns once it is undone.
func (f *farm) faults() map[string]func() {
	all := map[string]func(){"kill -9": f.kill, "stop": f.stop, "move": f.move}
	if f.hub != "" {
		all["one way"], all["partition"] = f.oneWay, f.partition
	}
	if f.small != nil {
		all["disk full"] = f.fill
	}
	if *nemesisOps > 50_000 { // a keeper is replaced after a minute
		all["replace"] = f.replace
	}
	return all
}

// victim is a node: as a rule one where prey lives.
func (f *farm) victim() *farmNode {
	prey := f.prey[f.rng.IntN(len(f.prey))]
	if f.rng.IntN(4) > 0 {
		for _, n := range f.nodes {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			var s agents.Show
			err := n.client.Call(ctx, http.MethodGet, api.Query("agents/show", "agent", prey), nil, &s)
			cancel()
			if err != nil {
				continue
			}
			for _, v := range f.nodes {
				if v.peer == s.Leader {
					return v
				}
			}
		}
	}
	return f.nodes[f.rng.IntN(farmNodes)]
}

// kill ends a process as nothing can be caught, and starts it again. Nobody leads on it for a lease after that.
func (f *farm) kill() {
	n := f.victim()
	n.signal(syscall.SIGKILL)
	n.wait()
	time.Sleep(f.some(0, 2*time.Second))
	n.up("")
	time.Sleep(time.Second)
}

// move has agents move while they are in use, to any of the nodes.
func (f *farm) move() {
	for range 6 {
		by, to := f.nodes[f.rng.IntN(farmNodes)], f.nodes[f.rng.IntN(farmNodes)]
		name := append([]string{"lock"}, f.prey...)[f.rng.IntN(1+len(f.prey))]
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := by.client.Call(ctx, http.MethodPost, "agents/move", api.AgentMove{Agent: name, To: string(to.peer)}, nil)
		cancel()
		if err != nil {
			f.t.Logf("move of %s: %v", name, err)
		}
		time.Sleep(f.some(0, 300*time.Millisecond))
	}
}

func (f *farm) replace() {
	n := f.victim()
	n.signal(syscall.SIGKILL)
	n.wait()
	time.Sleep(75 * time.Second)
	n.up("")
	time.Sleep(time.Second)
}

// stop holds a process for longer than a lease. Clients beside it read the moment it goes on.
func (f *farm) stop() {
	n := f.victim()
	n.signal(syscall.SIGSTOP)
	time.Sleep(f.some(1700*time.Millisecond, 4*time.Second))
	over := f.h.Fault("the moment after a pause")
	n.signal(syscall.SIGCONT)
	var asked sync.WaitGroup
	for i := range 16 {
		list := nemesis.Reads(1000+i, nemesis.Epoch(f.made.Load()))
		op := list[i%len(list)]
		asked.Go(func() {
			done := f.h.Begin(op)
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			var res api.AgentReply
			err := n.client.Call(ctx, http.MethodPost, "agents/call",
				api.AgentCall{Agent: op.Agent, Method: op.Method, Payload: []byte(op.Payload()), Read: true}, &res)
			if err == nil {
				done(string(res.Reply), "stale reader at "+n.name)
			}
		})
	}
	asked.Wait()
	over()
}

func (f *farm) link(from, to *farmNode, verb string) {
	f.ip("-n " + from.ns + " route " + verb + " blackhole " + to.addr[:len(to.addr)-len(":4170")] + "/32")
}

// oneWay drops what a node sends to the others, or what they send to it.
func (f *farm) oneWay() {
	v := f.victim()
	sends := f.rng.IntN(2) == 0
	set := func(verb string) {
		for _, n := range f.nodes {
			switch {
			case n == v:
			case sends:
				f.link(v, n, verb)
			default:
				f.link(n, v, verb)
			}
		}
	}
	set("add")
	time.Sleep(f.some(2*time.Second, 5*time.Second))
	set("del")
}

// partition cuts one node, or two, off the others.
func (f *farm) partition() {
	cut := map[*farmNode]bool{f.victim(): true}
	if f.rng.IntN(2) == 0 {
		cut[f.nodes[f.rng.IntN(farmNodes)]] = true
	}
	set := func(verb string) {
		for _, x := range f.nodes {
			for _, y := range f.nodes {
				if cut[x] != cut[y] {
					f.link(x, y, verb)
				}
			}
		}
	}
	set("add")
	time.Sleep(f.some(2*time.Second, 5*time.Second))
	set("del")
}

// fill leaves no space on a node's disk, for a while.
func (f *farm) fill() {
	name := filepath.Join(f.small.dir, "filler")
	file, err := os.Create(name)
	if err != nil {
		f.t.Error(err)
		return
	}
	for less := int64(0); ; less += 16 { // blocks: the node writes as well, between the look and the taking
		var st syscall.Statfs_t
		if err := syscall.Statfs(f.small.dir, &st); err != nil {
			f.t.Error(err)
			break
		}
		err := syscall.Fallocate(int(file.Fd()), 0, 0, max(int64(st.Bavail)-less, 1)*int64(st.Bsize))
		if errors.Is(err, syscall.ENOSPC) && less < int64(st.Bavail) {
			continue
		}
		if err != nil {
			f.t.Error(err)
		}
		break
	}
	_ = file.Close()
	time.Sleep(f.some(3*time.Second, 5*time.Second))
	if err := os.Remove(name); err != nil {
		f.t.Error(err)
	}
}
