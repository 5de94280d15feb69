package services

import (
	"cmp"
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/services/batch"
)

// Deps are what this room needs of others. All must be set but Agents, Shared and Programs.
type Deps struct {
	Peers     shoal.Peers
	Directory shoal.Directory
	Members   Members
	Names     Names
	Code      Code
	Programs  Programs                                               // nil: this node has none
	Agents    shoal.Agents                                           // whom instances may call; nil: nobody
	Shared    shoal.Drafts                                           // mergeable state that instances use; nil: none
	Link      func(p shoal.PeerID) (rtt time.Duration, rate float64) // measured; zeros: unknown
	Load      func() shoal.Load                                      // of this node
}

// Members is the member table.
type Members interface {
	Table() []shoal.Member // the others
	Self() shoal.Member
}

// Names is where services have their names: the directories of agents.
type Names interface {
	// Full completes a name that a user typed: the same on every node.
	Full(name string) (string, error)
	// Define takes a name. Exists: an agent or a service has it.
	Define(ctx context.Context, name string, key shoal.Key, spec []byte) error
	// Find returns what was defined. NotFound: there is none, for certain. Invalid: the name is an agent's.
	Find(ctx context.Context, name string) (Named, error)
	// Remove frees a name and returns what was defined.
	Remove(ctx context.Context, name string) (Named, error)
	// List lists the services of an owner, "" for the fabric's.
	List(ctx context.Context, owner shoal.PeerID) ([]Named, error)
	// Kept yields those of the directories that this node keeps, without asking anybody. first: this node is the first of
	// the keepers that live.
	Kept(yield func(n Named, first bool)) error
}

// Named is an entry of a directory.
type Named struct {
	Name string // as callers say it
	Key  shoal.Key
	Spec []byte
	At   int64 // Unix milliseconds
}

// Code is the modules of the fabric.
type Code interface {
	// Keep brings a module here, durably.
	Keep(ctx context.Context, module string, from ...shoal.PeerID) error
	// Behaviour makes a module ready to run, fetching and compiling it if need be.
	Behaviour(ctx context.Context, module string) (shoal.Behaviour, error)
	// Here says how many bytes of a module are missing here, and whether it is compiled.
	Here(ctx context.Context, module string) (size, missing uint64, compiled bool)
}

// Programs are the native executors of this node.
type Programs interface {
	// Room says why no instance of an executor could be opened here now; nil if one could.
	Room(name string) error
	// Open starts a warm process, whose devices are its own until it is closed. ctx bounds the start.
	Open(ctx context.Context, name, method string) (Program, error)
}

// Program is an instance of a service: of a module, or a warm process.
type Program interface {
	// Run has it process calls together; there are as many answers. An error is that of all of them. When ctx ends the
	// work is broken off, and the instance with it.
	Run(ctx context.Context, calls []Call) ([]batch.Answer, error)
	// Most is how many calls it takes together.
	Most() int
	// Broken reports whether it can run nothing more.
	Broken() bool
	// Close frees it. It may be called more than once.
	Close()
}

// Config has a default for every zero.
type Config struct {
	Slots     int           // instances of one service here [GOMAXPROCS]
	Queue     int           // calls of one service that wait here [1024]
	QueueMost int           // bytes of their payloads [64 MiB]
	Look      time.Duration // how often a host looks at what it has, and tells others [250 ms]
	Tend      time.Duration // how often a keeper of definitions sees to their least instances [5 s]
	Check     time.Duration // how often a host looks whether its services are still defined [15 s]
	NameLife  time.Duration // how long a caller remembers what a name stands for [10 s]
	OfferWait time.Duration // how long a peer may take to say what it has [300 ms]
	OpenWait  time.Duration // how long an instance may take to open [60 s]
	CallTime  time.Duration // of a call whose caller names no deadline [30 s]
	Log       *slog.Logger  // [none]
}

func (c Config) withDefaults() Config {
	c.Slots = cmp.Or(c.Slots, runtime.GOMAXPROCS(0))
	c.Queue = cmp.Or(c.Queue, 1024)
	c.QueueMost = cmp.Or(c.QueueMost, 64<<20)
	c.Look = cmp.Or(c.Look, 250*time.Millisecond)
	c.Tend = cmp.Or(c.Tend, 5*time.Second)
	c.Check = cmp.Or(c.Check, 15*time.Second)
	c.NameLife = cmp.Or(c.NameLife, 10*time.Second)
	c.OfferWait = cmp.Or(c.OfferWait, 300*time.Millisecond)
	c.OpenWait = cmp.Or(c.OpenWait, time.Minute)
	c.CallTime = cmp.Or(c.CallTime, 30*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
