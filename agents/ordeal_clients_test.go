package agents

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/nemesis"
)

// client calls one agent, one call after the other, from beside a machine.
type client struct {
	o     *ordeal
	n     int
	model string
	key   shoal.Key
	rng   *rand.Rand
	home  *machine
	made  int
	seen  map[string]string // by key of kv: the last version seen; by lock: the last token
}

// crowd is the clients of an ordeal.
type crowd struct {
	o      *ordeal
	keys   map[string]shoal.Key // of agents
	over   atomic.Bool          // no new calls
	healed atomic.Bool          // nothing is in the way any more: whoever waits gets an answer
	work   sync.WaitGroup
	most   atomic.Int64 // of calls made
}

// eachKey is how many calls a key or a lock gets, about: the search for an order is short then.
const eachKey = 100

func (c *crowd) begin(n int, model string) {
	cl := &client{
		o: c.o, n: n, model: model, key: c.keys[model], rng: rand.New(rand.NewPCG(c.o.seed, uint64(100+n))),
		home: c.o.machines[n%machines], seen: map[string]string{},
	}
	c.work.Go(func() {
		for !c.over.Load() { // in bursts: turns must queue, yet not be many
			for range cl.rng.IntN(10) {
				op, read := cl.next(c.most.Add(1) / eachKey / 3)
				cl.do(c, op, read)
				time.Sleep(time.Duration(cl.rng.Int64N(int64(5 * time.Millisecond))))
			}
			time.Sleep(time.Duration(cl.rng.Int64N(int64(5 * time.Second))))
		}
	})
}

// next chooses a call. epoch grows, and with it come other keys.
func (c *client) next(epoch int64) (op nemesis.Op, read bool) {
	op = nemesis.Op{Client: c.n, Agent: c.model, Model: c.model}
	c.made++
	mine := fmt.Sprintf("%d.%d", c.n, c.made)
	switch c.model {
	case "counter":
		op.Method = "add"
		if c.rng.IntN(3) == 0 {
			op.Method = "get"
		}
		return op, op.Method == "get" && c.rng.IntN(4) > 0
	case "lock":
		op.Key = fmt.Sprintf("l%d", epoch)
		switch n := c.rng.IntN(10); {
		case n < 4:
			op.Method, op.Rest = "acquire", fmt.Sprintf("h%s\n86400000", mine)
		case n < 7 && c.seen[op.Key] != "":
			op.Method, op.Rest = "release", c.seen[op.Key]
		default:
			op.Method = "holder"
		}
		return op, op.Method == "holder"
	}
	op.Key = fmt.Sprintf("k%d.%d", epoch, c.rng.IntN(2))
	switch n := c.rng.IntN(20); {
	case n < 6:
		op.Method, op.Rest = "put", mine
	case n < 10:
		known := c.seen[op.Key]
		if known == "" {
			known = "0"
		}
		op.Method, op.Rest = "swap", known+"\n"+mine
	case n < 12:
		op.Method = "delete"
	default:
		op.Method = "get"
	}
	return op, op.Method == "get" && c.rng.IntN(5) > 0
}

// do makes a call and, if it has a request ID, asks again until it knows what came of it, or gives up.
func (c *client) do(all *crowd, op nemesis.Op, read bool) {
	done := c.o.h.Begin(op)
	named := !read && (op.Model == "counter" || c.rng.IntN(4) > 0)
	r := shoal.CallRequest{Method: op.Method, Payload: []byte(op.Payload()), Read: read}
	if named {
		r.Request = fmt.Sprintf("c%d.%d", c.n, c.made)
	}
	at := c.home
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(c.o.ctx, time.Duration(500+c.rng.IntN(3500))*time.Millisecond)
		reply, err := at.call(ctx, KeyText(c.key), r)
		cancel()
		if err == nil {
			done(string(reply), fmt.Sprintf("at %s, read %v, try %d", at.id.Short(), read, try))
			c.learn(op, string(reply))
			return
		}
		switch shoal.KindOf(err) {
		case shoal.Unavailable, shoal.Timeout, shoal.Canceled, shoal.Overloaded, shoal.Full, shoal.Internal:
		default:
			c.o.complain("%v: %v", op, err)
			return
		}
		if !named && !read || op.Model != "counter" && try > 2 && !all.healed.Load() && c.rng.IntN(8) == 0 || all.over.Load() && try > 200 {
			return
		}
		time.Sleep(time.Duration(50+c.rng.IntN(250)) * time.Millisecond)
		at = c.o.machines[c.rng.IntN(machines)]
	}
}

// learn remembers the numbers in a reply.
func (c *client) learn(op nemesis.Op, reply string) {
	line, _, _ := strings.Cut(reply, "\n")
	words := strings.Fields(line)
	if len(words) == 0 || op.Model == "counter" {
		return
	}
	switch number := words[len(words)-1]; {
	case op.Method == "holder" && len(words) == 3:
		c.seen[op.Key] = words[1]
	case op.Method == "get" || op.Method == "put" || words[0] == "swapped" || words[0] == "conflict" || words[0] == "token":
		c.seen[op.Key] = number
	}
}

// stale reads beside a machine that goes on after a pause, before it hears of anything that happened meanwhile.
func (c *crowd) stale(m *machine) {
	epoch := c.most.Load() / eachKey / 3
	var asked sync.WaitGroup
	over := c.o.h.Fault("the moment after a pause")
	read := func(op nemesis.Op) {
		op.Client, op.Agent = 1000, op.Model
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
	for range 4 {
		for i := range 2 {
			read(nemesis.Op{Model: "kv", Method: "get", Key: fmt.Sprintf("k%d.%d", epoch, i)})
		}
		read(nemesis.Op{Model: "lock", Method: "holder", Key: fmt.Sprintf("l%d", epoch)})
		read(nemesis.Op{Model: "counter", Method: "get"})
	}
	asked.Wait()
	time.Sleep(time.Millisecond) // as long as a read under a lease takes
	c.work.Go(func() {
		time.Sleep(50 * time.Millisecond)
		over()
	})
}
