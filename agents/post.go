package agents

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/wire"
)

// post carries the messages of all groups between nodes, and signs of life: one long-lived stream to each
// peer with which this node shares agents in use. What is sent while another write is under way goes out
// with it. Messages may be lost: groups say again what matters.
type post struct {
	a     *Agents
	mu    sync.Mutex
	lines map[shoal.PeerID]*line
	ctx   context.Context
	work  sync.WaitGroup
}

const (
	maxQueued  = 8 << 20         // bytes for one peer; more are dropped
	maxParcel  = 2 << 20         // bytes of one frame
	lineIdle   = 5 * time.Second // after the last group in use a line is kept for so long
	redialWait = 200 * time.Millisecond
)

// line is the way to one peer.
type line struct {
	p    *post
	peer shoal.PeerID
	wake chan struct{}

	mu    sync.Mutex
	queue []letter
	bytes int
	uses  int           // groups in use that the peer is a member of
	used  group.Instant // when uses fell to 0, or something was sent
	live  pulse
}

type letter struct {
	key  shoal.Key // "": a beat
	data []byte
}

// beat is a sign of life.
type beat struct {
	Boot uint64 `cbor:"b"`           // incarnation of the sender
	Seq  uint64 `cbor:"s"`           // grows with each
	Echo uint64 `cbor:"e"`           // the last Seq of the receiver's that came
	Of   uint64 `cbor:"o"`           // and the incarnation that sent it
	Need bool   `cbor:"n,omitempty"` // the sender has agents in use here, and waits for an echo
}

// pulse is what is known of a peer's life: it lives if it said lately that it hears this node.
type pulse struct {
	seq   uint64
	sent  map[uint64]group.Instant // when each beat left that was not answered yet
	heard group.Instant            // when the last one left that was
	boot  uint64                   // the peer's incarnation, 0: not known
	echo  uint64                   // its last Seq
	gone  bool                     // suspected
	asked group.Instant            // when the peer last needed an echo
}

func newPost(ctx context.Context, a *Agents) *post {
	return &post{a: a, ctx: ctx, lines: map[shoal.PeerID]*line{}}
}

// line returns the way to a peer, which is opened if need be.
func (p *post) line(peer shoal.PeerID) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open(peer)
}

// open is line for who holds mu.
func (p *post) open(peer shoal.PeerID) *line {
	l := p.lines[peer]
	if l == nil && p.ctx.Err() == nil {
		now := p.a.instant()
		l = &line{p: p, peer: peer, wake: make(chan struct{}, 1), used: now}
		l.live = pulse{sent: map[uint64]group.Instant{}, heard: now}
		p.lines[peer] = l
		ctx, end := context.WithCancel(p.ctx)
		p.work.Go(func() { l.run(ctx) })
		p.work.Go(func() { l.watch(ctx); end() })
	}
	return l
}

// use and release count the groups in use for which a peer's life matters.
func (p *post) use(peer shoal.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.open(peer); l != nil {
		l.mu.Lock()
		if l.uses == 0 && !l.live.gone {
			l.live.heard = p.a.instant() // nobody asked it meanwhile
		}
		l.uses++
		l.mu.Unlock()
	}
}

func (p *post) release(peer shoal.PeerID) {
	p.mu.Lock()
	l := p.lines[peer]
	p.mu.Unlock()
	if l != nil {
		l.mu.Lock()
		l.uses = max(0, l.uses-1)
		l.used = p.a.instant()
		l.mu.Unlock()
	}
}

// send queues a message. data is not touched afterwards.
func (p *post) send(peer shoal.PeerID, key shoal.Key, data []byte) {
	if l := p.line(peer); l != nil {
		l.put(letter{key, data})
	}
}

func (l *line) put(m letter) {
	l.mu.Lock()
	if l.bytes+len(m.data) <= maxQueued {
		l.queue = append(l.queue, m)
		l.bytes += len(m.data) + len(m.key)
	}
	if m.key != "" {
		l.used = l.p.a.instant()
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// watch looks after the peer's life, whatever the writing waits for, until nobody needs the line.
func (l *line) watch(ctx context.Context) {
	tick := time.NewTicker(l.p.a.cfg.Beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if l.tick() && l.close() {
				return
			}
		}
	}
}

// close takes the line out of use, unless somebody needs it by now.
func (l *line) close() bool {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uses > 0 {
		return false
	}
	delete(l.p.lines, l.peer)
	return true
}

// run keeps a stream open and writes what is queued.
func (l *line) run(ctx context.Context) {
	p := l.p
	var s shoal.Stream
	var w *bufio.Writer
	var end context.CancelFunc
	hangUp := func() {
		if s != nil {
			s.Reset()
			end()
			s = nil
		}
	}
	defer hangUp()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		runtime.Gosched() // others that are ready may have more to send
		if s == nil {
			open, cancel := context.WithCancel(ctx) // ends the stream, too
			late := time.AfterFunc(p.a.cfg.Suspect, cancel)
			var err error
			s, err = p.a.Peers.Open(open, l.peer, "agents.post", nil)
			if !late.Stop() && err == nil {
				s.Reset()
				err = open.Err()
			}
			if err == nil {
				w, end = bufio.NewWriterSize(s, 64<<10), cancel
			} else {
				cancel()
				s = nil
				l.take() // what was meant for then is of no use later
				select {
				case <-time.After(redialWait):
				case <-ctx.Done():
					return
				}
				continue
			}
		}
		if err := l.write(w); err != nil {
			hangUp()
		}
	}
}

func (l *line) take() []letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue
	l.queue, l.bytes = nil, 0
	return q
}

// write sends all that is queued.
func (l *line) write(w *bufio.Writer) error {
	for {
		q := l.take()
		if len(q) == 0 {
			return w.Flush()
		}
		for len(q) > 0 {
			n, size := 0, 0
			for n < len(q) && (n == 0 || size+len(q[n].data) < maxParcel) {
				size += len(q[n].data) + len(q[n].key) + 10
				n++
			}
			b := make([]byte, 0, size)
			for _, m := range q[:n] {
				b = wire.AppendFrame(wire.AppendFrame(b, []byte(m.key)), m.data)
			}
			if err := wire.WriteFrame(w, b, wire.MaxFrame); err != nil {
				return err
			}
			q = q[n:]
		}
	}
}

// tick sends a beat, unless this node's disk is stuck, and looks whether the peer still lives. It reports
// whether the line is of no use any more.
func (l *line) tick() (done bool) {
	a := l.p.a
	now := a.instant()
	l.mu.Lock()
	if l.uses == 0 && now > l.used.Add(lineIdle) {
		l.mu.Unlock()
		return true
	}
	idle := l.uses == 0
	answer := l.live.asked > 0 && now < l.live.asked.Add(2*a.cfg.Beat)
	suspect := !l.live.gone && now > l.live.heard.Add(a.cfg.Suspect)
	if suspect && !idle {
		l.live.gone = true
	}
	l.live.seq++
	l.live.sent[l.live.seq] = now
	for s, at := range l.live.sent {
		if now > at.Add(2*a.cfg.Suspect) {
			delete(l.live.sent, s)
		}
	}
	b := beat{Boot: a.store.boot, Seq: l.live.seq, Echo: l.live.echo, Of: l.live.boot, Need: !idle}
	l.mu.Unlock()
	if suspect && !idle {
		a.suspect(l.peer)
	}
	if (!idle || answer) && !a.stuck(now) {
		l.put(letter{data: wire.Marshal(b)})
	}
	return false
}

// hear takes a peer's beat.
func (l *line) hear(b beat) {
	a := l.p.a
	l.mu.Lock()
	fresh := b.Boot != l.live.boot
	if b.Boot < l.live.boot {
		l.mu.Unlock()
		return // from before its restart
	}
	l.live.boot, l.live.echo = b.Boot, b.Seq
	if b.Need {
		l.live.asked = a.instant()
		l.used = l.live.asked
	}
	at, known := l.live.sent[b.Echo]
	back := false
	if known && b.Of == a.store.boot && at > l.live.heard {
		l.live.heard = at
		for s := range l.live.sent {
			if s <= b.Echo {
				delete(l.live.sent, s)
			}
		}
		back = l.live.gone && a.instant() <= at.Add(a.cfg.Suspect)
		if back {
			l.live.gone = false
		}
	}
	l.mu.Unlock()
	if fresh || back {
		a.alive(l.peer, b.Boot)
	}
}

// life returns what is known of a peer.
func (p *post) life(peer shoal.PeerID) (boot uint64, suspected bool) {
	p.mu.Lock()
	l := p.lines[peer]
	p.mu.Unlock()
	if l == nil {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live.boot, l.live.gone
}

// silent reports whether a peer that agents in use need has not answered for so long.
func (p *post) silent(peer shoal.PeerID, for_ time.Duration) bool {
	p.mu.Lock()
	l := p.lines[peer]
	p.mu.Unlock()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live.gone && p.a.instant() > l.live.heard.Add(for_)
}

// serve reads a peer's stream.
func (p *post) serve(ctx context.Context, from shoal.PeerID, _ []byte, s shoal.Stream) error {
	defer context.AfterFunc(ctx, s.Reset)()
	r := bufio.NewReaderSize(s, 64<<10)
	for {
		b, err := wire.ReadFrame(r, wire.MaxFrame)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = parcel(b, func(key, data []byte) error {
			if len(key) > 0 {
				p.a.deliver(from, shoal.Key(key), data)
				return nil
			}
			var b beat
			if err := wire.Unmarshal("sign of life", data, &b); err != nil {
				return err
			}
			if l := p.line(from); l != nil { // whoever beats is answered
				l.hear(b)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// parcel takes a frame apart.
func parcel(b []byte, each func(key, data []byte) error) error {
	cut := func() ([]byte, bool) {
		n, k := binary.Uvarint(b)
		if k <= 0 || uint64(len(b)-k) < n {
			return nil, false
		}
		out := b[k : k+int(n)]
		b = b[k+int(n):]
		return out, true
	}
	for len(b) > 0 {
		key, ok1 := cut()
		data, ok2 := cut()
		if !ok1 || !ok2 || len(key) > maxKey {
			return shoal.E(shoal.Invalid, "messages of groups", "malformed", "check that both nodes run the same version of shoal")
		}
		if err := each(key, data); err != nil {
			return err
		}
	}
	return nil
}

const maxKey = 128
