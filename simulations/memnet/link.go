package memnet

import "time"

// piece is the most that a packet carries where bandwidth counts.
const piece = 16 << 10

// link is what a node sends or receives by. Streams that have packets take turns. Net.mu guards it.
type link struct {
	rate  float64 // bytes a second; 0: no limit
	free  int64   // when it is done with the packet that it serves
	ring  queue[*lane]
	armed bool
	begin func(p *packet, now int64, takes time.Duration) // service of a packet begins
}

func (l *link) takes(p *packet) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	return time.Duration(float64(len(p.data)) / l.rate * 1e9)
}

// lane is a half of a stream at a link: what it has waiting there, and how many bytes it may still send in this turn.
type lane struct {
	queue[*packet]
	left int
}

// offer serves a packet now, if nothing is before it, or when its turn comes.
func (l *link) offer(n *Net, at *lane, p *packet, now int64) {
	if at.len() == 0 && (len(p.data) == 0 || l.rate <= 0 || l.free <= now && l.ring.len() == 0) {
		l.serve(p, now)
		return
	}
	if at.push(p); at.len() == 1 {
		at.left = piece
		l.ring.push(at)
	}
	l.arm(n)
}

func (l *link) serve(p *packet, now int64) {
	d := l.takes(p)
	if d > 0 {
		l.free = now + int64(d)
	}
	l.begin(p, now, d)
}

func (l *link) arm(n *Net) {
	if !l.armed && l.ring.len() > 0 {
		l.armed = true
		n.at(l.free, l)
	}
}

// fire serves the next in turn.
func (l *link) fire(n *Net, now int64) {
	l.armed = false
	for l.ring.len() > 0 && l.free <= now {
		at := *l.ring.front()
		if at.len() == 0 { // it was reset
			l.ring.pop()
			continue
		}
		p := at.pop()
		at.left -= len(p.data)
		if at.len() == 0 || at.left <= 0 {
			l.ring.pop()
		}
		if at.len() > 0 && at.left <= 0 {
			at.left += piece
			l.ring.push(at)
		}
		l.serve(p, now)
	}
	l.arm(n)
}

// packet travels.
type packet struct {
	half  *half // nil: of the connection as such
	to    *end
	kind  kind
	data  []byte
	code  uint32        // of a reset
	n     int           // bytes of a credit
	down  bool          // it has left the receiver's link
	late  int64         // when its last byte comes to the receiver's link
	lasts time.Duration // how long the sender's link took for it
}

type kind uint8

const (
	carry  kind = iota
	finish      // no more data
	reset       // of a stream
	credit      // room for more data
	hangup      // of the connection
)

// send has a packet of a stream leave, after those before it.
func (n *Net) send(h *half, p *packet) {
	p.half, p.to = h, h.to
	h.from.node.up.offer(n, &h.up, p, n.clock.now())
}

// depart begins the way of a packet whose first byte leaves now.
func (n *Net) depart(p *packet, now int64, takes time.Duration) {
	h := p.half
	p.lasts = takes
	h.pair.count(n, h, len(p.data))
	if h.from.out.stalled() {
		h.from.out.hold(n, p, now)
		return
	}
	n.fly(p, now)
}

// fly has a packet arrive when its latency is over.
func (n *Net) fly(p *packet, now int64) {
	w := &p.to.other.out
	first := now + int64(n.travel(w.lat(), w.rtt, w.loss))
	h := p.half
	if p.kind == hangup || p.kind == credit {
		if p.kind == hangup { // what was sent before comes before
			first = max(first, w.last)
		}
		p.down = true
		n.at(first, p)
		return
	}
	first = max(first, h.first)
	h.first = first
	p.late = first + int64(p.lasts)
	w.last = max(w.last, p.late)
	if p.to.node.down.rate <= 0 {
		n.land(p, p.late)
		return
	}
	n.at(first, p)
}

// receive begins to take a packet from the receiver's link.
func (n *Net) receive(p *packet, now int64, takes time.Duration) {
	n.land(p, max(now+int64(takes), p.late))
}

// land has a packet be there whole, after those before it.
func (n *Net) land(p *packet, t int64) {
	h := p.half
	h.whole = max(h.whole, t)
	w := &p.to.other.out
	w.last = max(w.last, h.whole)
	p.down = true
	n.at(h.whole, p)
}

// fire implements firer: the packet arrives at the receiver's link or, in the end, at its stream.
func (p *packet) fire(n *Net, now int64) {
	if p.down {
		p.to.take(n, p, now)
		return
	}
	p.to.node.down.offer(n, &p.half.down, p, now)
}
