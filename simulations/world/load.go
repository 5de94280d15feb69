package world

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/nemesis"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// Bounds of requests.
const (
	askTime   = time.Minute // of what has no deadline of its own
	looksOn   = time.Second // between two samples of queues
	renewCode = 10 * time.Minute
)

// play lets the load come and things go wrong, and returns when it is over.
func (w *world) play(ctx context.Context) {
	w.zero = time.Now()
	w.tally.begin(w)
	ctx, cancel := context.WithDeadline(ctx, w.zero.Add(w.s.Duration+w.s.Settle+askTime*2))
	defer cancel()
	var wait sync.WaitGroup
	total := w.s.Duration + w.s.Settle
	w.ends.Go(func() {
		for t := time.Duration(0); t < total && ctx.Err() == nil; t += looksOn {
			phase := "load"
			if t >= w.s.Duration {
				phase = "settle"
			}
			w.o.Progress(Progress{Phase: phase, At: t, Total: total, Events: w.net.Stats().Events - w.tally.atZero.Events})
			w.tally.look(w)
			w.sleep(ctx, looksOn)
		}
	})
	loaded, calm := context.WithCancel(ctx)
	defer calm()
	w.faults(ctx, loaded)
	for i := range w.s.Load {
		wait.Go(func() { w.ask(ctx, i, &wait) })
	}
	w.sleep(ctx, time.Until(w.zero.Add(w.s.Duration)))
	wait.Wait() // requests that are under way have their own limits
	w.tally.over(w)
	calm()
	w.sleep(ctx, time.Until(w.zero.Add(total)))
	w.tally.end(w)
	w.afterwards(ctx)
}

// ask sends the requests of a load, each when it is due.
func (w *world) ask(ctx context.Context, i int, wait *sync.WaitGroup) {
	l := &w.s.Load[i]
	code := &codes{made: map[int]madeCode{}}
	requests := w.s.NewRequests(w.seed, i)
	for r, ok := requests.Next(); ok; r, ok = requests.Next() {
		w.sleep(ctx, time.Until(w.zero.Add(r.At)))
		if ctx.Err() != nil {
			return
		}
		wait.Go(func() { w.one(ctx, l, i, r, code) })
	}
}

// codes are the modules of a load, as nodes have uploaded them.
type codes struct {
	mu   sync.Mutex
	made map[int]madeCode // by node and module
}

type madeCode struct {
	c  cid.Cid
	at time.Time
	n  *node.Node
}

// one carries one request out. A machine that is down asks nothing: the request is not counted.
func (w *world) one(ctx context.Context, l *scenario.Load, load int, r scenario.Request, code *codes) {
	m := w.machines[r.Node]
	n := m.live.Load()
	if n == nil {
		return
	}
	limit := askTime
	if l.Ask == scenario.Task {
		limit = l.Work.Deadline
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(w.life(n), cancel)
	defer stop()
	lost := func() bool { return w.life(n).Err() != nil } // the asker lost its power: nobody waits for the answer
	switch dice := rand.New(rand.NewPCG(w.seed, uint64(r.At)^uint64(load)<<56^uint64(r.Node)<<40)); l.Ask {
	case scenario.Lookup:
		w.lookup(ctx, n, dice, lost)
	case scenario.Provide:
		err := n.Backstage().Provide(ctx, randomKey(dice))
		w.tally.answered(err == nil, lost())
	case scenario.Find:
		d := w.pick(l, r)
		w.find(ctx, n, shoal.DataKey(d.parts[min(r.Part, len(d.parts)-1)].CID), "find", lost)
	case scenario.FindGPU:
		w.find(ctx, n, gpuKey(), "gpu", lost)
	case scenario.Task:
		w.task(ctx, n, m, load, r, code, dice, lost)
	case scenario.Call, scenario.Read:
		w.call(ctx, n, m, l, r, dice, lost)
	case scenario.Publish:
		w.publish(ctx, n, m, l, r, lost)
	}
}

// pick returns the dataset that a request is about.
func (w *world) pick(l *scenario.Load, r scenario.Request) *dataset {
	f, k := w.s.Family(l), 0
	for _, d := range w.data {
		if d.family == f {
			if k == r.Item {
				return d
			}
			k++
		}
	}
	return w.data[0]
}

// gpuKey is what nodes with graphics processors announce.
func gpuKey() shoal.Key { return shoal.NameKey("gpu", "") }

func randomKey(dice *rand.Rand) shoal.Key {
	h := sha256.Sum256(strconv.AppendUint(nil, dice.Uint64(), 16))
	return shoal.Key("\x12\x20" + string(h[:])) // a multihash: SHA-256, 32 bytes
}

// lookup finds the peers closest to a random key.
func (w *world) lookup(ctx context.Context, n *node.Node, dice *rand.Rand, lost func() bool) {
	key := string(randomKey(dice))
	begun := time.Now()
	l, err := n.Backstage().Closest(ctx, key)
	took := time.Since(begun)
	if lost() {
		return
	}
	w.tally.answered(err == nil && len(l.Peers) > 0, false)
	if err != nil || len(l.Peers) == 0 {
		return
	}
	at := sha256.Sum256([]byte(key))
	var best *machine
	for _, m := range w.machines {
		if o := m.live.Load(); o != nil && o != n && !m.class.NAT && (best == nil || nearer(at, m.place, best.place)) {
			best = m
		}
	}
	w.tally.lookup(took, l.Hops, l.Messages, best != nil && l.Peers[0] == best.id)
}

// find finds who announced a key, and notes when the first that is up was known.
func (w *world) find(ctx context.Context, n *node.Node, key shoal.Key, what string, lost func() bool) {
	begun := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found := false
	var took time.Duration
	for p, err := range n.Backstage().Find(ctx, key, scenario.FindMost) {
		if err != nil {
			break
		}
		if m := w.byID[p]; m != nil && m.live.Load() != nil {
			found, took = true, time.Since(begun)
			break
		}
	}
	if lost() {
		return
	}
	w.tally.answered(found, false)
	w.tally.found(what, took, found)
}

// task runs one task.
func (w *world) task(ctx context.Context, n *node.Node, m *machine, load int, r scenario.Request, code *codes, dice *rand.Rand, lost func() bool) {
	l := &w.s.Load[load]
	begun := time.Now()
	spec := node.RunSpec{
		Name: "work", Needs: l.Work.Needs, Limits: shoal.Limits{Time: l.Work.Deadline},
		Args: []string{string(asJSON(work{l.Work.Gas, l.Work.PerByte, uint64(l.Work.Result), dice.Uint64()}))},
	}
	var err error
	if l.Work.GPU {
		spec.Module = shoal.ExecCID(executor)
	} else if spec.Module, err = w.upload(ctx, n, m, load, r, code); err != nil {
		w.tally.task(begun, 0, 0, 0, err, lost())
		return
	}
	input := uint64(0)
	if len(w.data) > 0 && w.s.Family(l) >= 0 {
		d := w.pick(l, r)
		part := d.parts[min(r.Part, len(d.parts)-1)]
		spec.Inputs, input = []shoal.Input{{Name: "part", CID: part.CID}}, part.Bytes
	}
	_, out, _, err := n.RunTask(ctx, spec)
	if err != nil && !lost() {
		w.note("task of node %d: %v", m.i, err)
	}
	w.tally.task(begun, input, out.DataMoved, out.CodeMoved, err, lost())
}

// upload has the asking node have the module of a request.
func (w *world) upload(ctx context.Context, n *node.Node, m *machine, load int, r scenario.Request, code *codes) (cid.Cid, error) {
	l := &w.s.Load[load]
	k := m.i*max(l.Work.Modules, 1) + r.Work
	code.mu.Lock()
	was := code.made[k]
	code.mu.Unlock()
	if was.n == n && time.Since(was.at) < renewCode {
		return was.c, nil
	}
	c, _, err := n.Upload(ctx, "work.wasm", programme(uint64(l.Work.Code), uint64(load)<<32|uint64(r.Work)))
	if err == nil {
		code.mu.Lock()
		code.made[k] = madeCode{c, time.Now(), n}
		code.mu.Unlock()
	}
	return c, err
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("world: " + err.Error()) // ours
	}
	return b
}

// call calls an agent, and keeps the history for the checker.
func (w *world) call(ctx context.Context, n *node.Node, m *machine, l *scenario.Load, r scenario.Request, dice *rand.Rand, lost func() bool) {
	var a *agent
	f := w.s.Family(l)
	for _, x := range w.agents {
		if x.family == f && x.name == fmt.Sprintf("%s-%d", w.s.Agents[f].Name, r.Item) {
			a = x
		}
	}
	if a == nil {
		return
	}
	q := shoal.CallRequest{Method: "add", Payload: noise(uint64(l.Bytes), dice.Uint64()), Request: fmt.Sprintf("%d.%d.%x", r.Node, r.At, dice.Uint64())}
	if l.Ask == scenario.Read {
		q.Method, q.Read = "get", true
	}
	if bytes := uint64(w.s.Agents[f].Read); a.reads >= 0 && bytes > 0 {
		d := w.data[a.reads]
		size := uint64(0)
		for _, p := range d.parts {
			size += p.Bytes
		}
		q.Payload = append(append(asJSON(reading{d.root.String(), int64(dice.Uint64N(max(size-min(bytes, size), 1))), int(min(bytes, size))}), '\n'), q.Payload...)
	} else if len(q.Payload) > 0 {
		q.Payload[0] = '.'
	}
	begun := time.Now()
	done := w.history.Begin(nemesis.Op{Client: int(w.clients.Add(1)), Agent: a.name, Model: "counter", Method: q.Method})
	reply, err := n.CallAgent(ctx, a.key, q)
	switch k := shoal.KindOf(err); {
	case err == nil:
		done(string(reply), "")
	case k == shoal.Refused || k == shoal.NotFound || k == shoal.Invalid:
		// it was not processed and never will be: it may stay open, as one that never took effect
	}
	if err != nil && !lost() {
		w.note("call of node %d: %v", m.i, err)
	}
	w.tally.call(time.Since(begun), err, lost())
}

// publish sends one message.
func (w *world) publish(ctx context.Context, n *node.Node, m *machine, l *scenario.Load, r scenario.Request, lost func() bool) {
	f := w.s.Family(l)
	var c *channel
	for _, x := range w.topics {
		if x.family == f && x.name == fmt.Sprintf("%s-%d", w.s.Topics[f].Name, r.Item) {
			c = x
		}
	}
	p, err := n.Topics()
	if c == nil || err != nil {
		return
	}
	body := c.book.body(uint64(l.Bytes))
	msg := []topic.Message{{Body: body}}
	err = p.Publish(ctx, c.name, msg...)
	c.book.sent(body, err)
	if err != nil && !lost() {
		w.note("publish by node %d: %v", m.i, err)
	}
	w.tally.published(err, lost())
}

// life is a context that ends when the node loses its power.
func (w *world) life(n *node.Node) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lives[n]; l != nil {
		return l.ctx
	}
	return ended
}

var ended = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("it is down"))
	return ctx
}()

// gone is closed when the node loses its power.
func (w *world) gone(n *node.Node) <-chan struct{} { return w.life(n).Done() }

// nodeLife is how long a node lives.
type nodeLife struct {
	ctx   context.Context
	end   context.CancelFunc
	since time.Time
}

// started and stopped note that a node came up, and that it is gone.
func (w *world) started(_ *machine, n *node.Node) {
	ctx, end := context.WithCancel(w.ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives[n] = &nodeLife{ctx, end, time.Now()}
}

func (w *world) stopped(_ *machine, n *node.Node) {
	w.tally.gone(n)
	w.mu.Lock()
	l := w.lives[n]
	delete(w.lives, n)
	w.mu.Unlock()
	if l != nil {
		l.end()
	}
}
