// Package kad is a compact Kademlia: what a lookup of go-libp2p-kad-dht, as package dht configures it, does in a network of a
// million nodes, without a routing table of each in memory.
//
// A Space has the nodes' ids, 64 bits of what in production are the 256 of a SHA-256. Two of a million nodes have the same id
// with a probability of 3e-8 (n²/2^65), and two distances to one key tie as seldom, so nothing is seen of the other bits.
//
// A node is known by its place, its rank in the order of ids, so that the nodes of a bucket, which share a prefix, are a range
// of places. Tables are implied (Implied: which nodes of a range are in a bucket is a hash of the owner, the bucket and a
// number) or kept (Kept: how tables grow as nodes join and meet); Links are the connections that are open. A Searcher does
// lookups, each of them a small simulation of the answers that are under way.
//
// Nothing here draws random numbers or reads a clock; times are durations since the begin of the simulation.
package kad

import "time"

// What package dht and go-libp2p-kad-dht v0.42.2 set.
const (
	K     = 20 // peers in a bucket, in an answer, and replicas of a record: dht's bucketSize
	Alpha = 10 // requests of a lookup under way at once: amino.DefaultConcurrency
	Beta  = 3  // the closest peers that must have answered before it ends: amino.DefaultResiliency

	Step      = 400 * time.Millisecond // for a peer to be connected, and to answer: dht.Config
	Refresh   = 10 * time.Minute       // of tables: dht.Config
	Memory    = 2 * time.Second        // how long a silent peer is passed over at first, doubling: dht.Config
	maxMemory = 30 * time.Second       // dht/reach.go
	dialTime  = 5 * time.Second        // until a dial has failed: host.Config.DialTimeout
)

// mix is the finalizer of splitmix64: each bit of the result depends on each of x.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
