package dht

import (
	"context"
	"errors"
	"sync"
	"time"

	kad "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p-kad-dht/provider"
	"github.com/libp2p/go-libp2p-kad-dht/provider/keystore"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	kb "github.com/libp2p/go-libp2p-kbucket"
	librecord "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mh "github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht/record"
)

// bucketSize is Kademlia's k: the peers in a bucket, the replicas of a record.
const bucketSize = 20

// DHT is a node of the fabric's DHT. It implements shoal.Directory.
type DHT struct {
	cfg    Config
	host   host.Host
	kad    *kad.IpfsDHT
	keys   keystore.Keystore // what this node announces
	sweep  *provider.SweepingProvider
	gate   *gate
	reach  *reach
	sender *sender
	judge  record.Validator

	begun  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	joined event.Subscription
	wake   chan struct{}
	ready  chan struct{} // closed when all of the above stands; until then peers' requests wait

	mu    sync.Mutex
	self  []byte                 // the record this node put about itself
	peers map[peer.ID]*candidate // see table.go
	said  map[peer.ID]saying
	busy  int           // goroutines that serve them
	grown chan struct{} // closed when the routing table has changed, then renewed

	asked   map[peer.ID]bool // in the table when it last asked for neighbours; guarded by mu
	lastAsk time.Time
	listed  map[peer.ID]bool // in the routing table, when all candidates were last looked at
	looked  time.Time
}

var _ shoal.Directory = (*DHT)(nil)

// New starts a node of the DHT on h, which stays the caller's. It needs no peers yet.
func New(h host.Host, cfg Config) (*DHT, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	d := &DHT{
		cfg: cfg, host: h, judge: record.Validator{Fabric: cfg.Fabric}, wake: make(chan struct{}, 1), ready: make(chan struct{}),
		peers: map[peer.ID]*candidate{}, said: map[peer.ID]saying{}, grown: make(chan struct{}), begun: time.Now(),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.reach = newReach(d.ctx, h, cfg)
	d.gate = newGate(d.ctx, cfg, d.reach.alive)
	d.sender = &sender{host: h, gate: d.gate, reach: d.reach, missed: d.missed, idle: map[peer.ID][]*line{}}
	if err := d.start(); err != nil {
		return nil, errors.Join(shoal.Wrap(shoal.Internal, "dht", err), d.Close())
	}
	return d, nil
}

func (d *DHT) start() (err error) {
	if d.joined, err = d.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted)); err != nil {
		return err
	}
	maybe := func(_ any, p peer.ID) bool { return d.gate.maybe(p) }
	refresh := kad.RoutingTableRefreshPeriod(d.cfg.Refresh)
	if d.cfg.Warm {
		refresh = kad.DisableAutoRefresh()
	}
	d.kad, err = kad.New(&kadHost{d.host, d.gate, d.reach, d.ready},
		kad.Mode(kad.ModeAutoServer),
		kad.ProtocolPrefix(protocol.ID("/shoal/"+d.cfg.Fabric)),
		kad.BucketSize(bucketSize),
		kad.Validator(librecord.NamespacedValidator{record.Namespace: d.judge}),
		kad.RoutingTableFilter(maybe),
		kad.QueryFilter(func(x any, ai peer.AddrInfo) bool { return maybe(x, ai.ID) }),
		kad.RoutingTablePeerDiversityFilter(&diversity{
			host: d.host, limit: d.cfg.IPGroup, changed: d.nudge, counts: map[bucketGroup]int{},
		}),
		refresh,
		kad.ProviderDatastore(openHints(d.cfg, "heard")),
		kad.ProviderManagerOpts(
			records.ProvideValidity(d.cfg.Validity), records.ProviderAddrTTL(d.cfg.Validity),
			records.CleanupInterval(d.cfg.Validity/4), // it reads all there is: a million take a second or two
		),
		kad.MaxRecordAge(2*d.cfg.Validity),
		kad.BootstrapPeersFunc(d.bootstrap),
		kad.WithCustomMessageSender(func(_ host.Host, ids []protocol.ID) pb.MessageSenderWithDisconnect {
			d.sender.id = ids[0]
			return d.sender
		}),
		kad.OnRequestHook(func(_ context.Context, s network.Stream, _ *pb.Message) { d.called(s.Conn().RemotePeer()) }),
	)
	if err != nil {
		return err
	}
	if d.keys, err = keystore.NewKeystore(openHints(d.cfg, "said")); err != nil {
		return err
	}
	place := newPlacer(d.sender, d.host.ID(), bucketSize)
	d.sweep, err = provider.New(
		provider.WithKeystore(d.keys),
		// Not WithHost: it would drop the addresses of peers that are away for a moment.
		provider.WithPeerID(d.host.ID()),
		provider.WithRouter(router{d, place}),
		provider.WithMessageSender(place),
		provider.WithSelfAddrs(d.kad.FilteredAddrs),
		provider.WithAddLocalRecord(func(ctx context.Context, k mh.Multihash) error {
			return d.kad.ProviderStore().AddProvider(ctx, k, peer.AddrInfo{ID: d.host.ID()})
		}),
		provider.WithReplicationFactor(bucketSize),
		provider.WithReprovideInterval(d.cfg.Announce),
		provider.WithMaxReprovideDelay(max(d.cfg.Announce/10, time.Second)),
	)
	if err != nil {
		return err
	}
	close(d.ready)
	d.wg.Go(d.keepTable)
	d.wg.Go(d.again)
	if d.cfg.Warm {
		d.wg.Go(d.refresh)
	}
	return nil
}

// router finds the peers closest to a key for the sweeper. A node alone is the closest itself, so
// that the sweeper, which would otherwise wait for a network, is always at work.
type router struct {
	d     *DHT
	place *placer // is told whom lookups find
}

func (r router) GetClosestPeers(ctx context.Context, key string) ([]peer.ID, error) {
	peers, err := r.closest(ctx, key)
	r.place.meet(time.Now(), peers)
	return peers, err
}

func (r router) closest(ctx context.Context, key string) ([]peer.ID, error) {
	if d := r.d; d.cfg.Warm && time.Since(d.begun) < warmTime && d.kad.RoutingTable().Size() > 0 {
		return d.kad.RoutingTable().NearestPeers(kb.ConvertKey(key), bucketSize), nil
	}
	peers, err := r.d.kad.GetClosestPeers(announcing(ctx), key)
	if len(peers) == 0 && (err == nil || errors.Is(err, kb.ErrLookupFailure)) {
		return []peer.ID{r.d.host.ID()}, nil
	}
	return peers, err
}

// bootstrap reads the configured addresses.
func (d *DHT) bootstrap() (infos []peer.AddrInfo) {
	for _, s := range d.cfg.Bootstrap() {
		ai, err := peer.AddrInfoFromString(s)
		if err != nil {
			d.cfg.Log.Warn("bad bootstrap address", "address", s, "error", err)
			continue
		}
		if ai.ID != d.host.ID() {
			infos = append(infos, *ai)
		}
	}
	return infos
}

// Close stops the node of the DHT. What it announced expires at its peers.
func (d *DHT) Close() error {
	d.cancel()
	var errs []error
	if d.sweep != nil {
		errs = append(errs, d.sweep.Close())
	}
	if d.keys != nil {
		if err := d.keys.Close(); err != nil {
			d.cfg.Log.Debug("dht: close of what is announced", "error", err) // the next life begins without it
		}
	}
	if d.kad != nil {
		d.host.RemoveStreamHandler(d.sender.id)
		errs = append(errs, d.kad.Close())
	}
	if d.joined != nil {
		errs = append(errs, d.joined.Close())
	}
	d.wg.Wait()
	d.gate.close()
	d.reach.close()
	d.sender.close()
	return shoal.Wrap(shoal.Internal, "close dht", errors.Join(errs...))
}
