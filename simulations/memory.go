package simulations

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// What runs take of memory, roughly: they are refused if it is not there.
const (
	modelBase      = 64 << 20
	modelNode      = 5 << 9 // 1 KiB, and whom it asked in vain, which an hour of churn brings
	modelCopy      = 16     // of a partition
	modelAgent     = 128
	worldBase      = 256 << 20
	worldNode      = 15 << 20 // as measured with 100 nodes, each connected to all others
	worldMost      = 5 << 28  // with worldMostNode for each what package world has the collector keep to (world/child.go)
	worldMostNode  = 9 << 19
	worldDataCopy  = 2.4 // of a partition: what was written, and apart from it what a failure of the power would leave
	worldAgentCopy = 4 << 10
)

// Estimate says how many bytes of memory one run takes, roughly.
func Estimate(s *scenario.Scenario, storey string) uint64 {
	nodes := float64(s.Nodes())
	var copies, agents, keepers float64
	for _, d := range s.Data {
		copies += math.Max(math.Ceil(float64(d.Bytes)/float64(d.Partition)), 1) * float64(d.Count*d.Replicas)
	}
	for _, a := range s.Agents {
		agents += float64(a.Count)
		keepers += float64(a.Count*a.Replicas) * (float64(a.State) + worldAgentCopy)
	}
	if storey == report.World {
		return uint64(math.Min(worldBase+worldNode*nodes, worldMost+worldMostNode*nodes) + worldDataCopy*stored(s) + keepers)
	}
	return uint64(modelBase + modelNode*nodes + modelCopy*copies + modelAgent*agents)
}

// stored is the bytes of data that lie in memory, once each.
func stored(s *scenario.Scenario) (bytes float64) {
	for _, d := range s.Data {
		bytes += float64(d.Bytes) * float64(d.Count) * float64(d.Replicas+1) // and that of who put it
	}
	return bytes
}

// fits returns how many runs the memory holds at once, want at most. Refused: not even one.
func fits(s *scenario.Scenario, storey string, want int, available uint64) (int, error) {
	if available == 0 { // nobody knows
		return want, nil
	}
	one := Estimate(s, storey)
	if one > available {
		hint := "ask for less with --nodes"
		if storey == report.World {
			if worldDataCopy*stored(s) > float64(one)/2 {
				most := slices.MaxFunc(s.Data, func(a, b scenario.Dataset) int { return cmp.Compare(a.Count*int(a.Bytes), b.Count*int(b.Bytes)) })
				hint = "ask for less data, as with --set data." + most.Name + ".count=1"
			}
			hint += ", or for --storey model"
		}
		return 0, shoal.E(shoal.Refused, fmt.Sprintf("simulate %s with %d nodes as a %s", s.Name, s.Nodes(), storey),
			fmt.Sprintf("it takes about %s of memory, and %s are available", shoal.Size(one), shoal.Size(available)),
			hint)
	}
	return int(min(uint64(want), available/one)), nil
}

// keepTo has the collector work harder before so many models at once take much more than was estimated, and returns what undoes that. Most of
// their memory is arrays of numbers, which cost it nothing: left alone it lets them take twice as much.
func keepTo(s *scenario.Scenario, at int) (undo func()) {
	const least = 1 << 30 // small models need not keep house
	old := debug.SetMemoryLimit(-1)
	debug.SetMemoryLimit(min(old, max(least, int64(at)*int64(Estimate(s, report.Model))*6/5)))
	return func() { debug.SetMemoryLimit(old) }
}

// Available returns the bytes of memory that processes can have without swapping; 0 where the system does not say.
func Available() uint64 { return kib("/proc/meminfo", "MemAvailable:") }

// kib reads a line "NAME N kB" of a file.
func kib(file, name string) uint64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if rest, ok := strings.CutPrefix(in.Text(), name); ok {
			n, _ := strconv.ParseUint(strings.Fields(rest + " 0")[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// watch looks how large this process is until stop is called, which returns the greatest size.
func watch() (stop func() uint64) {
	var most atomic.Uint64
	done, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		if n := kib("/proc/self/status", "VmRSS:"); n > most.Load() {
			most.Store(n)
		}
	}
	go func() {
		defer close(ended)
		for {
			look()
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() uint64 {
		look()
		close(done)
		<-ended
		return most.Load()
	}
}
