// Package memnet is a network in memory for complete nodes in one process: a libp2p transport whose packets take their
// time. It runs in real time or, what it is for, in the virtual time of a testing/synctest bubble; everything of one Net
// is used inside one bubble.
//
// A stream's bytes stay in order; those of different streams of a connection do not wait for one another. A packet is
// what one Write brings, cut to 16 KiB where a node's links have a bandwidth. It takes the latency of its way, plus jitter;
// each loss adds a retransmission. A node's links serve their streams in turn, packet by packet, so that each gets an
// equal share, and pass on what they receive while the rest still comes: alone on its way a packet of n bytes takes
// latency + n / min(up, down). TCP's slow start and its dislike of loss are left out, and so are the bytes of TLS, yamux
// and TCP.
//
// What is cut off stalls, as with TCP: packets wait at their sender and go out after a retransmission once the way is
// open again. The ends of a connection find out by yamux's keepalive: after 30 seconds without a word they ask, and hang
// up after 10 more without an answer. It is the same when a machine loses its power, for nobody is left to say goodbye;
// once it is back it answers what it does not know with a reset.
//
// No lock is held across a wait, and there is no goroutine for each connection or stream: one timer drives it all.
package memnet

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
)

// HandshakeTrips is how many round trips a dial takes, as with Shoal's TCP transport: one for TCP, one to agree on TLS (by
// multistream-select), one for TLS 1.3, which settles the multiplexer as well.
const HandshakeTrips = 3

// What yamux does in libp2p.
const (
	window        = 16 << 20 // most bytes of a stream on their way
	keepalive     = 30 * time.Second
	keepaliveWait = 10 * time.Second
)

// Config says how packets travel between regions, which are numbers.
type Config struct {
	Latency func(a, b int) time.Duration // one way; nil: none
	Jitter  float64                      // a packet is late by up to this part of its latency, uniformly
	Loss    func(a, b int) float64       // probability, below 1, that a packet is lost; nil: none
	Seed    uint64                       // of jitter and loss
	// Grain is how finely packets arrive: at the multiple of it that is nearest to their time, so up to half of it early or late. Nodes that
	// have something to do at the same time do it at once on many cores; at each its own, all but one core sleep. 0: at their time.
	Grain time.Duration
}

// Place says where a node is and how it is connected.
type Place struct {
	Region   int
	Up, Down float64 // bytes a second, shared by its streams; 0: no limit
	NAT      bool    // dials are dropped unless they come from a peer that it is connected to
}

// Net is a network. Its methods may be called by many goroutines at once.
type Net struct {
	cfg Config

	mu    sync.Mutex // held for moments only
	clock clock
	rng   *rand.Rand
	nodes map[peer.ID]*node
	doors map[string]*listener // by address; closed ones stay, so that it is known where they were
	conns map[*conn]struct{}
	cut   func(a, b peer.ID) bool
	slow  func(a, b peer.ID) float64
	port  int
	bytes map[string]*Bytes
	stats Stats
}

// Stats counts.
type Stats struct {
	Dials, Failed uint64 // dials that were begun, and those of them that came to nothing
	Opened        uint64 // connections that were opened
	Open          int    // connections that stand
	Streams       uint64 // streams that were opened
	Events        uint64 // steps of the network: departures, arrivals and the like
}

// Bytes were sent on the streams of a protocol.
type Bytes struct {
	Asked, Answered uint64 // by those who opened the streams, and by the others
}

// New returns a network without nodes. It needs no closing.
func New(cfg Config) *Net {
	n := &Net{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x6d656d6e6574)), nodes: map[peer.ID]*node{},
		doors: map[string]*listener{}, conns: map[*conn]struct{}{}, bytes: map[string]*Bytes{},
	}
	n.clock.init(cfg.Grain)
	return n
}

// node is one life of a machine.
type node struct {
	net      *Net
	id       peer.ID
	public   crypto.PubKey
	place    Place
	up, down link
	ends     map[*end]struct{}
	dead     bool // it lost its power
	reborn   bool // and is back, as another node
}

// Carrier returns what a host of Shoal takes for its transport: the node at a place. Called again with the key of a node
// that was killed or has closed, it is that machine's next life.
func (n *Net) Carrier(at Place) func(crypto.PrivKey, network.ResourceManager) (transport.Transport, error) {
	return func(key crypto.PrivKey, limits network.ResourceManager) (transport.Transport, error) {
		id, err := peer.IDFromPrivateKey(key)
		if err != nil {
			return nil, err
		}
		m := &node{net: n, id: id, public: key.GetPublic(), place: at, ends: map[*end]struct{}{}}
		m.up.rate, m.down.rate = at.Up, at.Down
		m.up.begin, m.down.begin = n.depart, n.receive
		n.mu.Lock()
		defer n.mu.Unlock()
		n.nodes[id] = m
		return &carrier{node: m, limits: limits}, nil
	}
}

// Bytes returns what crossed links since New, without the headers of the transport, by the protocol that the streams had
// in the end; "" is that of streams without one.
func (n *Net) Bytes() map[string]Bytes {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make(map[string]Bytes, len(n.bytes))
	for p, b := range n.bytes {
		out[p] = *b
	}
	return out
}

// Stats returns the counts since New.
func (n *Net) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Open, s.Events = len(n.conns), n.clock.fired
	return s
}

// latency of one packet between regions, without jitter.
func (n *Net) latency(a, b int) time.Duration {
	if n.cfg.Latency == nil {
		return 0
	}
	return n.cfg.Latency(a, b)
}

func (n *Net) loss(a, b int) float64 {
	if n.cfg.Loss == nil {
		return 0
	}
	return n.cfg.Loss(a, b)
}

// rto is after what time a packet is sent again.
func rto(rtt time.Duration) time.Duration { return max(200*time.Millisecond, 2*rtt) }

// travel draws how long a packet takes.
func (n *Net) travel(lat, rtt time.Duration, loss float64) time.Duration {
	d := lat
	if n.cfg.Jitter > 0 {
		d += time.Duration(float64(lat) * n.cfg.Jitter * n.rng.Float64())
	}
	for loss > 0 && n.rng.Float64() < loss {
		d += rto(rtt)
	}
	return d
}
