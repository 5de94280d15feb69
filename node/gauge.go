package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// gaugesKey is where the measured speeds of devices are kept.
const gaugesKey = "gpu rates"

// gauged is the measured speed of a device, by its ID, with what it holds for.
type gauged struct {
	Model, Driver string
	TFlops        float64
}

// knownGauges reads what an earlier run of this node measured.
func (n *Node) knownGauges() {
	known := map[string]gauged{}
	if b, err := n.rooms.disk.KV("node").Get(gaugesKey); err == nil && wire.Unmarshal("gpu rates", b, &known) != nil {
		known = map[string]gauged{}
	}
	n.gauges.Store(&known)
}

// rated notes measured speeds on the devices that they are of.
func (n *Node) rated(list []shoal.GPU) []shoal.GPU {
	known := n.gauges.Load()
	if known == nil {
		return list
	}
	list = slices.Clone(list)
	for i, g := range list {
		if k, ok := (*known)[g.ID]; ok && g.ID != "" && k.Model == g.Model && k.Driver == g.Driver {
			list[i].TFlops = k.TFlops
		}
	}
	return list
}

// gauge measures the devices that were not measured before, each once, when it is free, with the tool that the
// operator lists for it. One that cannot be measured is tried again at the next start.
func (n *Node) gauge(ctx context.Context) error {
	if !n.rooms.native.Gauges() {
		return nil
	}
	failed := map[string]bool{}
	for {
		select {
		case <-time.After(cmp.Or(n.cfg.measureAfter, measureAfter)):
		case <-ctx.Done():
			return nil
		}
		for _, g := range n.rooms.members.Self().Attributes.GPUs {
			if g.TFlops > 0 || g.ID == "" || !g.Healthy() || failed[g.ID] {
				continue
			}
			rate, err := n.rooms.native.Gauge(ctx, g.ID)
			switch {
			case ctx.Err() != nil:
				return nil
			case shoal.KindOf(err) == shoal.Overloaded && err != nil: // tasks have it: later
			case err != nil:
				failed[g.ID] = true
				n.cfg.Log.Warn("node: a device could not be measured", "device", g.ID, "err", err)
			default:
				if err := n.gaugedAs(g, rate); err != nil {
					return err
				}
			}
		}
	}
}

// gaugedAs says and keeps the speed of a device.
func (n *Node) gaugedAs(g shoal.GPU, rate float64) error {
	n.cfg.Log.Info("node: measured a device", "device", g.ID, "TFLOP/s", rate)
	all := map[string]gauged{g.ID: {g.Model, g.Driver, rate}}
	for id, k := range *n.gauges.Load() {
		if id != g.ID {
			all[id] = k
		}
	}
	n.gauges.Store(&all)
	n.say(func(a *shoal.Attributes) { a.GPUs = n.rated(a.GPUs) })
	return n.rooms.disk.KV("node").Set(gaugesKey, wire.Marshal(all))
}
