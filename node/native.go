package node

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/native"
	"github.com/shoal-fabric/shoal/scheduler/reserve"
)

// buildNative readies the executors that the operator lists.
func (n *Node) buildNative(ctx context.Context, gpus []shoal.GPU) (err error) {
	n.rooms.native, err = native.New(ctx, n.cfg.stage().nativeConfig(native.Config{
		Dir: filepath.Join(n.cfg.Dir, "tasks", "native"), Executors: n.cfg.Executors, Helper: n.cfg.Warden,
		Look: func(ctx context.Context) ([]reserve.Device, error) {
			list, _, err := n.graphics(ctx)
			return cards(list), err
		},
		Changed: n.offerExecutors, Log: n.cfg.Log,
	}))
	if err != nil {
		return err
	}
	n.rooms.native.SetDevices(cards(gpus))
	idle := n.rooms.native.Idle()
	for _, name := range slices.Sorted(maps.Keys(idle)) {
		n.cfg.OnNote(fmt.Sprintf("executor %s runs nothing for now: %v", name, idle[name]))
	}
	return nil
}

// offerExecutors tells the fabric which executors can run something now.
func (n *Node) offerExecutors() {
	if n.late.members.Load() == nil {
		return // it is told when there is a fabric to tell
	}
	n.say(func(a *shoal.Attributes) {
		if names := n.rooms.native.Names(); !slices.Equal(names, a.Executors) {
			n.cfg.Log.Info("node: the executors that can run something have changed", "executors", names)
			a.Executors = names
		}
	})
}

// cards are graphics processors as devices to reserve. One without a name of its own is known by its maker and
// its place among those of that maker.
func cards(gpus []shoal.GPU) []reserve.Device {
	out := make([]reserve.Device, len(gpus))
	count := map[string]int{}
	for i, g := range gpus {
		k := count[g.Vendor]
		count[g.Vendor]++
		d := reserve.Device{ID: g.ID, Vendor: g.Vendor, Index: k, Memory: g.Memory, Fault: g.Health}
		if d.ID == "" {
			d.ID = fmt.Sprintf("%s:%d", g.Vendor, k)
		}
		out[i] = d
	}
	return out
}

// runners gives a task to the executor that its code names, and else to the sandbox.
type runners struct {
	shoal.Runner
	native *native.Native
}

// Ready reports whether code can run without being compiled, as native code always can.
func (r runners) Ready(code cid.Cid) bool {
	if _, ok := shoal.ExecName(code); ok {
		return true
	}
	return r.Runner.Ready(code)
}

// Run implements shoal.Runner.
func (r runners) Run(ctx context.Context, run shoal.Run) (shoal.Ran, error) {
	if _, ok := shoal.ExecName(run.Module); ok {
		return r.native.Run(ctx, run)
	}
	return r.Runner.Run(ctx, run)
}

// executors lists those that peers known to this node announce, and its own.
func (n *Node) executors() []string {
	all := map[string]bool{}
	for _, m := range n.everybody() {
		if m.State != shoal.Left && m.State != shoal.Forgotten {
			for _, name := range m.Attributes.Executors {
				all[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// unknown explains a refusal of tasks for an executor that nobody is known to have; nil if there is one, or if
// this node does not know all members.
func (n *Node) unknown(code cid.Cid) *shoal.Error {
	name, ok := shoal.ExecName(code)
	known := n.executors()
	if !ok || n.cfg.NoTable || slices.Contains(known, name) {
		return nil
	}
	try := "list one in the configuration of a node, see 'shoal up --help'"
	if len(known) > 0 {
		try = "there are: " + strings.Join(known, ", ")
	}
	return shoal.E(shoal.Refused, shoal.ExecPrefix+name, "no peer has an executor of this name that can run something", try)
}
