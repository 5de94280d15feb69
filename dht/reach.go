package dht

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht/patience"
)

// Bounds of dialing and of passing over.
const (
	dialTime  = 10 * time.Second // for a dial that goes on after its step
	maxMemory = 30 * time.Second // of a peer that stays silent
	maxFaults = 4096             // silent peers remembered
)

// reach dials peers and remembers who was silent, so that of all the steps that need a dead peer
// only the first waits for it. Signs of life end that.
type reach struct {
	host   host.Host
	step   time.Duration
	memory time.Duration
	ctx    context.Context // ends the dials that nobody waits for
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	dials  map[peer.ID]*dial
	silent map[peer.ID]*silence
	far    patience.Strangers
}

type dial struct {
	begun time.Time
	done  chan struct{}
	err   error // set before done is closed
}

// silence says how long a peer is passed over.
type silence struct {
	since, until time.Time
	span         time.Duration
	why          string
}

func newReach(ctx context.Context, h host.Host, cfg Config) *reach {
	return &reach{
		host: h, step: cfg.Step, memory: cfg.Memory, ctx: ctx,
		dials: map[peer.ID]*dial{}, silent: map[peer.ID]*silence{},
	}
}

type patientKey struct{}

// patiently returns a context for exchanges that no lookup waits for: the peer gets more time, and
// a chance although it was silent a moment ago. Its gate may have to ask who we are first.
func patiently(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

func isPatient(ctx context.Context) bool { return ctx.Value(patientKey{}) != nil }

// patience is the time p is given to answer.
func (r *reach) patience(ctx context.Context, p peer.ID) time.Duration {
	if rtt := r.host.Peerstore().LatencyEWMA(p); rtt > 0 && !isPatient(ctx) {
		return patience.Known(r.step, rtt)
	}
	return r.dialing(ctx)
}

// dialing is the time a peer is given to be connected.
func (r *reach) dialing(ctx context.Context) time.Duration {
	if isPatient(ctx) {
		return 8 * r.step
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.far.Wait(r.step)
}

// check returns an error while p is passed over.
func (r *reach) check(p peer.ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.silent[p]; s != nil && time.Now().Before(s.until) {
		return &shoal.Error{
			Kind: shoal.Unavailable, What: "peer " + p.ShortString(),
			Why: "passed over, for " + time.Since(s.since).Round(time.Millisecond).String() + " ago it failed: " + s.why,
		}
	}
	return nil
}

// failed notes that p did not do its step.
func (r *reach) failed(p peer.ID, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, now := r.silent[p], time.Now()
	switch {
	case s == nil:
		if len(r.silent) >= maxFaults {
			clear(r.silent) // costs a step each
		}
		s = &silence{span: r.memory}
		r.silent[p] = s
	case now.Before(s.until):
		return // steps that began together fail together
	default:
		s.span = min(2*s.span, maxMemory)
	}
	s.since, s.until, s.why = now, now.Add(s.span), err.Error()
}

// alive notes a sign of life of p.
func (r *reach) alive(p peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.silent, p)
}

// connect returns once there is a connection to p, or p's time is over. The dial itself may take
// longer and goes on, so that a peer behind a slow link is there for a later step.
func (r *reach) connect(ctx context.Context, p peer.ID) error {
	if r.host.Network().Connectedness(p) == network.Connected {
		return nil
	}
	if err := r.check(p); err != nil && !isPatient(ctx) {
		return err
	}
	d := r.dial(p)
	timer := time.NewTimer(time.Until(d.begun.Add(r.dialing(ctx))))
	defer timer.Stop()
	select {
	case <-d.done:
		return d.err
	case <-timer.C:
		err := shoal.E(shoal.Timeout, "dial "+p.ShortString(), "no connection in time", "")
		r.failed(p, err)
		return err
	case <-ctx.Done():
		return shoal.Wrap(shoal.Canceled, "dial "+p.ShortString(), ctx.Err())
	}
}

// dial returns the dial of p that is under way, or begins one.
func (r *reach) dial(p peer.ID) *dial {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.dials[p]; d != nil {
		return d
	}
	d := &dial{begun: time.Now(), done: make(chan struct{})}
	if r.closed {
		d.err = shoal.E(shoal.Unavailable, "dial "+p.ShortString(), "this node is stopping", "")
		close(d.done)
		return d
	}
	r.dials[p] = d
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, dialTime)
		defer cancel()
		d.err = r.host.Connect(ctx, peer.AddrInfo{ID: p})
		switch {
		case d.err == nil:
			r.alive(p)
		case r.ctx.Err() == nil:
			r.failed(p, d.err)
		}
		r.mu.Lock()
		if d.err == nil {
			r.far.Took(time.Since(d.begun), r.step)
		}
		delete(r.dials, p)
		r.mu.Unlock()
		close(d.done)
	})
	return d
}

// close waits for the dials, which its context has ended.
func (r *reach) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wg.Wait()
}
