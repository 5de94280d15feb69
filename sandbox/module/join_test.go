package module

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestJoinData is that joined segments leave the same memory, and that many become few.
func TestJoinData(t *testing.T) {
	memory := func(segments []Segment) []byte {
		out := make([]byte, 64<<10)
		for _, s := range segments {
			copy(out[s.Offset.V:], s.Bytes)
		}
		return out
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		m, at := &Module{}, 0
		for range r.IntN(60) {
			at += r.IntN(600)
			if seed%3 == 0 {
				at -= r.IntN(30) // they may overlap
			}
			at = max(0, at)
			b := make([]byte, r.IntN(40))
			for i := range b {
				b[i] = byte(r.Uint32()) | 1
			}
			m.Data = append(m.Data, Segment{Offset: Expr{Op: OpI32Const, V: uint64(at)}, Bytes: b})
			at += len(b)
		}
		if seed%2 == 0 {
			r.Shuffle(len(m.Data), func(i, j int) { m.Data[i], m.Data[j] = m.Data[j], m.Data[i] })
		}
		was := append([]Segment(nil), m.Data...)
		want := memory(was)
		m.JoinData()
		if !bytes.Equal(memory(m.Data), want) {
			t.Fatalf("seed %d: another memory", seed)
		}
		if !bytes.Equal(memory(was), want) {
			t.Fatalf("seed %d: the segments' own bytes changed", seed)
		}
		counted := &Module{Data: was, DataCount: new(uint32)}
		counted.JoinData()
		if len(counted.Data) != len(was) {
			t.Fatalf("seed %d: segments that may be named were joined", seed)
		}
	}
	many := &Module{}
	for i := range uint64(1_000_000) {
		many.Data = append(many.Data, Segment{Offset: Expr{Op: OpI32Const, V: i * 250}, Bytes: []byte{1}})
	}
	many.JoinData()
	bytes := 0
	for _, s := range many.Data {
		bytes += len(s.Bytes)
	}
	if bytes > 6<<20 || len(many.Data) > 990_000 {
		t.Errorf("%d segments of %d bytes in all", len(many.Data), bytes)
	}
}
