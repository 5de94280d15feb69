package blobs

import (
	"context"
	"log/slog"
	"time"

	"github.com/ipfs/go-cid"
	corehost "github.com/libp2p/go-libp2p/core/host"

	"github.com/shoal-fabric/shoal"
)

// Config says what a Blobs stands on.
type Config struct {
	Store shoal.Store // keeps what is imported and fetched, and what bitswap serves

	// Host carries bitswap; nil: no bitswap. Its gate must let the bitswap protocols through to
	// strangers: Public decides for each block.
	Host corehost.Host
	// Public reports whether a stranger may have a block, inner nodes and leaves alike. It is asked
	// for each block of each request, so it must not block. Nil: nothing is public.
	Public func(c cid.Cid) bool
	// Member reports whether a peer may have every block. It must not block. Nil: nobody is.
	Member func(p shoal.PeerID) bool

	Stall   time.Duration // Fetch gives up after so long without a block; default 20 s
	Connect time.Duration // and after so long trying to connect to all its sources; default 10 s
	Log     *slog.Logger  // nil: discarded
}

// Blobs imports, reads, walks and fetches graphs. Its methods may be called from many goroutines.
type Blobs struct {
	cfg  Config
	swap *swap // nil without a host
}

// Getter returns the bytes of a block, verified against its CID. They are only read. It may be
// called from many goroutines. Its errors pass through unchanged.
type Getter func(ctx context.Context, c cid.Cid) ([]byte, error)

// New starts bitswap on cfg.Host, if there is one.
func New(cfg Config) (*Blobs, error) {
	if cfg.Store == nil {
		return nil, shoal.E(shoal.Invalid, "open blobs", "no store was given", "")
	}
	if cfg.Public == nil {
		cfg.Public = func(cid.Cid) bool { return false }
	}
	if cfg.Member == nil {
		cfg.Member = func(shoal.PeerID) bool { return false }
	}
	if cfg.Stall <= 0 {
		cfg.Stall = 20 * time.Second
	}
	if cfg.Connect <= 0 {
		cfg.Connect = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	b := &Blobs{cfg: cfg}
	if cfg.Host != nil {
		b.swap = newSwap(cfg)
	}
	return b, nil
}

// Close stops bitswap. Imports and readers under way are not stopped: that is their context's work.
func (b *Blobs) Close() error {
	if b.swap == nil {
		return nil
	}
	return b.swap.close()
}
