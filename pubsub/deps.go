package pubsub

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/cast"
)

// Agents is where topics and what is bound to them live.
type Agents interface {
	shoal.Agents
	// Series has an agent process requests one after the other, and returns how many succeeded, and the error of the one after
	// them, behind which nothing was begun.
	Series(ctx context.Context, agent, method string, list []Request) (done int, err error)
	// Create has an agent be born with native code. Exists: the name is taken.
	Create(ctx context.Context, name, code string, replicas int) (shoal.Key, error)
	// Resolve returns the key of a name, which it remembers for a while. NotFound: there is none.
	Resolve(ctx context.Context, name string) (shoal.Key, error)
	// Names lists names in an owner's directory ("": the fabric's) that begin so.
	Names(ctx context.Context, owner, prefix string) ([]Named, error)
	// Owns reports whether typed is an owner that this node knows, by ID or the end of it.
	Owns(typed string) bool
	// Leader is where an agent was last seen to live; "": unknown.
	Leader(key shoal.Key) shoal.PeerID
	Remove(ctx context.Context, name string) error
	// Text is how an agent's key is written.
	Text(key shoal.Key) string
}

// Request is one request of a series: its name, and when it was first made, in Unix milliseconds, as in shoal.CallRequest.
type Request struct {
	Payload []byte
	Name    string
	Begun   int64
}

// Named is an agent's name.
type Named struct {
	Name string
	Key  shoal.Key
	At   int64 // Unix milliseconds of its birth
}

// Services are functions with a name.
type Services interface {
	Call(ctx context.Context, name string, payload []byte) ([]byte, error)
	// Function makes the export of a module callable under a name, the same each time.
	Function(ctx context.Context, module, export string) (name string, err error)
}

// Bodies keep bodies that are too long for a message.
type Bodies interface {
	Put(ctx context.Context, b []byte) (dataset string, err error)
	// Get returns a body of most bytes at most. Invalid: it is longer.
	Get(ctx context.Context, dataset string, most int) ([]byte, error)
}

// Members is the member table.
type Members interface {
	Table() []shoal.Member // the others
	Self() shoal.Member
}

// Deps are what this room needs of others. All must be set but Gossip.
type Deps struct {
	Peers    shoal.Peers
	Members  Members
	Agents   Agents
	Services Services
	Bodies   Bodies
	Gossip   cast.Gossip // nil: all messages go by streams
}

// Config has a default for every zero.
type Config struct {
	CallTime time.Duration // of one delivery to what is bound [10 s]
	Window   int           // deliveries of one group of bindings that are under way or wait, on this node [512]
	Waiting  int           // bytes of messages of one fast topic that wait for what is bound, on this node [16 MiB]
	Lanes    int           // deliveries of one group at the same time [64]
	Idle     time.Duration // after which this node forgets a topic it does nothing for [1 min]
	Cast     cast.Config
	Log      *slog.Logger // [none]
	Now      func() time.Time
}

func (c Config) withDefaults() Config {
	c.CallTime = cmp.Or(c.CallTime, 10*time.Second)
	c.Window = cmp.Or(c.Window, 512)
	c.Waiting = cmp.Or(c.Waiting, 16<<20)
	c.Lanes = cmp.Or(c.Lanes, 64)
	c.Idle = cmp.Or(c.Idle, time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
