package agenttest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal/sdk/go/agent"
)

// Methods are an agent's, by name.
type Methods map[string]agent.Func

// Fabric is agents in memory. Its methods are for one goroutine.
type Fabric struct {
	Gas uint64 // that a turn says it has

	now    time.Time
	agents map[string]*member
	queue  []message
	count  int
	files  map[string][]byte // of datasets
	shared shared            // mergeable state
}

type member struct {
	methods Methods
	kept    map[string][]byte
	timers  map[string]timer
	logged  []string
	down    bool
	busy    bool
}

type message struct {
	from, to, method string
	payload          []byte
}

type timer struct {
	at      time.Time
	set     int // the order in which timers were set
	method  string
	payload []byte
}

// New returns a fabric without agents. It is the year 2030 there.
func New() *Fabric {
	return &Fabric{
		Gas: 1_000_000_000, agents: map[string]*member{}, shared: shared{},
		now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Add makes an agent.
func (f *Fabric) Add(name string, m Methods) {
	f.agents[name] = &member{methods: m, kept: map[string][]byte{}, timers: map[string]timer{}}
}

// Call has an agent process a message, and returns its reply.
func (f *Fabric) Call(to, method string, payload []byte) ([]byte, error) {
	return f.turn("test", to, method, payload, false)
}

// Read is Call for a turn that only reads.
func (f *Fabric) Read(to, method string, payload []byte) ([]byte, error) {
	return f.turn("test", to, method, payload, true)
}

// Settle has the messages that were sent arrive, and what those send, until there are none but for agents
// that are down. It panics after 100,000.
func (f *Fabric) Settle() {
	for n := 0; f.Step(); n++ {
		if n == 100_000 {
			panic("agenttest: 100,000 messages: do they ever end?")
		}
	}
}

// Step has one message arrive, the oldest to an agent that is not down, and reports whether there was one.
// A message whose method fails is given up, and the receiver's log says so.
func (f *Fabric) Step() bool {
	i := slices.IndexFunc(f.queue, func(m message) bool { return f.agents[m.to] == nil || !f.agents[m.to].down })
	if i < 0 {
		return false
	}
	m := f.queue[i]
	f.queue = slices.Delete(f.queue, i, i+1)
	if _, err := f.turn(m.from, m.to, m.method, m.payload, false); err != nil && f.agents[m.to] != nil {
		a := f.agents[m.to]
		a.logged = append(a.logged, fmt.Sprintf("message %s from %s failed: %v", m.method, m.from, err))
	}
	return true
}

// Advance lets time pass. Timers fire in their order, each followed by Settle; those of agents that are
// down fire when they are back. A timer whose method fails is given up.
func (f *Fabric) Advance(d time.Duration) {
	f.Settle()
	until := f.now.Add(d)
	for {
		var at, name string
		var next timer
		for _, a := range slices.Sorted(maps.Keys(f.agents)) {
			for n, t := range f.agents[a].timers {
				if !f.agents[a].down && !t.at.After(until) && (at == "" || t.at.Before(next.at) || t.at.Equal(next.at) && t.set < next.set) {
					at, name, next = a, n, t
				}
			}
		}
		if at == "" {
			break
		}
		if next.at.After(f.now) {
			f.now = next.at
		}
		delete(f.agents[at].timers, name)
		if _, err := f.turn("timer", at, next.method, next.payload, false); err != nil {
			f.agents[at].logged = append(f.agents[at].logged, fmt.Sprintf("timer %s failed: %v", name, err))
		}
		f.Settle()
	}
	f.now = until
}

// Now is the fabric's time.
func (f *Fabric) Now() time.Time { return f.now }

// Down makes an agent unreachable, or reachable again.
func (f *Fabric) Down(name string, down bool) { f.agents[name].down = down }

// State is a copy of what an agent keeps.
func (f *Fabric) State(name string) map[string][]byte {
	out := map[string][]byte{}
	for k, v := range f.agents[name].kept {
		out[k] = bytes.Clone(v)
	}
	return out
}

// Logged is what an agent logged.
func (f *Fabric) Logged(name string) []string { return slices.Clone(f.agents[name].logged) }

// Timers lists the timers that an agent has set.
func (f *Fabric) Timers(name string) []string {
	return slices.Sorted(maps.Keys(f.agents[name].timers))
}

// turn runs one turn and commits it.
func (f *Fabric) turn(from, to, method string, payload []byte, read bool) ([]byte, error) {
	a := f.agents[to]
	switch {
	case a == nil:
		return nil, &agent.Error{Kind: agent.NotFound, Text: fmt.Sprintf("agent '%s': there is none", to)}
	case a.down:
		return nil, &agent.Error{Kind: agent.Unavailable, Text: fmt.Sprintf("agent '%s': it cannot be reached", to)}
	case a.busy:
		return nil, &agent.Error{Kind: agent.Refused, Text: fmt.Sprintf("agent '%s': it waits in the same chain of calls", to)}
	case a.methods[method] == nil:
		has := strings.Join(slices.Sorted(maps.Keys(a.methods)), ", ")
		return nil, &agent.Error{Kind: agent.NotFound, Text: fmt.Sprintf("method '%s': there is none: it has: %s", method, has)}
	}
	f.count++
	t := &turn{
		f: f, a: a, read: read, payload: payload, staged: map[string]*[]byte{},
		text:   map[string]string{"agent": to, "caller": from, "method": method, "request": fmt.Sprint("r", f.count), "trace": "t"},
		number: map[string]int64{"now": f.now.UnixNano(), "epoch": 1, "gas": int64(f.Gas)},
		dice:   rand.NewChaCha8([32]byte{byte(f.count), byte(f.count >> 8), byte(f.count >> 16)}),
	}
	if read {
		t.number["reading"] = 1
	}
	a.busy = true
	defer func() { a.busy = false }()
	reply, err := agent.Invoke(t, a.methods[method])
	if err == nil && len(reply) > maxPayload {
		err = fmt.Errorf("a reply of %d bytes, and %d is the limit", len(reply), maxPayload)
	}
	if err != nil {
		return nil, &agent.Error{Kind: agent.Failed, Text: err.Error()}
	}
	t.commit()
	return bytes.Clone(reply), nil
}
