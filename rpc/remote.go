package rpc

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
)

// remote is a peer: the one shared stream to it, what it may do here, and what is known of the way.
type remote struct {
	rpc   *RPC
	id    peer.ID
	name  shoal.PeerID
	meter meter

	calls   *gate // calls to it that wait for an answer
	handled *gate // requests of it being handled
	opened  *gate // streams of it

	dialing chan struct{} // held by who connects or opens the shared stream
	mu      sync.Mutex
	client  *client
	held    int   // streams that are open
	failed  int   // how often dialing has failed
	failure error // the last time
	serving []*server
}

func newRemote(r *RPC, id peer.ID, name shoal.PeerID) *remote {
	return &remote{
		rpc: r, id: id, name: name, dialing: make(chan struct{}, 1),
		calls:   newGate(r.cfg.MaxCalls, r.cfg.MaxBytes),
		handled: newGate(2*r.cfg.MaxCalls, 2*r.cfg.MaxBytes),
		opened:  newGate(r.cfg.MaxStreams, int64(r.cfg.MaxStreams)),
	}
}

// hold keeps the connection to the peer from being closed for its age, see host.Config.HighPeers, until what it returns is called once: a
// stream is open on it. Else whoever follows a topic would be hung up now and then, and call again.
func (p *remote) hold() (free func() bool) {
	const tag = "stream"
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.rpc.host.ConnManager()
	if p.held++; p.held == 1 {
		conns.Protect(p.id, tag)
	}
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held--; p.held == 0 {
			conns.Unprotect(p.id, tag)
		}
		return true
	}
}

// ask sends a request on the shared stream and waits for the answer.
func (p *remote) ask(ctx context.Context, method string, request []byte) ([]byte, error) {
	size := int64(len(request))
	if err := p.calls.enter(ctx, size); err != nil {
		return nil, shoal.Wrap(shoal.Canceled, about("ask", method, p.name), err)
	}
	defer p.calls.leave(size)
	for try := 0; ; try++ {
		c, err := p.reach(ctx)
		if err != nil {
			return nil, unsent(transportError(ctx, about("ask", method, p.name), err))
		}
		reply, err := c.ask(ctx, method, request)
		switch {
		case err != errUnsent:
			return reply, err
		case try == 2: // thrice the stream had died before the request went out
			return nil, unsent(transportError(ctx, about("ask", method, p.name), err))
		}
	}
}

// unsent notes in an error that the request did not leave.
func unsent(err error) error {
	var e *shoal.Error
	if errors.Is(err, shoal.ErrUnsent) || !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Err = errors.Join(shoal.ErrUnsent, e.Err)
	return &out
}

// reach returns the shared stream, opening it first if need be.
func (p *remote) reach(ctx context.Context) (*client, error) {
	p.mu.Lock()
	c := p.client
	p.mu.Unlock()
	if c != nil && c.relayed && p.direct() {
		c.retire() // the two have found a shorter way meanwhile
		c = nil
	}
	if c != nil {
		return c, nil
	}
	err := p.dial(ctx, func(ctx context.Context) (err error) {
		p.mu.Lock()
		c = p.client
		p.mu.Unlock()
		if c != nil {
			return nil
		}
		c, err = p.openShared(ctx)
		return err
	})
	return c, err
}

// connect makes sure that there is a connection.
func (p *remote) connect(ctx context.Context) error {
	if p.connected() {
		return nil
	}
	return p.dial(ctx, p.connectNow)
}

func (p *remote) connected() bool {
	switch p.rpc.host.Network().Connectedness(p.id) {
	case network.Connected, network.Limited:
		return true
	}
	return false
}

// direct reports whether a connection goes through no relay.
func (p *remote) direct() bool {
	return slices.ContainsFunc(p.rpc.host.Network().ConnsToPeer(p.id), func(c network.Conn) bool { return !relayed(c) })
}

func relayed(c network.Conn) bool {
	return strings.Contains(c.RemoteMultiaddr().String(), "/p2p-circuit")
}

func (p *remote) connectNow(ctx context.Context) error {
	if p.rpc.cfg.Connect == nil || p.connected() {
		return nil
	}
	return p.rpc.cfg.Connect(ctx, p.name)
}

// dial runs f, one at a time for each peer. Who waited while another failed shares that failure, so
// that a crowd of callers does not dial a dead peer one after the other.
func (p *remote) dial(ctx context.Context, f func(ctx context.Context) error) error {
	p.mu.Lock()
	failed := p.failed
	p.mu.Unlock()
	select {
	case p.dialing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.dialing }()
	p.mu.Lock()
	shared := p.failure
	if failed == p.failed {
		shared = nil
	}
	p.mu.Unlock()
	if shared != nil {
		return shared
	}
	limited, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	err := f(limited)
	if err != nil && ctx.Err() == nil {
		p.mu.Lock()
		p.failed++
		p.failure = err
		p.mu.Unlock()
	}
	return err
}

// openShared opens the shared stream. Its first frame, which follows at once, carries the
// negotiation of the protocol with it.
func (p *remote) openShared(ctx context.Context) (*client, error) {
	if err := p.connectNow(ctx); err != nil {
		return nil, err
	}
	raw, err := p.newStream(ctx, string(p.rpc.protocol()))
	if err != nil {
		return nil, err
	}
	if !p.rpc.begin() {
		raw.Reset()
		return nil, errClosed()
	}
	c := newClient(p, raw)
	c.relayed = relayed(raw.Conn())
	p.mu.Lock()
	p.client = c
	p.mu.Unlock()
	go c.run()
	return c, nil
}

func errClosed() error {
	return shoal.E(shoal.Unavailable, "rpc", "the node is stopping", "ask another peer")
}

// lost forgets a shared stream that has broken.
func (p *remote) lost(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == c {
		p.client = nil
	}
}

// transportError says what the failure of a connection or stream means to whom called.
func transportError(ctx context.Context, what string, err error) error {
	var ours *shoal.Error
	var reset *network.StreamError
	switch {
	case ctx.Err() != nil:
		return shoal.Wrap(shoal.Canceled, what, ctx.Err())
	case errors.As(err, &ours):
		return shoal.Wrap(shoal.Unavailable, what, err)
	case strings.Contains(err.Error(), "protocols not supported"): // multistream's error, a library of others
		return unknownMethod(what)
	case errors.As(err, &reset) && reset.Remote && reset.ErrorCode == network.StreamGated:
		return &shoal.Error{
			// Unavailable, not Refused: a peer that is stopping cannot tell members from strangers either,
			// and what it will not take may go to another.
			Kind: shoal.Unavailable, What: what, Why: "the peer does not take this node for a member, or is stopping",
			Try: "join its fabric first, or ask another peer", Err: err,
		}
	case errors.As(err, &reset) && reset.ErrorCode == network.StreamResourceLimitExceeded:
		return overloaded(what)
	}
	why := oneLine(err)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		why, err = "the connection was cut off", io.ErrUnexpectedEOF
	}
	return &shoal.Error{
		Kind: shoal.Unavailable, What: what, Why: why, Try: "check that the peer runs, and try again", Err: err,
	}
}
