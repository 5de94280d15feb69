package dht

import (
	"context"
	"maps"
	"slices"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	kb "github.com/libp2p/go-libp2p-kbucket"
	recpb "github.com/libp2p/go-libp2p-record/pb"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	mh "github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht/record"
)

// Times of keeping the table.
const (
	kadFirst    = 250 * time.Millisecond // kad-dht looks at a new connection itself; see to it if it failed
	retryMin    = 250 * time.Millisecond
	retryMax    = 30 * time.Second
	retellPause = 2 * time.Second  // between two tellings of one peer
	retellLarge = 10 * time.Minute // in a large fabric 19 others know what one forgot
	addrTime    = time.Hour        // an address given by the caller is kept
	idleTurn    = 30 * time.Second
	turnPause   = 20 * time.Millisecond
	askPause    = time.Second // between two questions for neighbours
	maxBusy     = 8
	tellPortion = 4096 // announcements that are handed on at once, about
	maxSaid     = 1 << 14
)

// candidate is a peer that is in the routing table, or should be. Two things are done for it: it is
// asked for a sign of life and put into the table, and it is told what this node announces.
type candidate struct {
	sticky bool // the caller added it; else it goes when its connection goes
	busy   bool // a goroutine serves it
	shut   bool // there was no room for it
	due    time.Time
	delay  time.Duration
	told   time.Time // zero: not yet
	stale  bool      // it may have forgotten or missed something
}

// saying is where the caller said that a peer is.
type saying struct {
	addrs []string
	at    time.Time // when they were noted
}

func (s saying) holds(addrs []string) bool {
	return time.Since(s.at) < addrTime/2 && slices.Equal(s.addrs, addrs)
}

// AddPeer has p, a member, enter the routing table if there is room for it. addrs are multiaddrs,
// with or without /p2p; those that cannot be read are ignored. It does not wait, and costs little when
// it says nothing new.
func (d *DHT) AddPeer(p shoal.PeerID, addrs []string) {
	id, err := peer.Decode(string(p))
	if err != nil || id == d.host.ID() {
		return
	}
	d.mu.Lock()
	c := d.peers[id]
	noted, wanted := d.said[id].holds(addrs), c != nil && c.sticky
	d.mu.Unlock()
	if noted && wanted {
		return
	}
	news := !noted && d.hear(id, addrs)
	if d.kad.RoutingTable().Find(id) == "" && !d.kad.RoutingTable().UsefulNewPeer(id) {
		return
	}
	d.mu.Lock()
	c = d.candidate(id)
	if news = news || !c.sticky; news {
		c.sticky, c.due, c.delay = true, time.Now(), 0
	}
	d.mu.Unlock()
	if news { // else it was tried, and will be again
		d.gate.forget(id)
		d.reach.alive(id)
		d.nudge()
	}
}

// hear notes where the caller said that a peer is, and reports whether any of it is news.
func (d *DHT) hear(id peer.ID, addrs []string) (news bool) {
	var known []ma.Multiaddr
	for _, s := range addrs {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			continue
		}
		if a, of := peer.SplitAddr(a); a != nil && (of == "" || of == id) {
			known = append(known, a)
		}
	}
	old := d.host.Peerstore().Addrs(id)
	d.host.Peerstore().AddAddrs(id, known, addrTime)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.said) >= maxSaid {
		clear(d.said) // to note them again costs little
	}
	d.said[id] = saying{slices.Clone(addrs), time.Now()}
	return slices.ContainsFunc(known, func(a ma.Multiaddr) bool { return !slices.ContainsFunc(old, a.Equal) })
}

// RemovePeer takes p out of the routing table: it left, or is no member any more.
func (d *DHT) RemovePeer(p shoal.PeerID) {
	id, err := peer.Decode(string(p))
	if err != nil {
		return
	}
	d.mu.Lock()
	delete(d.peers, id)
	delete(d.said, id)
	d.mu.Unlock()
	d.gate.forget(id)
	d.kad.RoutingTable().RemovePeer(id)
	d.sender.drop(id)
}

// Peers returns the peers in the routing table.
func (d *DHT) Peers() (peers []shoal.PeerID) {
	for _, p := range d.kad.RoutingTable().ListPeers() {
		peers = append(peers, shoal.PeerID(p.String()))
	}
	return peers
}

// candidate returns the entry of p, making it; d.mu is held.
func (d *DHT) candidate(p peer.ID) *candidate {
	if d.peers[p] == nil {
		d.peers[p] = &candidate{}
	}
	return d.peers[p]
}

// nudge has the table looked at soon.
func (d *DHT) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// missed notes that p did not hear an announcement.
func (d *DHT) missed(p peer.ID) {
	d.mu.Lock()
	if c := d.peers[p]; c != nil {
		c.stale = true
	}
	d.mu.Unlock()
	d.nudge()
}

// met notes a new connection to p, which may have been restarted and know nothing any more.
func (d *DHT) met(p peer.ID) {
	d.reach.alive(p)
	if ids, err := d.host.Peerstore().SupportsProtocols(p, d.sender.id); err != nil || len(ids) == 0 {
		return
	}
	large := d.kad.RoutingTable().Size() >= bucketSize
	d.mu.Lock()
	c := d.candidate(p)
	c.stale = c.stale || !large || time.Since(c.told) > retellLarge
	if c.due.IsZero() || time.Until(c.due) > kadFirst {
		c.due, c.delay = time.Now().Add(kadFirst), 0
	}
	d.mu.Unlock()
	d.nudge()
}

// called notes that p, a member, asked this node something: it is alive, and takes part.
func (d *DHT) called(p peer.ID) {
	d.reach.alive(p)
	if d.kad.RoutingTable().Find(p) != "" {
		return
	}
	d.mu.Lock()
	c := d.candidate(p)
	first := c.delay > 0 || c.due.IsZero()
	if first {
		c.due, c.delay = time.Now(), 0
	}
	d.mu.Unlock()
	if first {
		d.nudge()
	}
}

// keepTable serves the candidates until the DHT ends.
func (d *DHT) keepTable() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last, soon := time.Now(), false // soon: the timer is set for what a nudge was for
	for {
		select {
		case <-d.ctx.Done():
			return
		case e, ok := <-d.joined.Out():
			if ok {
				d.met(e.(event.EvtPeerIdentificationCompleted).Peer)
			}
			continue
		case <-timer.C:
		case <-d.wake:
			if wait := turnPause - time.Since(last); soon || wait > 0 { // nudges come in crowds, and each turn looks at all
				if !soon {
					timer.Reset(wait)
					soon = true
				}
				continue
			}
		}
		timer.Reset(d.turn())
		last, soon = time.Now(), false
	}
}

// turn starts what is due and returns when to look again.
func (d *DHT) turn() time.Duration {
	listed := d.kad.RoutingTable().ListPeers()
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.grown)
	d.grown = make(chan struct{})
	in := make(map[peer.ID]bool, len(listed))
	for _, p := range listed {
		in[p] = true
		d.candidate(p)
	}
	now, next := time.Now(), idleTurn
	next = min(next, d.ask(in, now))
	moved := !maps.Equal(in, d.listed) || now.Sub(d.looked) >= idleTurn
	if moved {
		d.listed, d.looked = in, now
	}
	for p, c := range d.peers {
		if c.busy {
			continue // it nudges when it is done
		}
		if c.shut && !moved {
			continue // most are strangers who met this node for a question: to look at each of them each time costs more than that did
		}
		c.shut = false
		switch {
		case !in[p] && !c.sticky && d.host.Network().Connectedness(p) != network.Connected:
			delete(d.peers, p)
			continue
		case !in[p] && !d.kad.RoutingTable().UsefulNewPeer(p):
			c.told, c.due, c.delay, c.shut = time.Time{}, now, 0, true
			continue // there is no room for it: a change of the table, if not the next idle turn, looks again
		case !in[p]:
			c.told = time.Time{} // it left the table, for a reason
		case c.told.IsZero():
			if c.delay == 0 {
				c.due = now
			}
		case c.stale:
			if since := now.Sub(c.told); since < retellPause && c.due.Before(now) {
				c.due = now.Add(retellPause - since)
			}
		default:
			continue // nothing to do
		}
		if wait := c.due.Sub(now); wait > 0 || d.busy >= maxBusy {
			next = min(next, max(wait, 10*time.Millisecond))
			continue
		}
		c.busy, c.stale = true, false
		d.busy++
		d.wg.Go(func() { d.serve(p, c, in[p]) })
	}
	return next
}

// ask has whoever is new in a small table asked for its neighbours, and returns when to look again.
// kad-dht asks once, at the first peer: if that one did not know the others yet, or could not be asked
// at that moment, the table would stay small until the next refresh. d.mu is held.
func (d *DHT) ask(in map[peer.ID]bool, now time.Time) time.Duration {
	if len(in) >= bucketSize || d.cfg.Warm && time.Since(d.begun) < warmTime {
		return idleTurn
	}
	fresh := false
	for p := range in {
		fresh = fresh || !d.asked[p]
	}
	if !fresh {
		return idleTurn
	}
	if wait := askPause - now.Sub(d.lastAsk); wait > 0 {
		return wait
	}
	d.asked, d.lastAsk = in, now
	d.wg.Go(func() {
		select {
		case <-d.kad.RefreshRoutingTable():
		case <-d.ctx.Done():
		}
	})
	return idleTurn
}

// serve does for p what is due.
func (d *DHT) serve(p peer.ID, c *candidate, in bool) {
	err, ctx := error(nil), patiently(d.ctx)
	if in {
		err = d.tell(ctx, p)
	} else {
		err = d.join(ctx, p)
	}
	now := time.Now()
	d.mu.Lock()
	d.busy--
	c.busy = false
	switch {
	case err == nil:
		c.delay, c.due = 0, now
		if in {
			c.told = now
		}
	default:
		c.stale = true
		c.delay = min(max(2*c.delay, retryMin), retryMax)
		c.due = now.Add(c.delay)
		d.cfg.Log.Debug("dht peer", "peer", p, "in table", in, "error", err, "again in", c.delay)
	}
	d.mu.Unlock()
	d.nudge()
}

// join asks p for a sign of life and puts it into the table.
func (d *DHT) join(ctx context.Context, p peer.ID) error {
	if _, err := d.sender.SendRequest(ctx, p, pb.NewMessage(pb.Message_FIND_NODE, []byte(p), 0)); err != nil {
		return err
	}
	// Not to be replaced by the next who comes: two candidates for one place would take it from each other for ever.
	added, err := d.kad.RoutingTable().TryAddPeer(p, true, false)
	if err == nil && !added && d.kad.RoutingTable().Find(p) == "" {
		err = shoal.E(shoal.Refused, "peer "+p.ShortString(), "no room in the table", "")
	}
	return err
}

// tell hands p every announcement that p, being one of the closest, should keep.
func (d *DHT) tell(ctx context.Context, p peer.ID) error {
	d.mu.Lock()
	self := d.self
	d.mu.Unlock()
	name := record.Key(shoal.PeerID(d.host.ID().String()))
	if self != nil && d.keeps(p, name) {
		m := pb.NewMessage(pb.Message_PUT_VALUE, []byte(name), 0)
		m.Record = &recpb.Record{Key: []byte(name), Value: self}
		if _, err := d.sender.SendRequest(ctx, p, m); err != nil {
			return err
		}
	}
	addrs := d.kad.FilteredAddrs()
	if len(addrs) == 0 {
		return nil // nobody could come here
	}
	me := pb.RawPeerInfosToPBPeers([]peer.AddrInfo{{ID: d.host.ID(), Addrs: addrs}})
	return d.announced(ctx, func(_ int, keys []mh.Multihash) error {
		var ms []*pb.Message
		for _, k := range keys {
			if d.keeps(p, string(k)) {
				m := pb.NewMessage(pb.Message_ADD_PROVIDER, k, 0)
				m.ProviderPeers = me
				ms = append(ms, m)
			}
		}
		return d.sender.sendAll(ctx, p, ms)
	})
}

// announced calls f with what this node announces, a portion at a time, and how much there is in all.
func (d *DHT) announced(ctx context.Context, f func(all int, keys []mh.Multihash) error) error {
	n, err := d.keys.Size(ctx)
	if err != nil {
		return err
	}
	bits := 0
	for n>>bits > tellPortion {
		bits++
	}
	for i := range 1 << bits {
		keys, err := d.keys.Get(ctx, beginning(i, bits))
		if err == nil {
			err = f(n, keys)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keeps reports whether p is among the closest peers to key, as far as this node knows.
func (d *DHT) keeps(p peer.ID, key string) bool {
	rt := d.kad.RoutingTable()
	return rt.Size() <= bucketSize || slices.Contains(rt.NearestPeers(kb.ConvertKey(key), bucketSize), p)
}
