package model

import (
	"crypto/ed25519"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/simulations/event"
	"github.com/shoal-fabric/shoal/simulations/report"
	"github.com/shoal-fabric/shoal/simulations/scenario"
	"github.com/shoal-fabric/shoal/wire"
)

// What members of a fabric say to one another to know who is there; see members.Config and members/run.go.
const (
	membersEvery = time.Minute // all that is said in it is one event

	gossipEvery = time.Second
	tickEvery   = gossipEvery / 2
	hush        = 3 * gossipEvery / 2 // a peer is asked when it was silent for so long
	fanOut      = 3
	mostProbed  = 16
	pullEvery   = 15 * time.Second
	beatEvery   = 10 * time.Second
	loadEvery   = 2 * time.Second
	mesh        = 48 // connections that are kept up
	meshAlone   = 24 // and without a table

	askBytes  = 2 + askHead + 2 // a push without news, and its reply, with the frames of rpc; the method has 12 letters
	pullBytes = askBytes + 14   // a pull of who knows the same, and its reply

	// What either end of a new connection asks of the other, with the reply and the begin of the stream: a credential for its own (of two
	// links) and a record, which is not counted here; and libp2p's identify. A test holds them against those of complete nodes.
	helloBytes, identifyBytes = 1131, 1146
)

// members is the district of liveness: what it costs. Who is there is known from c.up and the delays of those who ask.
type members struct {
	c      *city
	bytes  *uint64
	until  time.Duration     // up to which all nodes together are counted
	items  []float64         // by class: bytes of a node's record in a push
	told   map[node]*telling // of nodes that have work
	extras float64           // bytes of records of changed load, that are not counted yet

	hello, identify *uint64
	opened, first   uint64 // connections that are counted, and those of the begin
	item            uint64 // bytes of a node's record in a push, on average
}

// telling is what a node last said of itself.
type telling struct {
	at      event.Time
	load    shoal.Load
	pending bool // it will look whether its load has changed
}

func (c *city) buildMembers() error {
	m := &members{
		c: c, bytes: c.says("members.push", report.ByMembers), told: map[node]*telling{},
		hello: c.says("hello", report.ByMembers), identify: c.says("ipfs/id", report.ByOther),
		opened: c.dht.links.Opened, first: c.dht.links.Opened,
	}
	for i := range c.s.Classes {
		size := itemSize(c.s, &c.s.Classes[i])
		m.items = append(m.items, float64(size))
		m.item += uint64(size * c.s.Classes[i].Count)
	}
	m.item /= uint64(c.len())
	c.members = m
	c.every(membersEvery, m.count)
	c.finishers = append(c.finishers, func(r *report.Run) {
		m.count()
		r.Figures["connections_per_node_hour"] = float64(m.opened-m.first) / float64(c.len()) / max(c.loop.Now().Seconds()/3600, 1e-9)
	})
	return nil
}

// itemSize is the bytes of the record of a node in a push: those of a real one.
func itemSize(s *scenario.Scenario, cl *scenario.Class) int {
	a := cl.Attributes()
	a.Labels = map[string]string{"class": cl.Name, "region": s.Regions[0].Name}
	for k, v := range cl.Labels {
		a.Labels[k] = v
	}
	for i := range a.GPUs {
		a.GPUs[i].ID += "-0000"
	}
	a.Rates.Memory = 10
	r := view.Record{
		Fabric: strings.Repeat("f", len(fabricName)-len("/shoal/")), Life: 1 << 40, Seq: 1000, At: 1.7e12, TTL: 30, Addresses: []string{"/ip4/10.0.0.100/tcp/4170"}, Attributes: a,
		Load: shoal.Load{Slots: max(cl.Cores, 1), DiskFree: uint64(cl.Disk), HeldBytes: 1 << 24, TaskSecs: 0.1234},
	}
	env, err := r.Seal(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		return 0 // a class whose labels are too long for a record: production refuses it
	}
	return len(wire.Marshal(view.Item{Kind: view.KindRecord, Fact: env, Age: 1000}))
}

// beat is the time between records that say nothing new, where n members are known.
func beat(n float64, every time.Duration, most float64) float64 {
	return min(max(every.Seconds(), n*every.Seconds()/100), most)
}

// conns is how many connections to members a node looks after, on average: those that members keep up, and with a table those of the
// DHT besides; without one they pass, see room members.
func (m *members) conns(n int) float64 {
	switch {
	case !m.c.s.Table:
		return float64(min(n-1, contacts))
	case m.c.len() >= manyNodes: // among so many they are not noted at both ends
		return float64(min(n-1, mesh))
	}
	return min(max(float64(min(n-1, mesh)), m.open()), float64(n-1))
}

// open is how many connections a node has, on average.
func (m *members) open() float64 {
	d := m.c.dht
	step, seen, sum := max(m.c.len()/64, 1), 0, 0
	for x := 0; x < m.c.len(); x += step {
		if m.c.up[x] {
			sum += d.links.Count(d.place(node(x)))
			seen++
		}
	}
	return float64(sum) / float64(max(seen, 1))
}

func meshOf(table bool) int {
	if table {
		return mesh
	}
	return meshAlone
}

// known is how many members a node knows.
func (m *members) known(n int) float64 {
	if m.c.s.Table {
		return float64(n)
	}
	return m.conns(n) + 1
}

// copies is how often a record crosses a link.
func (m *members) copies(n int) float64 {
	if m.c.s.Table {
		return rumourCopies(min(m.conns(n), fanOut)) * float64(n)
	}
	return m.conns(n) // each peer in contact gets it from its owner
}

// asks is how many are asked in a round whether they live, of so many connections: those who were silent for longer than the hush, so at most each in
// every second one.
func (m *members) asks(conns float64) float64 {
	return min(conns/2, max(fanOut, min(mostProbed, (max(conns, m.open())+2)/3)))
}

// rumourCopies is how often a node tells a rumour, on average: each is told it once; and it ends after the round in which two have said that they knew it,
// which is nearly always the first. TestCopiesOfARumour.
func rumourCopies(round float64) float64 { return 1 + 0.92*round }

// count adds up what all nodes have said since the last time, as if all were idle, and the records of those that were not.
func (m *members) count() {
	c := m.c
	fresh := c.dht.links.Opened - m.opened
	m.opened += fresh
	*m.hello += fresh * 2 * (helloBytes + m.item) // each end asks the other
	*m.identify += fresh * 2 * identifyBytes
	span := (c.now() - m.until).Seconds()
	m.until = c.now()
	up, item := 0, 0.0
	for n, yes := range c.up {
		if yes {
			up++
			item += m.items[c.bodies[n].class]
		}
	}
	if up < 2 {
		return
	}
	conns := m.conns(up)
	rate := m.asks(conns)*askBytes/gossipEvery.Seconds() + pullBytes/pullEvery.Seconds()
	records := item * m.copies(up) / beat(m.known(up), beatEvery, 60*beatEvery.Seconds())
	*m.bytes += uint64((float64(up)*rate+records)*span + m.extras)
	m.extras = 0
}

// changed has a node look, at its next tick, whether its load is another than the one that it told: members.due.
func (m *members) changed(n node) {
	t := m.told[n]
	if t == nil {
		if len(m.told) >= maxAskers {
			clear(m.told)
		}
		t = &telling{at: -event.At(time.Duration(float64(beatEvery) * m.phase(n))), load: shoal.Load{Slots: max(m.c.of(n).Cores, 1)}}
		m.told[n] = t
	}
	if !t.pending {
		t.pending = true
		m.look(n, t, m.c.loop.Now())
	}
}

// phase is when in a second a node ticks, and when in a beat it told itself first: from 0 to 1.
func (m *members) phase(n node) float64 {
	return float64(m.c.hashed("phase", uint64(n))>>11) / (1 << 53)
}

// look is at the first tick from a time on.
func (m *members) look(n node, t *telling, from event.Time) {
	c, tick := m.c, event.At(tickEvery)
	first := event.Time(m.phase(n) * float64(tick))
	at := first + (from-first+tick-1)/tick*tick
	c.loop.After(time.Duration(max(at-c.loop.Now(), 0)), func() {
		up := c.len() - c.downs
		every := event.At(time.Duration(beat(m.known(up), loadEvery, 3600) * 1e9))
		x := c.machines.of(n)
		l := c.machines.load(x, peerID(n))
		l.TaskSecs = x.queue.Mean()
		now := c.loop.Now()
		switch {
		case !c.up[n] || !differ(l, t.load):
			t.pending = false
		case now-t.at < every:
			m.look(n, t, t.at+every)
		default: // what it would have said in its next beat is said now
			b := beat(m.known(up), beatEvery, 60*beatEvery.Seconds())
			since := (now - t.at).Seconds() / b
			m.extras += (1 - (since - float64(int(since)))) * m.items[c.bodies[n].class] * m.copies(up)
			t.at, t.load, t.pending = now, l, false
			if l.Running+l.Queued > 0 {
				t.pending = true
				m.look(n, t, now+every)
			}
		}
	})
}

// differ is members.differ, for what changes in the model.
func differ(a, b shoal.Load) bool {
	far := func(x, y float64) bool { return x != y && (x > y*1.05 || y > x*1.05) }
	return a.Running != b.Running || a.Queued != b.Queued || far(a.TaskSecs, b.TaskSecs)
}
