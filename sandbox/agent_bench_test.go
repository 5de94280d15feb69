package sandbox

import (
	"context"
	"testing"
)

// BenchmarkTurn is a warm turn of a method that does nothing, beside the engine's bare call of it.
func BenchmarkTurn(b *testing.B) {
	ctx := context.Background()
	in := openAgent(b, behave(b, fresh(b, Config{}), agentModule))
	turn, _ := turnOf("empty", "")
	b.Run("turn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := in.Turn(ctx, turn); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("engine", func(b *testing.B) {
		g := in.(*instance)
		f := g.mod.ExportedFunction("empty")
		var stack [1]uint64
		g.begin(ctx, turn)
		defer g.desk.Finish()
		b.ReportAllocs()
		for b.Loop() {
			g.gas.fuel.Set(1000)
			if err := f.CallWithStack(&g.ctx, stack[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("echo", func(b *testing.B) {
		turn, _ := turnOf("echo", string(make([]byte, 1024)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := in.Turn(ctx, turn); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkOpen is a new instance, and its first turn.
func BenchmarkOpen(b *testing.B) {
	ctx := context.Background()
	beh := behave(b, fresh(b, Config{}), agentModule)
	turn, _ := turnOf("empty", "")
	b.ReportAllocs()
	for b.Loop() {
		in, err := beh.Open(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := in.Turn(ctx, turn); err != nil {
			b.Fatal(err)
		}
		in.Close()
	}
}
