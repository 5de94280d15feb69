package agents

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"log/slog"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
)

// MaxReplicas is the greatest number of keepers.
const MaxReplicas = 5

// Members is what this room asks of the member table.
type Members interface {
	Fabric() string
	Root() shoal.PeerID
	Table() []shoal.Member // the others
	Self() shoal.Member
}

// Code makes a module ready to run as an agent, fetching and compiling it if need be. Invalid: it is no
// module, or none that can be an agent.
type Code interface {
	// Keep brings a module here, durably: a keeper must not depend on another for the agent's code. from are peers
	// that have it.
	Keep(ctx context.Context, module string, from ...shoal.PeerID) error
	Behaviour(ctx context.Context, module string) (shoal.Behaviour, error)
}

// Way says from whom an agent reads rather, and is told what it read.
type Way struct {
	Rank func(p shoal.PeerID) int                               // the lowest first
	Read func(from shoal.PeerID, bytes int, took time.Duration) // each block of content; from this node: in no time
}

// Data reads datasets, as shoal.Data does, from wherever they lie.
type Data interface {
	Read(ctx context.Context, dataset, path string, offset int64, b []byte, w Way) (int, error)
	Files(ctx context.Context, dataset, path, after string, limit int, w Way) ([]shoal.File, error)
}

// Native is code of agents that comes with the node, under a reserved code ID that begins with NativeCode.
type Native struct {
	Behaviour shoal.Behaviour
	// Turned is told after each turn of such an agent that this node leads, once it is durable; nil: nobody is. It must not wait.
	Turned func(key shoal.Key, method string)
}

// Deps are what this room needs of others. All but Natives, Shared and Link must be set.
type Deps struct {
	Peers     shoal.Peers
	Directory shoal.Directory
	Table     shoal.Table
	Members   Members
	Code      Code
	Data      Data
	Natives   map[string]Native                                      // by code ID, besides the directory
	Shared    shoal.Drafts                                           // mergeable state; nil: there is none
	Connected func() []shoal.PeerID                                  // nil: all are
	Link      func(p shoal.PeerID) (rtt time.Duration, rate float64) // measured, bytes per second; 0: unknown; nil: all are
	Key       ed25519.PrivateKey                                     // the node's own: signs births
	// Boottime reads a clock that goes on while the machine is suspended and never steps.
	Boottime func() time.Duration
}

// Config has a default for every zero.
type Config struct {
	Lease     time.Duration // of leaders; the same on all nodes; default 1.5 s
	Beat      time.Duration // between signs of life to peers that share agents in use; default 300 ms
	Suspect   time.Duration // without an answer to one; default 1.5 s
	Idle      time.Duration // after which an agent sleeps; default 30 s
	Replace   time.Duration // a keeper gone for so long is replaced; default 60 s
	Stay      time.Duration // after a move by hand, before what it reads draws it elsewhere; default 1 h
	NoGravity bool          // what agents read and call draws none of those that this node leads
	TurnTime  time.Duration // of one turn at most; default 10 s
	StateMax  uint64        // bytes that an agent may keep; default 1 GiB
	Mailbox   int           // messages that wait for one agent; default 1024
	Awake     int           // agents in memory at once; default 16,384
	Inflight  int           // turns of one agent staged and not yet committed; default 256
	TailBytes int           // of an agent's log that is kept for members that are behind; default 1 MiB
	Log       *slog.Logger  // nil: discard
	Now       func() time.Time
}

func (c Config) withDefaults() Config {
	c.Lease = cmp.Or(c.Lease, 1500*time.Millisecond)
	c.Beat = cmp.Or(c.Beat, 300*time.Millisecond)
	c.Suspect = cmp.Or(c.Suspect, 1500*time.Millisecond)
	c.Idle = cmp.Or(c.Idle, 30*time.Second)
	c.Replace = cmp.Or(c.Replace, time.Minute)
	c.Stay = cmp.Or(c.Stay, time.Hour)
	c.TurnTime = cmp.Or(c.TurnTime, 10*time.Second)
	c.StateMax = cmp.Or(c.StateMax, 1<<30)
	c.Mailbox = cmp.Or(c.Mailbox, 1024)
	c.Awake = cmp.Or(c.Awake, 16384)
	c.Inflight = cmp.Or(c.Inflight, 256)
	c.TailBytes = cmp.Or(c.TailBytes, 1<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (a *Agents) instant() group.Instant { return group.Instant(a.Boottime()) }
