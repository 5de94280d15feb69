package memnet

import (
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Cut says which ways are cut from now on: what a sends to b is lost, as long as cut(a, b). It replaces what was said
// before; nil: none. cut is asked at once and at each dial, under a lock: it may not call the Net.
func (n *Net) Cut(cut func(a, b peer.ID) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	n.survey()
}

// Slow multiplies latencies from now on, from a to b by slow(a, b); nil: none. It is asked like that of Cut.
func (n *Net) Slow(slow func(a, b peer.ID) float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow = slow
	n.survey()
}

// Kill takes a node's power away: its connections are gone on its side and stall on the others', its dials fail and so
// do those of others to it, which wait in vain. It comes back as a new node, by Carrier; until its old self is closed its
// goroutines are told of errors only.
func (n *Net) Kill(id peer.ID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.nodes[id]
	if m == nil || m.dead {
		return
	}
	m.dead = true
	for e := range m.ends {
		e.shut(&network.ConnError{TransportError: syscall.ENETDOWN})
		e.scope.Done()
		e.other.out.survey(n)
		e.out.survey(n)
		e.other.watch(n)
	}
	for _, l := range n.doors {
		if l.carrier.node == m {
			l.wake.wake()
		}
	}
}

// survey has all connections take in what changed.
func (n *Net) survey() {
	now := n.clock.now()
	for c := range n.conns {
		for i := range c.ends {
			e := &c.ends[i]
			was := e.out.cut
			e.out.survey(n)
			switch {
			case e.out.cut && !was:
				e.watch(n)
				e.other.watch(n)
			case was && !e.out.cut:
				e.out.retry(n, e, now)
			}
		}
	}
}

// stalled reports whether packets have to wait: the way is cut, or was, and they may not overtake.
func (w *way) stalled() bool { return w.cut || len(w.held) > 0 }

// hold keeps a packet that was lost, or that waits behind one.
func (w *way) hold(n *Net, p *packet, now int64) {
	if w.to.reborn { // a machine that lost its memory
		if p.kind != hangup {
			n.at(now+int64(w.rtt), refuse{p.to.other})
		}
		return
	}
	if len(w.held) == 0 {
		w.since = now
	}
	w.held = append(w.held, p)
}

// retry sends what was held once more, when TCP would: it doubles the time between tries, to two minutes.
func (w *way) retry(n *Net, e *end, now int64) {
	if len(w.held) > 0 && !w.again {
		w.again = true
		n.at(w.nextTry(now), resend{e})
	}
}

func (w *way) nextTry(now int64) int64 {
	t, wait := w.since, int64(rto(w.rtt))
	for t += wait; t < now; t += wait {
		wait = min(2*wait, int64(2*time.Minute))
	}
	return t
}

// resend is when the packets that an end's way holds leave again.
type resend struct{ e *end }

func (r resend) fire(n *Net, now int64) {
	w := &r.e.out
	w.again = false
	if w.cut {
		return // again: they go on waiting
	}
	held := w.held
	w.held = nil
	for _, p := range held {
		n.fly(p, now)
	}
}

// refuse is when an end is told that the other side knows nothing of it.
type refuse struct{ e *end }

func (r refuse) fire(*Net, int64) {
	if r.e.shut(&network.ConnError{Remote: true, TransportError: syscall.ECONNRESET}) {
		r.e.scope.Done()
	}
}

// watch has an end find out that its connection stalls: it speaks when it has heard nothing for the time of keepalive.
func (e *end) watch(n *Net) {
	if e.watched || e.closed != nil {
		return
	}
	e.watched = true
	now, ping := n.clock.now(), e.heard+int64(keepalive)
	if ping < now { // it has asked, and been answered, since
		ping += (now - ping + int64(keepalive) - 1) / int64(keepalive) * int64(keepalive)
	}
	n.at(ping, probe{e, false})
}

// probe is when an end asks, or when it has waited long enough for an answer.
type probe struct {
	e     *end
	asked bool
}

func (p probe) fire(n *Net, now int64) {
	e := p.e
	e.watched = false
	if e.closed != nil || !e.out.cut && !e.other.out.cut {
		return
	}
	switch ping := e.heard + int64(keepalive); {
	case p.asked:
		e.shut(errKeepalive)
		e.bye(network.ConnNoError)
		e.scope.Done()
	case ping > now: // something came meanwhile
		e.watched = true
		n.at(ping, probe{e, false})
	default:
		e.watched = true
		n.at(now+int64(keepaliveWait), probe{e, true})
	}
}

// revive tells those who had connections to the machine's earlier life, when they speak next. m is the new one.
func (n *Net) revive(m *node) {
	now := n.clock.now()
	for c := range n.conns {
		for i := range c.ends {
			e := &c.ends[i]
			if e.closed == nil && e.other.node.id == m.id && e.other.node != m && e.other.node.dead {
				e.other.node.reborn = true
				if len(e.out.held) > 0 {
					n.at(e.out.nextTry(now)+int64(e.out.rtt), refuse{e})
				}
			}
		}
	}
}
