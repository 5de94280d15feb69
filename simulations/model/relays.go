package model

import (
	"time"

	"github.com/shoal-fabric/shoal/simulations/flow"
	"github.com/shoal-fabric/shoal/simulations/report"
)

// A node behind NAT is reached through a relay by others that are behind one. Anybody else is called back directly at once (host/callback.go), and
// package memnet punches no holes, as package host in a simulated network does not either.

// buildRelays has each node behind NAT have a relay, which is drawn: in production one of the first two that give it a place.
func (l *links) buildRelays() {
	c := l.c
	var open, hidden []node
	for i := range c.len() {
		if n := node(i); c.of(n).NAT {
			hidden = append(hidden, n)
		} else {
			open = append(open, n)
		}
	}
	if len(hidden) == 0 || len(open) == 0 || c.len() >= manyNodes { // among very many two that are hidden are as far apart as any
		return
	}
	l.circuits = c.says("libp2p/circuit/relay", report.ByOther)
	l.relay = make(map[node]node, len(hidden))
	for _, n := range hidden {
		l.relay[n] = open[c.hashed("relay", uint64(n))%uint64(len(open))]
	}
}

// via returns the relay between two nodes, if they need one: that of b.
func (l *links) via(a, b node) (r node, relayed bool) {
	if l.relay == nil {
		return 0, false
	}
	if _, hidden := l.relay[a]; !hidden {
		return 0, false
	}
	r, relayed = l.relay[b]
	return r, relayed
}

// carry counts bytes from a to b.
func (l *links) carry(a, b node, kind *uint64, bytes uint64) {
	*kind += bytes
	if _, relayed := l.via(a, b); relayed {
		*l.circuits += bytes
	}
}

// send is a transfer, as flow.Net has it.
func (l *links) send(from, to node, bytes uint64, wait time.Duration, most float64, done flow.Moved) {
	if _, relayed := l.via(from, to); relayed {
		then := done
		done = func(moved uint64, all bool) {
			*l.circuits += moved
			then(moved, all)
		}
	}
	l.net.Send(from, to, bytes, wait, most, done)
}
