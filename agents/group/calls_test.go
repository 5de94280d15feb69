package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/shoal-fabric/shoal"
)

// receive takes a message from the network.
func (n *node) receive(gi int, from shoal.PeerID, data []byte) {
	m := n.load(gi)
	if m == nil {
		n.reborn(gi, data)
		return
	}
	if n.w.trace != nil || n.w.lines != nil {
		h, x, err := decode(data)
		n.w.log("%s %s from %s: %d>%d notice %d %v %v", n.peer, n.w.names[gi], from, h.from, h.to, h.notice, describe(x), err)
	}
	if err := m.g.Step(n.local(), from, data); err != nil {
		n.w.check.fail("a message was malformed", "%v", err)
		return
	}
	m.settle()
}

// write is a client's turn at a node: it is proposed, if the group lets it, whatever this node believes.
func (n *node) writeTurn(gi int, req uint64, ack func(), moved func(shoal.PeerID)) {
	m := n.load(gi)
	if m == nil {
		moved("")
		return
	}
	state := n.disk.live[gi].state
	if m.leading {
		if i := slices.Index(state, req); i >= 0 {
			n.w.check.again(m, i, req)
			ack()
			return
		}
		if slices.Contains(m.staged, req) {
			for _, x := range m.waiting {
				if x.req == req {
					m.waiting = append(m.waiting, waiter{x.pos, x.conf, req, ack})
					return
				}
			}
			return
		}
	}
	data := binary.BigEndian.AppendUint64(nil, req)
	data = binary.BigEndian.AppendUint64(data, uint64(len(state)+len(m.staged)))
	pos, err := m.g.Propose(n.local(), data)
	switch {
	case err == nil:
		m.staged = append(m.staged, req)
		m.waiting = append(m.waiting, waiter{pos, len(m.confs) - 1, req, ack})
		n.w.log("%s %s proposes %d at %v", n.peer, n.w.names[gi], req, pos)
	default:
		m.refused(err, moved)
	}
	m.settle()
}

func (m *member) refused(err error, moved func(shoal.PeerID)) {
	var nl *NotLeader
	if !errors.As(err, &nl) {
		return
	}
	if nl.Leader.ID == 0 {
		_ = m.g.Campaign(m.n.local()) // that another is known now is no matter
	}
	moved(nl.Leader.Peer)
}

// readTurn is a client's read at a node.
func (n *node) readTurn(gi int, done func(), moved func(shoal.PeerID)) {
	m := n.load(gi)
	if m == nil {
		moved("")
		return
	}
	if m.g.Read(n.local()) {
		m.probe()
		done()
		return
	}
	id, err := m.g.ReadIndex(n.local())
	if err != nil {
		m.refused(err, moved)
	} else {
		m.reads = append(m.reads, reader{id, n.w.check.acked[gi]})
		done()
	}
	m.settle()
}

func (m *member) readDone(r ReadDone) {
	m.reads = slices.DeleteFunc(m.reads, func(x reader) bool {
		if x.id != r.ID {
			return false
		}
		if r.OK {
			m.n.w.stats["quorum reads"]++
			m.n.w.check.quorumRead(m, x.acked)
		}
		return true
	})
}

// ship streams the applied state to a member.
func (m *member) ship(to Member) {
	n, w := m.n, m.n.w
	dst := w.node(to.Peer)
	src := n.disk.live[m.gi]
	if !src.mark.Conf.has(to.ID) {
		w.check.fail("a state was shipped that does not know its receiver", "member %d", to.ID)
		return
	}
	report := func(index uint64) {
		if !m.closed {
			w.log("%s %s shipped to %d: %v", n.peer, w.names[m.gi], to.ID, index)
			m.g.Shipped(n.local(), to.ID, index)
			m.settle()
		}
	}
	answered := false
	n.after(time.Second, func() {
		if !answered {
			answered = true
			report(0)
		}
	})
	if w.aims && !w.healed && w.rng.IntN(20) == 0 { // another try arrives late
		w.at(w.now.Add(time.Duration(w.rng.IntN(3000))*time.Millisecond), func() {
			if dst.up && dst.paused <= w.now {
				dst.take(m.gi, to, src, func(uint64) {})
			}
		})
	}
	w.send(n, dst, func() {
		dst.take(m.gi, to, src, func(index uint64) {
			w.send(dst, n, func() {
				if !answered {
					answered = true
					report(index)
				}
			})
		})
	})
}

// take puts a shipped state in the place of what there is.
func (n *node) take(gi int, to Member, src rec, done func(uint64)) {
	if to.Store != n.store || n.taking[gi] {
		return
	}
	old := n.disk.live[gi]
	if to.ID <= n.removed[gi] && !n.w.hand.noTombstone {
		return
	}
	var next rec
	if old.have && old.self == to.ID {
		s, err := old.stored().Restored(src.mark)
		if err != nil { // it has that, and more
			n.disk.then(func() { done(old.mark.Index) })
			return
		}
		next = recOf(s, to.ID, src.state)
	} else {
		s, err := Joined(src.gen, src.mark, to.ID)
		if n.w.off.noLearner || n.w.hand.noTombstone {
			s, err = Stored{Generation: src.gen, Hard: Hard{Term: src.mark.Term, Commit: src.mark.Index}, Base: src.mark.Position, Mark: src.mark}, nil
		}
		if err != nil || old.have && old.self > to.ID {
			return
		}
		next = recOf(s, to.ID, src.state)
	}
	if m := n.open[gi]; m != nil {
		m.drop()
	}
	n.w.stats["states shipped"]++
	n.w.check.hasState(gi, to.ID)
	n.disk.write(gi, func(r *rec) { *r = next })
	n.taking[gi] = true // nothing is acknowledged over a state that is not safe yet
	n.disk.then(func() {
		n.taking[gi] = false
		done(src.mark.Index)
	})
}

// describe names a message of raft's. (Its own String varies from build to build.)
func describe(m *raftpb.Message) string {
	if m == nil {
		return ""
	}
	return fmt.Sprintf("%s term %d index %d (%d) commit %d entries %d reject %v", m.GetType(), m.GetTerm(), m.GetIndex(),
		m.GetLogTerm(), m.GetCommit(), len(m.GetEntries()), m.GetReject())
}
