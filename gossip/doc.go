// Package gossip is a mesh among the nodes of a fabric over which each hears what any says: go-libp2p-pubsub's gossipsub over the
// host's libp2p, where the gate lets members in and nobody else. It implements cast.Gossip.
//
// What is said is signed by who says it, and each node checks that before it passes it on. Peers are scored: who sends what is
// malformed, expired or in another's name, or floods, soon is not listened to any more. Nothing here is reliable: whoever uses it
// sees by numbers what it missed, and pulls it.
package gossip
