package topic

import (
	"time"

	"github.com/shoal-fabric/shoal"
)

// Presence says that a node takes part in a fast topic, for Lease from when the topic's agent hears it.
type Presence struct {
	Peer      shoal.PeerID `cbor:"p"`
	Publishes bool         `cbor:"u,omitempty"` // else it subscribes
	Epoch     uint64       `cbor:"e"`           // of the node's life: a publisher's messages bear it
	Number    uint64       `cbor:"n,omitempty"` // given by the agent: who came later has the greater one; kept while Peer, Publishes and Epoch are the same
	Leaves    bool         `cbor:"l,omitempty"` // it takes part no more
}

// Lease is how long a Presence counts; nodes say it again every Renew.
const (
	Lease = 90 * time.Second
	Renew = 30 * time.Second
)

// Shown is how many subscribers are listed in a View: with more, only their number is of use.
const Shown = 64

// View is what a topic's agent tells of the topic.
type View struct {
	Definition
	Made       bool       `cbor:"m"`            // it was given its definition
	Version    uint64     `cbor:"v"`            // grows with each change of the definition and of the bindings
	Bindings   []Binding  `cbor:"g,omitempty"`  // in order of IDs
	Subscribed int        `cbor:"sn,omitempty"` // how many nodes subscribe
	Subs       []Presence `cbor:"s,omitempty"`  // Shown of them at most
	Pubs       []Presence `cbor:"u,omitempty"`  // nodes that publish, those that came last if they are many (1000 at most)
	First      uint64     `cbor:"f,omitempty"`  // durable: offset of the oldest message that is kept
	Next       uint64     `cbor:"x,omitempty"`  // durable: that the next message gets
	Bytes      uint64     `cbor:"y,omitempty"`  // durable: that are kept
	Pending    uint64     `cbor:"q,omitempty"`  // durable: deliveries to bindings that are due: Next less the least position
}
