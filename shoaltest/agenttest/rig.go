package agenttest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
)

// behaviourRig is one case's behaviour, with an instance of it and what its agent keeps.
type behaviourRig struct {
	shoal.Instance
	b     shoal.Behaviour
	ctx   context.Context
	kept  map[string][]byte
	state *TurnState // of the last turn
	read  bool
	calls func(ctx context.Context, to, method string, payload []byte) ([]byte, error)
	data  shoal.Data

	shared *Shared // nil: there is none
	draft  shoal.Draft
}

func (g *behaviourRig) open(t *testing.T) {
	t.Helper()
	in, err := g.b.Open(g.ctx)
	mustDo(t, err)
	g.Instance = in
}

func (g *behaviourRig) turn(method, payload string) *shoal.Turn {
	g.state = NewTurn(g.kept)
	g.state.Read, g.state.Calls = g.read, g.calls
	t := &shoal.Turn{
		Agent: shoal.NameKey("agent", "suite"), Method: method, Payload: []byte(payload), Caller: "caller",
		Request: "request", Trace: "trace", Epoch: 7, Now: time.Unix(1_700_000_000, 5), Seed: []byte("seed"),
		Read: g.read, State: g.state, Out: g.state, Data: g.data,
	}
	if g.draft = nil; g.shared != nil {
		g.draft = g.shared.Draft(g.read)
		t.Shared = g.draft
	}
	return t
}

// do runs a turn and commits it if it went well.
func (g *behaviourRig) do(method, payload string) (string, error) {
	reply, err := g.Turn(g.ctx, g.turn(method, payload))
	if err == nil && g.draft != nil {
		err = g.draft.Commit(g.ctx)
	}
	if err == nil {
		g.state.Commit(g.kept)
	}
	return string(reply), err
}

func (g *behaviourRig) wants(t *testing.T, method, payload, want string) {
	t.Helper()
	if got, err := g.do(method, payload); err != nil || got != want {
		t.Fatalf("%s %.100q: %.100q (%d bytes), %v, want %.100q (%d bytes)", method, payload, got, len(got), err, want, len(want))
	}
}

func (g *behaviourRig) fails(t *testing.T, method, payload, why string) {
	t.Helper()
	reply, err := g.do(method, payload)
	wantKind(t, err, shoal.Failed)
	if reply != "" || !strings.Contains(err.Error(), why) {
		t.Fatalf("%s %.100q: %.100q, %v, want %q", method, payload, reply, err, why)
	}
}

// patience bounds one case.
const patience = 2 * time.Minute

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k shoal.Kind) {
	t.Helper()
	if err == nil || shoal.KindOf(err) != k {
		t.Fatalf("got %v, want an error of kind %v", err, k)
	}
}
