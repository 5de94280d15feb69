package dht

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
)

// How long and how many refusals are remembered.
const (
	admitTime   = 10 * time.Second // for the question whether somebody is a member
	refusalTime = 2 * time.Second
	maxRefusals = 4096
)

// gate tells members from strangers. Asking may take a while, for it may mean to ask the peer itself:
// an answer that comes too late for one step is there for the next. kad-dht's own loops, which must
// not wait, are told what is remembered, and whoever they let through is asked about before it is
// spoken to.
type gate struct {
	ask func(ctx context.Context, p shoal.PeerID) bool
	ctx context.Context // ends the questions that nobody waits for
	yes func(p peer.ID) // told of a member whom somebody did not wait for
	wg  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	asked   map[peer.ID]*question
	refused map[peer.ID]time.Time
}

type question struct {
	done   chan struct{}
	member bool // set before done is closed
	missed bool // somebody did not wait for the answer; guarded by the gate's mu
}

func newGate(ctx context.Context, cfg Config, yes func(p peer.ID)) *gate {
	return &gate{
		ask: cfg.IsMember, ctx: ctx, yes: yes,
		asked: map[peer.ID]*question{}, refused: map[peer.ID]time.Time{},
	}
}

// admits asks whether p is a member. No answer before ctx ends is a no that is not remembered.
func (g *gate) admits(ctx context.Context, p peer.ID) bool {
	q := g.question(p)
	if q == nil {
		return false
	}
	select {
	case <-q.done:
		return q.member
	case <-ctx.Done():
		g.mu.Lock()
		q.missed = true
		g.mu.Unlock()
		return false
	}
}

// question returns the question about p that is being asked, or asks it; nil once the gate is closed.
func (g *gate) question(p peer.ID) *question {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q := g.asked[p]; q != nil || g.closed {
		return q
	}
	q := &question{done: make(chan struct{})}
	g.asked[p] = q
	g.wg.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, admitTime)
		defer cancel()
		q.member = g.ask(ctx, shoal.PeerID(p.String()))
		g.mu.Lock()
		delete(g.asked, p)
		switch {
		case q.member:
			delete(g.refused, p)
		case ctx.Err() == nil:
			if len(g.refused) >= maxRefusals {
				clear(g.refused)
			}
			g.refused[p] = time.Now()
		}
		late := q.member && q.missed
		g.mu.Unlock()
		if late { // it is no sign of life else: who is a member is known of most, dead or alive
			g.yes(p)
		}
		close(q.done)
	})
	return q
}

// close waits for the questions, which the gate's context has ended.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wg.Wait()
}

// forget drops what is remembered of p.
func (g *gate) forget(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.refused, p)
}

// maybe reports whether p was not refused lately. It does not wait.
func (g *gate) maybe(p peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, ok := g.refused[p]
	if ok && time.Since(at) > refusalTime {
		delete(g.refused, p)
		ok = false
	}
	return !ok
}

// kadHost is the host as kad-dht sees it: its dials are bounded, and its handler runs for members, once
// this node of the DHT stands: kad-dht registers it before its constructor returns.
type kadHost struct {
	host.Host
	gate  *gate
	reach *reach
	ready <-chan struct{}
}

func (h *kadHost) Connect(ctx context.Context, to peer.AddrInfo) error {
	h.Peerstore().AddAddrs(to.ID, to.Addrs, peerstore.TempAddrTTL)
	err := h.reach.connect(ctx, to.ID)
	if err != nil {
		tracerOf(ctx).hop(to.ID, "fail", 0, err)
	}
	return err
}

func (h *kadHost) SetStreamHandler(id protocol.ID, next network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) {
		if !h.gate.admits(h.reach.ctx, s.Conn().RemotePeer()) {
			_ = s.Reset() // it is told nothing
			return
		}
		select {
		case <-h.ready:
			next(s)
		case <-h.reach.ctx.Done():
			_ = s.Reset()
		}
	})
}
