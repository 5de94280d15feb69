package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/devices"
)

// Times of looking at the machine.
const (
	describeEvery = time.Hour        // between looks at all of it: they wake sleeping devices
	gpuEvery      = 15 * time.Second // between looks at its graphics processors, if it has any
	gpuShare      = 100              // and at least so many times what a look takes: a tool may take a second
)

// machine describes this machine, and what is free on its graphics processors.
func (n *Node) machine(ctx context.Context) (shoal.Attributes, []shoal.GPULoad, error) {
	if s := n.cfg.stage().Attributes; s != nil {
		a := *s
		a.GPUs = n.rated(a.GPUs)
		return a, nil, nil
	}
	a, free, err := devices.Describe(ctx, n.cfg.Dir, n.cfg.Devices)
	if n.cfg.gpus != nil {
		a.GPUs, err = n.cfg.gpus()
	}
	a.GPUs = n.rated(a.GPUs)
	return a, free, err
}

// graphics lists the graphics processors alone.
func (n *Node) graphics(ctx context.Context) ([]shoal.GPU, []shoal.GPULoad, error) {
	if s := n.cfg.stage().Attributes; s != nil {
		return n.rated(s.GPUs), nil, nil
	}
	if n.cfg.gpus != nil {
		list, err := n.cfg.gpus()
		return n.rated(list), nil, err
	}
	list, free, err := devices.GPUs(ctx, n.cfg.Devices)
	return n.rated(list), free, err
}

// watch keeps what this node says of its machine true until ctx ends: devices come, go and fail, and their memory is
// taken by others.
func (n *Node) watch(ctx context.Context) error {
	again, wait := time.Now().Add(describeEvery), gpuEvery
	failed := true // at the start drivers have little time to answer
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		begin := time.Now()
		switch {
		case begin.After(again):
			again = begin.Add(describeEvery)
			failed = !n.describe(ctx)
		case failed, slices.ContainsFunc(n.rooms.members.Self().Attributes.GPUs, func(g shoal.GPU) bool { return g.Driver != "" || g.Health != "" }):
			list, free, err := n.graphics(ctx)
			if ctx.Err() != nil {
				return nil // what was cut short says nothing
			}
			n.sawGPUs(list, free, err)
			failed = err != nil
		}
		wait = max(gpuEvery, gpuShare*time.Since(begin))
	}
}

// describe looks at the whole machine again, and reports whether it saw all of it.
func (n *Node) describe(ctx context.Context) bool {
	a, free, err := n.machine(ctx)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		n.cfg.Log.Debug("node: this machine is described in part only", "err", err)
		return false // what was known is better
	}
	n.sawGPUs(a.GPUs, free, nil)
	n.say(func(old *shoal.Attributes) {
		a.Labels, a.Version, a.HashMBs, a.Rates, a.GPUs = old.Labels, old.Version, old.HashMBs, old.Rates, old.GPUs
		a.Executors = old.Executors
		*old = a
	})
	return true
}

// sawGPUs says which graphics processors there are, and what is free on them. Those of which a failing driver tells
// nothing any more are not well.
func (n *Node) sawGPUs(list []shoal.GPU, free []shoal.GPULoad, err error) {
	n.say(func(a *shoal.Attributes) {
		for _, g := range a.GPUs {
			if err != nil && !slices.ContainsFunc(list, func(h shoal.GPU) bool { return h.ID == g.ID }) && len(list) < shoal.MaxGPUs {
				g.Health = cmp.Or(devices.Clean(err.Error()), "its driver fails")
				list = append(list, g)
			}
		}
		a.GPUs = list
	})
	n.free.Store(&free)
	n.rooms.native.SetDevices(cards(n.rooms.members.Self().Attributes.GPUs))
}

// say changes what this node says of its machine, if that makes a difference.
func (n *Node) say(change func(*shoal.Attributes)) {
	n.saying.Lock()
	defer n.saying.Unlock()
	old := n.rooms.members.Self().Attributes
	a := old
	if change(&a); !a.Equal(old) {
		n.cfg.Log.Info("node: this machine has changed")
		n.rooms.members.SetAttributes(a)
	}
}
