package gossip

import (
	"context"
	"log/slog"
	"maps"
	"regexp"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/pubsub/cast"
)

// Config has a default for every zero but Fabric.
type Config struct {
	Fabric    string  // its ID: it is in the names of channels
	Message   int     // bytes of the largest message; default cast.MaxEnvelope
	Waiting   int     // messages that wait to be checked; more are dropped; default 512
	PeerRate  float64 // bytes a second that one neighbour may send, with a burst of as many; default 64 MiB
	PeerCount float64 // messages and changes of subscriptions a second; default 10,000
	Author    float64 // messages a second by one node, whoever brings them; more go no further; default 2,000
	Log       *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Message == 0 {
		c.Message = cast.MaxEnvelope
	}
	if c.Waiting == 0 {
		c.Waiting = 512
	}
	if c.PeerRate == 0 {
		c.PeerRate = 64 << 20
	}
	if c.PeerCount == 0 {
		c.PeerCount = 10_000
	}
	if c.Author == 0 {
		c.Author = 2000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Gossip implements cast.Gossip. It begins to take part, and to cost anything, when the first channel is joined.
type Gossip struct {
	cfg   Config
	host  corehost.Host
	life  context.Context
	end   context.CancelFunc
	flood *flood // of neighbours
	says  *flood // of those who make messages

	mu   sync.Mutex
	ps   *pubsub.PubSub
	open map[string]*channel

	scoring sync.Mutex
	scores  map[peer.ID]float64
}

var _ cast.Gossip = (*Gossip)(nil)

// New returns the gossip of a host that it does not own.
func New(h corehost.Host, cfg Config) *Gossip {
	cfg = cfg.withDefaults()
	g := &Gossip{cfg: cfg, host: h, open: map[string]*channel{}, flood: newFlood(cfg.PeerRate, cfg.PeerCount), says: newFlood(cfg.PeerRate, cfg.Author)}
	g.life, g.end = context.WithCancel(context.Background())
	return g
}

const (
	seenFor = 3 * time.Minute // longer than an envelope counts, so that what was seen once cannot come again in time
	perRPC  = 1000            // subscriptions that one message may change
)

// start begins to take part. The lock is held.
func (g *Gossip) start() error {
	if g.ps != nil {
		return nil
	}
	params := pubsub.DefaultGossipSubParams()
	params.HistoryLength, params.HistoryGossip = 4, 2 // envelopes are large, and what is missed is pulled from the publisher: less is kept
	names := regexp.MustCompile("^" + regexp.QuoteMeta(g.prefix()))
	ps, err := pubsub.NewGossipSub(g.life, g.host,
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithGossipSubProtocols([]protocol.ID{pubsub.GossipSubID_v12, pubsub.GossipSubID_v11}, pubsub.GossipSubDefaultFeatures),
		pubsub.WithGossipSubParams(params),
		pubsub.WithFloodPublish(false), // to the mesh alone: a large audience is what this is for
		pubsub.WithMaxMessageSize(g.cfg.Message+4096),
		pubsub.WithMaxControlMessageSize(64<<10),
		pubsub.WithValidateQueueSize(g.cfg.Waiting),
		pubsub.WithPeerOutboundQueueSize(128),
		pubsub.WithSeenMessagesTTL(seenFor),
		pubsub.WithSubscriptionFilter(pubsub.WrapLimitSubscriptionFilter(pubsub.NewRegexpSubscriptionFilter(names), perRPC)),
		pubsub.WithAppSpecificRpcInspector(g.inspect),
		pubsub.WithPeerScore(scoreParams(g.flood.score), thresholds()),
		pubsub.WithPeerScoreInspect(g.note, time.Second),
		pubsub.WithLogger(g.cfg.Log),
	)
	if err != nil {
		return shoal.Wrap(shoal.Internal, "gossip", err)
	}
	g.ps = ps
	return nil
}

func (g *Gossip) prefix() string { return "shoal/" + g.cfg.Fabric + "/" }

// note keeps what the peers' scores are.
func (g *Gossip) note(scores map[peer.ID]float64) {
	g.scoring.Lock()
	defer g.scoring.Unlock()
	g.scores = maps.Clone(scores)
}

// Scores returns what is held of the neighbours, as of the last second: below 0 is bad.
func (g *Gossip) Scores() map[shoal.PeerID]float64 {
	g.scoring.Lock()
	defer g.scoring.Unlock()
	out := map[shoal.PeerID]float64{}
	for id, s := range g.scores {
		out[shoal.PeerID(id.String())] = s
	}
	return out
}

// Close leaves all channels.
func (g *Gossip) Close() error {
	g.mu.Lock()
	list := maps.Clone(g.open)
	g.mu.Unlock()
	for _, c := range list {
		_ = c.Close()
	}
	g.end()
	return nil
}

// channel is one channel. It implements cast.Channel.
type channel struct {
	g     *Gossip
	name  string
	topic *pubsub.Topic
	sub   *pubsub.Subscription
	once  sync.Once
	done  chan struct{} // closed when nothing more is given
}

// Join implements cast.Gossip.
func (g *Gossip) Join(name string, valid func(from shoal.PeerID, b []byte) cast.Verdict, each func(from shoal.PeerID, b []byte)) (cast.Channel, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	name = g.prefix() + name
	if g.life.Err() != nil {
		return nil, shoal.E(shoal.Unavailable, "gossip", "this node stops", "")
	}
	if g.open[name] != nil {
		return nil, shoal.E(shoal.Exists, "gossip", "this node takes part in that channel already", "")
	}
	if err := g.start(); err != nil {
		return nil, err
	}
	self := g.host.ID()
	judge := func(_ context.Context, by peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if by == self {
			return pubsub.ValidationAccept
		}
		if from := m.GetFrom(); !g.says.take(from, len(m.Data), 1, time.Now()) {
			if from == by { // who passes it on is not to blame
				g.flood.blame(by)
			}
			return pubsub.ValidationIgnore
		}
		switch valid(shoal.PeerID(m.GetFrom().String()), m.Data) {
		case cast.Accept:
			return pubsub.ValidationAccept
		case cast.Ignore:
			return pubsub.ValidationIgnore
		}
		return pubsub.ValidationReject
	}
	// In line: a check takes less than a goroutine would, and order is kept where it can be.
	if err := g.ps.RegisterTopicValidator(name, judge, pubsub.WithValidatorInline(true)); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "gossip", err)
	}
	c := &channel{g: g, name: name, done: make(chan struct{})}
	var err error
	if c.topic, err = g.ps.Join(name); err == nil {
		if err = c.topic.SetScoreParams(topicParams()); err == nil {
			c.sub, err = c.topic.Subscribe(pubsub.WithBufferSize(1024))
		}
		if err != nil {
			_ = c.topic.Close()
		}
	}
	if err != nil {
		_ = g.ps.UnregisterTopicValidator(name)
		return nil, shoal.Wrap(shoal.Internal, "gossip", err)
	}
	g.open[name] = c
	go func() {
		defer close(c.done)
		for {
			m, err := c.sub.Next(g.life)
			if err != nil {
				return
			}
			if m.ReceivedFrom != self {
				each(shoal.PeerID(m.GetFrom().String()), m.Data)
			}
		}
	}()
	return c, nil
}

// Publish implements cast.Channel.
func (c *channel) Publish(ctx context.Context, b []byte) error {
	err := c.topic.Publish(ctx, append([]byte(nil), b...)) // it is kept for those who ask for it later
	return shoal.Wrap(shoal.Unavailable, "gossip", err)
}

// Peers implements cast.Channel.
func (c *channel) Peers() int { return len(c.topic.ListPeers()) }

// Close implements cast.Channel.
func (c *channel) Close() error {
	c.once.Do(func() {
		c.sub.Cancel()
		<-c.done
		g := c.g
		g.mu.Lock()
		defer g.mu.Unlock()
		err := c.topic.Close()
		for try := 0; err != nil && try < 100 && g.life.Err() == nil; try++ { // until it knows that the subscription has ended
			time.Sleep(time.Millisecond)
			err = c.topic.Close()
		}
		_ = g.ps.UnregisterTopicValidator(c.name)
		delete(g.open, c.name)
	})
	return nil
}
