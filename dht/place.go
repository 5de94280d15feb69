package dht

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	metTime   = 10 * time.Minute // peers that the sweeper met count as long for the keys that it shares out, which it does next
	roundTime = time.Minute      // without a copy of a key end its round: the sweeper knew fewer peers, or gave up
)

// placer sends what the sweeper announces to the peers closest to each key. The sweeper explores a region, then shares its keys out among
// the region's peers; kad-dht 0.42.2 does that by the wrong bits (provider/internal/keyspace.AllocateToKClosest reads keys from their
// first bit on, and peers from the bit behind the region's prefix): of the twenty closest to a key some thirteen hear of it where there
// is more than one region, and others in place of the rest. The number of copies is right. So the n-th copy of a key goes to the n-th closest
// of the peers that were met on the way, whoever the sweeper names. Safe for concurrent use.
type placer struct {
	*sender
	self   peer.ID
	copies int

	mu     sync.Mutex
	met    map[peer.ID]sight // in the lookups of the sweeper
	rounds map[string]*round // by the key in announcements
	swept  time.Time         // when old ones were dropped last
}

// sight is a peer that was met.
type sight struct {
	last time.Time
	at   uint64 // where it lies: the first bits of its hash
}

// placeOf returns where a hash lies, near enough to tell who is closer.
func placeOf(id kb.ID) uint64 { return binary.BigEndian.Uint64(id) }

// round is one announcement of one key.
type round struct {
	last  time.Time // when a copy was sent
	left  []peer.ID // the closest first; there is no round without one
	named []peer.ID // by the sweeper, each once
}

func newPlacer(s *sender, self peer.ID, copies int) *placer {
	return &placer{sender: s, self: self, copies: copies, met: map[peer.ID]sight{}, rounds: map[string]*round{}}
}

// meet notes whom a lookup of the sweeper found. A node alone finds itself, see router, and is no place for a copy once others come.
func (p *placer) meet(now time.Time, peers []peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range peers {
		if id != p.self {
			p.met[id] = sight{now, placeOf(kb.ConvertPeerID(id))}
		}
	}
}

// SendMessage sends m, whose key is announced, to the closest peer that has not been sent it in this round. named is whom the sweeper
// took for it.
func (p *placer) SendMessage(ctx context.Context, named peer.ID, m *pb.Message) error {
	return p.sender.SendMessage(ctx, p.next(time.Now(), named, m.GetKey()), m)
}

func (p *placer) next(now time.Time, named peer.ID, key []byte) peer.ID {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(now)
	r := p.rounds[string(key)]
	if r == nil || now.Sub(r.last) >= roundTime || slices.Contains(r.named, named) {
		r = &round{left: p.closest(now, key)}
		if len(r.left) == 0 {
			return named // nobody was met: it is itself
		}
		p.rounds[string(key)] = r
	}
	to := r.left[0]
	r.last, r.left, r.named = now, r.left[1:], append(r.named, named)
	if len(r.left) == 0 {
		delete(p.rounds, string(key))
	}
	return to
}

// closest returns as many of the peers met of late as there are copies, the closest to key first.
func (p *placer) closest(now time.Time, key []byte) []peer.ID {
	type ranked struct {
		id   peer.ID
		dist uint64
	}
	place := placeOf(kb.ConvertKey(string(key)))
	var near []ranked
	for id, s := range p.met {
		if now.Sub(s.last) < metTime {
			near = append(near, ranked{id, s.at ^ place})
		}
	}
	slices.SortFunc(near, func(a, b ranked) int { return cmp.Compare(a.dist, b.dist) })
	out := make([]peer.ID, 0, p.copies)
	for _, r := range near[:min(p.copies, len(near))] {
		out = append(out, r.id)
	}
	return out
}

// drop forgets peers met long ago, and rounds that the sweeper gave up, once in a while.
func (p *placer) drop(now time.Time) {
	if now.Sub(p.swept) < roundTime {
		return
	}
	p.swept = now
	for id, s := range p.met {
		if now.Sub(s.last) >= metTime {
			delete(p.met, id)
		}
	}
	for k, r := range p.rounds {
		if now.Sub(r.last) >= roundTime {
			delete(p.rounds, k)
		}
	}
}
