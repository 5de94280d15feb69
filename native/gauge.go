package native

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/shoal-fabric/shoal"
)

// maxTFlops is beyond any device of these years.
const maxTFlops = 1e6

// Gauge runs the executor that measures devices on one of them, which it has for itself meanwhile, and returns what
// it printed last: a number of TFLOP/s. NotFound: the operator listed no such executor. Overloaded: the device is
// taken. Failed: what it printed is no such number, or it did not end well.
func (n *Native) Gauge(ctx context.Context, device string) (tflops float64, err error) {
	what := "measure device " + device
	x, ok := n.gauge()
	if !ok {
		return 0, shoal.E(shoal.NotFound, what, "no executor is listed to do so", "add one with 'measures: tflops'")
	}
	x.Devices.Only = device
	out := &tail{w: io.Discard}
	ran, err := n.execute(ctx, x, shoal.Run{Module: shoal.ExecCID(x.Name), Args: []string{x.Name}, Stdout: out, Stderr: io.Discard}, false)
	if err != nil {
		return 0, shoal.Wrap(shoal.Internal, what, err)
	}
	if ran.Exit != 0 {
		return 0, shoal.E(shoal.Failed, what, fmt.Sprintf("exec:%s ended with %d", x.Name, ran.Exit), "run it by hand")
	}
	words := strings.Fields(strings.ToValidUTF8(out.text(), ""))
	if len(words) > 0 {
		tflops, err = strconv.ParseFloat(words[len(words)-1], 64)
	}
	if len(words) == 0 || err != nil || !(tflops > 0 && tflops <= maxTFlops) || math.IsNaN(tflops) {
		return 0, shoal.E(shoal.Failed, what, fmt.Sprintf("exec:%s printed no number of TFLOP/s at its end", x.Name), "have it print one as its last word")
	}
	return tflops, nil
}

// Gauges reports whether an executor is listed that measures devices.
func (n *Native) Gauges() bool {
	_, ok := n.gauge()
	return ok
}

func (n *Native) gauge() (Executor, bool) {
	for _, name := range n.names {
		if x := n.list[name]; x.Measures {
			return x, true
		}
	}
	return Executor{}, false
}
