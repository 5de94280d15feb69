package sandbox

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/sandbox/hostcall"
)

// program has a guest that runs once use those host calls of docs/abi.md that make sense for it: it calls agents, and
// has mergeable state, and no state of its own, no timers and nothing that could be sent when a turn is committed.
type program struct {
	g     *guest
	desk  hostcall.Desk
	calls int
}

// calling gives the guest its host calls; the context bears them.
func (g *guest) calling(ctx context.Context) (_ context.Context, end func()) {
	if g.run.Call == nil && g.run.Shared == nil {
		return ctx, func() {}
	}
	p := &program{g: g}
	p.desk.Host = p
	p.desk.Begin(&shoal.Turn{
		Method: "_start", Now: time.Unix(epoch, 0), Seed: g.run.Seed, State: p, Out: p, Shared: g.run.Shared,
	})
	return context.WithValue(ctx, hostcall.Key{}, &p.desk), func() { p.desk.Finish() }
}

// Charge, Left, Context and Resumed are what the desk needs.
func (p *program) Charge(n int64) { p.g.gas.moves(n) }

func (p *program) Left() uint64 { return uint64(max(0, p.g.gas.limit-p.g.gas.used())) }

func (p *program) Context() context.Context { return p.g.ctx }

func (p *program) Resumed() { p.g.gas.began = time.Now() }

// Call implements shoal.Effects.
func (p *program) Call(ctx context.Context, agent, method string, payload []byte) ([]byte, error) {
	if p.g.run.Call == nil {
		return nil, shoal.E(shoal.Refused, "call "+agent, "there are no agents here", "")
	}
	p.calls++
	return p.g.run.Call(ctx, p.calls, agent, method, payload)
}

// Send implements shoal.Effects.
func (p *program) Send(string, string, []byte) error { return onlyAgents("send a message") }

// Timer implements shoal.Effects.
func (p *program) Timer(string, time.Duration, string, []byte) error {
	return onlyAgents("set a timer")
}

// Log implements shoal.Effects.
func (p *program) Log(line string) {
	if p.g.run.Stderr != nil {
		w := &pipe{ctx: p.g.ctx, gas: p.g.gas, what: "standard error", w: p.g.run.Stderr}
		_, _ = w.Write(append([]byte(line), '\n'))
	}
}

func onlyAgents(what string) error {
	return shoal.E(shoal.Refused, what, "a program that runs once has nothing that lasts", "call an agent, which has")
}

// Get implements shoal.State.
func (p *program) Get([]byte) ([]byte, bool, error) { return nil, false, onlyAgents("read state") }

// Put implements shoal.State.
func (p *program) Put([]byte, []byte) error { return onlyAgents("keep state") }

// Delete implements shoal.State.
func (p *program) Delete([]byte) error { return onlyAgents("keep state") }

// Scan implements shoal.State.
func (p *program) Scan([]byte, []byte, int) ([]shoal.Pair, error) {
	return nil, onlyAgents("read state")
}
