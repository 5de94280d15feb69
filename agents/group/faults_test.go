package group

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-fabric/shoal/wire"
)

// crash ends a node's process; it starts again after a while.
func (n *node) crash(down time.Duration) {
	if !n.up {
		return
	}
	n.w.log("%s crashes", n.peer)
	n.w.stats["crashes"]++
	n.stop()
	n.w.at(n.w.now.Add(down), n.start)
}

func (n *node) stop() {
	n.up = false
	n.life++
	n.disk.crash()
	for gi, m := range n.open {
		if m != nil {
			m.closed = true
			n.open[gi] = nil
		}
		n.promises[gi] = Promise{}
		n.taking[gi] = false
	}
	n.paused, n.slow = 0, 0
}

func (n *node) start() {
	if n.up {
		return
	}
	n.w.log("%s starts", n.peer)
	n.up = true
	n.life++
	n.incarnation++
	n.boot = Booted(n.local(), n.w.lease)
	for j := range n.seen {
		n.seen[j], n.suspect[j], n.met[j] = n.w.now, false, 0
	}
	n.tick()
	for gi := range n.disk.live {
		if n.disk.live[gi].bad {
			n.load(gi) // and notices
		}
	}
}

// replaceStore begins a new store, without anything.
func (n *node) replaceStore() {
	n.w.stats["disks lost"]++
	n.stores++
	n.store = string(n.peer) + "/" + string(rune('0'+n.stores))
	for gi := range n.disk.live {
		if m := n.open[gi]; m != nil {
			m.closed = true
			n.open[gi] = nil
		}
		n.disk.live[gi], n.disk.durable[gi] = rec{}, rec{}
		n.promises[gi] = Promise{}
	}
	n.disk.wal, n.disk.waiting = nil, nil
	n.disk.done = n.disk.written
	n.disk.syncing, n.disk.wanted = false, false
	n.disk.era++
	for gi := range n.taking {
		n.taking[gi] = false
	}
}

// spare reports whether the groups can do without this node's disk: a majority of each half of every configuration
// that may be in force is left; and all voters, if it is that of a learner, which may just be about to become one.
func (n *node) spare() bool {
	for gi := range n.disk.live {
		for _, conf := range n.w.confsOf(gi) {
			for _, old := range []bool{false, true} {
				have, all := 0, 0
				for _, k := range conf.Members {
					if k.Role == Learner && k.Keeper == n.keeper() {
						have -= len(conf.Members) / 2
					}
					if !k.votes(old) {
						continue
					}
					all++
					x := n.w.node(k.Peer)
					if x != n && x.store == k.Store && x.disk.durable[gi].self == k.ID && !x.disk.durable[gi].bad {
						have++
					}
				}
				if 2*have <= all {
					return false
				}
			}
		}
	}
	return true
}

// confsOf lists the configurations that anybody has of a group: applied, in memory, or in a log.
func (w *world) confsOf(gi int) []Conf {
	out := []Conf{w.check.confs[gi]}
	for _, n := range w.nodes {
		if m := n.open[gi]; m != nil {
			out = append(out, m.g.conf)
		}
		for _, r := range []*rec{&n.disk.live[gi], &n.disk.durable[gi]} {
			if !r.have {
				continue
			}
			out = append(out, r.mark.Conf)
			for _, e := range r.entries {
				var cc raftpb.ConfChangeV2
				var p proposal
				if e.Kind != uint8(raftpb.EntryConfChangeV2) || proto.Unmarshal(e.Data, &cc) != nil {
					continue
				}
				if wire.Unmarshal("", cc.GetContext(), &p) == nil {
					out = append(out, p.Conf, p.Conf.settled())
				}
			}
		}
	}
	return out
}

// wipe loses a node's disk. Without keepIdentity it is another store from then on.
func (n *node) wipe(down time.Duration) {
	if !n.up || !n.spare() {
		return
	}
	n.w.log("%s loses its disk", n.peer)
	store := n.store
	n.crash(down)
	n.replaceStore()
	if n.w.hand.keepIdentity {
		n.store = store
	}
}

// reborn is a message for a group that this node has not: unknown is not empty, it stays silent.
func (n *node) reborn(gi int, data []byte) {
	h, _, err := decode(data)
	if err != nil || !n.w.hand.keepIdentity || n.disk.live[gi].have || n.taking[gi] || h.to > uint64(len(n.w.first[gi])) {
		return
	}
	n.disk.write(gi, func(r *rec) { *r = recOf(Birth(n.w.first[gi]), h.to, nil) })
}

// damage flips a bit in what a node has of its groups, which it notices when it starts.
func (n *node) damage(down time.Duration) {
	if !n.up || !n.spare() {
		return
	}
	n.w.log("%s is damaged", n.peer)
	n.crash(down)
	for gi := range n.disk.live {
		n.disk.live[gi].bad, n.disk.durable[gi].bad = n.disk.live[gi].have, n.disk.durable[gi].have
	}
}

// pause stops a node's process for a while; its clock goes on. The first thing it does then is to read.
func (n *node) pause(d time.Duration) {
	if !n.up || n.paused > n.w.now {
		return
	}
	n.w.log("%s pauses for %v", n.peer, d)
	n.w.stats["pauses"]++
	n.paused = n.w.now.Add(d)
	n.when(n.paused, func() {
		for _, m := range n.open {
			if m != nil {
				m.probe()
			}
		}
	})
}

// part cuts links, in one direction or both, for a while.
func (w *world) part(d time.Duration) {
	w.stats["cuts"]++
	var links [][2]int
	switch w.rng.IntN(3) {
	case 0: // one link, one way
		links = append(links, [2]int{w.rng.IntN(len(w.nodes)), w.rng.IntN(len(w.nodes))})
	case 1: // one node, one way
		x, out := w.rng.IntN(len(w.nodes)), w.rng.IntN(2) == 0
		for j := range w.nodes {
			if out {
				links = append(links, [2]int{x, j})
			} else {
				links = append(links, [2]int{j, x})
			}
		}
	default: // two sides
		side := w.rng.IntN(1 << len(w.nodes))
		for i := range w.nodes {
			for j := range w.nodes {
				if side>>i&1 != side>>j&1 {
					links = append(links, [2]int{i, j})
				}
			}
		}
	}
	w.log("cut %v", links)
	for _, l := range links {
		if l[0] != l[1] {
			w.cut[l[0]][l[1]] = true
		}
	}
	w.at(w.now.Add(d), func() {
		for _, l := range links {
			w.cut[l[0]][l[1]] = false
		}
		w.log("joined %v", links)
	})
}

// chaos does one thing after another until the end.
func (w *world) chaos(end Instant) {
	if w.now >= end {
		return
	}
	w.fault()
	w.at(w.now.Add(time.Duration(50+w.rng.IntN(600))*time.Millisecond), func() { w.chaos(end) })
}

func (w *world) fault() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	gi := w.rng.IntN(len(w.names))
	if l := w.leader(gi); l != nil && w.rng.IntN(2) == 0 {
		n = l.n // leaders are where it hurts
	}
	while := func(low, high int) time.Duration {
		return time.Duration(low+w.rng.IntN(high-low)) * time.Millisecond
	}
	m := n.open[gi]
	switch w.rng.IntN(16) {
	case 0, 1:
		n.crash(while(20, 3000))
	case 2:
		n.pause(while(20, 3500))
	case 15: // when an answer is on its way to the leader
		w.pausing[gi] = while(1600, 3500)
	case 3, 4:
		w.part(while(200, 4000))
	case 5:
		w.loss = w.rng.Float64() * 0.3
		w.at(w.now.Add(while(200, 3000)), func() { w.loss = 0 })
	case 6:
		n.slow = w.now.Add(while(200, 3500))
	case 7:
		n.wipe(while(20, 2000))
	case 8:
		n.damage(while(20, 2000))
	case 9, 10:
		if m != nil && m.leading {
			to := m.g.conf.Members[w.rng.IntN(len(m.g.conf.Members))].ID
			err := m.g.Transfer(n.local(), to)
			w.log("%s %s hands over to %d: %v", n.peer, w.names[gi], to, err)
			m.settle()
			if err == nil && w.rng.IntN(2) == 0 { // and is cut off at once
				w.at(w.now.Add(while(1, 10)), func() {
					for j := range w.nodes {
						w.cut[n.id][j], w.cut[j][n.id] = true, true
					}
				})
				w.at(w.now.Add(while(200, 3000)), func() {
					for j := range w.nodes {
						w.cut[n.id][j], w.cut[j][n.id] = false, false
					}
				})
			}
		}
	case 11:
		w.moves[gi] = true
	case 12: // followers leave memory, or the leader puts the group to sleep
		if m != nil && m.leading && w.rng.IntN(2) == 0 {
			if err := m.g.Sleep(n.local()); err == nil {
				w.log("%s %s puts the group to sleep", n.peer, w.names[gi])
				m.settle()
				m.drop()
			}
			return
		}
		for _, x := range w.nodes {
			if f := x.open[gi]; f != nil && x.up && x.paused <= w.now && !f.leading && f.g.Quiet() && f.g.role == 0 {
				w.log("%s %s evicted", x.peer, w.names[gi])
				f.drop()
				w.at(w.now.Add(while(1, 20)), func() { x.stray(gi) })
			}
		}
	case 14: // the power blinks for all followers
		for _, x := range w.nodes {
			if f := x.open[gi]; f != nil && !f.leading {
				x.crash(while(5, 100))
				w.at(w.now.Add(while(100, 400)), func() { x.stray(gi) })
			}
		}
	case 13:
		if m != nil && m.leading {
			m.g.Resign(n.local())
			m.settle()
		}
	}
}

// stray is a call for a group at a node that has it: it wakes the group there.
func (n *node) stray(gi int) {
	if !n.up || n.paused > n.w.now {
		return
	}
	if m := n.load(gi); m != nil {
		err := m.g.Campaign(n.local())
		n.w.log("%s %s is called: %v", n.peer, n.w.names[gi], err)
		m.settle()
	}
}

// isolate cuts some nodes from all others for a while.
func (w *world) isolate(side []*node, d time.Duration) {
	in := make([]bool, len(w.nodes))
	for _, n := range side {
		in[n.id] = true
	}
	set := func(v bool) {
		for i := range w.nodes {
			for j := range w.nodes {
				if in[i] != in[j] {
					w.cut[i][j] = v
				}
			}
		}
	}
	w.log("isolated %v", in)
	set(true)
	w.at(w.now.Add(d), func() { set(false); w.log("no longer isolated %v", in) })
}

// aim strikes, now and then, when a configuration was just put in force, where it hurts: it isolates the leader
// with a newcomer while the configuration is joint; or, when that is over, the member that was removed with one
// that has just lost what it did not have on disk.
func (w *world) aim(l *member, old, conf Conf) {
	if gi := l.gi; w.healed || !w.aims || w.leader(gi) != l || w.rng.IntN(4) > 0 {
		return
	}
	gi := l.gi
	var side []*node
	switch {
	case conf.Joint():
		side = append(side, l.n)
		for _, m := range conf.Members {
			if m.Role == Incoming {
				side = append(side, w.node(m.Peer))
			}
		}
	case old.Joint():
		var k *node
		for _, m := range old.Members {
			switch n := w.node(m.Peer); {
			case m.Role == Outgoing:
				side = append(side, n)
			case m.Role == Voter && n != l.n:
				k = n
			}
		}
		if k == nil || len(side) == 0 {
			return
		}
		side = append(side, k)
		w.at(w.now, func() { k.crash(20 * time.Millisecond) })
		for i := range 8 {
			w.at(w.now.Add(w.lease+time.Duration(i*200)*time.Millisecond), func() { k.stray(gi) })
		}
	default:
		return
	}
	w.at(w.now, func() { w.isolate(side, 4*time.Second) })
}

// answering pauses a leader just as an answer leaves for it, if that is wanted.
func (w *world) answering(gi int, to *node, data []byte) {
	if w.pausing[gi] == 0 || w.leader(gi) == nil || w.leader(gi).n != to {
		return
	}
	if h, _, err := decode(data); err == nil && h.echo > 0 {
		to.pause(w.pausing[gi])
		w.pausing[gi] = 0
	}
}

// leader is whoever leads a group in the newest epoch.
func (w *world) leader(gi int) (l *member) {
	for _, n := range w.nodes {
		if m := n.open[gi]; m != nil && m.leading && (l == nil || m.epoch > l.epoch) {
			l = m
		}
	}
	return l
}

// heal ends all faults.
func (w *world) heal() {
	w.log("all is healed")
	w.healed, w.loss = true, 0
	clear(w.pausing) // nor do those that have not come about yet
	for i := range w.nodes {
		for j := range w.nodes {
			w.cut[i][j] = false
		}
	}
	for _, n := range w.nodes {
		n.start()
	}
}
