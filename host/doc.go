// Package host builds the node's libp2p host, the only one there is, and guards it.
//
// Transport is TCP (TLS 1.3, else Noise, with yamux) and QUIC; where a peer offers both, TCP with
// TLS is dialed first. A node listens on port 4170, or the next free one. Members relay for members
// that cannot be reached (circuit relay v2); such a node calls back whoever came that way, and two such
// peers punch a hole (DCUtR). On a local network nodes hear of each other by mDNS, service _shoal._udp.
//
// The gate stands before every protocol: a stream from a peer that Admit does not accept is reset
// before its handler runs, whatever the protocol, unless it is one of these few: libp2p's own
// identify, ping, relay, hole punching and reachability checks (the relay takes members only), the
// door, and what Config.Open lists. Rooms get the host from Libp2p, which wraps each way to set a
// handler; there is no other.
//
// The door is for peers that are not members yet: one request, one reply, 64 KiB, 10 seconds,
// limited in rate for each peer and each address.
package host
