package model

import (
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal/dht/absent"
	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// dht is the district of the DHT: lookups, and what they cost. Each is one event.
type dht struct {
	c     *city
	space *kad.Space
	links *kad.Links
	s     *kad.Searcher
	kept  *kad.Kept // start: bootstrap

	dice   *rand.Rand // of the mesh
	nodeAt []node     // by place
	zone   []uint8    // by place: its region
	near   []uint32   // of acquainted, reused
	seen   int        // of soon: what is read has to go somewhere

	back    int      // nodes that came up, and whose tables are to be filled
	filling []uint32 // of them, mostUpkeep at most
	grown   *kad.Growing
	held    map[uint64]bool       // connections with a stream that stays, by their ends; nil: nobody hangs up
	lost    absent.Memory[uint64] // by who looked and for whom

	lookupTime, lookupHops, findTime, gpuTime *values
	lookups, asked, exact                     uint64
	finds, found, gpus, gpusFound             uint64
	bytes                                     *uint64
	sizePeer                                  int // of what an answer says of a peer
	announceBytes                             uint64

	records records
}

const (
	// As package memnet has it: TCP, the agreement on TLS, TLS 1.3.
	handshake = 3
	// The hello at the door, see members.Admit: the first stream of a gated protocol waits for it.
	greet  = 1
	recall = 10 * time.Second // within which members whose dials failed for half a minute are called again
	// From so many nodes on only the dialler notes a connection, and those of the mesh are left out: who asks twenty
	// nodes meets one of its mesh in less than 6 of 100 lookups. Drawing the mesh is all that churn costs otherwise.
	manyNodes = 1 << 14
	// The fabric's protocols begin with /shoal/ and its name, 26 characters.
	fabricName = "/shoal/abcdefghijklmnopqrstuvwxyz"
)

func (c *city) buildDHT() error {
	n, clients := c.len(), 0
	for _, k := range c.s.Classes {
		if k.NAT {
			clients += k.Count
		}
	}
	if clients == n {
		clients = 0 // they would find nobody; in production such a fabric is a fault of its owner
	}
	d := &dht{c: c, space: kad.NewSpace(n-clients, clients, c.seed), bytes: c.says("kad", report.ByDHT), sizePeer: kad.SizePeer}
	c.dht = d
	large(c.bodies)
	// Ids say nothing about classes: nodes are dealt out over the places.
	r := c.loop.Rand("places")
	d.nodeAt = make([]node, 0, n)
	var last []node
	for i := range n {
		if clients > 0 && c.of(node(i)).NAT {
			last = append(last, node(i))
		} else {
			d.nodeAt = append(d.nodeAt, node(i))
		}
	}
	r.Shuffle(len(d.nodeAt), func(i, j int) { d.nodeAt[i], d.nodeAt[j] = d.nodeAt[j], d.nodeAt[i] })
	d.nodeAt = append(d.nodeAt, last...)
	d.zone = make([]uint8, n)
	for p, x := range d.nodeAt {
		c.bodies[x].place, d.zone[p] = uint32(p), c.region[x]
	}
	peers := c.s.Peers()
	d.links = kad.NewLinks(n, peers.Low, peers.High, n < manyNodes)
	if n < manyNodes { // it is memory, and among so many nobody meets again whom it asked a moment ago
		d.links.Keep(peers.Grace, peers.Grace/2, c.now) // it is looked twice in a grace what to close
	}
	d.space.Memory(large)
	d.links.Advise = large
	tables := kad.NewImplied(d.space)
	tables.Advise(large)
	if n < manyNodes {
		d.links.Worth, d.held = d.worth(tables), map[uint64]bool{}
	}
	d.lost.Most = 1 << 18 // it is that of all nodes
	d.s = &kad.Searcher{Space: d.space, Tables: tables, Links: d.links, Net: d, Handshake: handshake, Greet: greet, Members: c.s.Table}
	d.dice = c.loop.Rand("mesh")
	for p := range d.nodeAt {
		d.mesh(uint32(p))
	}
	switch {
	case c.s.Start == "bootstrap":
		d.bootstrap()
	case n < manyNodes: // each has looked for its own id, as kad-dht does to refresh a table, and has those connections
		for p := range uint32(n) {
			d.s.Find(p, d.space.ID(p), 0, nil)
		}
		d.s.Unlearn() // in a world those connections are there without a dial
	}
	d.records.init(d)
	d.lookupTime, d.lookupHops = c.tell.of("lookup_ms"), c.tell.of("lookup_hops")
	d.findTime, d.gpuTime = c.tell.of("find_ms"), c.tell.of("gpu_ms")
	c.loads(func(_ int, q scenario.Request) { d.lookup(node(q.Node)) }, scenario.Lookup)
	c.loads(func(_ int, q scenario.Request) { d.provideRandom(node(q.Node)) }, scenario.Provide)
	c.loads(d.findPart, scenario.Find)
	c.loads(func(_ int, q scenario.Request) { d.findGPU(node(q.Node)) }, scenario.FindGPU)
	d.upkeep()
	c.find, c.provide = d.records.find, d.records.provide
	c.finishers = append(c.finishers, d.finish)
	return nil
}

// place returns where a node is in the space.
func (d *dht) place(n node) uint32 { return d.c.bodies[n].place }

// went says that a node has gone or come.
func (d *dht) went(place uint32, up bool) {
	d.space.Set(place, up, d.c.now())
	if up {
		d.mesh(place)
		if len(d.filling) < mostUpkeep {
			d.filling = append(d.filling, place)
		} else {
			d.filling[d.back%mostUpkeep] = place // of many the last, who are not gone again
		}
		d.back++
	} else {
		d.links.Down(place)
	}
}

// soon has the processor fetch what went will look at.
func (d *dht) soon(places []uint32) {
	x := 0
	for _, p := range places {
		at, _ := d.space.Since(p)
		x ^= int(at) ^ d.links.Noted(p)
	}
	d.seen ^= x
}

// connect has a connection from a to b, and reports whether there was none.
func (d *dht) connect(a, b node) bool {
	p, q := d.place(a), d.place(b)
	if d.links.Open(p, q) || d.links.Open(q, p) {
		return false
	}
	d.links.Dial(p, q)
	return true
}

// hold has two nodes not hang up any more: a stream between them stays, as room rpc has it.
func (d *dht) hold(a, b node) {
	if p, q := d.place(a), d.place(b); d.held != nil && p != q {
		d.held[uint64(min(p, q))<<32|uint64(max(p, q))] = true
	}
}

// worth returns what connections are worth, by routing tables and streams.
func (d *dht) worth(t kad.Tables) func(a, b uint32) kad.Worth {
	in := kad.WorthIn(d.space, t, d.c.now)
	return func(a, b uint32) kad.Worth {
		if d.held[uint64(min(a, b))<<32|uint64(max(a, b))] {
			return kad.Protected
		}
		return in(a, b)
	}
}

// now is the time since the begin.
func (c *city) now() time.Duration { return time.Duration(c.loop.Now()) }

// mesh connects a node to members drawn by chance until it has the connections that members keep up (members.Config.Mesh); with all
// of them in a small fabric. Among many nodes these are the ones that are never looked up again, so they are left out.
func (d *dht) mesh(p uint32) {
	n, mesh := len(d.nodeAt), meshOf(d.c.s.Table)
	high := d.c.s.Peers().High
	if n >= manyNodes {
		return
	}
	try := func(q uint32) {
		if q != p && d.c.up[d.nodeAt[q]] && d.links.Count(p) < mesh && d.links.Count(q) < high && !d.links.Open(p, q) {
			d.links.Dial(p, q)
		}
	}
	if n <= 2*mesh {
		for _, q := range d.dice.Perm(n) {
			try(uint32(q))
		}
		return
	}
	for range 3 * mesh {
		try(uint32(d.dice.IntN(n)))
	}
}

// parted has the connections between some nodes and all others end once they count as dead, if what parts them lasts so long; when it is over
// members call one another again.
func (d *dht) parted(some *crowd, lasts func() bool, end func(func())) {
	if len(d.nodeAt) >= manyNodes {
		return // what the other end has noted is not known
	}
	apart := false
	d.c.loop.After(downAfter+tickEvery, func() {
		if apart = lasts(); !apart {
			return
		}
		for _, n := range some.list {
			d.links.Part(d.place(n), func(q uint32) bool { return !some.has(d.nodeAt[q]) })
		}
	})
	end(func() {
		for _, n := range some.list {
			if apart && d.c.up[n] {
				d.c.loop.After(time.Duration(d.dice.Int64N(int64(recall))), func() { d.mesh(d.place(n)) })
			}
		}
	})
}

// Trips implements kad.Net, by places.
func (d *dht) Trips(a, b uint32, n int) (time.Duration, bool) {
	c := d.c
	if !d.space.Up(a) || !d.space.Up(b) {
		return 0, false
	}
	if len(c.churn.cuts)+len(c.churn.slow) > 0 {
		from, to := d.nodeAt[a], d.nodeAt[b]
		if !c.reach(from, to) || !c.reach(to, from) {
			return 0, false
		}
		return c.ways(from, to, n) + c.ways(to, from, n), true
	}
	x, y := d.zone[a], d.zone[b]
	return c.between(x, y, c.s.Latency[x][y], n) + c.between(y, x, c.s.Latency[y][x], n), true
}

// search does a lookup, and counts what crosses links for it. ask is the size of its request.
func (d *dht) search(from node, key uint64, ask int, has func(place uint32) bool) *kad.Result {
	r := d.s.Find(d.place(from), key, d.c.now(), has)
	n := d.cost(r, ask)
	*d.bytes += n
	return r
}

// cost is the bytes of a lookup.
func (d *dht) cost(r *kad.Result, ask int) uint64 {
	named := max(min(kad.K, d.c.len()-2), 0)
	return uint64(r.Asked*ask + r.Answered*(kad.SizeAnswer+1+named*d.sizePeer) + r.Dials*kad.SizeStream(fabricName))
}

// names counts the holders that answers name, beside the closest: kad-dht names all, up to the most that a message may have.
func (d *dht) names(r *kad.Result, holders int) {
	const most = 4 << 20
	*d.bytes += uint64(r.Holders * min(holders*d.sizePeer, most))
}

// lookup looks for the nodes closest to a random key.
func (d *dht) lookup(from node) {
	key := d.records.dice.Uint64()
	r := d.search(from, key, kad.SizeAsk, nil)
	ok := len(r.Found) > 0 && r.Answered > 0
	d.c.links.ended(d.c.loop.Now(), ok)
	d.c.loop.Note(uint64(r.Time))
	if !ok { // an error: no figure of lookups counts it
		return
	}
	d.lookups++
	d.asked += uint64(r.Asked)
	me := d.place(from)
	if d.records.near = d.space.Nearest(key, 2, nil, d.records.near[:0]); len(d.records.near) > 0 {
		best := d.records.near[0]
		if best == me && len(d.records.near) > 1 { // a lookup does not find the asker
			best = d.records.near[1]
		}
		if best == r.Found[0] {
			d.exact++
		}
	}
	d.lookupTime.add(d.c.loop.Now(), r.Time.Seconds()*1000)
	d.lookupHops.add(d.c.loop.Now(), float64(r.Hops))
}

// bootstrap has the nodes join one after the other, before the begin: each knows one only, which invited it.
func (d *dht) bootstrap() {
	d.kept = kad.NewKept(d.space)
	d.s.Tables = d.kept
	d.links.Worth = d.worth(d.kept)
	r := d.c.loop.Rand("bootstrap")
	first := d.nodeAt[0]
	for x := range node(d.c.len()) {
		if x != first {
			d.kept.Join(d.s, d.place(x), d.place(first), 0, r.Uint64)
		}
	}
}

func (d *dht) finish(r *report.Run) {
	f := r.Figures
	if d.lookups > 0 {
		n := float64(d.lookups)
		f["lookups"] = n
		f["lookup_messages_mean"] = float64(d.asked) / n
		f["lookup_exact"] = float64(d.exact) / n
		f["lookup_hops_mean"] = d.lookupHops.mean()
		f["lookup_ms_p50"], f["lookup_ms_p99"] = d.lookupTime.all.quantile(0.5), d.lookupTime.all.quantile(0.99)
	}
	if d.finds > 0 {
		f["find_found"] = float64(d.found) / float64(d.finds)
		f["find_ms_p50"] = d.findTime.all.quantile(0.5)
	}
	if d.gpus > 0 {
		f["gpu_found"] = float64(d.gpusFound) / float64(d.gpus)
		f["gpu_ms_p50"] = d.gpuTime.all.quantile(0.5)
	}
	hours := max(d.c.loop.Now().Seconds()/3600, 1e-9)
	f["announce_bytes_per_node_hour"] = float64(d.announceBytes) / float64(d.c.len()) / hours
}
