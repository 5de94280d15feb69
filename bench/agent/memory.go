package agent

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/shoal-fabric/shoal/bench/rig"
)

// memory is what a node's process holds, in bytes.
type memory struct {
	Heap     float64 // of Go, after a collection: Pebble's cache and tables are beside it
	Resident float64 // what is no file, after all that is free was given back
}

func (w *worker) memory(context.Context, *int) (m memory, err error) {
	debug.FreeOSMemory() // collects, too
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return memory{Heap: float64(s.HeapAlloc), Resident: float64(rig.MemoryOf(os.Getpid()))}, nil
}

// heard is how many bytes streams have brought in that are neither code, data nor results.
func (w *worker) heard(context.Context, *int) (uint64, error) { return w.Traffic().Other, nil }
