package host

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/shoal-fabric/shoal"
)

// Host is this node on the network. Its methods may be called from many goroutines at once.
type Host struct {
	cfg      Config
	inner    corehost.Host // ungated: for the door, ping and libp2p's own services
	gated    *gatedHost
	gate     *gate
	traffic  *traffic
	door     *door
	reserved *reservations
	called   map[peer.ID]time.Time // of tendCircuits: who was called back lately

	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	closer []io.Closer // closed before inner, last first
	once   sync.Once
	closed error

	mu       sync.Mutex
	onChange []func(p shoal.PeerID, up bool)

	naming sync.Mutex
	names  map[peer.ID]shoal.PeerID // as Connected said them: they are long in making, and it is asked often

	telling    sync.Mutex // held while those who want to know are told of a node
	onDiscover []func(p shoal.PeerID, addrs []string)
	early      []peer.AddrInfo // heard before there was one
}

// New builds the host and starts to listen. The caller closes it.
func New(cfg Config) (*Host, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	h := &Host{cfg: cfg, traffic: newTraffic(), reserved: newReservations(), called: map[peer.ID]time.Time{}, names: map[peer.ID]shoal.PeerID{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.gate = newGate(h.ctx, cfg)
	if err := h.build(); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// build makes the libp2p host and what stands around it.
func (h *Host) build() error {
	quietQUIC()
	options, err := h.options()
	if err != nil {
		return err
	}
	inner, err := libp2p.New(options...)
	if err != nil {
		return shoal.Wrap(shoal.Internal, "host", err)
	}
	h.inner = inner
	h.gated = &gatedHost{Host: inner, gate: h.gate}
	h.gate.verdict = h.tag
	h.door = newDoor(h)
	if h.cfg.Relays {
		if err := h.serveRelay(); err != nil {
			return err
		}
		if err := h.keepRelays(); err != nil {
			return err
		}
	}
	if err := h.watch(); err != nil {
		return err
	}
	if err := h.listen(); err != nil {
		return err
	}
	if h.cfg.MDNS {
		h.discover()
	}
	h.cfg.Log.Debug("listening", "addresses", h.Addresses())
	return nil
}

// manager closes connections when there are too many. It looks for them twice in a grace.
func (c Config) manager() (*connmgr.BasicConnMgr, error) {
	return connmgr.NewConnManager(c.LowPeers, c.HighPeers, connmgr.WithGracePeriod(c.Grace), connmgr.WithSilencePeriod(c.Grace/2))
}

// options are those of the libp2p host. It listens later, so that each failure can be told.
func (h *Host) options() ([]libp2p.Option, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(h.cfg.Key)
	if err != nil {
		return nil, shoal.Wrap(shoal.Invalid, "identity key", err)
	}
	if h.cfg.Carrier != nil {
		o, err := h.carried(key)
		return o, shoal.Wrap(shoal.Internal, "host", err)
	}
	limits, err := resources()
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, "host", err)
	}
	conns, err := h.cfg.manager()
	if err != nil {
		return nil, shoal.Wrap(shoal.Internal, "host", err)
	}
	o := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent("shoal"),
		libp2p.EnableRelay(), // before NoListenAddrs, which would turn it off
		libp2p.NoListenAddrs,
		libp2p.Security(libp2ptls.ID, newTLS),
		libp2p.Security(noise.ID, noise.New),
		libp2p.DefaultMuxers,
		libp2p.Transport(tcp.NewTCPTransport, tcp.WithConnectionTimeout(h.cfg.DialTimeout)),
		libp2p.Transport(quic.NewTransport),
		libp2p.ResourceManager(limits),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(shun(h.cfg.Shun)),
		libp2p.BandwidthReporter(h.traffic),
		libp2p.DisableMetrics(),
		libp2p.WithDialTimeout(h.cfg.DialTimeout),
		libp2p.SwarmOpts(swarm.WithDialTimeoutLocal(h.cfg.DialTimeout), swarm.WithDialRanker(rank)),
		// A few machines that are switched off must not make a node give up on UDP or IPv6.
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.EnableHolePunching(),
		libp2p.EnableNATService(),
		libp2p.AddrsFactory(h.reserved.with),
	}
	if h.cfg.Private {
		o = append(o, libp2p.ForceReachabilityPrivate())
	}
	return o, nil
}

// SetAdmit replaces Config.Admit.
func (h *Host) SetAdmit(f func(ctx context.Context, p shoal.PeerID) error) { h.gate.setAdmit(f) }

// Libp2p returns the host for other rooms to build on. It is gated: a handler set through it runs
// only for streams of peers that Admit accepts, or of open protocols, and NewStream opens only to
// such peers. Closing it does nothing.
func (h *Host) Libp2p() corehost.Host { return h.gated }

// ID returns this node's peer ID.
func (h *Host) ID() shoal.PeerID { return shoal.PeerID(h.inner.ID().String()) }

// Addresses returns where this node can be reached, as it knows: the addresses of its interfaces
// in place of wildcards, those that peers saw, and those through relays. Each ends in /p2p/ID.
func (h *Host) Addresses() []string {
	addrs, err := h.inner.Network().InterfaceListenAddresses()
	if err != nil {
		h.cfg.Log.Warn("addresses of interfaces", "error", err)
	}
	var out []string
	for _, a := range append(addrs, h.inner.Addrs()...) {
		if bare := a.String(); bare != "/p2p-circuit" {
			if s := bare + "/p2p/" + h.inner.ID().String(); !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// Close ends all connections and waits for this package's goroutines.
func (h *Host) Close() error {
	h.once.Do(func() {
		h.cancel()
		var errs []error
		for _, c := range slices.Backward(h.closer) {
			errs = append(errs, c.Close())
		}
		if h.inner != nil {
			errs = append(errs, h.inner.Close())
		}
		h.tasks.Wait()
		h.closed = shoal.Wrap(shoal.Internal, "close the host", errors.Join(errs...))
	})
	return h.closed
}

// Notify has f called when the first connection to a peer stands and when the last one is gone, in
// order, one call at a time. f must return soon. Connections that stand already are not told.
func (h *Host) Notify(f func(p shoal.PeerID, up bool)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onChange = append(h.onChange, f)
}

// watch tells changes to those who asked by Notify.
func (h *Host) watch() error {
	sub, err := h.inner.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(256))
	if err != nil {
		return shoal.Wrap(shoal.Internal, "host", err)
	}
	h.closer = append(h.closer, sub)
	h.tasks.Go(func() {
		up := map[peer.ID]bool{}
		for e := range sub.Out() {
			e := e.(event.EvtPeerConnectednessChanged)
			now := connected(e.Connectedness)
			if up[e.Peer] == now {
				continue // between a direct and a relayed connection
			}
			if up[e.Peer] = now; !now {
				delete(up, e.Peer)
			}
			h.mu.Lock()
			fs := slices.Clone(h.onChange)
			h.mu.Unlock()
			for _, f := range fs {
				f(shoal.PeerID(e.Peer.String()), now)
			}
		}
	})
	return nil
}

// connected reports whether streams can be opened.
func connected(c network.Connectedness) bool {
	return c == network.Connected || c == network.Limited
}

// tag has the connection manager keep members rather than strangers.
func (h *Host) tag(p peer.ID, member bool) {
	if member {
		h.inner.ConnManager().TagPeer(p, "member", 100)
	} else {
		h.inner.ConnManager().UntagPeer(p, "member")
	}
}
