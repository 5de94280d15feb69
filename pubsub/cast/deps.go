package cast

import (
	"context"

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
