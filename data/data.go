// Package data keeps datasets on the fabric: it cuts and spreads what is put, finds who holds what,
// fetches what is missing, restores copies that were lost, and frees what nobody needs.
//
// What it promises:
//
//   - What Put acknowledged lies on as many peers as the result says, durably; kill -9 at any moment
//     loses nothing of it, and a Put that broke off continues when it is repeated.
//   - Bytes from a peer are held against their CID before anybody sees them. A peer that sends wrong
//     bytes is left alone for a while, and the block comes from another.
//   - A fetch runs from several holders at once, keeps what arrived, and survives the loss of any
//     holder but the last.
//   - What was put in place is read from the user's files and never written there. A file that changed
//     is not read but named; other holders still serve what was in it.
//   - A part of a file that lies elsewhere is read without a copy of the rest (ReadPart), and leaves none.
//   - Garbage collection never drops a block that a pin, a kept partition or a lease needs, also
//     while puts and fetches run.
//
// How it is kept. A dataset's partitions are the unit of everything: each has R holders
// (data/spread), and every holder of any also keeps the manifest and the inner nodes of the whole
// graph, so that any of them can list it. Transfers are pulled: a peer that shall keep partitions is
// asked to (data.keep), and fetches them like any reader, so there is one way to move bytes and it
// resumes. The directory names holders as a hint; what counts is what a peer says when asked
// (data.held). Whoever has the lowest ID among the holders of a partition repairs it.
//
//	streams  code.fetch data.fetch result.fetch   blocks, by CID or as the inner nodes under one;
//	                                              one protocol under three names, so that the
//	                                              connection counters tell the kinds apart
//	         data.keep                            "keep these partitions"; answers as each is durable
//	asks     data.held data.manifest data.release data.check data.life
package data

import (
	"context"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data/pieces"
	"github.com/shoal-fabric/shoal/scheduler/match"
)

// Getter returns the bytes of a block, verified against its CID. The caller only reads them.
type Getter = func(ctx context.Context, c cid.Cid) ([]byte, error)

// ImportOptions are those of Graph.Import: as in blobs.
type ImportOptions struct {
	Split          shoal.Split
	LeafBytes      int64
	PartitionBytes int64
	InPlace        bool
	Visible        bool
	Progress       func(done, total int64, file string)
}

// Tree shows a graph as a read-only file system. Its files implement io.ReaderAt and io.Seeker.
type Tree interface {
	fs.ReadDirFS
	BytesRead() uint64                      // bytes of content handed out
	CID(path string) (cid.Cid, error)       // of what a path leads to
	Lstat(path string) (fs.FileInfo, error) // of a path itself, which may be a symbolic link
	ReadLink(path string) (string, error)
}

// Graph makes and reads graphs of blocks; blobs does it. It must stand on the Guard that this room
// stands on, so that blocks it writes are not collected before they have a root.
type Graph interface {
	// Import stores a file or folder; everything is durable when it returns.
	Import(ctx context.Context, path string, o ImportOptions) (shoal.Manifest, error)
	// Walk visits the blocks of a graph once, inner nodes first; it gets inner nodes only.
	Walk(ctx context.Context, root cid.Cid, get Getter, visit func(c cid.Cid, size int, leaf bool) error) error
	Tree(ctx context.Context, root cid.Cid, name string, get Getter) (Tree, error)
	// Partition groups the leaves of a graph that was put elsewhere.
	Partition(ctx context.Context, root cid.Cid, get Getter, split shoal.Split, size int64) (shoal.Manifest, error)
	// Fetch brings a graph into the store by bitswap; from are multiaddrs with /p2p.
	Fetch(ctx context.Context, root cid.Cid, from []string) error
}

// Deps are what this room needs of others. All but Free and RTT must be set.
type Deps struct {
	Store     *Guard
	Graph     Graph
	Peers     shoal.Peers
	Directory shoal.Directory
	KV        shoal.KV
	Members   func() []shoal.Member              // all this node knows, itself included or not
	Free      func() (uint64, error)             // bytes that blocks may still take; nil: unknown
	RTT       func(p shoal.PeerID) time.Duration // measured round trip, 0: unknown; nil: unknown
}

// Config has a default for every zero.
type Config struct {
	Replicas     int           // copies of what is put; default 2, at most one per member
	Lease        time.Duration // how long Adopt keeps what it imported; default 1 h
	HeldTimeout  time.Duration // how long Where waits for a holder; default 700 ms
	FindTimeout  time.Duration // how long one lookup in the directory may take; default 5 s
	Stall        time.Duration // a holder that sends nothing for so long is given up; default 10 s
	Window       int           // bytes asked of one holder in advance; default 8 MiB
	Sources      int           // holders a fetch reads from at once; default 6
	RepairEvery  time.Duration // between looks at lost copies; default 20 s, jittered by a quarter
	RepairAfter  time.Duration // a holder gone for so long is replaced; default 30 s
	SurveyEvery  time.Duration // between full counts of the copies of a dataset; default 10 min
	LookEvery    time.Duration // between questions to the directory for holders, while copies are missing; default 2 min
	VisitEvery   time.Duration // between questions to a fellow holder whether it lives; default 45 s
	Avoid        time.Duration // how long a peer that sent wrong bytes is avoided; default 5 min
	CacheBytes   uint64        // cached graphs beyond so much are dropped, oldest first; default 8 GiB
	CollectEvery time.Duration // between looks at the cache; default 10 min
	NoExtra      bool          // keep no copies beyond the fabric's, however often tasks here fetch the same
	KeepExtra    time.Duration // one that saves nothing for so long goes; default 1 h
	Log          *slog.Logger  // nil: discard
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Lease, time.Hour)
	def(&c.HeldTimeout, 700*time.Millisecond)
	def(&c.FindTimeout, 5*time.Second)
	def(&c.Stall, 10*time.Second)
	def(&c.RepairEvery, 20*time.Second)
	def(&c.RepairAfter, 30*time.Second)
	def(&c.SurveyEvery, 10*time.Minute)
	def(&c.LookEvery, 2*time.Minute)
	def(&c.VisitEvery, 45*time.Second)
	def(&c.Avoid, 5*time.Minute)
	def(&c.CollectEvery, 10*time.Minute)
	def(&c.KeepExtra, time.Hour)
	if c.Replicas <= 0 {
		c.Replicas = 2
	}
	if c.Window <= 0 {
		c.Window = 8 << 20
	}
	if c.Sources <= 0 {
		c.Sources = 6
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 8 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Data is a node's part in keeping the fabric's data. Its methods may be called from many goroutines.
type Data struct {
	Deps
	cfg Config
	log *slog.Logger

	writing sync.Mutex // one update of records at a time
	mu      sync.RWMutex
	sets    map[cid.Cid]*dataset
	parts   map[cid.Cid][]part // where a partition belongs

	public   publicSet
	avoided  avoided
	flights  flights
	holds    holds
	complete complete
	afar     afar
	buffers  pieces.Buffers // of blocks on their way
	copies   copies
	serving  chan struct{} // a slot for each stream served

	collecting sync.Mutex  // one garbage collection at a time
	dirty      atomic.Bool // blocks nobody needs were spared, as somebody used them
	unheard    atomic.Bool // something is not announced yet
	repair     repairState
	store      string // the name of this node's disk
	visits     visits
	needs      match.Book
}

// New reads what earlier lives of this node kept and registers its methods at d.Peers. Run starts
// the work in the background.
func New(cfg Config, deps Deps) (*Data, error) {
	for name, missing := range map[string]bool{
		"store": deps.Store == nil, "graph": deps.Graph == nil, "peers": deps.Peers == nil,
		"directory": deps.Directory == nil, "kv": deps.KV == nil, "members": deps.Members == nil,
	} {
		if missing {
			return nil, shoal.E(shoal.Invalid, "open data", "no "+name+" was given", "")
		}
	}
	cfg = cfg.withDefaults()
	d := &Data{
		Deps: deps, cfg: cfg, log: cfg.Log, sets: map[cid.Cid]*dataset{}, parts: map[cid.Cid][]part{},
		serving: make(chan struct{}, 256), afar: afar{slots: make(chan struct{}, maxFetches)},
		copies: copies{wanted: make(chan cid.Cid, maxWanted)},
	}
	if err := d.load(); err != nil {
		return nil, shoal.Wrap(shoal.Corrupt, "open data", err)
	}
	var err error
	if d.store, err = storeName(d.KV); err != nil {
		return nil, shoal.Wrap(shoal.Internal, "open data", err)
	}
	for _, class := range []Class{Code, Content, Result} {
		d.Peers.HandleStream(class.method(), d.serveFetch)
	}
	d.Peers.HandleStream("data.keep", d.serveKeep)
	d.Peers.Handle("data.held", d.serveHeld)
	d.Peers.Handle("data.manifest", d.serveManifest)
	d.Peers.Handle("data.release", d.serveRelease)
	d.Peers.Handle("data.check", d.serveCheck)
	d.Peers.Handle("data.life", d.serveLife)
	return d, nil
}

// Run announces all that this node keeps, then repairs and tidies until ctx ends.
func (d *Data) Run(ctx context.Context) error {
	for _, s := range d.all() {
		if s.m.Public {
			d.publicise(ctx, s.m)
		}
	}
	d.announceAll(ctx)
	var buying sync.WaitGroup
	defer buying.Wait()
	buying.Go(func() { d.buyWanted(ctx) })
	collect := time.Now().Add(d.cfg.CollectEvery)
	for sleep(ctx, jitter(d.cfg.RepairEvery)) {
		if d.unheard.Swap(false) {
			d.announceAll(ctx)
		}
		d.mend(ctx)
		d.retire(ctx)
		if d.dirty.Load() || time.Now().After(collect) {
			if err := d.tidy(ctx); err != nil {
				d.log.Warn("garbage collection", "err", err)
			}
			collect = time.Now().Add(d.cfg.CollectEvery)
		}
	}
	return nil
}

// Held returns the bytes of content of the partitions this node keeps for the fabric or for a pin.
func (d *Data) Held() (sum uint64) {
	for _, s := range d.all() {
		if s.Pinned {
			sum += s.m.Bytes
			continue
		}
		for i, p := range s.m.Partitions {
			if s.keeps(i) {
				sum += p.Bytes
			}
		}
	}
	return sum
}

func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// jitter spreads t by a quarter, so that nodes do not work in step.
func jitter(t time.Duration) time.Duration {
	return t - t/4 + rand.N(t/2+1)
}

// avoided are peers that sent wrong bytes, each with the end of its time.
type avoided struct {
	mu    sync.Mutex
	until map[shoal.PeerID]time.Time
}

func (a *avoided) add(p shoal.PeerID, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until == nil {
		a.until = map[shoal.PeerID]time.Time{}
	}
	a.until[p] = until
}

func (a *avoided) has(p shoal.PeerID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.until[p]
	if ok && time.Now().After(t) {
		delete(a.until, p)
		return false
	}
	return ok
}

func (a *avoided) list() (out []shoal.PeerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, t := range a.until {
		if time.Now().Before(t) {
			out = append(out, p)
		}
	}
	return out
}

// holds are graphs in use: garbage collection keeps what is here of them.
type holds struct {
	mu    sync.Mutex
	count map[cid.Cid]int
	until map[cid.Cid]time.Time
}

// take holds c until the returned function is called.
func (h *holds) take(c cid.Cid) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count == nil {
		h.count = map[cid.Cid]int{}
	}
	h.count[c]++
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.count[c]--; h.count[c] == 0 {
			delete(h.count, c)
		}
	})
}

// linger holds c for some time.
func (h *holds) linger(c cid.Cid, t time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until == nil {
		h.until = map[cid.Cid]time.Time{}
	}
	h.until[c] = time.Now().Add(t)
}

func (h *holds) drop(c cid.Cid) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.until, c)
}

func (h *holds) list() (out []cid.Cid) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.count {
		out = append(out, c)
	}
	for c, t := range h.until {
		if time.Now().After(t) {
			delete(h.until, c)
		} else if h.count[c] == 0 {
			out = append(out, c)
		}
	}
	return out
}
