package model

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
	"github.com/shoal-fabric/shoal/wire"
)

// agents is the district of agents: who calls them from where, and what they read. What they are is package actors.
type agents struct {
	c      *city
	dice   *rand.Rand
	troupe *actors.Troupe
	first  []uint32 // by family: its first agent
	topics uint32   // the first one that is a durable topic
	zones  int      // that classes are labelled with
	disks  map[node]disk
	places map[uint64]*belief // by caller and agent
	names  map[uint64]bool    // by caller and agent: whether its key is known
	where  map[uint64]*distant
	broken []string

	beating map[uint64]beating // by node that gives signs of life and node that gets them

	took          *values
	calls, failed uint64
	moves         int
}

const (
	callTime  = 30 * time.Second       // agents/calls.go
	askTime   = time.Minute            // the load's, in package world
	second    = 700 * time.Millisecond // agents/calls.go: another keeper is asked as well
	hedgeWait = actors.Patience + second
	callPause = 10 * time.Millisecond // doubled up to:
	callMost  = 250 * time.Millisecond
	around    = 32               // agents/locate.go: members that are asked one by one
	aroundFor = time.Second      // at most for so long
	readWhere = 30 * time.Second // data/afar.go: holders are remembered
	maxPlaces = 1 << 19

	// Bytes of the messages of the room agents, encoded: a question that writes, and one that reads, without payload; an
	// answer without its reply; a place with three keepers; a question of agents.where; a sign of life with its frames.
	callAsk, readAsk, callReply, placeReply, whereAsk, beatBytes = 80, 49, 8, 239, 36, 34
)

// directoryID is the agent that knows the names of the others.
const directoryID = 1 << 30

func (c *city) buildAgents() error {
	k := &agents{
		c: c, dice: c.loop.Rand("agents"), disks: map[node]disk{}, places: map[uint64]*belief{},
		names: map[uint64]bool{}, where: map[uint64]*distant{}, beating: map[uint64]beating{}, took: c.tell.of("call_ms"),
	}
	k.troupe = actors.New(k)
	c.agents = k
	var zones []string
	for i := range c.s.Classes {
		if z := c.s.Classes[i].Labels["zone"]; z != "" && c.s.Classes[i].Count > 0 {
			zones = append(zones, z)
		}
	}
	slices.Sort(zones)
	k.zones = len(slices.Compact(zones))
	for _, f := range c.s.Agents {
		k.first = append(k.first, k.topics)
		k.topics += uint32(max(f.Count, 1))
	}
	c.onDown = append(c.onDown, func(n node) {
		k.troupe.Down(n)
		if c.s.Table { // all that it keeps is looked through once it is away for long
			life := c.lives(n)
			c.loop.After(downAfter+actors.Replace+time.Duration(k.dice.Int64N(int64(actors.Replace))), func() {
				if !c.up[n] && c.lives(n) == life {
					k.wakeAll(n)
					k.troupe.Missed(n, true)
				}
			})
		}
	})
	c.onUp = append(c.onUp, func(n node) {
		k.troupe.Started(n)
	})
	c.onCut = append(c.onCut, k.troupe.Stir)
	c.onWipe = append(c.onWipe, func(n node) { k.troupe.Wiped(n, c.s.Table) })
	c.finishers = append(c.finishers, k.finish)
	c.loads(k.ask, scenario.Call, scenario.Read)
	return nil
}

// keepers are those that an agent is born with: drawn by its name, in zones of their own as far as there are.
func (k *agents) keepers(id uint32, n int) (list []node) {
	n = min(n, k.c.len())
	const most = 1 << 10 // draws until rare zones are given up
	var taken []string
	for i := uint64(0); len(list) < n; i++ {
		x := node(k.c.hashed("keeper", uint64(id), i) % uint64(k.c.len()))
		zone := k.Zone(x)
		if slices.Contains(list, x) || len(taken) < k.zones && i < most && slices.Contains(taken, zone) {
			continue
		}
		if list = append(list, x); zone != "" && !slices.Contains(taken, zone) {
			taken = append(taken, zone)
		}
	}
	return list
}

// family returns which family an agent is of; -1: none.
func (k *agents) family(id uint32) int {
	if id >= k.topics {
		return -1
	}
	i, ok := slices.BinarySearch(k.first, id)
	if !ok {
		i--
	}
	return i
}

func (k *agents) agent(id uint32) *actors.Agent {
	return k.troupe.Agent(id, func() ([]node, uint64) {
		bytes := uint64(1024)
		if f := k.family(id); f >= 0 {
			bytes = uint64(k.c.s.Agents[f].State)
		}
		return k.keepersOf(id), bytes
	})
}

// keepersOf returns those that an agent is born with, as many as its family has it.
func (k *agents) keepersOf(id uint32) []node {
	if f := k.family(id); f >= 0 {
		return k.keepers(id, max(k.c.s.Agents[f].Replicas, 1))
	}
	return k.keepers(id, 3)
}

// wakeAll has the agents exist that a node keeps and nobody has called yet, as they are to be repaired.
func (k *agents) wakeAll(n node) {
	for id := range k.topics {
		if k.troupe.Known(id) == nil && slices.Contains(k.keepersOf(id), n) {
			k.agent(id)
		}
	}
}

// ask is a request of a load.
func (k *agents) ask(load int, q scenario.Request) {
	l := &k.c.s.Load[load]
	f := k.c.s.Family(l)
	if f < 0 {
		return
	}
	id, begun := k.first[f]+uint32(q.Item), k.c.loop.Now()
	x := &actors.Question{Read: l.Ask == scenario.Read, Payload: make([]byte, l.Bytes)}
	if rd := k.reads(f); rd >= 0 {
		set := k.c.data.of(k.c.data.part(rd, k.c.s.ReadBy(k.c.seed, f, q.Item, rd), 0))
		x.Fetch = func(a *actors.Agent, at node, done func()) { k.read(a, at, set, uint64(k.c.s.Agents[f].Read), done) }
	}
	replied := func(uint64) {}
	if k.c.o.called != nil {
		replied = k.c.o.called(id, x.Read)
	}
	k.within(askTime, node(q.Node), id, x, func(reply []byte, ok bool) {
		now := k.c.loop.Now()
		if ok {
			replied(binary.BigEndian.Uint64(reply))
			k.took.add(now, float64(now-begun)/1e6)
		} else {
			k.failed++
		}
		k.calls++
		k.c.links.ended(begun, ok)
	})
}

// reads returns which datasets a family's agents read; -1: none.
func (k *agents) reads(family int) int {
	f := &k.c.s.Agents[family]
	if f.Reads == "" || f.Read == 0 {
		return -1
	}
	return slices.IndexFunc(k.c.s.Data, func(d scenario.Dataset) bool { return d.Name == f.Reads })
}

// read brings a part of an agent's dataset to where it lives, or counts that it is there: each agent has one dataset. What travels is
// leaves, one after the other: of those that the part touches, all.
func (k *agents) read(a *actors.Agent, at node, s *set, bytes uint64, done func()) {
	d := k.c.data
	leaf, whole := k.c.s.Data[s.family].LeafBytes(), d.bytes(s.first)
	bytes = min(bytes, s.size)
	offset := k.dice.Uint64N(max(s.size-bytes, 1))
	next, last := offset/leaf, (offset+max(bytes, 1)-1)/leaf
	var step func()
	step = func() {
		if next > last {
			done()
			return
		}
		part, begin := s.first+uint32(next*leaf/whole), next*leaf%whole
		next++
		k.leaf(a, at, s, part, min(leaf, d.bytes(part)-begin), step)
	}
	step()
}

// leaf brings one leaf of a partition.
func (k *agents) leaf(a *actors.Agent, at node, set *set, part uint32, bytes uint64, done func()) {
	c, d := k.c, k.c.data
	if d.here(at, part) {
		a.Paid(at, at, bytes, 0)
		done()
		return
	}
	key, wait, asked := pair(at, set.first), time.Duration(0), false
	w := k.where[key]
	for {
		if w == nil || c.loop.Now() >= w.until {
			held, took := d.survey(at, set)
			last := at // nobody yet
			if w != nil {
				last = w.last
			}
			w, asked = &distant{until: c.loop.Now() + event.At(took+readWhere), held: held, last: last}, true
			k.where[key], wait = w, wait+took
		}
		for _, n := range k.order(a, at, w) {
			switch {
			case !k.Hears(at, n): // there are others to turn to
				wait += heldTimeout
			case !d.here(n, part): // it has other parts, and says so
				wait += c.trip(at, n)
			default:
				w.last = n
				k.serve(a, at, n, bytes, wait, done)
				return
			}
		}
		if asked {
			c.loop.After(wait+stall, done)
			return
		}
		w.until = 0 // who has it is asked anew
	}
}

// serve has a node send a leaf, after a while.
func (k *agents) serve(a *actors.Agent, at, from node, bytes uint64, wait time.Duration, done func()) {
	c := k.c
	begun := c.loop.Now() + event.At(wait)
	c.links.send(from, at, bytes, wait+c.trip(at, from), 0, func(moved uint64, _ bool) {
		*c.links.data += moved
		a.Paid(at, from, moved, time.Duration(c.loop.Now()-begun))
		done()
	})
}

// distant is what a node remembers of the holders of a dataset that it reads in parts: data's afar.
type distant struct {
	until event.Time
	held  []holding
	last  node // who served; the reader: nobody yet
}

// order is in which order those who have something of a dataset are asked for a part of it: data's order.
func (k *agents) order(a *actors.Agent, at node, w *distant) []node {
	not := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	held, rank := slices.Clone(w.held), make(map[node]int, len(w.held))
	for _, h := range held {
		rank[h.n] = a.Rank(at, h.n)
	}
	slices.SortStableFunc(held, func(x, y holding) int { // among equals by name, as they were found
		return cmp.Or(cmp.Compare(rank[x.n], rank[y.n]), cmp.Compare(not(x.n == w.last), not(y.n == w.last)), cmp.Compare(y.has, x.has))
	})
	list := make([]node, 0, len(held))
	for _, h := range held {
		if h.n != at {
			list = append(list, h.n)
		}
	}
	return list
}

// call is one call, until it has its reply or its time is over: agents' Call.
func (k *agents) call(from node, id uint32, q *actors.Question, done func(reply []byte, ok bool)) {
	k.within(callTime, from, id, q, done)
}

// within is a call of a caller who names a deadline.
func (k *agents) within(limit time.Duration, from node, id uint32, q *actors.Question, done func(reply []byte, ok bool)) {
	x := &call{k: k, from: from, life: k.c.lives(from), a: k.agent(id), q: q, wait: callPause, done: done, tried: map[node]int{}}
	x.p = k.belief(from, id)
	if !q.Read {
		x.number()
	}
	k.c.loop.After(limit, func() { x.end(nil, false) })
	key := uint64(from)<<32 | uint64(id)
	if id < k.topics || id == directoryID || k.names[key] { // package world calls by keys too, and topics by their names
		x.try()
		return
	}
	name := "agent-" + strconv.Itoa(int(id)) // its key is what the directory says
	look := &actors.Question{Read: true, Payload: make([]byte, len(name)+4), Look: func(turn.View) []byte { return k.lookUp(name, id) }}
	k.call(from, directoryID, look, func(_ []byte, ok bool) {
		if ok {
			k.names[key] = true
			x.try()
		}
	})
}

// lookUp asks the directory's code for a name.
func (k *agents) lookUp(name string, id uint32) []byte {
	*k.c.leaves["names"]++
	inst, err := directory.Behaviour{}.Open(context.Background())
	var b []byte
	if err == nil {
		t := &shoal.Turn{
			Method: "find", Payload: wire.Marshal(directory.Question{Name: name}), Read: true,
			State: register{name, wire.Marshal(directory.Entry{Name: name, Key: []byte(fmt.Sprintf("%034d", id)), At: 1.7e12})},
		}
		b, err = inst.Turn(context.Background(), t)
	}
	if err != nil {
		k.Broken("a name cannot be looked up: " + err.Error())
	}
	return b
}

// register is the state of the directory, as far as one look-up sees it.
type register struct {
	name  string
	entry []byte
}

func (r register) Get(key []byte) ([]byte, bool, error) {
	return r.entry, strings.HasSuffix(string(key), "/"+r.name), nil
}

func (register) Put([]byte, []byte) error {
	return shoal.E(shoal.Refused, "register", "it is only read", "")
}

func (register) Delete([]byte) error {
	return shoal.E(shoal.Refused, "register", "it is only read", "")
}

func (register) Scan([]byte, []byte, int) ([]shoal.Pair, error) { return nil, nil }

func (k *agents) finish(r *report.Run) {
	r.Broken = append(r.Broken, k.broken...)
	for _, b := range k.beating { // agents that are still in use
		k.beaten(b)
	}
	if len(k.c.s.Agents) > 0 && k.calls > 0 {
		f := r.Figures
		f["calls"], f["call_failed"] = float64(k.calls), float64(k.failed)/float64(k.calls)
		f["call_ms_p50"], f["call_ms_p99"] = k.took.all.quantile(0.5), k.took.all.quantile(0.99)
		f["agent_moves"] = float64(k.moves)
	}
}
