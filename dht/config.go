package dht

import (
	"context"
	"log/slog"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Config says how a DHT behaves. Zero values take the defaults.
type Config struct {
	Fabric string // required; names the protocols

	// IsMember reports whether p may take part. It may ask p, but heeds ctx; it is called often,
	// from many goroutines. Required.
	IsMember func(ctx context.Context, p shoal.PeerID) bool

	// Bootstrap returns addresses, ending in /p2p/PEER, to try while the routing table is empty.
	Bootstrap func() []string

	Step     time.Duration // for one peer to answer, longer where peers are far (dht/patience); default 400 ms
	Memory   time.Duration // how long a silent peer is passed over at first, doubling; default 2 s
	Announce time.Duration // interval of announcing again; default 10 h
	Validity time.Duration // of an announcement; default 24 h, at least twice Announce
	Refresh  time.Duration // interval of refreshing the routing table; default 10 min

	// Warm has the DHT begin as one that has been around for a while, as those of worlds do whose table is filled with Fill: the
	// table is first refreshed after one to two times Refresh, and nobody is asked how large the fabric is.
	Warm bool

	// IPGroup bounds how many peers of one block of public addresses (an IPv4 /16, an IPv6 network)
	// each bucket of 20 may hold; default 10. Private and loopback addresses are not counted.
	IPGroup int

	// Table is for what grows with the number of keys: announcements heard and made. What New finds in it is thrown
	// away, and nothing is ever synced. nil: they are kept in memory.
	Table shoal.Table

	Log *slog.Logger // nil discards
}

func (c Config) checked() (Config, error) {
	switch {
	case c.Fabric == "":
		return c, shoal.E(shoal.Invalid, "dht", "no fabric given", "")
	case c.IsMember == nil:
		return c, shoal.E(shoal.Invalid, "dht", "no test of membership given", "")
	}
	set(&c.Step, 400*time.Millisecond)
	set(&c.Memory, 2*time.Second)
	set(&c.Announce, 10*time.Hour)
	set(&c.Validity, 24*time.Hour)
	set(&c.Refresh, 10*time.Minute)
	set(&c.IPGroup, 10)
	c.Validity = max(c.Validity, 2*c.Announce)
	if c.Bootstrap == nil {
		c.Bootstrap = func() []string { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

func set[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}
