package model

import (
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/simulations/actors"
	"github.com/shoal-fabric/shoal/simulations/event"
)

// disk is when the fsync of a node began that is done last, and when it is done.
type disk struct{ joined, synced event.Time }

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
func (k *agents) Born(n node) time.Duration { return time.Duration(k.c.bodies[n].since) }

// Way is how long a message takes, about.
func (k *agents) Way(from, to node) time.Duration { return k.c.rtt(from, to) / 2 }

// Hears reports whether two nodes have signs of life of each other.
func (k *agents) Hears(a, b node) bool { return k.c.reach(a, b) && k.c.reach(b, a) }

// Calm reports whether nothing keeps messages back.
func (k *agents) Calm() bool { return len(k.c.churn.cuts) == 0 && len(k.c.churn.slow) == 0 }

// Sent counts messages that were not posted.
func (k *agents) Sent(bytes int) { *k.c.links.posts += uint64(bytes) }

// Post brings a message from keeper to keeper, between whom a stream stays.
func (k *agents) Post(from, to node, bytes int, f func()) {
	k.c.dht.hold(from, to)
	k.post(from, to, k.c.links.posts, bytes, f)
}

// post brings a message, if it can get there when it is sent and when it arrives.
func (k *agents) post(from, to node, kind *uint64, bytes int, f func()) {
	c := k.c
	if !c.up[from] {
		return
	}
	c.links.carry(from, to, kind, uint64(bytes))
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
	k.c.links.send(from, to, bytes, k.c.dial(from, to)+k.c.way(from, to), 0, func(moved uint64, all bool) {
		*k.c.links.ships += moved
		k.c.loop.After(0, func() { f(all) })
	})
}

// Spare finds a node that may become a keeper: rather in none of the zones of those that are.
func (k *agents) Spare(at node, not []node, zones []string) (node, bool) {
	fits := func(n node) bool { return k.Hears(at, n) && !slices.Contains(not, n) }
	apart := func(n node) bool { z := k.Zone(n); return z == "" || !slices.Contains(zones, z) }
	list := k.c.some(k.dice, 1, func(n node) bool { return fits(n) && apart(n) })
	if len(list) == 0 {
		list = k.c.some(k.dice, 1, fits)
	}
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

// Gone reports whether a node has been away, or silent to another, for long.
func (k *agents) Gone(at, n node) bool {
	since, gone := k.c.gone(n)
	if !gone {
		since, gone = k.c.churn.silent(at, n)
	}
	return gone && k.c.loop.Now()-since >= event.At(actors.Missing)
}

// Rate is what a link lets through.
func (k *agents) Rate(from, to node) float64 {
	return min(orBoundless(float64(k.c.of(from).Up)), orBoundless(float64(k.c.of(to).Down)))
}

// Zone is what a node's label says.
func (k *agents) Zone(n node) string { return k.c.of(n).Labels["zone"] }

// Peer is a node's name.
func (k *agents) Peer(n node) shoal.PeerID { return peerID(n) }

// Node is the inverse.
func (k *agents) Node(p shoal.PeerID) node { return nodeOf(p) }

// Dice draws from [0, n).
func (k *agents) Dice(n int64) int64 { return k.dice.Int64N(n) }

// Count counts a call of a leaf.
func (k *agents) Count(leaf string) { *k.c.leaves[leaf]++ }

// beating is the signs of life from one node to another, as long as they are for some agent: they are those of the nodes, however many agents
// both keep.
type beating struct {
	agents int
	since  event.Time
}

// Use has one more agent need signs of life from a node to another.
func (k *agents) Use(from, to node) {
	b := k.beating[pair(from, to)]
	if b.agents++; b.agents == 1 {
		b.since = k.c.loop.Now()
	}
	k.beating[pair(from, to)] = b
}

// Release has one less need them; they are counted when none does.
func (k *agents) Release(from, to node) {
	b := k.beating[pair(from, to)]
	if b.agents--; b.agents > 0 {
		k.beating[pair(from, to)] = b
		return
	}
	delete(k.beating, pair(from, to))
	k.beaten(b)
}

func (k *agents) beaten(b beating) {
	*k.c.links.posts += uint64(time.Duration(k.c.loop.Now()-b.since)/actors.Beat) * beatBytes
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
