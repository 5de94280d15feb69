package agents

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/shoal-fabric/shoal"
)

// place says where an agent is, as somebody believes.
type place struct {
	Leader  shoal.PeerID   `cbor:"l,omitempty"`
	Epoch   uint64         `cbor:"e,omitempty"`
	Keepers []shoal.PeerID `cbor:"k,omitempty"`
	Order   order          `cbor:"o,omitzero"`
}

// order says which of two beliefs is later: by generation, then configuration, then term.
type order struct {
	Generation uint64 `cbor:"g"`
	Conf       uint64 `cbor:"c"`
	Term       uint64 `cbor:"t"`
}

func (o order) less(p order) bool {
	switch {
	case o.Generation != p.Generation:
		return o.Generation < p.Generation
	case o.Conf != p.Conf:
		return o.Conf < p.Conf
	}
	return o.Term < p.Term
}

// places remembers where agents were found: the newest belief for each, the least used forgotten.
type places struct {
	mu    sync.Mutex
	list  *simplelru.LRU[shoal.Key, place]
	fresh *simplelru.LRU[shoal.Key, place]           // of agents that were made here, and not called yet
	peers *simplelru.LRU[shoal.PeerID, shoal.PeerID] // whose names all places share
}

const (
	maxPlaces = 1 << 14
	maxFresh  = 1 << 10 // whoever makes a million agents need not know all of them
	maxPeers  = 1 << 10
)

// recent is a map of what was used last: the least used entry makes room for a new one.
func recent[K comparable, V any](most int) *simplelru.LRU[K, V] {
	l, _ := simplelru.NewLRU[K, V](most, nil) // it fails for no size above 0
	return l
}

func newPlaces() places {
	return places{
		list: recent[shoal.Key, place](maxPlaces), fresh: recent[shoal.Key, place](maxFresh),
		peers: recent[shoal.PeerID, shoal.PeerID](maxPeers),
	}
}

func (p *places) get(key shoal.Key) (place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(key)
}

// of is get; the caller holds mu.
func (p *places) of(key shoal.Key) (place, bool) {
	at, ok := p.list.Get(key)
	if !ok {
		if at, ok = p.fresh.Peek(key); ok {
			p.fresh.Remove(key)
			p.list.Add(key, at)
		}
	}
	return at, ok
}

// made notes where an agent is that was made just now.
func (p *places) made(key shoal.Key, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.list.Contains(key) { // else it is known better
		p.fresh.Add(key, p.shared(at))
	}
}

func (p *places) note(key shoal.Key, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.of(key)
	if ok && at.Order.less(old.Order) {
		return
	}
	if ok && len(at.Keepers) == 0 {
		at.Keepers = old.Keepers
	}
	p.list.Add(key, p.shared(at))
}

// shared returns a place without names of its own: each message brings the same few peers anew. The caller holds mu.
func (p *places) shared(at place) place {
	name := func(id shoal.PeerID) shoal.PeerID {
		if known, ok := p.peers.Get(id); ok {
			return known
		}
		p.peers.Add(id, id)
		return id
	}
	at.Leader = name(at.Leader)
	at.Keepers = slices.Clone(at.Keepers)
	for i, k := range at.Keepers {
		at.Keepers[i] = name(k)
	}
	return at
}

// moved notes what a keeper said who does not lead.
func (p *places) moved(key shoal.Key, from shoal.PeerID, at place) {
	p.failed(key, from)
	if at.Leader == from {
		at.Leader = ""
	}
	if len(at.Keepers) > 0 {
		p.note(key, at)
	}
}

// failed notes that a peer does not lead an agent, as far as can be seen.
func (p *places) failed(key shoal.Key, peer shoal.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.of(key); ok && old.Leader == peer {
		old.Leader = ""
		p.list.Add(key, old)
	}
}

func (p *places) forget(key shoal.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list.Remove(key)
	p.fresh.Remove(key)
}

// target chooses whom to ask next: the leader if one is known, and as of when, else the keeper asked least so far.
func (a *Agents) target(ctx context.Context, key shoal.Key, tried tries) (to shoal.PeerID, known order, err error) {
	at, ok := a.places.get(key)
	if ok && at.Leader != "" && tried.of(at.Leader) < 20 {
		return at.Leader, at.Order, nil
	}
	vain := len(at.Keepers) > 0 && exhausted(at.Keepers, tried)
	if vain || len(at.Keepers) == 0 {
		found, err := a.locate(ctx, key, vain)
		if err != nil && !ok {
			return "", order{}, err
		}
		if err == nil {
			if found.Order.less(at.Order) {
				found.Order = at.Order
			}
			at = found // with its order: a keeper that knows less is not believed again
			a.places.note(key, at)
		}
	}
	return slices.MinFunc(at.Keepers, func(x, y shoal.PeerID) int { return tried.of(x) - tried.of(y) }), order{}, nil
}

// tries counts how often peers were asked. They are few.
type tries []struct {
	peer shoal.PeerID
	n    int
}

func (t tries) of(p shoal.PeerID) int {
	for _, x := range t {
		if x.peer == p {
			return x.n
		}
	}
	return 0
}

func (t *tries) add(p shoal.PeerID) {
	for i := range *t {
		if (*t)[i].peer == p {
			(*t)[i].n++
			return
		}
	}
	*t = append(*t, struct {
		peer shoal.PeerID
		n    int
	}{p, 1})
}

// exhausted reports whether all keepers were asked twice in vain, so that newer ones should be looked for.
func exhausted(keepers []shoal.PeerID, tried tries) bool {
	return !slices.ContainsFunc(keepers, func(p shoal.PeerID) bool { return tried.of(p)%4 != 3 })
}
