package simulations

import (
	"context"
	"fmt"
	"os/exec"
	"time"

	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
	"github.com/shoal-fabric/shoal/simulations/world"
)

// hasWorld says whether complete nodes can be run.
const hasWorld = true

// Helper makes the command of a process that calls WorldMain, with WorldVerb and then args as its arguments.
type Helper func(ctx context.Context, args ...string) *exec.Cmd

// WorldVerb is the first argument of a process that calls WorldMain.
const WorldVerb = world.Verb

// WorldMain is the whole of a process that a Helper began.
func WorldMain() { world.Main() }

// runWorld runs one world.
func runWorld(ctx context.Context, h Helper, s *scenario.Scenario, seed uint64, policy cost.Policy, tell func(time.Duration, uint64, string)) (*report.Run, error) {
	return world.Start(ctx, h, s, seed, policy, func(p world.Progress) { tell(p.At, p.Events, making(p)) })
}

// making says what is being set up.
func making(p world.Progress) string {
	switch {
	case p.Phase == "nodes" && p.Done == p.Of:
		return fmt.Sprintf("%d nodes settle", p.Of)
	case p.Phase == "nodes":
		return fmt.Sprintf("nodes: %d of %d", p.Done, p.Of)
	case p.Phase == "data":
		return fmt.Sprintf("datasets: %d put", p.Done)
	}
	return ""
}
