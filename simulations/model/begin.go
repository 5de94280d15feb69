package model

import (
	"math/rand/v2"
	"slices"
)

// acquaint has nodes be connected to whom they met while what exists at the begin was made, in a cluster so small that nobody hangs up on
// anybody. Elsewhere the rest before the load has closed those connections again. Package world makes it all: who holds a partition or
// keeps an agent has announced it, keepers have streams to one another, and who made something has called those that have it now.
func (c *city) acquaint() error {
	if c.s.Start == "bootstrap" || c.s.Peers().Low < c.len()-1 {
		return nil // those that bootstrap are all connected by it, where that may be
	}
	m := &making{c: c, dice: c.loop.Rand("acquaint")}
	for i := 0; i < len(c.data.sets) && m.goesOn(); i++ {
		m.put(uint32(i))
	}
	m.birth(directoryID)
	for id := uint32(0); id < c.agents.topics && m.goesOn(); id++ {
		m.birth(id)
	}
	for f := range c.s.Topics {
		for i := uint32(0); i < uint32(max(c.s.Topics[f].Count, 1)) && m.goesOn(); i++ {
			m.air(f, c.topics.first[f]+i)
		}
	}
	return nil
}

// making is what makes the things that exist, each from a node that is drawn.
type making struct {
	c    *city
	dice *rand.Rand

	opened uint64 // connections, when the last thing was made
	vain   int    // things that were made since one brought a connection
}

// enough is after how many things that brought no connection no more are made: all that can be are connected, and there may be millions.
const enough = 1000

func (m *making) goesOn() bool {
	if now := m.c.dht.links.Opened; now != m.opened {
		m.opened, m.vain = now, 0
	}
	m.vain++
	return m.vain <= enough
}

func (m *making) maker() node { return node(m.dice.IntN(m.c.len())) }

// announce has a node look for those closest to a key, and tell them.
func (m *making) announce(n node, key uint64) {
	d := m.c.dht
	d.s.Find(d.place(n), place(key), 0, nil)
}

// call has two nodes be connected.
func (m *making) call(a, b node) {
	if a != b {
		m.c.dht.connect(a, b)
	}
}

func (m *making) put(set uint32) {
	d := m.c.data
	s, by := &d.sets[set], m.maker()
	var all []node
	for p := s.first; p < s.first+uint32(s.parts); p++ {
		for _, n := range d.keeps[p] {
			m.announce(n, uint64(p))
			all = append(all, n)
		}
	}
	slices.Sort(all)
	for _, n := range slices.Compact(all) {
		m.announce(n, m.c.rootKey(s))
		m.call(by, n)
	}
}

// birth makes an agent and, if it has a name, has the directory know it.
func (m *making) birth(id uint32) {
	k, by := m.c.agents, m.maker()
	keepers := k.keepersOf(id)
	for i, n := range keepers {
		m.announce(n, m.c.hashed("agent", uint64(id)))
		m.call(by, n)
		for _, other := range keepers[:i] {
			m.call(n, other)
		}
	}
	if id != directoryID {
		m.call(by, slices.MinFunc(k.keepersOf(directoryID), byName))
	}
}

// air makes a topic, whose agent its subscribers call.
func (m *making) air(family int, id uint32) {
	k := m.c.agents
	m.birth(k.topics + id)
	leader := slices.MinFunc(k.keepersOf(k.topics+id), byName)
	for _, n := range m.c.topics.topic(family, id).subs {
		m.call(n, slices.MinFunc(k.keepersOf(directoryID), byName))
		m.call(n, leader)
	}
}
