package model

import (
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/flow"
	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// links is the district of what lies between nodes: transfers, connections, and the counts of what crossed.
type links struct {
	c   *city
	net *flow.Net

	data, code, results, topics *uint64
	posts, calls, wheres, ships *uint64 // of agents
	held, offers, runs, probes  *uint64 // see said

	circuits *uint64       // what relays carry, beyond what its own protocol counts
	relay    map[node]node // of nodes behind NAT: where those meet them that are behind one, too; nil: no node can be a relay, or none needs one

	requests ratio // that were answered, of all that ended
}

const askHead = 30 // bytes of the two frames of a call besides bodies: rpc/frame.go, a method of 10 letters

func (c *city) buildLinks() error {
	l := &links{c: c}
	l.net = flow.New(c.loop, func(n node) (float64, float64) { return float64(c.of(n).Up), float64(c.of(n).Down) },
		func(n node) bool { return c.up[n] })
	l.data, l.code = c.says("stream/data.fetch", report.ByData), c.says("stream/code.fetch", report.ByCode)
	l.results = c.says("stream/result.fetch", report.ByResults)
	l.posts, l.calls = c.says("stream/agents.post", report.ByAgents), c.says("agents.call", report.ByAgents)
	l.wheres, l.ships = c.says("agents.where", report.ByAgents), c.says("stream/agents.ship", report.ByAgents)
	l.topics = c.bytes[report.ByTopics]
	l.held, l.probes = c.says("data.held", report.ByOther), c.says("stream/link.probe", report.ByOther)
	l.offers, l.runs = c.says("task.offer", report.ByOther), c.says("stream/task.run", report.ByOther)
	c.links = l
	l.buildRelays()
	c.onDown = append(c.onDown, l.net.Cut)
	c.finishers = append(c.finishers, l.finish)
	return nil
}

// said is the bytes of a protocol, or of a call, as package world tells them, and of which kind they are.
type said struct {
	kind  string
	bytes uint64
}

// says returns the counter of a protocol or a call.
func (c *city) says(what, kind string) *uint64 {
	if c.said[what] == nil {
		c.said[what] = &said{kind: kind}
	}
	return &c.said[what].bytes
}

// stream is what the two ends of a stream of the room rpc say at its begin: that they speak multistream-select, and the protocol.
func stream(method string) uint64 {
	return 2 * uint64(len("\x13/multistream/1.0.0\n")+len("x"+fabricName+"/stream/"+method+"/1\n"))
}

// ended notes a request of whatever kind, asked for at a time, that was answered or never will be. Those whose asker has
// gone, and those that are under way at the end, do not count.
func (l *links) ended(at event.Time, answered bool) {
	yes := 0.0
	if answered {
		yes = 1
	}
	l.requests.add(l.c, at, yes, 1)
}

func (l *links) finish(r *report.Run) {
	if l.requests.of > 0 {
		r.Figures["availability"] = l.requests.part / l.requests.of
		l.requests.into(l.c, r, "availability")
	}
}

// ratio is a part of a whole, over time.
type ratio struct {
	part, of float64
	bins     [][2]float64
}

func (x *ratio) add(c *city, at event.Time, part, of float64) {
	i := int(time.Duration(at) / c.tell.bin)
	for len(x.bins) <= i {
		x.bins = append(x.bins, [2]float64{})
	}
	x.part, x.of = x.part+part, x.of+of
	x.bins[i][0] += part
	x.bins[i][1] += of
}

// spread adds what lasts from one time to another: a part for each second of the whole.
func (x *ratio) spread(c *city, from, to event.Time, part, of float64) {
	bin := event.At(c.tell.bin)
	for from < to {
		end := min(to, (from/bin+1)*bin)
		x.add(c, from, part*(end-from).Seconds(), of*(end-from).Seconds())
		from = end
	}
}

// into writes the series: one value for each bin in which there was something.
func (x *ratio) into(c *city, r *report.Run, name string) {
	if r.Series == nil {
		r.Series, r.Hists = map[string][]report.Point{}, map[string][]report.Bucket{}
	}
	for i, b := range x.bins {
		if b[1] > 0 {
			at := time.Duration(i)*c.tell.bin + c.tell.bin/2
			r.Series[name] = append(r.Series[name], report.Point{At: at.Seconds(), Value: b[0] / b[1]})
		}
	}
}

// trip returns how long a call and its reply take between two nodes, a connection first if they have none. They have one then.
func (c *city) trip(a, b node) time.Duration {
	if a == b {
		return 0
	}
	return c.dial(a, b) + c.way(a, b) + c.way(b, a)
}

// dial returns how long two nodes take to have a connection, on which the first request can be sent.
func (c *city) dial(a, b node) (d time.Duration) {
	if a == b || !c.dht.connect(a, b) {
		return 0
	}
	for range handshake + 1 + greet { // 1: identify
		d += c.way(a, b) + c.way(b, a)
	}
	return d
}

// meet is dial of a peer of which no more may be known than its name: then the DHT is asked where it is. One that is gone is looked for in
// vain, where it is and for its record (node's connect); not again and again. One that came back announces itself, and is found.
func (c *city) meet(a, b node) time.Duration {
	d := c.dht
	p, q := d.place(a), d.place(b)
	if a == b || d.links.Open(p, q) || d.links.Open(q, p) {
		return 0
	}
	if c.s.Table || c.len() >= manyNodes {
		return c.dial(a, b)
	}
	up := c.reach(a, b)
	if up && d.s.Tables.Has(p, q, c.now()) {
		return c.dial(a, b)
	}
	key := uint64(a)<<32 | uint64(b)
	if !up && d.lost.Check(key, c.clock()) != nil {
		return 0
	}
	r := d.search(a, d.space.ID(q), kad.SizeAsk+12, nil)
	if up {
		d.lost.Found(key)
		return r.Time + c.dial(a, b)
	}
	d.search(a, place(uint64(q)), kad.SizeSeek, nil)
	d.lost.Lost(key, errGone, c.clock())
	return 0
}

var errGone = errors.New("it is gone")

// rtt is what a node knows of the round trip to another: without jitter.
func (c *city) rtt(a, b node) time.Duration {
	if a == b {
		return 0
	}
	if r, relayed := c.links.via(a, b); relayed {
		return c.rtt(a, r) + c.rtt(r, b)
	}
	return c.s.Latency[c.region[a]][c.region[b]] + c.s.Latency[c.region[b]][c.region[a]]
}

// clock is the time of day in the model, for leaves that want one.
func (c *city) clock() time.Time { return time.Unix(1.7e9, int64(c.loop.Now())) }

// ask has a call travel: kind gets the bytes of both bodies. It returns how long that takes, and whether there is an answer.
func (c *city) ask(a, b node, kind *uint64, request, reply int) (time.Duration, bool) {
	if a == b {
		return 0, c.up[a]
	}
	c.links.carry(a, b, kind, uint64(request+askHead/2))
	if !c.reach(a, b) || !c.reach(b, a) {
		return 0, false
	}
	c.links.carry(b, a, kind, uint64(reply+askHead/2))
	return c.trip(a, b), true
}

// loads has f called for each request of the loads that ask for one of some things, by nodes that are up then.
func (c *city) loads(f func(load int, q scenario.Request), asks ...string) {
	for i := range c.s.Load {
		if !slices.Contains(asks, c.s.Load[i].Ask) {
			continue
		}
		stream := c.s.NewRequests(c.seed, i)
		var next scenario.Request
		var kind event.Kind
		more := func() {
			var ok bool
			if next, ok = stream.Next(); ok {
				c.loop.Add(next.At-time.Duration(c.loop.Now()), kind, uint32(next.Node), uint64(i))
			}
		}
		kind = c.loop.Handle(func(event.Event) {
			q := next
			more()
			if c.up[q.Node] {
				f(i, q)
			}
		})
		more()
	}
}

// peerID is the name that leaves know a node by. It does not sort as the nodes do, as names do not in a real fabric.
func peerID(n node) shoal.PeerID {
	const digits = "0123456789abcdef"
	x := (n ^ 0x5bd1e995) * 0x9e3779b1
	x ^= x >> 16
	x *= 0x85ebca6b
	var b [8]byte
	for i := range b {
		b[i] = digits[x>>(28-4*i)&15]
	}
	return shoal.PeerID(b[:])
}

// nodeOf is the inverse.
func nodeOf(p shoal.PeerID) node {
	v, _ := strconv.ParseUint(string(p), 16, 32)
	x := uint32(v) * inverse(0x85ebca6b)
	x ^= x >> 16
	return x*inverse(0x9e3779b1) ^ 0x5bd1e995
}

// inverse of an odd number, modulo 2^32: Newton's iteration doubles the digits that are right.
func inverse(a uint32) uint32 {
	x := a
	for range 5 {
		x *= 2 - a*x
	}
	return x
}

// hashed mixes numbers into one that looks random, the same in each run of a seed.
func (c *city) hashed(purpose string, xs ...uint64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	x := h.Sum64() ^ c.seed
	for _, v := range xs {
		x = (x ^ v) * 0xff51afd7ed558ccd
		x ^= x >> 33
		x *= 0xc4ceb9fe1a85ec53
		x ^= x >> 29
	}
	return x
}

// some draws up to n different nodes of those that pass.
func (c *city) some(r *rand.Rand, n int, ok func(node) bool) (out []node) {
	all := c.len()
	if n*4 >= all { // few nodes: look at each
		for _, i := range r.Perm(all) {
			if len(out) < n && ok(node(i)) {
				out = append(out, node(i))
			}
		}
		return out
	}
	for range 20 * n {
		if x := node(r.IntN(all)); len(out) < n && !slices.Contains(out, x) && ok(x) {
			out = append(out, x)
		}
	}
	return out
}
