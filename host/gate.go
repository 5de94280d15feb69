package host

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal"
)

// Bounds of what waits for the gate.
const (
	maxWaiting  = 128  // streams of one peer
	maxVerdicts = 1024 // peers
)

// admitFunc is the type of Config.Admit.
type admitFunc = func(ctx context.Context, p shoal.PeerID) error

// gate decides which streams reach their handlers.
type gate struct {
	ctx     context.Context
	timeout time.Duration
	open    []string
	log     *slog.Logger
	verdict func(p peer.ID, member bool) // told each verdict

	ask atomic.Pointer[admitFunc]

	mu      sync.Mutex
	pending map[peer.ID]*pending
}

// pending is one question to Admit and those who wait for its answer.
type pending struct {
	done    chan struct{}
	err     error // set before done is closed
	waiting int
}

func newGate(ctx context.Context, cfg Config) *gate {
	g := &gate{
		ctx: ctx, timeout: cfg.AdmitTimeout, open: cfg.Open, log: cfg.Log,
		verdict: func(peer.ID, bool) {}, pending: map[peer.ID]*pending{},
	}
	g.setAdmit(cfg.Admit)
	return g
}

func (g *gate) setAdmit(f admitFunc) {
	if f == nil {
		f = func(context.Context, shoal.PeerID) error {
			return shoal.E(shoal.Refused, "admission", "this node is in no fabric yet", "")
		}
	}
	g.ask.Store(&f)
}

// opens reports whether strangers may use the protocol.
func (g *gate) opens(id protocol.ID) bool {
	for _, o := range g.open {
		if rest, ok := strings.CutPrefix(string(id), o); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// admit returns nil if p is a member. Callers that ask about one peer at one time share the answer.
func (g *gate) admit(ctx context.Context, p peer.ID) error {
	w, err := g.enter(p)
	if err != nil {
		return err
	}
	defer g.leave(w)
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return shoal.Wrap(shoal.Canceled, "admission of "+p.ShortString(), ctx.Err())
	}
}

// enter joins those who wait for the verdict on p, or asks for it.
func (g *gate) enter(p peer.ID) (*pending, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.pending[p]
	if w == nil {
		if len(g.pending) >= maxVerdicts {
			return nil, crowded(p)
		}
		w = &pending{done: make(chan struct{})}
		g.pending[p] = w
		go g.decide(p, w)
	}
	if w.waiting >= maxWaiting {
		return nil, crowded(p)
	}
	w.waiting++
	return w, nil
}

func (g *gate) leave(w *pending) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w.waiting--
}

// decide asks Admit. It ends with the gate's context or its timeout, if Admit heeds them.
func (g *gate) decide(p peer.ID, w *pending) {
	ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
	defer cancel()
	w.err = (*g.ask.Load())(ctx, shoal.PeerID(p.String()))
	g.verdict(p, w.err == nil)
	g.mu.Lock()
	delete(g.pending, p)
	g.mu.Unlock()
	close(w.done)
}

// guard returns a handler that runs next for members and open protocols only, and resets the
// stream of anybody else. What counts is the protocol that was negotiated, not the one that the
// handler was set for.
func (g *gate) guard(next network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		if !g.opens(s.Protocol()) {
			p := s.Conn().RemotePeer()
			if err := g.admit(g.ctx, p); err != nil {
				g.log.Debug("stream refused", "peer", p, "protocol", s.Protocol(), "error", err)
				s.ResetWithError(network.StreamGated)
				return
			}
		}
		next(s)
	}
}

// shun refuses connections, before there are streams to be gated. It is libp2p's ConnectionGater.
type shun func(p shoal.PeerID) bool

func (f shun) allows(p peer.ID) bool { return f == nil || !f(shoal.PeerID(p.String())) }

func (f shun) InterceptPeerDial(p peer.ID) bool { return f.allows(p) }

func (f shun) InterceptAddrDial(p peer.ID, _ ma.Multiaddr) bool { return f.allows(p) }

func (shun) InterceptAccept(network.ConnMultiaddrs) bool { return true } // nobody knows yet who it is

func (f shun) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return f.allows(p)
}

func (shun) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

func crowded(p peer.ID) error {
	return &shoal.Error{
		Kind: shoal.Overloaded, What: "admission of " + p.ShortString(), Why: "too many wait for it",
		RetryAfter: time.Second,
	}
}
