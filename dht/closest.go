package dht

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal"
)

// Lookup is what a lookup found, and how.
type Lookup struct {
	Peers    []shoal.PeerID // the closest first
	Hops     int            // of the closest: 1 for a peer of this node's table, one more than that of the peer who first told of it
	Messages int            // requests sent
}

// Closest finds the peers closest to a key, of any bytes.
func (d *DHT) Closest(ctx context.Context, key string) (l Lookup, err error) {
	m := &route{depth: map[peer.ID]int{}}
	for _, p := range d.kad.RoutingTable().ListPeers() {
		m.depth[p] = 1
	}
	t := &tracer{begun: time.Now(), route: m}
	defer t.end()
	peers, err := d.kad.GetClosestPeers(context.WithValue(ctx, tracerKey{}, t), key)
	for _, p := range peers {
		l.Peers = append(l.Peers, shoal.PeerID(p.String()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l.Messages = m.sent
	if len(peers) > 0 {
		l.Hops = max(1, m.depth[peers[0]])
	}
	return l, shoal.Wrap(shoal.Unavailable, "look up", err)
}

// Announced returns how many bytes of messages this node has sent and got to tell others what it holds and is: announcements, its
// record, and the lookups for them.
func (d *DHT) Announced() uint64 { return d.sender.announced.Load() }

// route is the tree of referrals of one lookup.
type route struct {
	mu    sync.Mutex
	depth map[peer.ID]int // of all that were heard of
	sent  int
}

func (r *route) asked() {
	r.mu.Lock()
	r.sent++
	r.mu.Unlock()
}

func (r *route) heard(from peer.ID, named []peer.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := max(1, r.depth[from]) + 1
	for _, p := range named {
		if r.depth[p] == 0 {
			r.depth[p] = d
		}
	}
}

// Fill puts peers, which are members, into the routing table without asking them. Worlds begin so.
func (d *DHT) Fill(peers map[shoal.PeerID][]string) {
	for p, addrs := range peers {
		id, err := peer.Decode(string(p))
		if err != nil || id == d.host.ID() {
			continue
		}
		var known []ma.Multiaddr
		for _, s := range addrs {
			if a, err := ma.NewMultiaddr(s); err == nil {
				known = append(known, a)
			}
		}
		d.host.Peerstore().AddAddrs(id, known, fillTime)
		if _, err := d.kad.RoutingTable().TryAddPeer(id, true, false); err != nil {
			d.cfg.Log.Debug("dht: no room in the table", "peer", p, "error", err)
			continue
		}
		d.mu.Lock()
		d.candidate(id).told = time.Now() // as it is of one who has been there for long
		d.mu.Unlock()
	}
}

// fillTime is how long addresses of peers of a table that was filled are known: as kad-dht keeps those of its own table.
const fillTime = 48 * time.Hour

// warmTime is how long a DHT that begins warm answers itself how large the fabric is, from its table.
const warmTime = 20 * time.Second

// refresh refreshes the table of a DHT that began warm.
func (d *DHT) refresh() {
	wait := d.cfg.Refresh + rand.N(d.cfg.Refresh)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			d.kad.RefreshRoutingTable()
		case <-d.ctx.Done():
			timer.Stop()
			return
		}
		wait = d.cfg.Refresh
	}
}

// Note keeps that peers announced a key, as if each had told this node. Worlds begin so.
func (d *DHT) Note(key shoal.Key, peers map[shoal.PeerID][]string) error {
	h, err := hash("note", key)
	if err != nil {
		return err
	}
	for p, addrs := range peers {
		ai := peer.AddrInfo{}
		if ai.ID, err = peer.Decode(string(p)); err != nil {
			return shoal.Wrap(shoal.Invalid, "note", err)
		}
		for _, s := range addrs {
			if a, err := ma.NewMultiaddr(s); err == nil {
				ai.Addrs = append(ai.Addrs, a)
			}
		}
		if err := d.kad.ProviderStore().AddProvider(d.ctx, h, ai); err != nil {
			return shoal.Wrap(shoal.Unavailable, "note", err)
		}
	}
	return nil
}
