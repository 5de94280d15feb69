package pubsub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// stage is nodes whose topics and bound agents are in memory. Calls take a moment, and some of their answers get lost.
type stage struct {
	t     *testing.T
	net   *shoaltest.Network
	rooms []*PubSub
	end   context.CancelFunc
	runs  sync.WaitGroup

	mu      sync.Mutex
	rng     *rand.Rand
	loss    float64 // share of calls that fail, before or after they are processed
	lead    int     // node on which topics live
	topics  map[string]*agenttest.Kept
	targets map[string]func(method, payload string) error
	seen    map[string]error // requests that were processed
}

func newStage(t *testing.T, seed uint64, nodes int) *stage {
	s := &stage{
		t: t, net: shoaltest.NewNetwork(), rng: rand.New(rand.NewPCG(seed, 7)), topics: map[string]*agenttest.Kept{},
		targets: map[string]func(string, string) error{}, seen: map[string]error{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	for i := range nodes {
		p, err := New(Config{CallTime: time.Second}, Deps{
			Peers: s.net.Node(id(i)), Members: others{i, nodes}, Agents: &stageAgents{s, i}, Services: noServices{}, Bodies: noBodies{},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.rooms = append(s.rooms, p)
		s.runs.Go(func() { _ = p.Run(ctx) })
	}
	return s
}

// close ends all; what goes on must end with it.
func (s *stage) close() {
	s.end()
	for _, p := range s.rooms {
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	}
	s.runs.Wait()
}

// still looks at what bound agents did, none of which does anything meanwhile.
func (s *stage) still(look func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	look()
}

func id(i int) shoal.PeerID { return shoal.PeerID(fmt.Sprint("peer-", i)) }

// follow has topics live on another node from now on.
func (s *stage) follow(lead int) {
	s.mu.Lock()
	s.lead = lead
	keys := []shoal.Key{}
	for name := range s.topics {
		keys = append(keys, shoal.NameKey("agent", name))
	}
	s.mu.Unlock()
	for _, key := range keys { // a timer of the topic's wakes it there
		s.rooms[lead].Turned(key, "tend")
	}
}

type others struct{ self, nodes int }

func (o others) Self() shoal.Member { return shoal.Member{ID: id(o.self), State: shoal.Alive} }

func (o others) Table() (list []shoal.Member) {
	for i := range o.nodes {
		if i != o.self {
			list = append(list, shoal.Member{ID: id(i), State: shoal.Alive})
		}
	}
	return list
}

// stageAgents are the stage's agents, as a node sees them.
type stageAgents struct {
	s    *stage
	node int
}

// way is what a call meets: a moment, and perhaps the loss of the question, or of the answer.
// Appends do not: in the fabric a call is tried again under one name, here a lost answer would double the message.
func (a *stageAgents) way(ctx context.Context, method string) (before, after error) {
	s := a.s
	s.mu.Lock()
	wait := time.Duration(500+s.rng.IntN(2500)) * time.Microsecond
	dice, half := s.rng.Float64() < s.loss && method != "append", s.rng.IntN(2) == 0
	s.mu.Unlock()
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err(), nil
	}
	lost := shoal.E(shoal.Unavailable, "call", "lost on the way", "")
	switch {
	case dice && half:
		return lost, nil
	case dice:
		return nil, lost
	}
	return nil, nil
}

func (a *stageAgents) Call(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	before, after := a.way(ctx, r.Method)
	if before != nil {
		return nil, before
	}
	reply, err := a.process(ctx, agent, r)
	if err == nil && after != nil {
		err = after
	}
	return reply, err
}

// process has an agent process a call, once for each request that has a name.
func (a *stageAgents) process(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	s := a.s
	s.mu.Lock()
	if kept := s.topics[agent]; kept != nil {
		inst, _ := topic.Behaviour{}.Open(ctx)
		out := agenttest.NewTurn(nil)
		out.Read = r.Read
		reply, err := inst.Turn(ctx, &shoal.Turn{
			Method: r.Method, Payload: r.Payload, Caller: string(id(a.node)), Now: time.Now(), State: kept, Out: out, Read: r.Read,
		})
		if err != nil {
			kept.Revert()
		} else {
			kept.Commit()
		}
		lead := s.rooms[s.lead]
		s.mu.Unlock()
		if err == nil && !r.Read {
			lead.Turned(shoal.NameKey("agent", agent), r.Method)
		}
		return slices.Clone(reply), err
	}
	defer s.mu.Unlock()
	f := s.targets[agent]
	if f == nil {
		return nil, shoal.E(shoal.NotFound, "agent "+agent, "there is none", "")
	}
	if err, done := s.seen[agent+r.Request]; done && r.Request != "" {
		return nil, err
	}
	err := f(r.Method, string(r.Payload))
	if r.Request != "" && err == nil { // an error changes nothing, and may be another the next time
		s.seen[agent+r.Request] = nil
	}
	return []byte("done " + string(r.Payload)), err
}

func (a *stageAgents) Series(ctx context.Context, agent, method string, list []Request) (int, error) {
	before, after := a.way(ctx, method)
	if before != nil {
		return 0, before
	}
	for i, r := range list {
		if _, err := a.process(ctx, agent, shoal.CallRequest{Method: method, Payload: r.Payload, Request: r.Name, Begun: r.Begun}); err != nil {
			return i, err
		}
	}
	if after != nil {
		return 0, after
	}
	return len(list), nil
}

func (a *stageAgents) Create(_ context.Context, name, code string, _ int) (shoal.Key, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.s.topics[name] != nil || code != topic.Code {
		return "", shoal.E(shoal.Exists, "agent "+name, "it exists", "")
	}
	a.s.topics[name] = agenttest.NewKept()
	return shoal.NameKey("agent", name), nil
}

func (a *stageAgents) Resolve(_ context.Context, name string) (shoal.Key, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	if a.s.topics[name] == nil && a.s.targets[name] == nil {
		return "", shoal.E(shoal.NotFound, "agent "+name, "there is none", "")
	}
	return shoal.NameKey("agent", name), nil
}

func (a *stageAgents) Names(_ context.Context, _, prefix string) (list []Named, err error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for name := range a.s.topics {
		if strings.HasPrefix(name, prefix) {
			list = append(list, Named{Name: name, Key: shoal.NameKey("agent", name)})
		}
	}
	return list, nil
}

func (a *stageAgents) Owns(typed string) bool { return typed == "owner" }

func (a *stageAgents) Leader(shoal.Key) shoal.PeerID {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return id(a.s.lead)
}

func (a *stageAgents) Remove(_ context.Context, name string) error {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	delete(a.s.topics, name)
	return nil
}

// Text is the name here.
func (a *stageAgents) Text(key shoal.Key) string {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	for name := range a.s.topics {
		if shoal.NameKey("agent", name) == key {
			return name
		}
	}
	return "gone"
}

type noServices struct{}

func (noServices) Call(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("there are no services")
}

func (noServices) Function(context.Context, string, string) (string, error) {
	return "", errors.New("there are no functions")
}

type noBodies struct{}

func (noBodies) Put(context.Context, []byte) (string, error) { return "", errors.New("no room") }

func (noBodies) Get(context.Context, string, int) ([]byte, error) {
	return nil, errors.New("no bodies")
}
