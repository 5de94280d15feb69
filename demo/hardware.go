package demo

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/node"
)

// Hardware is a task that asks for a graphics processor, which one node has: its operator declared it, and nobody looked.
type Hardware struct {
	Needs  string              `json:"needs"`
	Device string              `json:"device"` // as declared
	On     string              `json:"on"`     // who has it
	Ran    string              `json:"ran"`    // where the task ran
	Output string              `json:"output"`
	Why    string              `json:"why"`              // it was chosen
	Out    map[string][]string `json:"others,omitempty"` // nodes that the requirement leaves out, by the reason
}

// declared is what a node of the demo says that it has.
var declared = shoal.GPU{Vendor: "demo", Model: "Pretend 9000", Memory: 16 << 30, ID: "declared-1", Declared: true}

const needsGPU = `gpus.exists(g, g.vendor == "demo" && g.memory >= gib(16))`

// hardware runs a task that asks for a graphics processor.
func (d *run) hardware(ctx context.Context) error {
	h := &d.r.Hardware
	h.Needs, h.Device, h.On = needsGPU, declared.Vendor+" "+declared.Model, d.f.names[d.f.nodes[d.f.gpu].ID()]
	module, err := d.lead().Module(ctx, "example:hello")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	_, res, explain, err := d.lead().RunTask(ctx, node.RunSpec{
		Name: "example:hello", Module: module, Args: []string{"processor"}, Needs: needsGPU, Stdout: &out,
	})
	if err != nil {
		return shoal.Wrap(shoal.Internal, "demo: a task that asks for a graphics processor", err)
	}
	h.Ran, h.Output = d.f.names[res.Peer], strings.TrimSpace(out.String())
	h.Out = map[string][]string{}
	for _, c := range explain.Refused() {
		why := c.Refusal
		if _, clause, ok := strings.Cut(why, " is false: "); ok {
			why = clause
		}
		h.Out[why] = append(h.Out[why], d.f.names[c.Peer])
	}
	if c, ok := explain.Chosen(); ok {
		h.Why = "of " + d.f.names[c.Peer] + " alone the requirement is true"
		if n := len(explain.Open()); n > 1 {
			h.Why = "it is the cheapest of those that fit"
		}
	}
	d.s.asked(*h)
	return nil
}

func (s *story) asked(h Hardware) {
	s.say("")
	s.say("4. A task that asks for a graphics processor, which one node has declared")
	s.say("   --needs '%s'", h.Needs)
	s.say("   ran on %s (%s): %s", h.Ran, h.Device, h.Why)
	for _, why := range slices.Sorted(maps.Keys(h.Out)) {
		slices.Sort(h.Out[why])
		s.say("   %s", short("not on "+strings.Join(h.Out[why], ", ")+": "+why, 77))
	}
}
