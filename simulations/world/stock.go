package world

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/node"
	"github.com/shoal-fabric/shoal/pubsub"
	"github.com/shoal-fabric/shoal/pubsub/topic"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// dataset is one dataset of a family.
type dataset struct {
	family int
	root   cid.Cid
	parts  []shoal.Partition
	copies int
}

// agent is one agent of a family.
type agent struct {
	family int
	name   string
	key    string
	reads  int // which dataset, -1: none
}

// channel is one topic of a family.
type channel struct {
	family int
	name   string
	book   *book
}

// stock makes what exists when the load begins, several things at once: a thousand nodes cost as much each second that they only wait.
func (w *world) stock(ctx context.Context) error {
	for f := range w.s.Data {
		n, first := w.s.Data[f].Count, len(w.data)
		w.data = append(w.data, make([]*dataset, n)...)
		done := 0
		if err := w.several(n, func(i int) error {
			err := w.put(ctx, f, i, &w.data[first+i])
			w.mu.Lock()
			defer w.mu.Unlock()
			done++
			w.o.Progress(Progress{Phase: "data", Done: first + done})
			return err
		}); err != nil {
			return err
		}
	}
	for f := range w.s.Agents {
		n, first := w.s.Agents[f].Count, len(w.agents)
		w.agents = append(w.agents, make([]*agent, n)...)
		if err := w.several(n, func(i int) error { return w.birth(ctx, f, i, &w.agents[first+i]) }); err != nil {
			return err
		}
	}
	for f := range w.s.Topics {
		n, first := w.s.Topics[f].Count, len(w.topics)
		w.topics = append(w.topics, make([]*channel, n)...)
		if err := w.several(n, func(i int) error { return w.air(ctx, f, i, &w.topics[first+i]) }); err != nil {
			return err
		}
	}
	rest := resting
	if w.natural {
		rest = settling
	}
	w.sleep(ctx, rest)
	return ctx.Err()
}

// several calls do for 0 to n-1, some at a time, and returns the first error in that order.
func (w *world) several(n int, do func(i int) error) error {
	errs := make([]error, n)
	room := make(chan struct{}, mostMade)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			errs[i] = do(i)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// again tries something at a node until it works: a cluster that has just started may not be ready.
func (w *world) again(ctx context.Context, what string, dice *rand.Rand, do func(n *node.Node) error) error {
	end := time.Now().Add(patience)
	for {
		n := w.anyUp(nil, dice)
		if n == nil {
			return shoal.E(shoal.Unavailable, what, "no node is up", "")
		}
		try, cancel := context.WithTimeout(ctx, patience)
		err := do(n)
		cancel()
		if err == nil || ctx.Err() != nil || try.Err() == context.DeadlineExceeded || time.Now().After(end) {
			return shoal.Wrap(shoal.Unavailable, what, err)
		}
		w.note("%s: %v", what, err)
		w.sleep(ctx, 2*time.Second)
	}
}

// put puts one dataset, from any node.
func (w *world) put(ctx context.Context, f, i int, to **dataset) error {
	d := &w.s.Data[f]
	bytes := d.Size(w.seed, i)
	name := fmt.Sprintf("%s-%d", d.Name, i)
	dice := scenario.Dice(w.seed, "dataset "+name)
	file := filepath.Join(w.dir, name)
	if err := os.WriteFile(file, noise(bytes, dice.Uint64()), 0o600); err != nil {
		return shoal.Wrap(shoal.Internal, "dataset "+name, err)
	}
	defer os.Remove(file)
	o := data.PutOptions{Name: name, Replicas: d.Replicas, PartitionBytes: int64(d.Partition), LeafBytes: int64(d.LeafBytes()), Split: shoal.SplitBytes}
	if d.Class != "" {
		o.Needs = fmt.Sprintf("labels.class == %q", d.Class)
	}
	return w.again(ctx, "put dataset "+name, dice, func(n *node.Node) error {
		res, err := n.Put(ctx, file, o)
		if err != nil {
			return err
		}
		*to = &dataset{f, res.Manifest.Root, res.Manifest.Partitions, res.Manifest.Replicas}
		return nil
	})
}

// birth makes one agent.
func (w *world) birth(ctx context.Context, f, i int, to **agent) error {
	a := &w.s.Agents[f]
	it := &agent{family: f, name: fmt.Sprintf("%s-%d", a.Name, i), reads: -1}
	dice := scenario.Dice(w.seed, "agent "+it.name)
	if a.Reads != "" {
		var of []int
		for j, d := range w.data {
			if w.s.Data[d.family].Name == a.Reads {
				of = append(of, j)
			}
		}
		if len(of) > 0 {
			it.reads = of[w.s.ReadBy(w.seed, f, i, w.data[of[0]].family)%len(of)]
		}
	}
	return w.again(ctx, "create agent "+it.name, dice, func(n *node.Node) error {
		c, err := n.Backstage().Create(ctx, agents.CreateOptions{Name: it.name, Code: agentCode, Replicas: a.Replicas})
		if err == nil {
			it.key = c.Key
			_, err = n.CallAgent(ctx, c.Key, shoal.CallRequest{Method: "fill", Payload: strconv.AppendUint(nil, uint64(a.State), 10), Request: "fill"})
		}
		if err == nil {
			*to = it
		}
		return err
	})
}

// air makes one topic, and has nodes listen to it.
func (w *world) air(ctx context.Context, f, i int, to **channel) error {
	t := &w.s.Topics[f]
	it := &channel{family: f, name: fmt.Sprintf("%s-%d", t.Name, i), book: newBook(t.Durable)}
	dice := scenario.Dice(w.seed, "topic "+it.name)
	err := w.again(ctx, "create topic "+it.name, dice, func(n *node.Node) error {
		_, err := n.CreateTopic(ctx, it.name, topic.Definition{Durable: t.Durable}, 0)
		if shoal.KindOf(err) == shoal.Exists && err != nil {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	*to = it
	var ready sync.WaitGroup
	for _, j := range dice.Perm(len(w.machines))[:min(t.Subscribers, len(w.machines))] {
		ready.Add(1)
		it.book.listener(j)
		w.ends.Go(func() { w.listen(w.ctx, it, w.machines[j], sync.OnceFunc(ready.Done)) })
	}
	ready.Wait()
	return ctx.Err()
}

// listen hears a topic on a machine whenever its node is up, until the run ends. ready is called once it does.
func (w *world) listen(ctx context.Context, c *channel, m *machine, ready func()) {
	defer ready()
	from := uint64(0)
	for ctx.Err() == nil {
		n := m.live.Load()
		if n == nil {
			w.sleep(ctx, time.Second)
			continue
		}
		err := w.hear(ctx, c, m, n, &from, ready)
		if ctx.Err() == nil && m.live.Load() == n {
			w.note("node %d hears no more of %s: %v", m.i, c.name, err)
			w.sleep(ctx, time.Second)
		}
	}
}

// hear is one subscription. from is the offset that is next, of a durable topic.
func (w *world) hear(ctx context.Context, c *channel, m *machine, n *node.Node, from *uint64, ready func()) error {
	p, err := n.Topics()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a node that loses its power tells nobody
		select {
		case <-w.gone(n):
			cancel()
		case <-ctx.Done():
		}
	}()
	s, err := p.Subscribe(ctx, c.name, pubsub.Start{From: *from})
	if err != nil {
		return err
	}
	defer s.Close()
	c.book.hears(m.i, true)
	defer c.book.hears(m.i, false)
	ready()
	for {
		e, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if e.Gap != nil {
			c.book.gap(m.i)
			continue
		}
		if e.Offset > 0 {
			*from = e.Offset + 1
		}
		if late, ok := c.book.heard(m.i, e.Body, e.Offset); ok {
			w.tally.delivered(late)
		}
	}
}
