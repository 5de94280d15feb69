package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// DoorTimeout bounds one request at the door, from the first byte to the last of the reply.
const DoorTimeout = 10 * time.Second

const doorPrefix = "/shoal/door/"

// maxDoorReply is wire.MaxDoor and room for what is said beside the body.
const maxDoorReply = wire.MaxDoor + 4096

// doorReply is the one frame that answers a request.
type doorReply struct {
	Err  *wire.Error `cbor:"e,omitempty"`
	Body []byte      `cbor:"b,omitempty"`
}

// door answers strangers.
type door struct {
	h      *Host
	byPeer *limiter
	byIP   *limiter
	places chan struct{} // one taken for each request that is served

	mu      sync.Mutex
	methods map[string]shoal.Handler
}

func newDoor(h *Host) *door {
	l := h.cfg.Door
	return &door{
		h: h, byPeer: newLimiter(l.PeerBurst, l.PeerRate), byIP: newLimiter(l.IPBurst, l.IPRate),
		places: make(chan struct{}, l.Concurrent), methods: map[string]shoal.Handler{},
	}
}

func doorID(method string) protocol.ID { return protocol.ID(doorPrefix + method + "/1") }

// HandleDoor registers what answers method. Unlike a shoal.Handler elsewhere, f serves peers that
// are no members. Registering a method twice panics.
func (h *Host) HandleDoor(method string, f shoal.Handler) {
	d := h.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.methods[method] != nil {
		panic("host: door method " + method + " is registered twice")
	}
	d.methods[method] = f
	h.inner.SetStreamHandler(doorID(method), func(s network.Stream) { d.serve(s, method, f) })
}

// AskDoor sends a request of at most 64 KiB to p and waits for the reply, for 10 s at most. p needs
// not be a member, nor this node be one of p's fabric. It dials p if there is no connection and an
// address is known. Errors are those of p's handler, Overloaded with a retry hint when p has had too
// many requests, and Unavailable when p cannot be reached. Asking this node itself calls the handler.
func (h *Host) AskDoor(ctx context.Context, p shoal.PeerID, method string, req []byte) ([]byte, error) {
	what := "ask " + p.Short() + " for " + method
	if len(req) > wire.MaxDoor {
		return nil, shoal.E(shoal.Invalid, what,
			fmt.Sprintf("%d bytes, more than the door's limit of %d", len(req), wire.MaxDoor), "")
	}
	id, err := decode(p)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, DoorTimeout)
	defer cancel()
	if id == h.inner.ID() {
		return h.door.local(ctx, what, method, req)
	}
	reply, err := h.askDoor(ctx, id, method, req)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, shoal.Wrap(shoal.Timeout, what, ctx.Err())
	case err != nil:
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	case reply.Err != nil:
		return nil, shoal.Wrap(shoal.Internal, what, reply.Err.Err())
	}
	return reply.Body, nil
}

// local answers this node's own request without a socket.
func (d *door) local(ctx context.Context, what, method string, req []byte) ([]byte, error) {
	d.mu.Lock()
	f := d.methods[method]
	d.mu.Unlock()
	if f == nil {
		return nil, shoal.E(shoal.Refused, what, "no such method at the door", "")
	}
	return f(ctx, d.h.ID(), append([]byte(nil), req...))
}

// askDoor carries one request over a stream of its own.
func (h *Host) askDoor(ctx context.Context, p peer.ID, method string, req []byte) (doorReply, error) {
	var reply doorReply
	s, err := h.inner.NewStream(network.WithAllowLimitedConn(ctx, "door"), p, doorID(method))
	if err != nil {
		return reply, streamError(h.cfg.DialTimeout, err)
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() }) // ctx has a deadline
	defer stop()
	b, err := exchange(s, req)
	if err != nil {
		s.Reset()
		return reply, streamError(h.cfg.DialTimeout, err)
	}
	_ = s.Close() // not Reset: QUIC would take back what was not acknowledged yet
	return reply, wire.Unmarshal("reply at the door", b, &reply)
}

// exchange sends the request and returns the reply's frame.
func exchange(s network.Stream, req []byte) ([]byte, error) {
	// A door that is closed answers before it has read the request, which may break the write.
	sent := wire.WriteFrame(s, req, wire.MaxDoor)
	if sent == nil {
		sent = s.CloseWrite()
	}
	b, err := wire.ReadFrame(bufio.NewReader(s), maxDoorReply)
	if err != nil && sent != nil {
		return nil, sent
	}
	return b, err
}

// serve answers one stream. Every way out closes or resets it.
func (d *door) serve(s network.Stream, method string, f shoal.Handler) {
	now := time.Now()
	p := s.Conn().RemotePeer()
	if wait := d.limit(s, p, now); wait > 0 {
		d.turnAway(s, method, "too many requests from "+p.ShortString()+" or its address", wait)
		return
	}
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	default:
		d.turnAway(s, method, "too many requests at once", time.Second)
		return
	}
	if err := s.SetDeadline(now.Add(DoorTimeout)); err != nil {
		s.Reset()
		return
	}
	req, err := wire.ReadFrame(bufio.NewReader(s), wire.MaxDoor)
	switch {
	case shoal.KindOf(err) == shoal.Invalid:
		d.answer(s, doorReply{Err: wire.FromError(err)})
		return
	case err != nil:
		s.Reset()
		return
	}
	ctx, cancel := context.WithDeadline(d.h.ctx, now.Add(DoorTimeout))
	defer cancel()
	var reply doorReply
	reply.Body, err = f(ctx, shoal.PeerID(p.String()), req)
	if err == nil && len(reply.Body) > wire.MaxDoor {
		err = shoal.E(shoal.Internal, method,
			fmt.Sprintf("the reply has %d bytes, more than the door's limit", len(reply.Body)), "")
	}
	if err != nil {
		reply = doorReply{Err: wire.FromError(err)}
	}
	d.answer(s, reply)
}

// turnAway refuses a request unread. It gives the asker no more time than it takes to hear so.
func (d *door) turnAway(s network.Stream, method, why string, wait time.Duration) {
	if err := s.SetDeadline(time.Now().Add(time.Second)); err != nil {
		s.Reset()
		return
	}
	d.answer(s, doorReply{Err: wire.FromError(&shoal.Error{
		Kind: shoal.Overloaded, What: method, Why: why, Try: "wait a little", RetryAfter: wait,
	})})
}

// limit returns how long the asker must wait, zero for not at all. The address is looked at first:
// who makes up identities pays from the bucket of its address.
func (d *door) limit(s network.Stream, p peer.ID, now time.Time) time.Duration {
	if net, ok := source(s.Conn().RemoteMultiaddr()); ok {
		if wait := d.byIP.take(net, now); wait > 0 {
			return wait
		}
	}
	return d.byPeer.take(string(p), now)
}

// source returns whom an address belongs to: an IPv4 address, or an IPv6 /64; false for loopback and
// for what has no IP.
func source(a ma.Multiaddr) (string, bool) {
	ip, err := manet.ToIP(a)
	if err != nil {
		return "", false
	}
	addr, ok := netip.AddrFromSlice(ip)
	if addr = addr.Unmap(); !ok || addr.IsLoopback() {
		return "", false
	}
	if addr.Is6() {
		prefix, err := addr.Prefix(64)
		return prefix.String(), err == nil
	}
	return addr.String(), true
}

// answer sends the reply. Long texts of errors are cut, so that every error fits.
func (d *door) answer(s network.Stream, r doorReply) {
	if r.Err != nil {
		e := *r.Err
		for _, text := range []*string{&e.What, &e.Why, &e.Try} {
			if len(*text) > 1024 {
				*text = (*text)[:1024]
			}
		}
		r.Err = &e
	}
	err := wire.WriteFrame(s, wire.Marshal(r), maxDoorReply)
	if err == nil {
		err = s.CloseWrite()
	}
	if err != nil {
		d.h.cfg.Log.Debug("reply at the door", "peer", s.Conn().RemotePeer(), "error", err)
		s.Reset()
		return
	}
	// Wait for the asker to end its side: closing ours now could break its write, and with it the reply.
	_, _ = io.CopyN(io.Discard, s, wire.MaxDoor)
	_ = s.Close()
}

// streamError makes an error of opening or using a stream readable.
func streamError(dial time.Duration, err error) error {
	var e *shoal.Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, network.ErrNoConn):
		return shoal.E(shoal.Unavailable, "", "not connected", "")
	case isNotSupported(err):
		return shoal.E(shoal.Refused, "", "the peer does not offer that",
			"check that both nodes run the same version of shoal")
	case errors.Is(err, network.ErrReset) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return shoal.E(shoal.Unavailable, "", "the peer ended the exchange", "")
	}
	return dialError("", nil, dial, err)
}

// maxBuckets bounds the memory of a limiter, which strangers can fill.
const maxBuckets = 8192

// limiter is a token bucket for each key (RFC 2697 without its second rate). A bucket that is full
// again is as good as none, and is dropped when room is needed.
type limiter struct {
	burst, rate float64 // tokens, tokens a second

	mu      sync.Mutex
	buckets map[string]bucket
}

type bucket struct {
	tokens float64
	at     time.Time // when tokens was right
}

func newLimiter(burst, rate float64) *limiter {
	return &limiter{burst: burst, rate: rate, buckets: map[string]bucket{}}
}

// take takes a token from key's bucket and returns zero, or how long until there is one. Calls give
// times in no particular order: a bucket's time never runs back.
func (l *limiter) take(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	switch {
	case ok:
		b.tokens = l.level(b, now)
		if now.After(b.at) {
			b.at = now
		}
	case len(l.buckets) >= maxBuckets && !l.sweep(now):
		return time.Second
	default:
		b = bucket{tokens: l.burst, at: now}
	}
	if b.tokens < 1 {
		l.buckets[key] = b
		// Zero would say that a token was given: what is missing may round to less than a nanosecond.
		return max(time.Nanosecond, time.Duration((1-b.tokens)/l.rate*float64(time.Second)))
	}
	b.tokens--
	l.buckets[key] = b
	return 0
}

// level returns the tokens of b at now.
func (l *limiter) level(b bucket, now time.Time) float64 {
	return min(l.burst, b.tokens+l.rate*max(0, now.Sub(b.at).Seconds()))
}

// sweep drops the buckets that are full at now and reports whether there is room then.
func (l *limiter) sweep(now time.Time) bool {
	for k, b := range l.buckets {
		if l.level(b, now) >= l.burst {
			delete(l.buckets, k)
		}
	}
	return len(l.buckets) < maxBuckets
}
