package agents

import (
	"context"
	"testing"

	"github.com/shoal-fabric/shoal"
)

// BenchmarkTurn is one durable turn after another, three keepers, over a network and disks in memory.
func BenchmarkTurn(b *testing.B) {
	w := newWorld(b, 3, Config{})
	w.nodes[0].create("counter", 3)
	w.nodes[0].wantCall("1", "counter", "add", "")
	for b.Loop() {
		if _, err := w.nodes[1].call("counter", "add", ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTurns is many callers of one agent.
func BenchmarkTurns(b *testing.B) {
	w := newWorld(b, 3, Config{})
	w.nodes[0].create("counter", 3)
	w.nodes[0].wantCall("1", "counter", "add", "")
	b.SetParallelism(32)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := w.nodes[1].call("counter", "add", ""); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkRead is a read under the lease, on the agent's own node.
func BenchmarkRead(b *testing.B) {
	w := newWorld(b, 3, Config{})
	w.nodes[0].create("counter", 3)
	w.nodes[0].wantCall("1", "counter", "add", "")
	ctx := context.Background()
	for b.Loop() {
		if _, err := w.nodes[0].Call(ctx, "counter", shoal.CallRequest{Method: "get", Read: true}); err != nil {
			b.Fatal(err)
		}
	}
}
