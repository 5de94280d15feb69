package model

import (
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/scheduler/rates"
	"github.com/shoal-fabric/shoal/simulations/event"
)

// asker is what a node that asks for tasks knows: scheduler's placer.
type asker struct {
	n      node
	life   uint16
	flight map[node]int // tasks sent there that have not ended
	lines  map[node]*line
	offers map[offerKey]noted
	where  map[uint32]located
	rates  *rates.Book
	probed map[node]event.Time // when that was tried
	probes int

	uploaded map[uint32]event.Time // modules, when last
	tasks    []*task               // under way
}

// noted is an offer as its asker remembers it.
type noted struct {
	shoal.Load
	answered, compiled, code, has bool
	refusal                       string
	retry                         bool
	after                         time.Duration
	flight                        int
	took                          time.Duration
	at                            event.Time
}

type located struct {
	holders []node
	at      event.Time
}

// pool is the members that some nodes know, and what they believe of them.
type pool struct {
	nodes []node
	table *match.Table
	loads []shoal.Load
	state []shoal.MemberState
	fresh event.Time
	needs map[*work]*match.Needs // each knows one table
}

// known lists the members that a node knows.
func (c *city) known(n node) []node { return c.tasks.pool(n).nodes }

// acquainted lists the members that a node is in touch with: without a table, and among as few as have their connections noted, those
// to which it has had them for longest, which are its mesh.
func (c *city) acquainted(n node) []node {
	d := c.dht
	if c.s.Table || c.len() >= manyNodes {
		return c.known(n)
	}
	d.near = d.links.Of(d.place(n), contacts, d.near[:0])
	list := make([]node, len(d.near))
	for i, p := range d.near {
		list[i] = d.nodeAt[p]
	}
	return list
}

// pool returns the one that a node's knowledge is.
func (t *tasks) pool(n node) *pool {
	c := t.c
	if t.pools == nil {
		size, many := min(contacts, c.len()), min(max(c.len()/contacts, 1), maxPools)
		if c.s.Table {
			size, many = min(c.len(), allKnown), 1
		}
		t.pools = make([]*pool, many)
		for i := range t.pools {
			p := &pool{table: match.NewTable(), needs: map[*work]*match.Needs{}, fresh: -event.At(time.Hour)}
			p.nodes = c.some(t.dice, size, func(node) bool { return true })
			slices.Sort(p.nodes)
			p.loads, p.state = make([]shoal.Load, len(p.nodes)), make([]shoal.MemberState, len(p.nodes))
			t.pools[i] = p
		}
	}
	return t.pools[c.hashed("pool", uint64(n))%uint64(len(t.pools))]
}

// rows brings a pool up to what gossip and signs of life have told by now.
func (t *tasks) rows(p *pool) match.Rows {
	c, now := t.c, t.c.loop.Now()
	if now-p.fresh >= event.At(gossiped) {
		p.fresh = now
		for i, n := range p.nodes {
			m := t.member(n)
			if at, down := c.gone(n); down && now-at >= event.At(suspectAfter) {
				m.State = shoal.Suspect
			}
			if x := c.machines.at[n]; x != nil {
				m.Load.Running, m.Load.Queued, m.Load.TaskSecs = x.running, x.queue.Len(), x.queue.Mean()
				if x.gpus != nil {
					m.Load.GPUs = slices.Clone(m.Load.GPUs)
					for i, s := range x.gpus.States() {
						if s.Tasks > 0 {
							m.Load.GPUs[i].Free = 0
						}
					}
				}
			}
			if m.State != p.state[i] || !sameLoad(m.Load, p.loads[i]) {
				p.state[i], p.loads[i] = m.State, m.Load
				p.table.Put(m)
			}
		}
	}
	return p.table.Rows()
}

func sameLoad(a, b shoal.Load) bool {
	return a.Slots == b.Slots && a.Running == b.Running && a.Queued == b.Queued && a.TaskSecs == b.TaskSecs && slices.Equal(a.GPUs, b.GPUs)
}

// member is a node's record: that of its class.
func (t *tasks) member(n node) shoal.Member {
	m := t.classes[t.c.bodies[n].class]
	m.ID = peerID(n)
	return m
}

// attributes makes the members that stand for classes.
func (t *tasks) attributes() {
	for i := range t.c.s.Classes {
		cl := &t.c.s.Classes[i]
		a := cl.Attributes()
		if len(a.GPUs) > 0 {
			a.Executors = []string{gpuExecutor}
		}
		m := shoal.Member{Attributes: a, State: shoal.Alive, Seq: 1, Load: shoal.Load{Slots: max(cl.Cores, 1), DiskFree: uint64(cl.Disk)}}
		for _, g := range a.GPUs {
			m.Load.GPUs = append(m.Load.GPUs, shoal.GPULoad{ID: g.ID, Free: g.Memory})
		}
		t.classes = append(t.classes, m)
	}
}

func (t *tasks) asker(n node) *asker {
	a := t.askers[n]
	if a == nil || a.life != t.c.lives(n) {
		a = &asker{
			n: n, life: t.c.lives(n), flight: map[node]int{}, lines: map[node]*line{}, offers: map[offerKey]noted{}, where: map[uint32]located{},
			rates: rates.New(), uploaded: map[uint32]event.Time{}, probed: map[node]event.Time{},
		}
		if old := t.askers[n]; old != nil {
			a.rates = old.rates // they are on its disk
		} else if len(t.askers) >= maxAskers {
			t.forget()
		}
		t.askers[n] = a
	}
	return a
}

func (t *tasks) forget() {
	for n, a := range t.askers {
		if len(a.tasks) == 0 {
			delete(t.askers, n)
		}
	}
}
