package cast

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/topic"
)

// Topics are the agents that are topics.
type Topics interface {
	// View asks what a topic is now, without a turn. NotFound: there is no such topic.
	View(ctx context.Context, key shoal.Key) (*topic.View, error)
	// Join tells that this node takes part, as topic.Presence says, and returns what the topic is then.
	Join(ctx context.Context, key shoal.Key, p topic.Presence) (*topic.View, error)
}

// Members is what this room asks of the member table.
type Members interface {
	Table() []shoal.Member // the others
}

// Verdict is what becomes of a message that came by gossip.
type Verdict uint8

// Verdicts.
const (
	Accept Verdict = iota // it is passed on
	Ignore                // it is not, and nobody is to blame: old news
	Reject                // it is not, and whoever passed it on is to blame
)

// Gossip is a mesh among the nodes of a fabric over which each hears what any says. What is said is signed by who says it.
type Gossip interface {
	// Join takes part in a channel. valid judges each message before it is passed on, and each is given those that it
	// accepted; both are called from several goroutines, keep no bytes, and never see this node's own messages. from made the message: its signature is checked.
	Join(channel string, valid func(from shoal.PeerID, b []byte) Verdict, each func(from shoal.PeerID, b []byte)) (Channel, error)
}

// Channel is one channel of a Gossip.
type Channel interface {
	// Publish says something to all that take part, which nobody acknowledges. The bytes are the caller's again when it returns.
	Publish(ctx context.Context, b []byte) error
	// Peers is how many others of this channel this node is in touch with.
	Peers() int
	// Close leaves the channel.
	Close() error
}

// Deps are what this room needs of others. All must be set, Gossip apart: without it there are streams only.
type Deps struct {
	Peers   shoal.Peers
	Members Members
	Topics  Topics
	Gossip  Gossip
}

// Config has a default for every zero.
type Config struct {
	Epoch  uint64        // of this life of the node: greater than that of any life before; default Unix milliseconds
	Ring   int           // bytes of recent messages that are kept of each topic that this node publishes to; default 8 MiB
	Rings  int           // and of all topics; default 64 MiB
	Inbox  int           // bytes that wait for the slowest subscription of a topic on this node; default 8 MiB
	Topics int           // in use on this node at once; default 10,000
	Up     int           // a topic to which more nodes than that subscribe is said by gossip; default 16
	Down   int           // and by streams again once it is so few; default 8
	Grace  time.Duration // for which both carriers go on after a change; default 2 s
	Gather time.Duration // for which messages gather before they are said by gossip; default 1500 µs
	Wait   time.Duration // that Subscribe waits for publishers at most; default 2 s
	Fresh  time.Duration // after which a view is asked for anew when it is used; default 2 s
	Log    *slog.Logger  // nil: discard
	Now    func() time.Time
}

func (c Config) withDefaults() Config {
	c.Ring = cmp.Or(c.Ring, 8<<20)
	c.Rings = cmp.Or(c.Rings, 64<<20)
	c.Inbox = cmp.Or(c.Inbox, 8<<20)
	c.Topics = cmp.Or(c.Topics, 10_000)
	c.Up = cmp.Or(c.Up, 16)
	c.Down = cmp.Or(c.Down, 8)
	c.Grace = cmp.Or(c.Grace, 2*time.Second)
	c.Gather = cmp.Or(c.Gather, 1500*time.Microsecond)
	c.Wait = cmp.Or(c.Wait, 2*time.Second)
	c.Fresh = cmp.Or(c.Fresh, 2*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Epoch == 0 {
		c.Epoch = uint64(c.Now().UnixMilli())
	}
	return c
}
