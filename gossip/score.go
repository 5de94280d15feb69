package gossip

import (
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-fabric/shoal"
)

// Thresholds of a peer's score, which is 0 at first. A message that is to be rejected costs 10 times the square of how many there
// were lately, so that four within seconds make a peer unheard.
const (
	noGossip  = -10  // nothing is told it of what it may ask for
	noPublish = -50  // nor what this node says itself
	unheard   = -100 // nor is anything that it sends looked at
)

func thresholds() *pubsub.PeerScoreThresholds {
	return &pubsub.PeerScoreThresholds{
		GossipThreshold: noGossip, PublishThreshold: noPublish, GraylistThreshold: unheard,
		AcceptPXThreshold: 10, OpportunisticGraftThreshold: 2,
	}
}

// scoreParams: what a peer does counts, its address does not, as a lab is behind one.
func scoreParams(own func(peer.ID) float64) *pubsub.PeerScoreParams {
	return &pubsub.PeerScoreParams{
		Topics:                 map[string]*pubsub.TopicScoreParams{},
		TopicScoreCap:          50,
		AppSpecificScore:       own,
		AppSpecificWeight:      1,
		BehaviourPenaltyWeight: -10, BehaviourPenaltyThreshold: 6, BehaviourPenaltyDecay: decay(time.Minute),
		DecayInterval: time.Second, DecayToZero: 0.01, RetainScore: 10 * time.Minute, SeenMsgTTL: seenFor,
	}
}

// topicParams: a channel may be silent for hours, so nobody is blamed for bringing nothing; who brings something first is liked
// better, and takes the place of who does not when the mesh is renewed.
func topicParams() *pubsub.TopicScoreParams {
	return &pubsub.TopicScoreParams{
		TopicWeight:      1,
		TimeInMeshWeight: 0.01, TimeInMeshQuantum: time.Second, TimeInMeshCap: 100,
		FirstMessageDeliveriesWeight: 0.5, FirstMessageDeliveriesDecay: decay(2 * time.Minute), FirstMessageDeliveriesCap: 40,
		InvalidMessageDeliveriesWeight: -10, InvalidMessageDeliveriesDecay: decay(10 * time.Minute),
	}
}

// decay is the factor a second by which a count falls to a hundredth within d.
func decay(d time.Duration) float64 { return pubsub.ScoreParameterDecay(d) }

// flood counts what each neighbour sends, whatever it is: two buckets of tokens, and what was too much.
type flood struct {
	bytes, count float64 // a second

	mu    sync.Mutex
	peers map[peer.ID]*sender
}

type sender struct {
	bytes, count float64 // that it may send now
	at           time.Time
	excess       float64 // how often it sent more lately
}

const (
	maxSenders   = 4096
	excessCost   = 5.0 // of the score
	excessForget = 30 * time.Second
)

func newFlood(bytes, count float64) *flood {
	return &flood{bytes: bytes, count: count, peers: map[peer.ID]*sender{}}
}

// blame counts a message of a neighbour as too much.
func (f *flood) blame(p peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.peers[p]; s != nil {
		s.excess = min(s.excess+0.1, 100)
	}
}

// take counts what a peer sent, and reports whether it may be looked at.
func (f *flood) take(p peer.ID, bytes, count int, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.peers[p]
	if s == nil {
		for other, o := range f.peers { // those that are as good as new
			if len(f.peers) < maxSenders {
				break
			}
			if now.Sub(o.at) > excessForget {
				delete(f.peers, other)
			}
		}
		s = &sender{bytes: f.bytes, count: f.count, at: now}
		f.peers[p] = s
	}
	d := max(now.Sub(s.at), 0).Seconds()
	s.at = now
	s.bytes = min(s.bytes+d*f.bytes, f.bytes) - float64(bytes)
	s.count = min(s.count+d*f.count, f.count) - float64(count)
	s.excess = max(s.excess-d*20/excessForget.Seconds(), 0)
	if s.bytes >= 0 && s.count >= 0 {
		return true
	}
	s.bytes, s.count = max(s.bytes, 0), max(s.count, 0)
	s.excess = min(s.excess+1, 100)
	return false
}

// score is what a neighbour's floods cost it.
func (f *flood) score(p peer.ID) float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.peers[p]; s != nil {
		idle := time.Since(s.at).Seconds() * 20 / excessForget.Seconds()
		return -excessCost * max(s.excess-idle, 0)
	}
	return 0
}

// inspect refuses what is too much, before anything of it is checked.
func (g *Gossip) inspect(p peer.ID, rpc *pubsub.RPC) error {
	bytes := 0
	for _, m := range rpc.GetPublish() {
		bytes += len(m.GetData()) + 256 // what a signature and names take
	}
	count := len(rpc.GetPublish()) + len(rpc.GetSubscriptions())
	if c := rpc.GetControl(); c != nil {
		for _, h := range c.GetIhave() {
			count += len(h.GetMessageIDs()) / 10
		}
		for _, w := range c.GetIwant() {
			count += len(w.GetMessageIDs())
		}
		count += len(c.GetGraft()) + len(c.GetPrune())
	}
	if !g.flood.take(p, bytes, count, time.Now()) {
		return shoal.E(shoal.Overloaded, "gossip", "a neighbour sends too much", "")
	}
	return nil
}
