package state

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Members is what this room asks of the member table.
type Members interface {
	Table() []shoal.Member // the others
}

// Deps are what this room needs of others. All but Connected must be set.
type Deps struct {
	Peers   shoal.Peers
	Members Members
	Table   shoal.Table
	// Connected lists the peers that a connection leads to: they are told and asked rather than others. nil: any member.
	Connected func() []shoal.PeerID
}

// Config has a default for every zero.
type Config struct {
	Every  time.Duration // between two comparisons with another member; default 1 s
	Gather time.Duration // how long news gather before they are told; default 2 ms
	Fanout int           // members that are told of news at once; default 8
	Copies time.Duration // how long a change waits for copies on other disks; default 5 s
	Most   int           // bytes that all of it may take, about, before this node makes no more; default 256 MiB
	Log    *slog.Logger  // nil: discard
	Now    func() time.Time
}

func (c Config) withDefaults() Config {
	c.Every = cmp.Or(c.Every, time.Second)
	c.Gather = cmp.Or(c.Gather, 2*time.Millisecond)
	c.Fanout = cmp.Or(c.Fanout, 8)
	c.Copies = cmp.Or(c.Copies, 5*time.Second)
	c.Most = cmp.Or(c.Most, 256<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
