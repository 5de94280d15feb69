package place

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/members/view"
	"github.com/shoal-fabric/shoal/scheduler"
)

// world is a member table, and schedulers beside it. All but the scheduler and the table is as little as they need.
type world struct {
	seed   uint64
	dir    string
	module cid.Cid
	sched  *scheduler.Scheduler // decides
	other  *scheduler.Scheduler // too, so that whoever answers has heard of a requirement
	made   int

	// The offers of all peers that hold the dataset, and of all that do not, are those of one real scheduler each.
	answers []*scheduler.Scheduler
	offers  map[bool]shoal.Handler
	holds   []shoal.Holder

	mu   sync.Mutex
	view *view.View
	keys []ed25519.PrivateKey
	recs []view.Record
	ids  []shoal.PeerID
	self shoal.Member
	fits map[shoal.PeerID]bool
	at   int
}

func newWorld(dir string, seed uint64) (*world, error) {
	w := &world{seed: seed, dir: dir, module: shoal.BlockCID([]byte("\x00asm place")), fits: map[shoal.PeerID]bool{}, offers: map[bool]shoal.Handler{}}
	rng := rand.New(rand.NewPCG(seed, 1<<40))
	for i := range peers + 1 {
		var b [ed25519.SeedSize]byte
		binary.LittleEndian.PutUint64(b[:], rng.Uint64())
		key := ed25519.NewKeyFromSeed(b[:])
		w.keys = append(w.keys, key)
		id := capability.PeerIDOf(key.Public().(ed25519.PublicKey))
		w.ids = append(w.ids, id)
		w.recs = append(w.recs, record(rng))
		a := w.recs[i].Attributes
		zone := a.Labels["zone"]
		w.fits[id] = a.CPUs >= 8 && a.Memory >= 16<<30 && (zone == "a" || zone == "b") && len(a.GPUs) > 0
	}
	w.self = w.recs[peers].Member(w.ids[peers])
	w.self.State, w.self.Attributes.CPUs, w.self.Attributes.Memory = shoal.Alive, 8, 64<<30
	w.self.Attributes.Labels["zone"], w.self.Attributes.GPUs = "a", []shoal.GPU{{Vendor: "nvidia", Model: "T4", Memory: 16 << 30}}
	w.view = view.New(view.Config{Self: w.ids[peers], Fabric: "bench", Table: true})
	for i := range peers {
		if err := w.offer(i); err != nil {
			return nil, err
		}
	}
	w.holds = w.holders()
	for _, holds := range []bool{false, true} {
		n := &network{w: w}
		s, err := w.make(seed, n, answering{w}, data{w, holds})
		if err != nil {
			return nil, err
		}
		w.answers, w.offers[holds] = append(w.answers, s), n.offer
	}
	var err error
	if w.other, err = w.scheduler(seed + 2); err != nil {
		return nil, err
	}
	w.sched, err = w.scheduler(seed + 1)
	return w, err
}

// scheduler makes one that decides.
func (w *world) scheduler(seed uint64) (*scheduler.Scheduler, error) {
	return w.make(seed, &network{w: w}, w, data{w, false})
}

// record is what one of a few kinds of machines says of itself.
func record(rng *rand.Rand) view.Record {
	a := shoal.Attributes{
		OS: "linux", Arch: "amd64", CPUs: 2 << rng.IntN(6), Memory: 4 << (30 + rng.IntN(6)), Disk: 1 << 40,
		Version: "0.2.0", HashMBs: 500 + float64(rng.IntN(1500)),
		Labels: map[string]string{"zone": string(rune('a' + rng.IntN(4))), "rack": fmt.Sprint(rng.IntN(40)), "owner": "lab"},
	}
	if rng.IntN(2) == 0 {
		a.GPUs = []shoal.GPU{{Vendor: "nvidia", Model: "A100", Memory: 40 << 30}}
	}
	return view.Record{
		Fabric: "bench", Life: 1, Seq: 1, At: time.Now().UnixMilli(), TTL: 3600,
		Addresses:  []string{fmt.Sprintf("/ip4/10.%d.%d.%d/tcp/4170", rng.IntN(256), rng.IntN(256), rng.IntN(256))},
		Attributes: a, Load: shoal.Load{Slots: 8, Running: rng.IntN(8), TaskSecs: 1 + rng.Float64()},
	}
}

// offer gives the table the record of a peer.
func (w *world) offer(i int) error {
	env, err := w.recs[i].Seal(w.keys[i])
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err = w.view.Offer(view.Item{Kind: view.KindRecord, Fact: env}, true, time.Now())
	return err
}

// change gives n peers new records, in turn. What the requirement asks of them stays.
func (w *world) change(rng *rand.Rand, n int) error {
	for range n {
		w.at = (w.at + 1) % peers
		r := &w.recs[w.at]
		r.Seq++
		if r.Load.Running = rng.IntN(8); w.at%2 == 0 {
			r.Attributes.Disk++
		}
		if err := w.offer(w.at); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) make(seed uint64, n *network, m scheduler.Members, d data) (*scheduler.Scheduler, error) {
	w.made++
	return scheduler.New(scheduler.Config{Dir: filepath.Join(w.dir, fmt.Sprint(w.made)), Seed: seed, Slots: 8}, scheduler.Deps{
		Peers: n, Data: d, Runner: runner{}, Members: m, KV: kv{},
		Link: func(shoal.PeerID) (time.Duration, float64) { return time.Millisecond, 100e6 },
	})
}

func (w *world) close() {
	w.sched.Close()
	w.other.Close()
	for _, s := range w.answers {
		s.Close()
	}
}

// dataset is one of many, all with the same holders.
func (w *world) dataset(n int) cid.Cid { return shoal.BlockCID(fmt.Appendf(nil, "dataset %d", n)) }

// holders are three peers, of which one fits.
func (w *world) holders() (out []shoal.Holder) {
	fitting := 0
	for _, id := range w.ids[:peers] {
		if w.fits[id] {
			fitting++
		}
		if w.fits[id] && fitting == 1 || !w.fits[id] && len(out)-min(fitting, 1) < 2 {
			out = append(out, shoal.Holder{Peer: id, Partitions: []int{0}, Bytes: 1 << 30, Asked: time.Now()})
		}
		if len(out) == 3 {
			break
		}
	}
	return out
}

// The member table, as package members shows it.

func (w *world) Table() []shoal.Member {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view.Members(time.Now())
}

func (w *world) Since(mark uint64) ([]shoal.Member, uint64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view.Since(mark, time.Now())
}

func (w *world) Lookup(p shoal.PeerID) (shoal.Member, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view.Lookup(p, time.Now())
}

func (w *world) Record(context.Context, shoal.PeerID) (shoal.Member, error) {
	return shoal.Member{}, shoal.E(shoal.Unavailable, "record", "not asked here", "")
}

// Self is a node that does not fit, so that the task goes to a peer.
func (w *world) Self() shoal.Member {
	m := w.self
	m.Attributes.GPUs = nil
	return m
}

// answering is the table of a scheduler that gives offers: its own machine fits.
type answering struct{ *world }

func (a answering) Self() shoal.Member { return a.self }

// network has whoever is asked for an offer answer by the handler of a real scheduler.
type network struct {
	w     *world
	offer shoal.Handler
}

func (n *network) Self() shoal.PeerID { return n.w.self.ID }

func (n *network) Ask(ctx context.Context, to shoal.PeerID, method string, request []byte) ([]byte, error) {
	if method != "task.offer" {
		return nil, shoal.E(shoal.Unavailable, method, "not served here", "")
	}
	holds := slices.ContainsFunc(n.w.holds, func(h shoal.Holder) bool { return h.Peer == to })
	return n.w.offers[holds](ctx, n.Self(), request)
}

func (n *network) Open(context.Context, shoal.PeerID, string, []byte) (shoal.Stream, error) {
	return nil, shoal.E(shoal.Unavailable, "open a stream", "not served here", "")
}

func (n *network) Handle(method string, h shoal.Handler) {
	if method == "task.offer" {
		n.offer = h
	}
}

func (n *network) HandleStream(string, shoal.StreamHandler) {}

// data has the module here, and the dataset if it holds.
type data struct {
	w     *world
	holds bool
}

func (d data) Ensure(context.Context, cid.Cid, string, []shoal.PeerID) (uint64, error) { return 0, nil }

func (d data) Missing(_ context.Context, c cid.Cid) (have, missing uint64, err error) {
	if d.holds || c == d.w.module {
		return 1 << 20, 0, nil
	}
	return 0, 1 << 30, nil
}

func (d data) Open(context.Context, cid.Cid) (scheduler.Tree, error) {
	return nil, shoal.E(shoal.NotFound, "open", "not here", "")
}

func (d data) Adopt(context.Context, string) (cid.Cid, uint64, error) {
	return cid.Undef, 0, shoal.E(shoal.NotFound, "adopt", "not here", "")
}

func (d data) Where(context.Context, cid.Cid) ([]shoal.Holder, shoal.Manifest, error) {
	return d.w.holds, shoal.Manifest{Bytes: 1 << 30}, nil
}

type runner struct{}

func (runner) Compile(context.Context, cid.Cid, []byte) (shoal.ModuleInfo, error) {
	return shoal.ModuleInfo{}, nil
}
func (runner) Ready(cid.Cid) bool { return true }
func (runner) Run(context.Context, shoal.Run) (shoal.Ran, error) {
	return shoal.Ran{}, shoal.E(shoal.Unavailable, "run", "nothing runs here", "")
}

type kv struct{}

func (kv) Get(string) ([]byte, error) { return nil, shoal.E(shoal.NotFound, "key", "absent", "") }
func (kv) Set(string, []byte) error   { return nil }
func (kv) Delete(string) error        { return nil }
func (kv) Scan(string) iter.Seq2[string, []byte] {
	return func(func(string, []byte) bool) {}
}
