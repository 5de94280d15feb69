package simulations

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// hasWorld says whether complete nodes can be run.
const hasWorld = false

// runWorld runs one world.
func runWorld(context.Context, *scenario.Scenario, uint64, cost.Policy, func(time.Duration, uint64)) (*report.Run, error) {
	return nil, shoal.E(shoal.Invalid, "storey world", "this version has only the model", "leave --storey out")
}
