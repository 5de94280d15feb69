package topic

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
	"github.com/shoal-fabric/shoal/wire"
)

// world is one topic's agent, in virtual time.
type world struct {
	t      testing.TB
	kept   *agenttest.Kept
	now    time.Time
	caller string
	timers map[string]alarm
}

type alarm struct {
	at      time.Time
	method  string
	payload []byte
}

func newWorld(t testing.TB, d Definition) *world {
	w := &world{t: t, kept: agenttest.NewKept(), now: time.UnixMilli(1_800_000_000_000), caller: "peer", timers: map[string]alarm{}}
	w.must("define", d, nil)
	return w
}

// call has the agent process a message. A call that fails leaves nothing behind.
func (w *world) call(method string, in, out any) error {
	payload, raw := in.([]byte)
	if !raw && in != nil {
		payload = wire.Marshal(in)
	}
	reply, err := w.turn(method, w.caller, payload, false)
	if err == nil && out != nil {
		if b, ok := out.(*[]byte); ok {
			*b = reply
		} else {
			err = wire.Unmarshal("reply", reply, out)
		}
	}
	return err
}

func (w *world) turn(method, caller string, payload []byte, read bool) ([]byte, error) {
	inst, _ := Behaviour{}.Open(context.Background())
	effects := agenttest.NewTurn(nil)
	effects.Read = read
	reply, err := inst.Turn(context.Background(), &shoal.Turn{
		Method: method, Payload: payload, Caller: caller, Now: w.now, State: w.kept, Out: effects, Read: read,
	})
	if err != nil {
		w.kept.Revert()
		return nil, err
	}
	if len(reply) > 1<<20 {
		w.t.Fatalf("%s replies %d bytes", method, len(reply))
	}
	for _, t := range effects.Timers {
		w.timers[t.Name] = alarm{w.now.Add(t.Delay), t.Method, t.Payload}
	}
	return reply, nil
}

func (w *world) must(method string, in, out any) {
	w.t.Helper()
	if err := w.call(method, in, out); err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	w.kept.Commit()
}

func (w *world) refuses(kind shoal.Kind, method string, in any) {
	w.t.Helper()
	if err := w.call(method, in, nil); err == nil || shoal.KindOf(err) != kind {
		w.t.Fatalf("%s %+v: %v, want %v", method, in, err, kind)
	}
}

// pass lets time pass, and timers fire, whose names it returns in order.
func (w *world) pass(d time.Duration) (fired []string) {
	w.t.Helper()
	for end := w.now.Add(d); ; {
		first := ""
		for name, a := range w.timers {
			if !a.at.After(end) && (first == "" || a.at.Before(w.timers[first].at)) {
				first = name
			}
		}
		if first == "" {
			w.now = end
			return fired
		}
		a := w.timers[first]
		delete(w.timers, first)
		w.now = a.at
		if _, err := w.turn(a.method, "timer", a.payload, false); err != nil {
			w.t.Fatalf("timer %s: %v", first, err)
		}
		w.kept.Commit()
		fired = append(fired, first)
	}
}

func (w *world) append(bodies ...string) uint64 {
	w.t.Helper()
	var a Append
	for _, b := range bodies {
		a.Messages = append(a.Messages, Message{Body: []byte(b), Key: "k"})
	}
	var out Appended
	w.must("append", a, &out)
	return out.First
}

func (w *world) fetch(f Fetch) (p Page, text string) {
	w.t.Helper()
	w.must("fetch", f, &p)
	for _, m := range p.Messages {
		text += fmt.Sprintf("%d:%s/%d ", m.Offset, m.Body, m.Try)
	}
	return p, text
}

func TestDurable(t *testing.T) {
	w := newWorld(t, Definition{Durable: true, Tries: 2, AckWait: 10 * time.Second})
	w.append("a")
	var b, again Binding
	w.must("bind", Binding{Kind: Agent, To: "ann", Method: "add", Mode: Each}, &b)
	w.must("bind", Binding{Kind: Agent, To: "ann", Method: "add", Mode: Each}, &again)
	if b != again || b.From != 2 || b.ID == "" {
		t.Fatalf("bound twice: %+v and %+v", b, again)
	}
	if first := w.append("b", "c", "d"); first != 2 {
		t.Fatalf("the second append begins at %d", first)
	}
	c := b.Consumer()
	p, got := w.fetch(Fetch{Consumer: c, Worker: "w", Limit: 2})
	if got != "2:b/1 3:c/1 " || p.Lag != 3 || p.Due != w.now.UnixMilli() {
		t.Fatalf("%s, %+v", got, p)
	}
	if m := p.Messages[0]; m.Publisher != "peer" || m.Key != "k" || m.At != w.now.UnixMilli() || m.Begun != m.At {
		t.Fatalf("%+v", m)
	}
	if p, got = w.fetch(Fetch{Consumer: c, Worker: "w", Limit: 9, Ack: []uint64{3}}); got != "4:d/1 " || p.Lag != 2 || p.Due != w.now.Add(10*time.Second).UnixMilli() {
		t.Fatalf("%s, %+v", got, p)
	}
	if _, got = w.fetch(Fetch{Consumer: c, Worker: "v", Limit: 9}); got != "" {
		t.Fatalf("leased twice: %s", got)
	}
	if _, got = w.fetch(Fetch{Consumer: c, Worker: "v", Limit: 9, Over: true}); got != "2:b/1 4:d/1 " { // the others' did not count
		t.Fatalf("taken over: %s", got)
	}
	w.now = w.now.Add(10 * time.Second)
	if _, got = w.fetch(Fetch{Consumer: c, Worker: "v", Limit: 9, Ack: []uint64{4}}); got != "2:b/2 " {
		t.Fatalf("after the wait: %s", got)
	}
	var list []Consumer
	w.must("consumers", nil, &list)
	if len(list) != 1 || list[0].Next != 2 || list[0].Leased != 1 || list[0].Lag != 1 {
		t.Fatalf("%+v", list)
	}
	w.fetch(Fetch{Consumer: c, Worker: "v", Fail: []Failure{{Offset: 2, Why: "no"}}})
	w.must("dead", Read{Consumer: c}, &p)
	if len(p.Messages) != 1 || p.Messages[0].Offset != 2 || p.Messages[0].Reason != "no" || string(p.Messages[0].Body) != "b" {
		t.Fatalf("dead: %+v", p)
	}
	n := 0
	w.must("resend", Resend{Consumer: c}, &n)
	if p, got = w.fetch(Fetch{Consumer: c, Worker: "v", Limit: 9}); n != 1 || got != "2:b/1 " || p.Lag != 1 {
		t.Fatalf("%d sent again: %s, %+v", n, got, p)
	}
	if p, _ = w.fetch(Fetch{Consumer: c, Worker: "v", Ack: []uint64{2}}); p.Lag != 0 {
		t.Fatalf("%+v", p)
	}
	w.refuses(shoal.Refused, "forget", []byte(c))
	w.must("unbind", []byte("ann.add"), &n)
	if n != 1 || len(w.kept.Keys("c"))+len(w.kept.Keys("d"))+len(w.kept.Keys("b")) != 0 {
		t.Fatalf("%d unbound, and there are still %q", n, w.kept.Keys(""))
	}
	w.refuses(shoal.NotFound, "fetch", Fetch{Consumer: c, Worker: "v", Limit: 1})
	w.must("read", Read{From: 3}, &p)
	if len(p.Messages) != 2 || p.Messages[0].Offset != 3 || p.First != 1 || p.Next != 5 {
		t.Fatalf("%+v", p)
	}
}
