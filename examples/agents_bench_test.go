//go:build unix

package examples

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// BenchmarkAgent is a new instance, and a warm turn, of the counter in Go and in C. Beside wall time it
// reports the processor's, which other work on the machine changes less.
func BenchmarkAgent(b *testing.B) {
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ctx := context.Background()
	for _, name := range []string{"counter", "counterc"} {
		beh := behave(b, s, name)
		st := agenttest.NewTurn(map[string][]byte{"total": []byte("12345")})
		open := func(b *testing.B) shoal.Instance {
			in, err := beh.Open(ctx)
			if err != nil {
				b.Fatal(err)
			}
			return in
		}
		run := func(b *testing.B, in shoal.Instance, method string) {
			turn := &shoal.Turn{Method: method, Now: time.Unix(1, 0), State: st, Out: st}
			if _, err := in.Turn(ctx, turn); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(name+"/open", func(b *testing.B) {
			b.ReportAllocs()
			used := cpu()
			for b.Loop() {
				open(b).Close()
			}
			b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
		})
		for _, method := range []string{"get", "add"} {
			b.Run(name+"/"+method, func(b *testing.B) {
				in := open(b)
				defer in.Close()
				b.ReportAllocs()
				used := cpu()
				for b.Loop() {
					run(b, in, method)
				}
				b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
			})
		}
		b.Run(name+"/memory", func(b *testing.B) { // of instances that ran some turns
			var all []shoal.Instance
			before := resident(b)
			for range b.N {
				in := open(b)
				for range 10 {
					run(b, in, "add")
				}
				all = append(all, in)
			}
			b.ReportMetric(float64(resident(b)-before)/float64(b.N), "resident-bytes/op")
			for _, in := range all {
				in.Close()
			}
		})
	}
}

func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func resident(b *testing.B) int64 {
	runtime.GC()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc/self/statm: memory in use is read there")
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
