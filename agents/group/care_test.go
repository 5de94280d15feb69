package group

import (
	"time"
)

// tick is what a node does now and then: it looks who is there, and, for groups that it leads, after members.
func (n *node) tick() {
	n.after(250*time.Millisecond, func() {
		n.look()
		for gi := range n.open {
			if m := n.open[gi]; m != nil && m.leading && !n.w.calm {
				n.manage(m)
			}
		}
		n.tick()
	})
}

// look keeps liveness: two-way, with incarnations, and withheld by a node whose disk is stuck.
func (n *node) look() {
	w := n.w
	for j, x := range w.nodes {
		if j == n.id {
			continue
		}
		well := x.up && x.paused <= w.now && x.slow <= w.now.Add(-w.lease/2) && !w.cut[j][n.id] && !w.cut[n.id][j] && w.rng.Float64() >= w.loss
		switch {
		case well:
			if n.met[j] == x.incarnation && !n.suspect[j] {
				n.seen[j] = w.now
				continue
			}
			n.seen[j], n.suspect[j], n.met[j] = w.now, false, x.incarnation
			for gi := range n.open {
				if m := n.open[gi]; m != nil {
					m.g.Alive(n.local(), x.peer, x.incarnation)
					w.check.waits(m, x)
					m.settle()
				}
			}
		case !n.suspect[j] && w.now > n.seen[j].Add(w.lease):
			n.suspect[j] = true
			for gi := range n.open {
				if m := n.open[gi]; m != nil {
					m.g.Suspect(n.local(), x.peer)
					m.settle()
				}
			}
		}
	}
}

// manage replaces keepers that are gone, keeps three voters, and carries out moves.
func (n *node) manage(m *member) {
	w := n.w
	conf := m.g.conf
	if conf.Joint() {
		return
	}
	var gone, voters []Member
	lostMember := func(k Member) bool {
		x := w.node(k.Peer)
		return !w.cut[n.id][x.id] && x.store != k.Store || n.suspect[x.id] && w.now > n.seen[x.id].Add(3*time.Second)
	}
	for _, k := range conf.Members {
		if k.Role == Voter && lostMember(k) {
			w.victims[m.gi] = k.ID // whatever was planned
		}
	}
	for _, k := range conf.Members {
		lost := lostMember(k)
		switch {
		case k.Role == Learner && lost:
			_ = m.g.Change(n.local(), Change{Remove: []uint64{k.ID}}) // if it cannot be now, then later
			m.settle()
			return
		case k.Role == Learner:
			m.promote(k)
			return
		case lost:
			gone = append(gone, k)
		}
		voters = append(voters, k)
	}
	switch {
	case len(gone) > 0:
		w.victims[m.gi] = gone[0].ID
	case len(voters) < 3:
		w.victims[m.gi] = 0
	case w.moves[m.gi]:
		w.moves[m.gi] = false
		w.victims[m.gi] = voters[w.rng.IntN(len(voters))].ID
	default:
		return
	}
	for _, i := range w.rng.Perm(len(w.nodes)) {
		x := w.nodes[i]
		taken := n.suspect[i] || w.now > n.seen[i].Add(w.lease) && i != n.id
		for _, k := range conf.Members {
			taken = taken || k.Peer == x.peer && k.Store == x.store
		}
		if !taken {
			err := m.g.Change(n.local(), Change{Learn: []Keeper{x.keeper()}})
			w.log("%s %s learns %s: %v", n.peer, w.names[m.gi], x.peer, err)
			m.settle()
			return
		}
	}
}

// promote has a learner take the place of the victim.
func (m *member) promote(k Member) {
	w := m.n.w
	ch := Change{Promote: []uint64{k.ID}}
	if v, ok := m.g.conf.Member(w.victims[m.gi]); ok && v.Role == Voter {
		ch.Remove = []uint64{v.ID}
	}
	err := m.g.Change(m.n.local(), ch)
	w.log("%s %s promotes %d for %v: %v", m.n.peer, w.names[m.gi], k.ID, ch.Remove, err)
	if err == nil {
		w.stats["swaps"]++
	}
	m.settle()
}

// client makes turns and reads of one group, one after the other, and repeats what is not answered.
func (w *world) client(gi, id int) {
	turn := uint64(0)
	at := w.rng.IntN(len(w.nodes))
	hint := func(p shoalPeer) {
		if x := w.node(p); x != nil {
			at = x.id
		} else {
			at = w.rng.IntN(len(w.nodes))
		}
	}
	var next func()
	next = func() {
		turn++
		req := uint64(id)<<32 | turn
		done := false
		go2 := func() {
			if !done {
				done = true
				w.at(w.now.Add(time.Duration(5+w.rng.IntN(120))*time.Millisecond), next)
			}
		}
		var try func()
		try = func() {
			if done {
				return
			}
			n := w.nodes[at]
			moved := func(p shoalPeer) { w.send(n, n, func() { hint(p) }) }
			w.send(n, n, func() {
				if n.up && n.paused <= w.now {
					n.writeTurn(gi, req, func() { w.at(w.now, go2) }, moved)
				}
			})
			if w.rng.IntN(3) == 0 {
				r := w.nodes[w.rng.IntN(len(w.nodes))]
				w.send(n, r, func() { r.readTurn(gi, func() {}, func(shoalPeer) {}) })
			}
			w.at(w.now.Add(time.Duration(150+w.rng.IntN(300))*time.Millisecond), func() {
				if !done {
					if w.rng.IntN(3) == 0 {
						at = w.rng.IntN(len(w.nodes))
					}
					try()
				}
			})
		}
		try()
	}
	next()
}
