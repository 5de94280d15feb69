package host

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-fabric/shoal"
)

const (
	wantRelays    = 2
	relayInterval = 10 * time.Second // between looks at the reservations
	relayRetry    = time.Minute      // before a member that gave none is asked again
	relayPatience = 5 * time.Second  // for the gate's verdict on a peer at the relay
)

// serveRelay relays for members. Circuits have no limit of their own: where no hole can be punched,
// a member's calls and data go through.
func (h *Host) serveRelay() error {
	r := relay.DefaultResources()
	r.Limit = nil
	r.MaxReservations = 1024
	r.MaxReservationsPerIP = 512
	r.MaxReservationsPerASN = 1024
	r.MaxCircuits = 64
	r.BufferSize = 16 << 10
	service, err := relay.New(h.inner, relay.WithResources(r), relay.WithACL(relayACL{h}),
		relay.WithReservationAddressFilter(func(ma.Multiaddr) bool { return true }))
	if err != nil {
		return shoal.Wrap(shoal.Internal, "relay", err)
	}
	h.closer = append(h.closer, service)
	return nil
}

// relayACL has members only use the relay.
type relayACL struct{ h *Host }

func (a relayACL) AllowReserve(p peer.ID, _ ma.Multiaddr) bool { return a.member(p) }

func (a relayACL) AllowConnect(src peer.ID, _ ma.Multiaddr, _ peer.ID) bool { return a.member(src) }

func (a relayACL) member(p peer.ID) bool {
	ctx, cancel := context.WithTimeout(a.h.ctx, relayPatience)
	defer cancel()
	return a.h.gate.admit(ctx, p) == nil
}

// reservations are this node's places at relays, which it takes while it cannot be reached directly.
// libp2p's AutoRelay does the same for relays with public addresses only; a relay between two networks
// of one lab has none.
type reservations struct {
	private atomic.Bool
	kick    chan struct{}

	mu    sync.Mutex
	held  map[peer.ID]*client.Reservation
	asked map[peer.ID]time.Time // members that gave none, and when
}

func newReservations() *reservations {
	return &reservations{
		kick: make(chan struct{}, 1), held: map[peer.ID]*client.Reservation{}, asked: map[peer.ID]time.Time{},
	}
}

// with appends the addresses at relays to the node's own: it is libp2p's hook for announcing them.
func (r *reservations) with(own []ma.Multiaddr) []ma.Multiaddr {
	r.mu.Lock()
	defer r.mu.Unlock()
	circuit := ma.StringCast("/p2p-circuit")
	for _, res := range r.held {
		lonely := true // the relay has no address but loopback
		for _, a := range res.Addrs {
			lonely = lonely && manet.IsIPLoopback(a)
		}
		for _, a := range res.Addrs {
			if (lonely || !manet.IsIPLoopback(a)) && !has(a, ma.P_CIRCUIT) {
				own = append(own, a.Encapsulate(circuit))
			}
		}
	}
	return own
}

// keepRelays holds reservations while the node is private, which libp2p finds out by asking peers to
// dial back.
func (h *Host) keepRelays() error {
	r := h.reserved
	sub, err := h.inner.EventBus().Subscribe([]any{
		new(event.EvtLocalReachabilityChanged), new(event.EvtPeerIdentificationCompleted),
		new(event.EvtPeerConnectednessChanged),
	})
	if err != nil {
		return shoal.Wrap(shoal.Internal, "relay", err)
	}
	h.closer = append(h.closer, sub)
	h.tasks.Go(func() {
		for e := range sub.Out() {
			switch e := e.(type) {
			case event.EvtLocalReachabilityChanged:
				r.private.Store(e.Reachability == network.ReachabilityPrivate)
			case event.EvtPeerIdentificationCompleted: // its addresses are known now
				if e.Conn.Stat().Direction == network.DirInbound && relayed(e.Conn) {
					h.tasks.Go(func() { h.callBack(e.Peer) })
				}
			}
			select {
			case r.kick <- struct{}{}:
			default:
			}
		}
	})
	h.tasks.Go(func() {
		tick := time.NewTicker(relayInterval)
		defer tick.Stop()
		for {
			select {
			case <-h.ctx.Done():
				return
			case <-tick.C:
				h.tendCircuits(time.Now())
			case <-r.kick:
			}
			h.tendRelays(time.Now())
		}
	})
	return nil
}

// tendRelays drops reservations that are over, renews those that end soon, and takes new ones.
func (h *Host) tendRelays(now time.Time) {
	r, private := h.reserved, h.reserved.private.Load()
	r.mu.Lock()
	fresh := 0
	for p, res := range r.held {
		if !private || !connected(h.inner.Network().Connectedness(p)) || now.After(res.Expiration) {
			delete(r.held, p)
			h.inner.ConnManager().Unprotect(p, "relay")
		} else if res.Expiration.Sub(now) > relay.DefaultResources().ReservationTTL/2 {
			fresh++
		}
	}
	for p, at := range r.asked {
		if now.Sub(at) >= relayRetry {
			delete(r.asked, p)
		}
	}
	r.mu.Unlock()
	if !private {
		return
	}
	for _, p := range h.inner.Network().Peers() {
		if fresh >= wantRelays {
			return
		}
		if h.reserve(p, now) {
			fresh++
		}
	}
}

// reserve asks p for a place, if p may be a relay for this node and was not asked just now.
func (h *Host) reserve(p peer.ID, now time.Time) bool {
	r := h.reserved
	r.mu.Lock()
	res, again := r.held[p], !r.asked[p].IsZero()
	r.mu.Unlock()
	if again || res != nil && res.Expiration.Sub(now) > relay.DefaultResources().ReservationTTL/2 {
		return false
	}
	if h.inner.Network().Connectedness(p) != network.Connected {
		return false
	}
	if ids, err := h.inner.Peerstore().SupportsProtocols(p, proto.ProtoIDv2Hop); err != nil || len(ids) == 0 {
		return false
	}
	for _, c := range h.inner.Network().ConnsToPeer(p) {
		if relayed(c) {
			return false // itself behind a relay
		}
	}
	ctx, cancel := context.WithTimeout(h.ctx, relayPatience)
	defer cancel()
	err := h.gate.admit(ctx, p)
	if err == nil {
		res, err = client.Reserve(ctx, h.inner, peer.AddrInfo{ID: p})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		h.cfg.Log.Debug("no relay", "peer", p, "error", err)
		r.asked[p] = now
		return false
	}
	r.held[p] = res
	h.inner.ConnManager().Protect(p, "relay")
	return true
}
