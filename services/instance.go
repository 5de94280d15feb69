package services

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/services/batch"
)

// Call is one call as an instance gets it.
type Call struct {
	Payload []byte
	Caller  shoal.PeerID
}

// batchOf is the export that takes what waits for a method, "" if there is none.
func batchOf(methods []string, method string) string {
	for _, name := range []string{method + "_batch", "handle_batch"} {
		if name != method && slices.Contains(methods, name) {
			return name
		}
	}
	return ""
}

// most is how many calls are handed over together.
const most = 256

// reactor is an instance of a module: a Program whose turns have no state.
type reactor struct {
	s     *Services
	spec  *Spec
	key   shoal.Key
	inst  shoal.Instance
	batch string
	dice  *rand.ChaCha8
}

// openReactor makes an instance of a service's module.
func (s *Services) openReactor(ctx context.Context, key shoal.Key, spec *Spec) (Program, error) {
	b, err := s.Code.Behaviour(ctx, spec.Code)
	if err != nil {
		return nil, err
	}
	methods := b.Methods()
	if !slices.Contains(methods, spec.Method) {
		return nil, noMethod(spec.Method, methods)
	}
	inst, err := b.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &reactor{
		s: s, spec: spec, key: key, inst: inst, batch: batchOf(methods, spec.Method),
		dice: rand.NewChaCha8([32]byte(append(slices.Clone(spec.Nonce), binary.LittleEndian.AppendUint64(make([]byte, 8), rand.Uint64())...))),
	}, nil
}

func noMethod(name string, has []string) error {
	return shoal.E(shoal.Invalid, "method '"+name+"'", "the module has no such method", "it has: "+strings.Join(has, ", "))
}

func (r *reactor) Most() int {
	if r.batch == "" {
		return 1
	}
	return most
}

func (r *reactor) Broken() bool { return r.inst.Broken() }

func (r *reactor) Close() { r.inst.Close() }

// Run implements Program. What the method itself says is wrong is no error of the instance's.
func (r *reactor) Run(ctx context.Context, calls []Call) ([]batch.Answer, error) {
	t := shoal.Turn{
		Agent: r.key, Method: r.spec.Method, Payload: calls[0].Payload, Caller: string(calls[0].Caller), Epoch: 1, Now: time.Now(),
		State: nothing{}, Out: effects{r},
	}
	commit := func(context.Context) error { return nil }
	if r.s.Shared != nil {
		d := r.s.Shared.Draft(false)
		t.Shared, commit = d, d.Commit
	}
	var seed [16]byte
	_, _ = r.dice.Read(seed[:])
	t.Seed = seed[:]
	if len(calls) > 1 {
		payloads := make([][]byte, len(calls))
		for i := range calls {
			payloads[i] = calls[i].Payload
		}
		t.Method, t.Payload, t.Caller = r.batch, batch.Pack(payloads), ""
	}
	reply, err := r.inst.Turn(ctx, &t)
	if err != nil {
		return nil, err
	}
	answers := []batch.Answer{{Reply: reply}}
	if len(calls) > 1 {
		if answers, err = batch.Unpack(len(calls), reply); err != nil {
			return nil, err
		}
	}
	return answers, commit(ctx)
}

// nothing is the state of what has none.
type nothing struct{}

func stateless(what string) error {
	return shoal.E(shoal.Refused, what, "a service keeps nothing between calls", "let an agent keep it, and call that")
}

// Get implements shoal.State.
func (nothing) Get([]byte) ([]byte, bool, error) { return nil, false, stateless("read state") }

// Put implements shoal.State.
func (nothing) Put([]byte, []byte) error { return stateless("keep state") }

// Delete implements shoal.State.
func (nothing) Delete([]byte) error { return stateless("keep state") }

// Scan implements shoal.State.
func (nothing) Scan([]byte, []byte, int) ([]shoal.Pair, error) { return nil, stateless("read state") }

// effects are what a call may do besides replying: it calls agents.
type effects struct{ r *reactor }

// Call implements shoal.Effects.
func (e effects) Call(ctx context.Context, to, method string, payload []byte) ([]byte, error) {
	if e.r.s.Agents == nil {
		return nil, shoal.E(shoal.Refused, "call "+to, "there are no agents here", "")
	}
	return e.r.s.Agents.Call(ctx, to, shoal.CallRequest{Method: method, Payload: payload})
}

// Send implements shoal.Effects.
func (effects) Send(string, string, []byte) error { return stateless("send a message") }

// Timer implements shoal.Effects.
func (effects) Timer(string, time.Duration, string, []byte) error { return stateless("set a timer") }

// Log implements shoal.Effects.
func (e effects) Log(line string) {
	e.r.s.cfg.Log.Debug("a service says", "service", e.r.spec.Name, "line", line)
}
