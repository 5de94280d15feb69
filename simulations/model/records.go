package model

import (
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
	"github.com/shoal-fabric/shoal/simulations/kad"
	"github.com/shoal-fabric/shoal/simulations/scenario"
)

// Times of announcing: dht.Config, node/announce.go.
const (
	announceEvery = 10 * time.Hour // each key again
	validFor      = 24 * time.Hour
	recordEvery   = 6 * time.Hour // a node's signed record again
	sweepEvery    = 10 * time.Minute
	sweepSample   = 64 // of the lookups of a sweep that are done one by one; the others cost what these cost on average

	recordBytes = 640 // a signed record in PUT_VALUE: an estimate
)

// records are what was said in the DHT: who holds what. An announcement lies with the K nodes that were closest to the key, of those that
// were up; one that goes down forgets it, as package dht throws its hints away at each start, until it is announced again or the
// announcer, if it has that node in its table, tells it at their next connection.
type records struct {
	d    *dht
	dice *rand.Rand
	near []uint32

	held  map[uint64][]word // by key
	keys  []int             // by class: capability keys of one of its nodes
	gpus  []node            // the nodes that have GPUs
	judge *judge
}

// word is an announcement: by whom, when last.
type word struct {
	by node
	at time.Duration
}

func (s *records) init(d *dht) {
	s.d, s.dice, s.held = d, d.c.loop.Rand("dht"), map[uint64][]word{}
	c := d.c
	for i := range c.s.Classes {
		s.keys = append(s.keys, len(expr.MemberKeys(&shoal.Member{Attributes: attributes(&c.s.Classes[i])})))
	}
	for i := range c.len() {
		if len(c.of(node(i)).GPUs) > 0 {
			s.gpus = append(s.gpus, node(i))
		}
	}
	s.judge = newJudge(c)
	c.every(sweepEvery, s.sweep)
}

// attributes are those of a class, as far as keys are made of them.
func attributes(k *scenario.Class) (a shoal.Attributes) {
	a = shoal.Attributes{OS: "linux", Arch: "amd64", CPUs: k.Cores, Memory: uint64(k.Memory), Labels: k.Labels}
	for _, g := range k.GPUs {
		for range max(g.Count, 1) {
			a.GPUs = append(a.GPUs, shoal.GPU{Vendor: g.Vendor, Model: g.Model, Memory: uint64(g.Memory)})
		}
	}
	return a
}

// provide notes that a node announces a key; what was announced when the cluster stood costs nothing.
func (s *records) provide(n node, key uint64) {
	now := s.d.c.now()
	list := s.held[key]
	for i := range list {
		if list[i].by == n {
			list[i].at = now
			return
		}
	}
	s.held[key] = append(list, word{n, now})
	if now > 0 {
		s.announce(n, place(key))
	}
}

// place is where a key lies.
func place(key uint64) uint64 {
	key = (key ^ 0x6b6579) * 0x9e3779b97f4a7c15
	key ^= key >> 32
	key *= 0xd6e8feb86659fd93
	return key ^ key>>32
}

// announce has a node put one key: a lookup, and a message to each of the closest.
func (s *records) announce(n node, at uint64) *kad.Result {
	r := s.d.search(n, at, kad.SizeAsk, nil)
	told := uint64(len(r.Found) * kad.SizeAnnounce)
	*s.d.bytes += told
	s.d.announceBytes += s.d.cost(r, kad.SizeAsk) + told
	return r
}

// keeper returns a test for who keeps an announcement of the key at a place, made by one of list.
func (s *records) keeper(at uint64, list []word) func(p uint32) bool {
	space, now := s.d.space, s.d.c.now()
	type set struct {
		w    word
		near []uint32
	}
	var sets []set
	for _, w := range list {
		if now-w.at > validFor {
			continue
		}
		if i := len(sets) - 1; i >= 0 && sets[i].w.at == w.at {
			sets = append(sets, set{w, sets[i].near})
			continue
		}
		s.near = space.Nearest(at, kad.K, func(p uint32) bool {
			since, ever := space.Since(p)
			return !ever || since > w.at || space.Up(p) // it was up then, as far as is known now
		}, s.near[:0])
		sets = append(sets, set{w, append([]uint32(nil), s.near...)})
	}
	return func(p uint32) bool {
		for _, x := range sets {
			for _, q := range x.near {
				if q != p {
					continue
				}
				since, ever := space.Since(p)
				if !ever || since <= x.w.at {
					return true
				}
				if by := x.w.by; s.d.c.up[by] && s.knows(s.d.place(by), p, now) {
					return true // it was told anew when it came back
				}
			}
		}
		return false
	}
}

// knows reports whether b is in the table of a.
func (s *records) knows(a, b uint32, now time.Duration) bool {
	t, ok := s.d.s.Tables.(*kad.Implied)
	return ok && t.Has(a, b, now)
}

// find looks for the holders of a key. It returns after what time the first answer named some, when the look-up ended, and
// whether one of them is up. Keys that nobody announced by name are those of attributes, datasets and agents, which so many nodes share.
func (s *records) find(from node, key uint64, sharers int) (heard, whole time.Duration, ok bool) {
	list, known := s.held[key]
	if !known {
		list = []word{{by: from}}
	} else {
		sharers = len(list)
	}
	r := s.d.search(from, place(key), kad.SizeSeek, s.keeper(place(key), list))
	s.d.names(r, sharers)
	if r.HeardIn < 0 {
		return r.Time, r.Time, false
	}
	for _, w := range list {
		ok = ok || s.d.c.up[w.by]
	}
	return r.HeardIn, r.Time, ok
}

func (d *dht) findPart(load int, q scenario.Request) {
	family := d.c.s.Family(&d.c.s.Load[load])
	if family < 0 {
		return
	}
	d.s.First = true // the asker reads on to the first holder only
	took, _, ok := d.records.find(node(q.Node), uint64(d.c.data.part(family, q.Item, q.Part)), 1)
	d.s.First = false
	d.finds++
	d.c.links.ended(d.c.loop.Now(), ok)
	d.c.loop.Note(uint64(took))
	if ok {
		d.found++
		d.findTime.add(d.c.loop.Now(), took.Seconds()*1000)
	}
}

// findGPU looks for a node with a GPU by the capability key, and checks its signed record.
func (d *dht) findGPU(from node) {
	const key = 0x677075
	s := &d.records
	var list []word
	// The answer names all who announced it, in no order; the first few are tried.
	for range min(scenario.FindMost, len(s.gpus)) {
		list = append(list, word{by: s.gpus[s.dice.IntN(len(s.gpus))]})
	}
	d.s.First = true
	r := d.search(from, place(key), kad.SizeSeek, s.keeper(place(key), list))
	d.names(r, len(s.gpus))
	d.s.First = false
	ok := false
	if r.HeardIn >= 0 {
		for _, w := range list {
			if d.c.up[w.by] && s.judge.sees(w.by) {
				ok = true
				break
			}
		}
	}
	d.gpus++
	d.c.links.ended(d.c.loop.Now(), ok)
	d.c.loop.Note(uint64(r.HeardIn))
	if ok {
		d.gpusFound++
		d.gpuTime.add(d.c.loop.Now(), r.HeardIn.Seconds()*1000)
	}
}

// provideRandom announces a random key.
func (d *dht) provideRandom(from node) {
	r := d.records.announce(from, d.records.dice.Uint64())
	d.c.loop.Note(uint64(r.Time))
	d.c.links.ended(d.c.loop.Now(), r.Answered > 0)
}

// sweep is what all nodes announce again in a while: each key once in announceEvery, when its turn comes by its place. A node's keys
// of one region, that is of the places that the same K nodes are closest to, share a lookup.
func (s *records) sweep() {
	c, now := s.d.c, s.d.c.now()
	turns := uint64(announceEvery / sweepEvery)
	turn := uint64(now/sweepEvery) % turns
	region := max(0, bits.Len(uint(c.len()/kad.K))-1) // bits
	type job struct {
		n      node
		region uint64
	}
	own, puts := map[job]struct{}{}, 0
	for key, list := range s.held { // nothing that is done here depends on the order
		at := place(key)
		if part, _ := bits.Mul64(at, turns); part != turn {
			continue
		}
		for i := range list {
			if w := &list[i]; c.up[w.by] {
				w.at = now
				puts++
				own[job{w.by, at >> (64 - region)}] = struct{}{}
			}
		}
	}
	// Capability keys and signed records: the same for all nodes of a class.
	more := 0.0
	for i, k := range c.s.Classes {
		more += float64(k.Count) * (float64(s.keys[i])/float64(turns) + float64(sweepEvery)/float64(recordEvery))
		puts += int(float64(k.Count*s.keys[i]) / float64(turns))
	}
	lookups := len(own) + int(more)
	if lookups == 0 {
		return
	}
	var cost uint64
	n := min(lookups, sweepSample)
	for range n {
		from, ok := c.anyone(s.dice)
		if !ok {
			return
		}
		cost += s.d.cost(s.d.s.Find(s.d.place(from), s.dice.Uint64(), now, nil), kad.SizeAsk)
	}
	all := cost*uint64(lookups)/uint64(n) + uint64(puts)*kad.K*kad.SizeAnnounce
	for _, k := range c.s.Classes {
		all += uint64(float64(k.Count) * float64(sweepEvery) / float64(recordEvery) * kad.K * recordBytes)
	}
	*s.d.bytes += all
	s.d.announceBytes += all
}
