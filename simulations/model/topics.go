package model

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// topics is the district of topics: fast ones by streams to few and by gossip to many, as pubsub/cast carries them; durable ones
// by a turn of their agent, whose node delivers.
type topics struct {
	c      *city
	dice   *rand.Rand
	first  []uint32 // by family: its first topic
	all    map[uint32]*topic
	views  map[uint64]event.Time // by publisher and topic: when it asked who subscribes
	buffer []arrival

	took           *values
	published      uint64
	due, delivered uint64
}

// topic is one that was published to.
type topic struct {
	subs []node
	pubs map[node]event.Time // of a fast one: who publishes, and when it did last
	mesh [][]int32           // of gossip: neighbours of each subscriber, by index
}

// arrival is a message at a subscriber, in the heap of those to come.
type arrival struct {
	at   time.Duration
	sub  int32
	from int32
}

const (
	castUp     = 16                      // pubsub/cast.Config: more subscribers than that are told by gossip
	castGather = 1500 * time.Microsecond // and messages gather for so long first
	meshDegree = 6                       // go-libp2p-pubsub: GossipSubD
	// Bytes around a payload: a stream's frame (length, kind, number, times); gossip's envelope with topic, number, author,
	// signature and key (StrictSign), and its frame.
	castHead, gossipHead = 24, 250
	// A durable message's turn takes a call; the delivery is a call of what is bound.
	deliverAsk = 90
)

func (c *city) buildTopics() error {
	t := &topics{c: c, dice: c.loop.Rand("topics"), all: map[uint32]*topic{}, views: map[uint64]event.Time{}, took: c.tell.of("deliver_ms")}
	c.topics = t
	var n uint32
	for _, f := range c.s.Topics {
		t.first = append(t.first, n)
		n += uint32(max(f.Count, 1))
	}
	c.finishers = append(c.finishers, t.finish)
	c.loads(t.publish, scenario.Publish)
	return t.buildPresence()
}

// topic returns a topic; its subscribers are drawn when it is first published to.
func (t *topics) topic(family int, id uint32) *topic {
	x := t.all[id]
	if x != nil {
		return x
	}
	f := &t.c.s.Topics[family]
	x = &topic{}
	want := min(max(f.Subscribers, 0), t.c.len())
	for i, seen := uint64(0), map[node]bool{}; len(x.subs) < want; i++ {
		if n := node(t.c.hashed("subscriber", uint64(id), i) % uint64(t.c.len())); !seen[n] {
			seen[n] = true
			x.subs = append(x.subs, n)
		}
	}
	t.all[id] = x
	if f.Durable || want <= castUp {
		return x
	}
	// A mesh: each has about meshDegree neighbours, drawn; what is asked for is granted, so some have more.
	x.mesh = make([][]int32, want)
	for i := range x.mesh {
		for tries := 0; len(x.mesh[i]) < meshDegree && tries < 50; tries++ {
			j := t.dice.IntN(want)
			if j != i && !slices.Contains(x.mesh[i], int32(j)) && len(x.mesh[j]) < 2*meshDegree {
				x.mesh[i], x.mesh[j] = append(x.mesh[i], int32(j)), append(x.mesh[j], int32(i))
			}
		}
	}
	return x
}

func (t *topics) publish(load int, q scenario.Request) {
	l := &t.c.s.Load[load]
	f := t.c.s.Family(l)
	if f < 0 {
		return
	}
	id := t.first[f] + uint32(q.Item)
	x, from := t.topic(f, id), node(q.Node)
	t.published++
	switch {
	case t.c.s.Topics[f].Durable:
		t.append(x, id, from, int(l.Bytes))
	default:
		t.look(x, id, from, func(begun event.Time) {
			t.takesPart(x, id, from)
			t.c.links.ended(begun, true)
			if x.mesh != nil {
				t.gossip(x, from, int(l.Bytes), begun)
			} else {
				t.stream(x, from, int(l.Bytes), begun)
			}
		})
	}
}

const maxViews = 1 << 18

// look has a publisher know who subscribes: it asks the topic's agent before its first message, and beside later ones when it has been a
// while.
func (t *topics) look(x *topic, id uint32, from node, then func(begun event.Time)) {
	c, begun, key := t.c, t.c.loop.Now(), uint64(from)<<32|uint64(id)
	at, known := t.views[key]
	if known && begun-at <= event.At(castRetry) {
		then(begun)
		return
	}
	if len(t.views) >= maxViews {
		clear(t.views)
	}
	t.views[key] = begun
	c.agents.call(from, c.agents.topics+id, &actors.Question{Read: true, Look: func(turn.View) []byte { return make([]byte, x.view()) }}, func(_ []byte, ok bool) {
		switch {
		case known: // it went with what it knew
		case ok:
			then(begun)
		default:
			delete(t.views, key)
			c.links.ended(begun, false)
		}
	})
	if known {
		then(begun)
	}
}

// expect counts the deliveries that are due: to the subscribers that are up.
func (t *topics) expect(n node) bool {
	if t.c.up[n] {
		t.due++
		return true
	}
	return false
}

// deliver has a message arrive at a node.
func (t *topics) deliver(n node, begun event.Time, after time.Duration) {
	life := t.c.lives(n)
	t.c.loop.After(after, func() {
		if t.c.up[n] && t.c.lives(n) == life {
			t.delivered++
			t.took.add(t.c.loop.Now(), float64(t.c.loop.Now()-begun)/1e6)
		}
	})
}

// serial is how long a node's link takes for some bytes, with what else is under way on it.
func (t *topics) serial(from, to node, bytes int) time.Duration {
	return seconds(float64(bytes) / t.c.links.net.Rate(from, to))
}

// stream sends a message to each subscriber; one that cannot be reached gets it from the publisher's ring once it can.
func (t *topics) stream(x *topic, from node, bytes int, begun event.Time) {
	c := t.c
	var queue time.Duration
	for _, n := range x.subs {
		if !t.expect(n) {
			continue
		}
		if n == from {
			t.deliver(n, begun, 0)
			continue
		}
		size := bytes + castHead
		queue += t.serial(from, n, size) // one copy after the other leaves
		after := queue + c.meet(from, n) + c.way(from, n)
		c.dht.hold(from, n) // who subscribes follows the publisher, by a stream
		if !c.reach(from, n) {
			t.later(from, n, size, begun, castRetry)
			continue
		}
		*c.links.topics += uint64(size)
		t.deliver(n, begun, after)
	}
}

const (
	castRetry = 2 * time.Second // pubsub/cast.Config.Fresh: views are looked at anew, and streams opened
	castKept  = time.Minute     // that a ring is taken to reach back
)

// later tries again until the subscriber can be reached.
func (t *topics) later(from, n node, size int, begun event.Time, wait time.Duration) {
	c := t.c
	life, mine := c.lives(n), c.lives(from)
	c.loop.After(wait, func() {
		switch {
		case c.lives(n) != life || c.lives(from) != mine || c.loop.Now()-begun > event.At(castKept):
		case c.reach(from, n):
			wait := c.meet(from, n)
			*c.links.topics += uint64(size)
			t.deliver(n, begun, wait+c.way(from, n)+t.serial(from, n, size))
		default:
			c.meet(from, n)
			t.later(from, n, size, begun, castRetry)
		}
	})
}

// gossip spreads a message over the mesh: whoever gets it first sends it to all neighbours but where it came from. It is one
// composite event: the arrivals are found in the order of time. Who is missed pulls it from the publisher.
func (t *topics) gossip(x *topic, from node, bytes int, begun event.Time) {
	c := t.c
	size := bytes + gossipHead
	got := make([]bool, len(x.subs))
	h := t.buffer[:0]
	send := func(at time.Duration, a node, me int32, list []int32, but int32) {
		for _, j := range list {
			b := x.subs[j]
			if j == but || a == b {
				continue
			}
			*c.links.topics += uint64(size)
			if c.reach(a, b) {
				at += t.serial(a, b, size)
				h = push(h, arrival{at + c.way(a, b), j, me})
			}
		}
	}
	if i := slices.Index(x.subs, from); i >= 0 {
		h = push(h, arrival{0, int32(i), -1})
	} else { // fanout: it is in no mesh, and sends to a few who are
		var few []int32
		for range min(meshDegree, len(x.subs)) {
			if j := int32(t.dice.IntN(len(x.subs))); !slices.Contains(few, j) {
				few = append(few, j)
			}
		}
		send(castGather, from, -1, few, -1)
	}
	for len(h) > 0 {
		var a arrival
		a, h = pop(h)
		n := x.subs[a.sub]
		if got[a.sub] || !c.up[n] {
			continue
		}
		got[a.sub] = true
		t.due++
		t.deliver(n, begun, a.at)
		at := a.at
		if a.from < 0 && n == from {
			at += castGather
		}
		send(at, n, a.sub, x.mesh[a.sub], a.from)
	}
	t.buffer = h
	for i, n := range x.subs {
		if !got[i] && t.expect(n) {
			if c.reach(from, n) && c.reach(n, from) {
				*c.links.topics += uint64(size)
				t.deliver(n, begun, castRetry+c.trip(n, from))
			} else {
				t.later(from, n, size, begun, castRetry)
			}
		}
	}
}

func push(h []arrival, a arrival) []arrival {
	h = append(h, a)
	for i := len(h) - 1; i > 0; {
		p := (i - 1) / 2
		if h[p].at <= h[i].at {
			break
		}
		h[p], h[i] = h[i], h[p]
		i = p
	}
	return h
}

func pop(h []arrival) (arrival, []arrival) {
	top, n := h[0], len(h)-1
	h[0], h = h[n], h[:n]
	for i := 0; ; {
		m := 2*i + 1
		if m >= n {
			break
		}
		if m+1 < n && h[m+1].at < h[m].at {
			m++
		}
		if h[i].at <= h[m].at {
			break
		}
		h[i], h[m] = h[m], h[i]
		i = m
	}
	return top, h
}

// append has the topic's agent take a message, in a turn; the node where it lives delivers it then, and again until it has
// been taken.
func (t *topics) append(x *topic, id uint32, from node, bytes int) {
	c, begun := t.c, t.c.loop.Now()
	q := &actors.Question{Payload: make([]byte, bytes)}
	c.agents.call(from, c.agents.topics+id, q, func(_ []byte, ok bool) {
		c.links.ended(begun, ok)
		if !ok {
			return
		}
		at, led := c.agents.agent(c.agents.topics + id).Leader()
		for _, n := range x.subs {
			if t.expect(n) {
				if !led {
					at = from
				}
				t.hand(id, at, n, bytes+deliverAsk, begun)
			}
		}
	})
}

// hand has the topic's node call a subscriber, until it answers.
func (t *topics) hand(id uint32, at, n node, size int, begun event.Time) {
	c := t.c
	if c.up[at] && c.reach(at, n) && c.reach(n, at) {
		if at != n {
			*c.links.topics += uint64(size + askHead)
		}
		t.deliver(n, begun, c.dial(at, n)+c.way(at, n)+t.serial(at, n, size))
		return
	}
	life := c.lives(n)
	c.loop.After(castRetry, func() {
		if c.lives(n) != life {
			return // it comes back and is told by its position in the log; that is no longer a matter of this message
		}
		next := at
		if l, ok := c.agents.agent(c.agents.topics + id).Leader(); ok {
			next = l
		}
		t.hand(id, next, n, size, begun)
	})
}

func (t *topics) finish(r *report.Run) {
	if t.published == 0 {
		return
	}
	r.Figures["published"] = float64(t.published)
	if t.due > 0 {
		r.Figures["delivered"] = float64(t.delivered) / float64(t.due)
		r.Figures["deliver_ms_p50"] = t.took.all.quantile(0.5)
	}
}
