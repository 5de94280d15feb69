package model

import (
	"cmp"
	"context"
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
	disks  map[node]disk
	places map[uint64]*belief // by caller and agent
	names  map[uint64]bool    // by caller and agent: whether its key is known
	where  map[uint64]event.Time
	broken []string

	took          *values
	calls, failed uint64
	moves         int
}

// disk is when the fsync of a node began that is done last, and when it is done.
type disk struct{ joined, synced event.Time }

// belief is where a caller believes an agent to be, and its session there.
type belief struct {
	leader  node
	led     bool
	keepers []node
	session string
	last    uint64
	done    uint64 // all requests below have their replies
	open    map[uint64]bool
}

const (
	callTime  = 30 * time.Second       // agents/calls.go
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
		names: map[uint64]bool{}, where: map[uint64]event.Time{}, took: c.tell.of("call_ms"),
	}
	k.troupe = actors.New(k)
	c.agents = k
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

// keepers are those that an agent is born with: drawn by its name.
func (k *agents) keepers(id uint32, n int) (list []node) {
	for i := uint64(0); len(list) < min(n, k.c.len()); i++ {
		x := node(k.c.hashed("keeper", uint64(id), i) % uint64(k.c.len()))
		if !slices.Contains(list, x) {
			list = append(list, x)
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
		n, bytes := 3, uint64(1024)
		if f := k.family(id); f >= 0 {
			n, bytes = max(k.c.s.Agents[f].Replicas, 1), uint64(k.c.s.Agents[f].State)
		}
		return k.keepers(id, n), bytes
	})
}

// wakeAll has the agents exist that a node keeps and nobody has called yet, as they are to be repaired.
func (k *agents) wakeAll(n node) {
	for id := range k.topics {
		if k.troupe.Known(id) == nil && slices.Contains(k.keepers(id, max(k.c.s.Agents[k.family(id)].Replicas, 1)), n) {
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
		x.Fetch = func(a *actors.Agent, at node, done func()) { k.read(a, at, rd, uint64(k.c.s.Agents[f].Read), done) }
	}
	k.call(node(q.Node), id, x, func(_ []byte, ok bool) {
		now := k.c.loop.Now()
		if ok {
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

// read brings a part of an agent's dataset to where it lives, or counts that it is there: each agent has one dataset.
func (k *agents) read(a *actors.Agent, at node, family int, bytes uint64, done func()) {
	c, d := k.c, k.c.data
	r := scenario.Dice(c.seed, "dataset of agent "+strconv.Itoa(int(a.ID)))
	part := d.part(family, d.c.s.Data[family].Pick(r), k.dice.IntN(1<<20))
	bytes = min(bytes, d.bytes(part))
	if d.kept(at, part) || slices.Contains(d.extra[part], at) {
		a.Paid(at, at, bytes, 0)
		done()
		return
	}
	var wait time.Duration
	if key := pair(at, part); c.loop.Now() >= k.where[key] {
		_, wait = d.locate(at, part)
		k.where[key] = c.loop.Now() + event.At(wait+readWhere)
	}
	list := d.holders(part)
	if len(list) == 0 {
		c.loop.After(wait+stall, done)
		return
	}
	rank := func(n node) int { // who could have it rather: keepers first
		if a.Keeps(n) {
			return 0
		}
		return 1
	}
	from := slices.MinFunc(list, func(x, y node) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(c.rtt(at, x), c.rtt(at, y)), cmp.Compare(x, y))
	})
	begun := c.loop.Now() + event.At(wait)
	c.links.net.Send(from, at, bytes, wait+c.trip(at, from), 0, func(moved uint64, _ bool) {
		*c.links.data += moved
		a.Paid(at, from, moved, time.Duration(c.loop.Now()-begun))
		done()
	})
}

// call is one call, until it has its reply or its time is over: agents' Call.
func (k *agents) call(from node, id uint32, q *actors.Question, done func(reply []byte, ok bool)) {
	x := &call{k: k, from: from, life: k.c.lives(from), a: k.agent(id), q: q, wait: callPause, done: done, tried: map[node]int{}}
	x.p = k.belief(from, id)
	if !q.Read {
		x.number()
	}
	k.c.loop.After(callTime, func() { x.end(nil, false) })
	key := uint64(from)<<32 | uint64(id)
	if id == directoryID || id >= k.topics || k.names[key] {
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

func (k *agents) belief(from node, id uint32) *belief {
	key := uint64(from)<<32 | uint64(id)
	p := k.places[key]
	if p == nil {
		if len(k.places) >= maxPlaces {
			clear(k.places)
			clear(k.names)
		}
		p = &belief{done: 1, open: map[uint64]bool{}}
		k.places[key] = p
	}
	return p
}

// call is one on its way.
type call struct {
	k     *agents
	from  node
	life  uint16
	a     *actors.Agent
	p     *belief
	q     *actors.Question
	n     uint64 // number of the request in its session
	wait  time.Duration
	tried map[node]int
	over  bool
	done  func([]byte, bool)
}

// number names the request: agents' sessions.
func (x *call) number() {
	p := x.p
	if p.session == "" {
		p.session = turn.Session(x.k.c.clock().UnixMilli(), fmt.Sprintf("%08x.%d", x.from, x.a.ID))
	}
	p.last++
	x.n = p.last
	p.open[x.n] = true
	x.q.Request = turn.Request{Session: p.session, Number: x.n, Done: p.done}
}

func (x *call) end(reply []byte, ok bool) {
	if x.over {
		return
	}
	x.over = true
	p := x.p
	if delete(p.open, x.n); x.n > 0 {
		for p.done <= p.last && !p.open[p.done] {
			p.done++
		}
	}
	if x.k.c.lives(x.from) == x.life { // else nobody waits for it
		x.done(reply, ok)
	}
}

// alive reports whether the call goes on.
func (x *call) alive() bool { return !x.over && x.k.c.lives(x.from) == x.life }

// try asks whoever is believed to lead the agent, or a keeper: agents' ask.
func (x *call) try() {
	c, p := x.k.c, x.p
	if !x.alive() {
		return
	}
	if p.led && x.tried[p.leader] < 20 {
		x.send(p.leader, false, x.answered)
		return
	}
	if len(p.keepers) == 0 || !slices.ContainsFunc(p.keepers, func(n node) bool { return x.tried[n]%4 != 3 }) {
		found, took := x.k.locate(x.from, x.a)
		c.loop.After(took, func() {
			if !x.alive() {
				return
			}
			if len(found) > 0 {
				p.keepers = found
				x.send(x.least(), false, x.answered)
				return
			}
			x.again()
		})
		return
	}
	x.send(x.least(), false, x.answered)
}

func (x *call) least() node {
	return slices.MinFunc(x.p.keepers, func(a, b node) int { return x.tried[a] - x.tried[b] })
}

// again is after a while, longer each time.
func (x *call) again() {
	x.k.c.loop.After(x.wait, x.try)
	x.wait = min(2*x.wait, callMost)
}

// send brings the question to a node, and what it says back. If that takes long others are asked besides.
func (x *call) send(to node, hedge bool, then func(to node, ans actors.Answer)) {
	k, c := x.k, x.k.c
	x.tried[to]++
	size := len(x.q.Payload) + askHead + readAsk
	if !x.q.Read {
		size += callAsk - readAsk
	}
	said := false
	q := *x.q
	ask := func() {
		k.troupe.Ask(to, x.a, &q, func(ans actors.Answer) {
			back := callReply + len(ans.Reply)
			if !ans.Done || !x.p.led || x.p.leader != to {
				back += placeReply
			}
			tell := func() {
				said = true
				if x.alive() {
					then(to, ans)
				}
			}
			if to == x.from {
				c.loop.After(0, tell)
			} else {
				k.Post(to, x.from, back, tell)
			}
		})
	}
	if to == x.from {
		ask()
	} else {
		k.Post(x.from, to, size, ask)
	}
	if hedge {
		return
	}
	c.loop.After(second, func() {
		if !said && x.alive() {
			x.others(to, 0)
		}
	})
}

// answered takes what a keeper says.
func (x *call) answered(to node, ans actors.Answer) {
	p := x.p
	if ans.Done {
		p.leader, p.led = to, true
		x.end(ans.Reply, true)
		return
	}
	if p.led && p.leader == to {
		p.led = false
	}
	if len(ans.Keepers) > 0 {
		p.keepers = ans.Keepers
	}
	if ans.Led && ans.Leader != to && x.tried[ans.Leader] < 3 {
		p.leader, p.led = ans.Leader, true
		x.try()
		return
	}
	x.again()
}

// others asks the keepers but for one, one after the other, until one answers or names another leader.
func (x *call) others(but node, i int) {
	c := x.k.c
	if !x.alive() {
		return
	}
	list := x.p.keepers
	if i == 0 && len(list) < 2 {
		found, took := x.k.locate(x.from, x.a)
		x.p.keepers = found
		c.loop.After(took, func() { x.others(but, 1) })
		return
	}
	list = slices.DeleteFunc(slices.Clone(list), func(n node) bool { return n == but })
	if len(list) == 0 {
		c.loop.After(second/4, func() { x.others(but, 0) })
		return
	}
	to := list[i%len(list)]
	heard := false
	x.send(to, true, func(to node, ans actors.Answer) {
		heard = true
		if ans.Done || ans.Led && ans.Leader != but {
			x.answered(to, ans)
			return
		}
		c.loop.After(second/4, func() { x.others(but, i+1) })
	})
	c.loop.After(hedgeWait, func() {
		if !heard {
			x.others(but, i+1)
		}
	})
}

// locate finds who keeps an agent: some members are asked, and else the DHT is.
func (k *agents) locate(from node, a *actors.Agent) (found []node, took time.Duration) {
	c, keepers := k.c, a.Keepers()
	if slices.Contains(keepers, from) {
		return keepers, 0
	}
	best := time.Duration(-1)
	asked := 0
	for _, n := range c.known(from) {
		if n == from || asked == around {
			continue
		}
		asked++
		t, ok := c.ask(from, n, c.links.agents, whereAsk, callReply)
		if !ok {
			t = aroundFor
		} else if slices.Contains(keepers, n) && (best < 0 || t < best) {
			best = t
		}
		took = max(took, min(t, aroundFor))
	}
	if best >= 0 {
		*c.links.agents += placeReply
		return keepers, best
	}
	_, look, _ := c.find(from, c.hashed("agent", uint64(a.ID)))
	return keepers, took + look
}

func (k *agents) finish(r *report.Run) {
	r.Broken = append(r.Broken, k.broken...)
	if len(k.c.s.Agents) > 0 && k.calls > 0 {
		f := r.Figures
		f["calls"], f["call_failed"] = float64(k.calls), float64(k.failed)/float64(k.calls)
		f["call_ms_p50"], f["call_ms_p99"] = k.took.all.quantile(0.5), k.took.all.quantile(0.99)
		f["agent_moves"] = float64(k.moves)
	}
}

// What follows is the world that agents live in: actors.World.

// Now is the time since the begin.
func (k *agents) Now() time.Duration { return time.Duration(k.c.loop.Now()) }

// After calls f after a while.
func (k *agents) After(d time.Duration, f func()) { k.c.loop.After(d, f) }

// Up reports whether a node has its power.
func (k *agents) Up(n node) bool { return k.c.up[n] }

// Life counts a node's starts.
func (k *agents) Life(n node) uint64 { return uint64(k.c.lives(n)) + 1 }

// Born is when it started last.
func (k *agents) Born(n node) time.Duration { return time.Duration(k.c.since[n]) }

// Way is how long a message takes, about.
func (k *agents) Way(from, to node) time.Duration { return k.c.rtt(from, to) / 2 }

// Calm reports whether nothing keeps messages back.
func (k *agents) Calm() bool { return len(k.c.churn.cuts) == 0 && len(k.c.churn.slow) == 0 }

// Sent counts messages that were not posted.
func (k *agents) Sent(bytes int) { *k.c.links.agents += uint64(bytes) }

// Post brings a message, if it can get there when it is sent and when it arrives.
func (k *agents) Post(from, to node, bytes int, f func()) {
	c := k.c
	if !c.up[from] {
		return
	}
	*c.links.agents += uint64(bytes)
	if !c.reach(from, to) {
		return
	}
	life := c.lives(to)
	c.loop.After(c.dial(from, to)+c.way(from, to), func() {
		if c.lives(to) == life && c.reach(from, to) {
			f()
		}
	})
}

// Sync calls f after an fsync.
func (k *agents) Sync(n node, f func()) {
	life := k.c.lives(n)
	k.c.loop.After(k.sync(n), func() {
		if k.c.up[n] && k.c.lives(n) == life {
			f()
		}
	})
}

// sync returns how long an fsync on a node takes that is asked for now: one goes on at a time, and those that come while one
// does share the next (agents' writer, Pebble's log).
func (k *agents) sync(n node) time.Duration {
	d, now := k.disks[n], k.c.loop.Now()
	took := event.At(time.Duration(float64(k.c.of(n).Sync) * k.c.machines.factor(slowDisk, n)))
	switch {
	case d.synced <= now: // the disk rests
		d.joined, d.synced = now, now+took
	case d.joined <= now: // one is under way: the next is for all who come until then
		d.joined = d.synced
		d.synced += took
	}
	k.disks[n] = d
	return time.Duration(d.synced - now)
}

// Carry moves an agent's state.
func (k *agents) Carry(from, to node, bytes uint64, f func(bool)) {
	k.c.links.net.Send(from, to, bytes, k.c.dial(from, to)+k.c.way(from, to), 0, func(moved uint64, all bool) {
		*k.c.links.agents += moved
		k.c.loop.After(0, func() { f(all) })
	})
}

// Spare finds a node that may become a keeper.
func (k *agents) Spare(_ *actors.Agent, not []node) (node, bool) {
	list := k.c.some(k.dice, 1, func(n node) bool { return k.c.up[n] && !slices.Contains(not, n) })
	if len(list) == 0 {
		return 0, false
	}
	return list[0], true
}

// Free counts those.
func (k *agents) Free(not []node) int {
	n := k.c.len() - k.c.downs
	for _, x := range not {
		if k.c.up[x] {
			n--
		}
	}
	return max(n, 0)
}

// Gone reports whether a node has been away for long.
func (k *agents) Gone(n node) bool {
	at, gone := k.c.gone(n)
	return gone && k.c.loop.Now()-at >= event.At(actors.Replace)
}

// Rate is what a link lets through.
func (k *agents) Rate(from, to node) float64 {
	return min(orBoundless(float64(k.c.of(from).Up)), orBoundless(float64(k.c.of(to).Down)))
}

// Peer is a node's name.
func (k *agents) Peer(n node) shoal.PeerID { return peerID(n) }

// Node is the inverse.
func (k *agents) Node(p shoal.PeerID) node { return nodeOf(p) }

// Dice draws from [0, n).
func (k *agents) Dice(n int64) int64 { return k.dice.Int64N(n) }

// Count counts a call of a leaf.
func (k *agents) Count(leaf string) { *k.c.leaves[leaf]++ }

// Beats counts signs of life that went one way.
func (k *agents) Beats(from, to node, lasted time.Duration) {
	*k.c.links.agents += uint64(lasted/actors.Beat) * beatBytes
}

// Moved notes that an agent moved by itself.
func (k *agents) Moved(a *actors.Agent, to node) {
	k.moves++
	k.c.loop.Note(uint64(a.ID)<<32 | uint64(to))
}

// Broken notes a violation.
func (k *agents) Broken(invariant string) {
	if len(k.broken) < 20 {
		k.broken = append(k.broken, fmt.Sprintf("%.3f s: %s", k.c.loop.Now().Seconds(), invariant))
	}
}
