package host

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"log/slog"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
)

// DefaultPort is the first port tried, for TCP and UDP, when Config.Listen is empty.
const DefaultPort = 4170

// Config says how to build a Host. New copies it.
type Config struct {
	// Key is the node's identity. Required.
	Key ed25519.PrivateKey
	// Listen holds multiaddrs to listen on; each must work, or New fails. Empty: TCP and QUIC on all
	// interfaces, on Port or the next ports when it is taken.
	Listen []string
	// Port is tried first when Listen is empty; 0: DefaultPort.
	Port int
	// Fabric is named in logs. It may be empty while the node is in no fabric.
	Fabric string
	// MDNS announces this node on the local network and listens for others.
	MDNS bool
	// Private says that this node cannot be reached from outside: it asks for relays at once instead
	// of finding out first.
	Private bool
	// Admit is the gate: nil means that p is a member. It may block, for at most AdmitTimeout, and
	// may use the door. A nil Admit refuses everybody; see SetAdmit. Verdicts are not kept here:
	// it is called for each stream, though only once at a time for one peer.
	Admit        func(ctx context.Context, p shoal.PeerID) error
	AdmitTimeout time.Duration // 0: 10 s
	// Open lists protocols that strangers may use: each entry opens the protocol of that name and
	// all below it ("/ipfs/bitswap" opens "/ipfs/bitswap/1.2.0").
	Open []string
	// Shun says with whom there is to be no connection at all, made or taken; nil: with nobody. It is asked
	// at each connection and must not block.
	Shun func(p shoal.PeerID) bool
	// DialTimeout bounds the dial of one address; 0: 5 s.
	DialTimeout time.Duration
	// Door limits what strangers may ask. Zero fields get defaults.
	Door DoorLimits
	// LowPeers and HighPeers bound connections: above HighPeers, those of strangers and of the
	// longest idle are closed down to LowPeers, but none in its first Grace. 0: 256 and 384.
	LowPeers, HighPeers int
	// Grace is how long a new connection stays however many there are: long enough for what it was made for, be it several exchanges; most
	// are made for one question of the DHT, and would not be used again. 0: 20 s.
	Grace time.Duration
	// Carrier stands in for TCP and QUIC in a simulated network; then Listen must name addresses that it
	// takes, MDNS does nothing, and nobody relays unless Relays says so. Nil: TCP and QUIC.
	Carrier Carrier
	Relays  bool
	// Log may be nil.
	Log *slog.Logger
}

// DoorLimits bound the door's service. Each bucket holds Burst requests and gains Rate a second.
// Loopback addresses have no bucket of their own.
type DoorLimits struct {
	PeerBurst, PeerRate float64 // for each remote peer; 0: 32 and 4
	IPBurst, IPRate     float64 // for each remote IP (IPv6: /64); 0: 512 and 64
	Concurrent          int     // requests served at once; 0: 128
}

// validate copies the configuration and fills in defaults.
func (c Config) validate() (Config, error) {
	if len(c.Key) != ed25519.PrivateKeySize {
		return c, shoal.E(shoal.Invalid, "host", "no identity key", "")
	}
	c.Key = bytes.Clone(c.Key)
	c.Listen = slices.Clone(c.Listen)
	c.Open = slices.Clone(c.Open)
	defaults(&c.Port, DefaultPort)
	defaults(&c.AdmitTimeout, 10*time.Second)
	defaults(&c.DialTimeout, 5*time.Second)
	defaults(&c.Grace, 20*time.Second)
	defaults(&c.LowPeers, 256)
	defaults(&c.HighPeers, c.LowPeers+c.LowPeers/2)
	defaults(&c.Door.PeerBurst, 32)
	defaults(&c.Door.PeerRate, 4)
	defaults(&c.Door.IPBurst, 512)
	defaults(&c.Door.IPRate, 64)
	defaults(&c.Door.Concurrent, 128)
	if c.Carrier == nil {
		c.Relays = true
	} else if c.MDNS = false; len(c.Listen) == 0 {
		return c, shoal.E(shoal.Invalid, "host", "no address to listen on in a simulated network", "")
	}
	if c.HighPeers < c.LowPeers {
		return c, shoal.E(shoal.Invalid, "host", "HighPeers is below LowPeers", "")
	}
	if c.Port < 0 || c.Port > 65535 {
		return c, shoal.E(shoal.Invalid, "host", "the port is out of range", "choose one from 1 to 65535")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Log = c.Log.With("room", "host")
	if c.Fabric != "" {
		c.Log = c.Log.With("fabric", c.Fabric)
	}
	return c, nil
}

// defaults sets *v to d if it is zero.
func defaults[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
