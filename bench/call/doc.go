// Package call compares a call from one member to another with gRPC, NATS request/reply, and the least
// that a libp2p connection can do: an echo on a stream that stays open.
package call
