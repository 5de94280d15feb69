package agents

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/scheduler/match"
	"github.com/shoal-fabric/shoal/wire"
)

// Agents is a node's part in the fabric's agents. Its methods may be called from many goroutines.
type Agents struct {
	Deps
	cfg   Config
	store *store
	begun group.Instant

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup
	writer *writer
	post   *post

	places   places
	sessions sessions
	names    names
	logs     logs
	stores   stores
	fellows  fellows
	needs    match.Book
	clerks   each[directory.Part, directory.Outcome] // by owner
	midwives each[[]byte, *wire.Error]               // by keeper

	mu       sync.Mutex
	awake    map[shoal.Key]*actor
	loading  map[shoal.Key]chan struct{}      // those that are being read from the disk
	held     map[shoal.Key]bool               // those whose state is being replaced or removed
	coming   map[shoal.Key]*intake            // those whose state is being taken in
	promises map[shoal.Key]group.Promise      // of groups that left memory, until they are over
	sick     map[shoal.Key]error              // quarantined
	behind   map[shoal.Key]bool               // whose disk may not yet have all that was written of them when they were last in memory
	told     map[shoal.Key]group.Instant      // when another keeper was last told so
	paid     *simplelru.LRU[shoal.Key, *pull] // by agents that were led here when they went to sleep
	closed   bool

	off switches // rules that tests switch off

	leaving   atomic.Bool
	drawn     atomic.Uint64                  // agents that moved from here to what they read
	departing map[shoal.PeerID]group.Instant // peers that said so, and when
}

// switches turn rules off, to see that tests notice.
type switches struct {
	noLease  bool // reads are served by whoever led once, without a look at the lease
	noCommit bool // a turn is answered before it is committed
	noDedupe bool // a request that was processed is processed again
}

// New opens this node's part and registers its methods at d.Peers. Run starts the work in the background.
func New(cfg Config, d Deps) (*Agents, error) {
	for name, missing := range map[string]bool{
		"peers": d.Peers == nil, "directory": d.Directory == nil, "table": d.Table == nil, "members": d.Members == nil,
		"code": d.Code == nil, "data": d.Data == nil, "key": d.Key == nil, "clock": d.Boottime == nil,
	} {
		if missing {
			return nil, shoal.E(shoal.Invalid, "open agents", "no "+name+" was given", "")
		}
	}
	s, err := openStore(d.Table)
	if err != nil {
		return nil, shoal.Wrap(shoal.Corrupt, "open agents", err)
	}
	a := &Agents{
		Deps: d, cfg: cfg.withDefaults(), store: s, writer: newWriter(d.Table, func() int64 { return int64(d.Boottime()) }),
		places:   newPlaces(),
		sessions: sessions{unique: hex.EncodeToString(random(6)), list: map[shoal.Key]*callSession{}},
		names:    names{list: recent[string, known](maxNames), keys: map[string]shoal.Key{}, owners: map[shoal.PeerID]shoal.Key{}},
		logs:     logs{list: map[shoal.Key]*pages{}},
		stores:   stores{list: map[shoal.PeerID]said{}},
		fellows:  fellows{list: map[shoal.PeerID]*fellow{}},
		awake:    map[shoal.Key]*actor{}, loading: map[shoal.Key]chan struct{}{}, held: map[shoal.Key]bool{}, coming: map[shoal.Key]*intake{},
		departing: map[shoal.PeerID]group.Instant{}, promises: map[shoal.Key]group.Promise{},
		sick: map[shoal.Key]error{}, behind: map[shoal.Key]bool{}, told: map[shoal.Key]group.Instant{},
		paid: recent[shoal.Key, *pull](maxPaid),
	}
	a.begun = a.instant()
	a.newClerks()
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.post = newPost(a.ctx, a)
	a.work.Go(func() { a.writer.run(a.ctx) })
	d.Peers.Handle("agents.call", a.onCall)
	d.Peers.Handle("agents.keep", a.onKeep)
	d.Peers.Handle("agents.birth", a.onBirth)
	d.Peers.Handle("agents.where", a.onWhere)
	d.Peers.Handle("agents.owner", a.onOwner)
	d.Peers.Handle("agents.show", a.onShow)
	d.Peers.Handle("agents.ready", a.onReady)
	d.Peers.Handle("agents.logs", a.onLogs)
	d.Peers.Handle("agents.glance", a.onGlance)
	d.Peers.Handle("agents.recover", a.onRecover)
	d.Peers.Handle("agents.seal", a.onSeal)
	d.Peers.Handle("agents.damaged", a.onDamaged)
	d.Peers.Handle("agents.unborn", a.onUnborn)
	d.Peers.Handle("agents.remove", a.onRemove)
	d.Peers.Handle("agents.leaving", a.onLeaving)
	d.Peers.HandleStream("agents.post", a.post.serve)
	d.Peers.HandleStream("agents.ship", a.onShip)
	return a, nil
}

// Run announces what this node keeps, wakes what is due and puts to sleep what is not used, until ctx ends.
func (a *Agents) Run(ctx context.Context) error {
	a.announceAll(ctx)
	pause := min(time.Second, a.cfg.Idle/4)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	s := surveyor{a: a, at: a.instant()}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		a.tend()
		a.learnOwner(ctx)
		a.visit()
		s.turn(pause / 5)
	}
}

// learnOwner keeps the record of the fabric's owner here as well: the more nodes have it, the fewer must be
// there for names to be found.
func (a *Agents) learnOwner(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, _ = a.directoryOf(ctx, a.Members.Root()) // again at the next tick
}

// Close puts all agents here out of use; others take over those that this node led.
func (a *Agents) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.closed = true
	list := slices.Collect(maps.Values(a.awake))
	a.mu.Unlock()
	for _, x := range list {
		x.resign()
	}
	if len(list) > 0 { // the goodbye goes out with what is queued
		time.Sleep(20 * time.Millisecond)
	}
	a.cancel()
	for _, x := range list {
		x.evict(closing())
	}
	a.work.Wait()
	a.post.work.Wait()
	return nil
}

func closing() error {
	return shoal.E(shoal.Unavailable, "agent", "this node is stopping", "ask another node")
}

// get returns a group that this node keeps, in memory. NotFound: it keeps none.
func (a *Agents) get(key shoal.Key) (*actor, error) {
	for {
		a.mu.Lock()
		if x := a.awake[key]; x != nil {
			a.mu.Unlock()
			return x, nil
		}
		if wait := a.loading[key]; wait != nil {
			a.mu.Unlock()
			<-wait
			continue
		}
		err := a.mayLoad(key)
		if err != nil {
			a.mu.Unlock()
			return nil, err
		}
		done := make(chan struct{})
		a.loading[key] = done
		promise, owes := a.promises[key]
		behind := a.behind[key]
		delete(a.behind, key)
		a.mu.Unlock()
		if behind { // what is being written of it comes first
			_ = a.writer.commit(a.ctx, nil) // its order is what counts
		}

		x, err := a.load(key, promise, owes)
		a.mu.Lock()
		if err == nil {
			a.awake[key] = x
			delete(a.promises, key)
		} else if shoal.KindOf(err) == shoal.Corrupt {
			a.quarantine(key, err)
		}
		delete(a.loading, key)
		close(done)
		a.mu.Unlock()
		if err == nil {
			err = x.begin()
		}
		return x, err
	}
}

// mayLoad reports why a group cannot be brought into memory, or nil. The caller holds mu.
func (a *Agents) mayLoad(key shoal.Key) error {
	switch {
	case a.closed:
		return closing()
	case len(key) != keyLen:
		return shoal.E(shoal.Invalid, "agent", "malformed key", "copy it whole, as 'shoal agent create' printed it")
	case a.held[key]:
		return shoal.E(shoal.Unavailable, "agent "+KeyText(key), "its state is being replaced here", "ask another keeper")
	case a.sick[key] != nil:
		return a.sick[key]
	case len(a.awake) >= a.cfg.Awake:
		return &shoal.Error{
			Kind: shoal.Overloaded, What: "agent " + KeyText(key), Why: "too many agents are in use on this node",
			Try: "try again in a moment", RetryAfter: time.Second,
		}
	}
	return nil
}

// quarantine puts a group out of use on this node, and says so; the node goes on. The caller holds mu.
func (a *Agents) quarantine(key shoal.Key, err error) {
	a.sick[key] = shoal.Wrap(shoal.Corrupt, "agent "+KeyText(key), err)
	a.cfg.Log.Error("an agent's state is damaged: it is out of use on this node", "agent", KeyText(key), "err", err)
}

// each calls f for every group in memory.
func (a *Agents) each(f func(*actor)) {
	a.mu.Lock()
	list := slices.Collect(maps.Values(a.awake))
	a.mu.Unlock()
	for _, x := range list {
		f(x)
	}
}

func (a *Agents) suspect(p shoal.PeerID) {
	a.cfg.Log.Info("a peer is silent: the agents it leads elect", "peer", p.Short())
	a.each(func(x *actor) {
		if x.shares(p) {
			x.event(func(g *group.Group, now group.Instant) { g.Suspect(now, p) })
		}
	})
}

func (a *Agents) alive(p shoal.PeerID, boot uint64) {
	a.each(func(x *actor) {
		if x.shares(p) {
			x.event(func(g *group.Group, now group.Instant) { g.Alive(now, p, boot) })
		}
	})
}

// stuck reports whether the disk has been busy with one write for too long.
func (a *Agents) stuck(now group.Instant) bool {
	at := a.writer.since.Load()
	return at > 0 && now > group.Instant(at).Add(a.cfg.Lease)
}

// deliver gives a group a message of another keeper, waking it if this node keeps it: a node without state
// stays silent.
func (a *Agents) deliver(from shoal.PeerID, key shoal.Key, data []byte) {
	x, err := a.get(key)
	if err != nil {
		switch shoal.KindOf(err) {
		case shoal.Corrupt:
			a.tell(from, key, "agents.damaged")
		case shoal.NotFound:
			a.tell(from, key, "agents.unborn")
		}
		return
	}
	x.event(func(g *group.Group, now group.Instant) {
		if err := g.Step(now, from, data); err != nil {
			a.cfg.Log.Warn("message of a group", "peer", from.Short(), "agent", KeyText(key), "err", err)
		}
	})
}

// native returns code that comes with the node.
func (a *Agents) native(code string) (Native, bool) {
	if code == DirectoryCode {
		return Native{Behaviour: directory.Behaviour{}}, true
	}
	n, ok := a.Natives[code]
	return n, ok
}

// behaviour returns the code of an agent.
func (a *Agents) behaviour(ctx context.Context, code string) (shoal.Behaviour, error) {
	if n, ok := a.native(code); ok {
		return n.Behaviour, nil
	}
	return a.Code.Behaviour(ctx, code)
}

// keepCode brings an agent's code here.
func (a *Agents) keepCode(ctx context.Context, code string, from ...shoal.PeerID) error {
	if _, ok := a.native(code); ok {
		return nil
	}
	return a.Code.Keep(ctx, code, from...)
}

// announceAll tells the DHT what this node keeps.
func (a *Agents) announceAll(ctx context.Context) {
	batch := a.ownerPlaces()
	flush := func() {
		if len(batch) > 0 {
			if err := a.Directory.Provide(ctx, batch...); err != nil && ctx.Err() == nil {
				a.cfg.Log.Warn("agents: announce", "err", err)
			}
			batch = batch[:0]
		}
	}
	for k, err := range a.store.keys() {
		if err != nil {
			a.cfg.Log.Error("agents: list of what is kept", "err", err)
			break
		}
		if batch = append(batch, k); len(batch) >= 1000 {
			flush()
		}
	}
	flush()
}

// Kept returns how many agents this node keeps, and how many of them are in memory.
func (a *Agents) Kept() (kept, awake int) {
	for range a.store.keys() {
		kept++
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return kept, len(a.awake)
}

// Drawn returns how many agents have moved away from this node by themselves, to what they read or call.
func (a *Agents) Drawn() uint64 { return a.drawn.Load() }

var _ shoal.Agents = (*Agents)(nil)

func encode(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return wire.Marshal(v), nil
}
