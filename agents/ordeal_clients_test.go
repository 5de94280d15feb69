package agents

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/nemesis"
)

// client calls one agent, one call after the other, from beside a machine.
type client struct {
	*nemesis.Caller
	agent string
	o     *ordeal
	key   shoal.Key
	rng   *rand.Rand
	home  *machine
}

func (c *crowd) client(n int, agent string) *client {
	model := agent
	if agent == "relay" {
		model = "counter"
	}
	return &client{
		Caller: nemesis.NewCaller(n, model, c.o.seed), agent: agent, o: c.o, key: c.keys[agent], home: c.o.machines[n%machines],
		rng: rand.New(rand.NewPCG(c.o.seed, uint64(10_000+n))),
	}
}

// crowd is the clients of an ordeal.
type crowd struct {
	o      *ordeal
	keys   map[string]shoal.Key // of agents
	over   atomic.Bool          // no new calls
	healed atomic.Bool          // nothing is in the way any more: whoever waits gets an answer
	lost   atomic.Bool          // whoever waits gives up
	work   sync.WaitGroup
	made   atomic.Int64 // calls
}

func (c *crowd) begin(n int, agent string) {
	cl := c.client(n, agent)
	c.work.Go(func() {
		for !c.over.Load() { // in bursts: turns must queue, yet not be many
			for range cl.rng.IntN(10) {
				op, id, read := cl.Next(nemesis.Epoch(c.made.Add(1)))
				cl.do(c, op, id, read)
				time.Sleep(time.Duration(cl.rng.Int64N(int64(5 * time.Millisecond))))
			}
			time.Sleep(time.Duration(cl.rng.Int64N(int64(5 * time.Second))))
		}
	})
}

// do makes a call and, if it has a request ID, asks again until it knows what came of it, or gives up.
func (c *client) do(all *crowd, op nemesis.Op, id string, read bool) {
	op.Agent = c.agent
	done := c.o.h.Begin(op)
	named := !read && (op.Model == "counter" || c.rng.IntN(4) > 0)
	r := shoal.CallRequest{Method: op.Method, Payload: []byte(op.Payload()), Read: read}
	if named {
		r.Request = id
	}
	at := c.home
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(c.o.ctx, time.Duration(500+c.rng.IntN(3500))*time.Millisecond)
		reply, err := at.call(ctx, KeyText(c.key), r)
		cancel()
		if err == nil {
			done(string(reply), fmt.Sprintf("at %s, read %v, try %d", at.id.Short(), read, try))
			c.Learn(op, string(reply))
			return
		}
		switch shoal.KindOf(err) {
		case shoal.Unavailable, shoal.Timeout, shoal.Canceled, shoal.Overloaded, shoal.Full, shoal.Internal:
		default:
			c.o.complain("%v: %v", op, err)
			return
		}
		if !named && !read || op.Model != "counter" && try > 2 && !all.healed.Load() && c.rng.IntN(8) == 0 || all.lost.Load() {
			return
		}
		time.Sleep(time.Duration(50+c.rng.IntN(250)) * time.Millisecond)
		at = c.o.machines[c.rng.IntN(machines)]
	}
}

// stale reads beside a machine that goes on after a pause, before it hears of anything that happened meanwhile.
func (c *crowd) stale(m *machine) {
	over := c.o.h.Fault("the moment after a pause")
	var asked sync.WaitGroup
	for i := range 12 {
		list := nemesis.Reads(1000, nemesis.Epoch(c.made.Load()))
		op := list[i%len(list)]
		asked.Add(1)
		c.work.Go(func() {
			l := m.living()
			if l == nil {
				asked.Done()
				return
			}
			done := c.o.h.Begin(op)
			asked.Done()
			ctx, cancel := context.WithTimeout(c.o.ctx, 2*time.Second)
			defer cancel()
			reply, err := l.agents.Call(ctx, KeyText(c.keys[op.Model]), shoal.CallRequest{Method: op.Method, Payload: []byte(op.Payload()), Read: true})
			if err == nil && !l.gone() {
				done(string(reply), "stale reader at "+m.id.Short())
			}
		})
	}
	asked.Wait()
	time.Sleep(time.Millisecond) // as long as a read under a lease takes
	c.work.Go(func() {
		time.Sleep(50 * time.Millisecond)
		over()
	})
}
