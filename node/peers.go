package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/expr"
)

// Bounds of looking for peers without a table. Asking every member is not finding.
const (
	maxFound   = 256 // peers taken from one lookup
	sampleSize = 64  // members asked when there is nothing to look up
	askers     = 16  // asked at once for their records
	findTime   = 5 * time.Second
	askTime    = 2 * time.Second
)

// Peers lists the other members that fulfil where ("" for all). With the table off it finds them
// through the directory, by the attributes that where implies, and asks each for its record. The note,
// unless it is "", says in what respect the list may not be complete.
func (n *Node) Peers(ctx context.Context, where string) (list []PeerInfo, note string, err error) {
	fits := func(*shoal.Member) (bool, error) { return true, nil }
	var keys []expr.Index
	if where != "" {
		p, err := expr.Compile(where)
		if err != nil {
			return nil, "", err
		}
		keys = p.Keys()
		fits = func(m *shoal.Member) (bool, error) {
			ok, _, err := p.Match(m)
			return ok, err
		}
	}
	members := n.rooms.members.Table()
	switch gone := n.rooms.members.Standing(); {
	case gone != nil:
		note = gone.Error() + "; the list is as this node last knew it"
	case n.cfg.NoTable && where == "":
		note = "this node keeps no table of all members: these are the ones it is in touch with; --where finds others"
	case n.cfg.NoTable:
		var found []shoal.Member
		found, note = n.findPeers(ctx, keys, members)
		members = append(members, found...)
	}
	for _, m := range members {
		ok, err := fits(&m)
		if err != nil {
			return nil, "", err
		}
		if ok {
			list = append(list, n.peerInfo(m))
		}
	}
	slices.SortFunc(list, func(a, b PeerInfo) int { return strings.Compare(string(a.PeerID), string(b.PeerID)) })
	return list, note, nil
}

// Peer describes the one member whose ID is p or ends with it, this node included. A peer that this node has not met is
// asked, or those who keep what it put.
func (n *Node) Peer(ctx context.Context, p string) (PeerInfo, error) {
	id, err := n.Member(p)
	if err != nil {
		return PeerInfo{}, err
	}
	m, ok := n.rooms.members.Lookup(id)
	if !ok {
		if m, err = n.record(ctx, id); err != nil {
			return PeerInfo{}, err
		}
	}
	return n.peerInfo(m), nil
}

// findPeers looks the rarest kind of key up, or without a key takes a sample of the fabric, and gets the
// record of each peer that is not known.
func (n *Node) findPeers(ctx context.Context, keys []expr.Index, known []shoal.Member) (found []shoal.Member, note string) {
	find := cmp.Or(n.cfg.patience(), findTime)
	ctx, cancel := context.WithTimeout(ctx, find+cmp.Or(2*n.cfg.patience(), askTime))
	defer cancel()
	var ids []shoal.PeerID
	finding, stop := context.WithTimeout(ctx, find)
	if len(keys) == 0 {
		ids = n.rooms.dht.Sample(finding, sampleSize)
	} else {
		for p, err := range n.rooms.dht.Find(finding, keys[0].Key(), maxFound) {
			if err == nil {
				ids = append(ids, p)
			}
		}
	}
	stop()
	found = n.records(ctx, ids, known)
	switch {
	case len(keys) == 0:
		note = fmt.Sprintf("this is a sample of %d members: the expression asks for nothing that peers announce (gpus, labels, "+
			"cpus, memory, arch, os), so none could be looked up", len(known)+len(found))
	case len(ids) >= maxFound:
		note = fmt.Sprintf("only the first %d peers that announce %s were asked: ask for something rarer", maxFound, keys[0])
	}
	return found, note
}

// records gets the records of those of ids that are neither known nor this node, a few at once.
func (n *Node) records(ctx context.Context, ids []shoal.PeerID, known []shoal.Member) (list []shoal.Member) {
	have := map[shoal.PeerID]bool{n.ID(): true}
	for _, m := range known {
		have[m.ID] = true
	}
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		room = make(chan struct{}, askers)
	)
	for _, p := range ids {
		if have[p] {
			continue
		}
		have[p] = true
		wait.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			m, err := n.record(ctx, p)
			if err != nil {
				n.cfg.Log.Debug("node: no record", "peer", p, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, m)
		})
	}
	wait.Wait()
	return list
}

// record asks p for its record; if p does not answer, those who keep what it put.
func (n *Node) record(ctx context.Context, p shoal.PeerID) (shoal.Member, error) {
	ask, cancel := context.WithTimeout(ctx, cmp.Or(n.cfg.patience(), askTime))
	defer cancel()
	m, err := n.rooms.members.Record(ask, p)
	if err != nil && shoal.KindOf(err) != shoal.Refused {
		if kept, missing := n.keptRecord(ctx, p); missing == nil {
			return kept, nil
		}
	}
	return m, err
}

// keptRecord returns the record of p that the directory keeps, with the age it has there.
func (n *Node) keptRecord(ctx context.Context, p shoal.PeerID) (shoal.Member, error) {
	sealed, err := n.rooms.dht.GetRecord(ctx, p)
	if err != nil {
		return shoal.Member{}, err
	}
	return n.rooms.members.ReadRecord(p, sealed)
}

// Ping returns how long it took to open a stream to p and have two echoes, one after the other: three round trips.
func (n *Node) Ping(ctx context.Context, p shoal.PeerID) (time.Duration, error) {
	began := time.Now()
	_, err := n.rooms.host.RTT(ctx, p)
	return time.Since(began), err
}
