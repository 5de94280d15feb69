package agenttest

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Fabric is agents in memory, on virtual time: every turn happens at once and counts at once. It is for one
// goroutine. Messages that were sent arrive with Settle, timers with Advance, always in the same order.
type Fabric struct {
	// Fresh has each turn run on an instance of its own.
	Fresh bool
	Data  Data // that turns read; nil: there is none
	// Shared is mergeable state.
	Shared *Shared

	now    time.Time
	agents map[string]*member
	names  map[string]string // by key
	queue  []queued
	count  uint64
}

type member struct {
	key       shoal.Key
	behaviour shoal.Behaviour
	instance  shoal.Instance
	kept      map[string][]byte
	timers    map[string]due
	logged    []string
	down      bool
	busy      bool
}

type queued struct {
	from string
	Message
}

type due struct {
	Timer
	at  time.Time
	set uint64 // the order in which timers were set
}

var _ shoal.Agents = (*Fabric)(nil)

// NewFabric returns a fabric without agents.
func NewFabric() *Fabric {
	return &Fabric{Shared: NewShared(), agents: map[string]*member{}, names: map[string]string{}, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// Add makes an agent, which is reached by its name and by its key.
func (f *Fabric) Add(name string, b shoal.Behaviour) {
	key := shoal.NameKey("agent", name)
	f.agents[name] = &member{key: key, behaviour: b, kept: map[string][]byte{}, timers: map[string]due{}}
	f.names[text(key)] = name
}

// text writes a key as guests see it.
func text(k shoal.Key) string {
	_, c, err := cid.CidFromBytes(append([]byte{1, cid.Raw}, k...))
	if err != nil {
		panic("a key is a multihash: " + err.Error())
	}
	return c.String()
}

// name is what an agent is called here, whatever it is named by.
func (f *Fabric) name(agent string) string {
	if n, ok := f.names[agent]; ok {
		return n
	}
	return agent
}

// Close closes all instances.
func (f *Fabric) Close() {
	for _, a := range f.agents {
		if a.instance != nil {
			a.instance.Close()
		}
	}
}

// Call implements shoal.Agents. A request is processed as often as it is asked.
func (f *Fabric) Call(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	return f.turn(ctx, "test", agent, r)
}

// Settle has messages arrive until there are none but for agents that are down.
func (f *Fabric) Settle(ctx context.Context) {
	for f.Step(ctx) {
	}
}

// Step has one message arrive, the oldest to an agent that is not down, and reports whether there was one. One
// that fails is given up, and the receiver's log says so.
func (f *Fabric) Step(ctx context.Context) bool {
	i := slices.IndexFunc(f.queue, func(m queued) bool {
		a := f.agents[f.name(m.To)]
		return a == nil || !a.down
	})
	if i < 0 {
		return false
	}
	m := f.queue[i]
	f.queue = slices.Delete(f.queue, i, i+1)
	_, err := f.turn(ctx, m.from, m.To, shoal.CallRequest{Method: m.Method, Payload: m.Payload})
	if a := f.agents[f.name(m.To)]; err != nil && a != nil {
		a.logged = append(a.logged, fmt.Sprintf("message %s from %s failed: %v", m.Method, f.name(m.from), err))
	}
	return true
}

// Advance lets time pass. Timers fire in their order, each followed by Settle.
func (f *Fabric) Advance(ctx context.Context, d time.Duration) {
	f.Settle(ctx)
	until := f.now.Add(d)
	for {
		var at *member
		var name string
		var next due
		for _, n := range slices.Sorted(maps.Keys(f.agents)) {
			for _, t := range f.agents[n].timers {
				sooner := at == nil || t.at.Before(next.at) || t.at.Equal(next.at) && t.set < next.set
				if !f.agents[n].down && !t.at.After(until) && sooner {
					at, name, next = f.agents[n], n, t
				}
			}
		}
		if at == nil {
			break
		}
		if next.at.After(f.now) {
			f.now = next.at
		}
		delete(at.timers, next.Name)
		if _, err := f.turn(ctx, "timer", name, shoal.CallRequest{Method: next.Method, Payload: next.Payload}); err != nil {
			at.logged = append(at.logged, fmt.Sprintf("timer %s failed: %v", next.Name, err))
		}
		f.Settle(ctx)
	}
	f.now = until
}

// Down makes an agent unreachable, or reachable again. What is sent to it waits.
func (f *Fabric) Down(name string, down bool) { f.agents[name].down = down }

// Dump writes down what all agents keep, have set and have logged.
func (f *Fabric) Dump() string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[name]
		for _, k := range slices.Sorted(maps.Keys(a.kept)) {
			fmt.Fprintf(&out, "%s: %s = %q\n", name, k, a.kept[k])
		}
		for _, t := range slices.Sorted(maps.Keys(a.timers)) {
			fmt.Fprintf(&out, "%s: timer %s at %v\n", name, t, a.timers[t].at)
		}
		for _, l := range a.logged {
			fmt.Fprintf(&out, "%s: log %s\n", name, l)
		}
	}
	return out.String() + f.Shared.Dump()
}

func (f *Fabric) turn(ctx context.Context, from, to string, r shoal.CallRequest) ([]byte, error) {
	to = f.name(to)
	a := f.agents[to]
	switch what := "agent '" + to + "'"; {
	case a == nil:
		return nil, shoal.E(shoal.NotFound, what, "there is none", "")
	case a.down:
		return nil, shoal.E(shoal.Unavailable, what, "it cannot be reached", "")
	case a.busy:
		return nil, shoal.E(shoal.Refused, what, "it waits in the same chain of calls", "")
	}
	f.count++
	if r.Request == "" {
		r.Request = fmt.Sprint("r", f.count)
	}
	st := NewTurn(a.kept)
	st.Read = r.Read
	st.Calls = func(ctx context.Context, other, method string, payload []byte) ([]byte, error) {
		return f.turn(ctx, text(a.key), other, shoal.CallRequest{Method: method, Payload: payload, Read: r.Read})
	}
	t := &shoal.Turn{
		Agent: a.key, Method: r.Method, Payload: slices.Clone(r.Payload), Caller: from, Request: r.Request,
		Trace: "t", Epoch: 1, Now: f.now, Seed: binary.BigEndian.AppendUint64(nil, f.count), Read: r.Read, State: st, Out: st,
	}
	draft := f.Shared.Draft(r.Read)
	t.Shared = draft
	if f.Data != nil {
		t.Data = f.Data
	}
	if a.instance == nil || a.instance.Broken() {
		var err error
		if a.instance, err = a.behaviour.Open(ctx); err != nil {
			return nil, err
		}
	}
	a.busy = true
	reply, err := a.instance.Turn(ctx, t)
	a.busy = false
	if f.Fresh {
		a.instance.Close()
	}
	if err == nil {
		err = draft.Commit(ctx)
	}
	if err != nil {
		return nil, err
	}
	f.commit(a, st)
	return reply, nil
}

// commit has what a turn staged count.
func (f *Fabric) commit(a *member, st *TurnState) {
	st.Commit(a.kept)
	for _, m := range st.Sent {
		f.queue = append(f.queue, queued{text(a.key), m})
	}
	for _, t := range st.Timers {
		if delete(a.timers, t.Name); t.Delay >= 0 {
			f.count++
			a.timers[t.Name] = due{t, f.now.Add(t.Delay), f.count}
		}
	}
	a.logged = append(a.logged, st.Logged...)
}
