package dht

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
)

type tracerKey struct{}

// tracer passes the hops of one lookup on, one at a time.
type tracer struct {
	begun time.Time
	route *route // who told of whom; nil: nobody asked

	mu sync.Mutex
	to func(shoal.Hop)
}

// traced returns a context whose requests are traced, and the tracer: nil if nobody asked for it.
func traced(ctx context.Context) (context.Context, *tracer) {
	f := shoal.Trace(ctx)
	if f == nil {
		return ctx, nil
	}
	t := &tracer{begun: time.Now(), to: f}
	return context.WithValue(ctx, tracerKey{}, t), t
}

func tracerOf(ctx context.Context) *tracer {
	t, _ := ctx.Value(tracerKey{}).(*tracer)
	return t
}

func (t *tracer) hop(p peer.ID, event string, found int, err error) {
	if t == nil {
		return
	}
	h := shoal.Hop{Peer: shoal.PeerID(p.String()), Event: event, Found: found}
	if err != nil {
		h.Err = err.Error()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.to != nil {
		h.After = time.Since(t.begun)
		t.to(h)
	}
}

// end stops the tracer: who asked for the trace hears no more of it.
func (t *tracer) end() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to = nil
}
