package agents

import (
	"context"
	"slices"
	"sync"

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
	mu   sync.Mutex
	list map[shoal.Key]*place
}

const maxPlaces = 1 << 16

func (p *places) get(key shoal.Key) (place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := p.list[key]; at != nil {
		return *at, true
	}
	return place{}, false
}

func (p *places) note(key shoal.Key, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.list[key]
	if old != nil && at.Order.less(old.Order) {
		return
	}
	if old != nil && len(at.Keepers) == 0 {
		at.Keepers = old.Keepers
	}
	if old == nil && len(p.list) >= maxPlaces {
		for k := range p.list { // any
			delete(p.list, k)
			break
		}
	}
	p.list[key] = &at
}

// moved notes what a keeper said who does not lead.
func (p *places) moved(key shoal.Key, from shoal.PeerID, at place) {
	p.mu.Lock()
	old := p.list[key]
	if old != nil && old.Leader == from {
		old.Leader = ""
	}
	p.mu.Unlock()
	if at.Leader == from {
		at.Leader = ""
	}
	if len(at.Keepers) > 0 {
		p.note(key, at)
	}
}

// failed notes that a peer cannot be reached.
func (p *places) failed(key shoal.Key, peer shoal.PeerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.list[key]; old != nil && old.Leader == peer {
		old.Leader = ""
	}
}

func (p *places) forget(key shoal.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.list, key)
}

// target chooses whom to ask next: the leader if one is known, and as of when, else the keeper asked least so far.
func (a *Agents) target(ctx context.Context, key shoal.Key, tried tries) (to shoal.PeerID, known order, err error) {
	at, ok := a.places.get(key)
	if ok && at.Leader != "" && tried.of(at.Leader) < 20 {
		return at.Leader, at.Order, nil
	}
	if !ok || len(at.Keepers) == 0 || exhausted(at.Keepers, tried) {
		found, err := a.locate(ctx, key)
		if err != nil && !ok {
			return "", order{}, err
		}
		if err == nil {
			at.Keepers = found
			a.places.note(key, place{Keepers: found, Order: at.Order})
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
