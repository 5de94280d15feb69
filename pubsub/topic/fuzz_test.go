package topic

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/log"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
	"github.com/shoal-fabric/shoal/wire"
)

// fuzzed are the topics that are sent anything.
var fuzzed = []Definition{{Durable: true, Tries: 1, RetainBytes: 1 << 20, Retain: time.Second}, {}}

// corpus are the first inputs: each says which topic it is for, and several messages.
func corpus() (out [][]byte) {
	step := func(method string, v any) []byte {
		payload, raw := v.([]byte)
		if !raw {
			payload = wire.Marshal(v)
		}
		i := slices.Index(Behaviour{}.Methods(), method)
		return append([]byte{byte(i), 3, byte(len(payload) >> 8), byte(len(payload))}, payload...)
	}
	c := (&Binding{ID: (&Binding{Kind: Agent, To: "a", Method: "m", Mode: Each}).id(), Mode: Each}).Consumer()
	for i := range fuzzed {
		out = append(out, slices.Concat(
			[]byte{byte(i)}, step("bind", Binding{Kind: Agent, To: "a", Method: "m", Mode: Each}),
			step("append", Append{[]Message{{Body: []byte("b"), Key: "k"}, {Data: "d"}}}), step("publish", []byte("body")),
			step("fetch", Fetch{Consumer: c, Worker: "w", Limit: 9}), step("fetch", Fetch{Consumer: c, Worker: "v", Over: true, Ack: []uint64{1, 9}, Limit: 9, Fail: []Failure{{Offset: 2, Why: "w", Final: true}}}),
			step("dead", Read{Consumer: c}), step("resend", Resend{Consumer: c}), step("fetch", Fetch{Consumer: c, Worker: "v", Limit: 9}),
			step("fetch", Fetch{Consumer: "x", Worker: "w", Limit: 1, Start: 1}), step("fetch", Fetch{Consumer: Cast, Worker: "w", Limit: 1}), step("read", Read{Since: 1}), step("consumers", []byte{}),
			step("join", Presence{Peer: "p", Publishes: true, Epoch: 1}), step("join", Presence{Peer: "p"}), step("join", Presence{Peer: "p", Leaves: true}),
			step("view", []byte{}), step("unbind", []byte("a.m")), step("forget", []byte("x")), step("tend", tending{Delay: 1}), step("trim", []byte{}),
		))
	}
	return out
}

// FuzzTurn sends a topic anything: it never panics, and what it keeps stays readable.
func FuzzTurn(f *testing.F) {
	for _, b := range corpus() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kept := agenttest.NewKept()
		now := time.UnixMilli(1_800_000_000_000)
		inst, _ := Behaviour{}.Open(context.Background())
		turn := func(method, caller string, payload []byte, read bool) error {
			effects := agenttest.NewTurn(nil)
			effects.Read = read
			reply, err := inst.Turn(context.Background(), &shoal.Turn{
				Method: method, Payload: payload, Caller: caller, Now: now, State: kept, Out: effects, Read: read,
			})
			if err != nil {
				if k := shoal.KindOf(err); k == shoal.Corrupt || k == shoal.Internal {
					t.Fatalf("%s %x: %v", method, payload, err)
				}
				kept.Revert()
				return err
			}
			if len(reply) > 1<<20 || kept.Bytes > 3<<20 {
				t.Fatalf("%s replies %d bytes and writes %d", method, len(reply), kept.Bytes)
			}
			kept.Commit()
			return nil
		}
		methods := append(Behaviour{}.Methods(), "none")
		if len(b) == 0 {
			return
		}
		if err := turn("define", "peer", wire.Marshal(fuzzed[int(b[0])%len(fuzzed)]), false); err != nil {
			t.Fatal(err)
		}
		for b = b[1:]; len(b) >= 4; {
			method, how, n := methods[int(b[0])%len(methods)], b[1], int(b[2])<<8|int(b[3])
			payload := bytes.Clone(b[4:min(len(b), 4+n)])
			b = b[min(len(b), 4+n):]
			now = now.Add(time.Duration(how>>1) * 100 * time.Millisecond)
			caller := "peer"
			if how&1 != 0 {
				caller = "timer"
			}
			_ = turn(method, caller, payload, false)
		}
		made := false
		l, err := log.Open(kept, log.Rules{}, now.UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		for o := l.First; o < l.Next; {
			list, err := l.Read(o, 1000, 1<<20)
			if err != nil || len(list) == 0 {
				t.Fatalf("read %d from %d to %d: %v", o, l.First, l.Next, err)
			}
			o += uint64(len(list))
		}
		err = l.Cursors(func(c *log.Cursor) error {
			made = true
			if c.Floor() > c.Front || c.Front > l.Next {
				t.Fatalf("%s goes from %d to %d of %d", c.Name(), c.Floor(), c.Front, l.Next)
			}
			_, err := l.ReadDead(c, 0, 1000, 1<<20)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := turn("view", "peer", nil, true); err != nil {
			t.Fatal(err)
		}
		if err := turn("read", "peer", wire.Marshal(Read{}), true); made && err != nil && shoal.KindOf(err) != shoal.Refused {
			t.Fatal(err)
		}
	})
}
