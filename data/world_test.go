package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/blobs"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/storage"
)

// graph is blobs as this room needs it.
type graph struct{ b *blobs.Blobs }

func (g graph) Import(ctx context.Context, path string, o ImportOptions) (shoal.Manifest, error) {
	return g.b.Import(ctx, path, blobs.ImportOptions(o))
}

func (g graph) Walk(ctx context.Context, root cid.Cid, get Getter, visit func(cid.Cid, int, bool) error) error {
	return g.b.Walk(ctx, root, get, visit)
}

func (g graph) Tree(ctx context.Context, root cid.Cid, name string, get Getter) (Tree, error) {
	t, err := g.b.Tree(ctx, root, name, get)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (g graph) Partition(ctx context.Context, root cid.Cid, get Getter, split shoal.Split, size int64) (shoal.Manifest, error) {
	return g.b.Partition(ctx, root, get, split, size)
}

func (g graph) Fetch(ctx context.Context, root cid.Cid, from []string) error {
	return g.b.Fetch(ctx, root, from)
}

// world is some nodes over one network and directory in memory, each with real storage.
type world struct {
	t     testing.TB
	net   *shoaltest.Network
	dirs  *shoaltest.Directories
	nodes []*peer

	mu    sync.Mutex
	state map[shoal.PeerID]shoal.MemberState
	zones map[shoal.PeerID]string
}

// peer is one node of a world.
type peer struct {
	*Data
	now     atomic.Pointer[Data] // the same, for handlers, which run while the node is opened again
	w       *world
	id      shoal.PeerID
	fs      vfs.FS
	dir     string
	net     *shoaltest.Node
	storage *storage.Storage
	corrupt *liar
	stop    context.CancelFunc
	done    chan struct{}
}

// liar is a store that may hand out wrong bytes.
type liar struct {
	shoal.Store
	mu   sync.Mutex
	lies bool
	told int
	gate chan struct{} // closed once some blocks were read
	left int
	meet func() // called before a leaf is read
}

func (l *liar) Refer(ctx context.Context, places ...shoal.Place) error {
	return l.Store.(shoal.InPlace).Refer(ctx, places...)
}

func (l *liar) Copied(ctx context.Context, c cid.Cid) (bool, error) {
	return l.Store.(shoal.InPlace).Copied(ctx, c)
}

func (l *liar) Get(ctx context.Context, c cid.Cid) ([]byte, error) {
	l.mu.Lock()
	meet := l.meet
	l.mu.Unlock()
	if meet != nil && c.Type() == cid.Raw {
		meet()
	}
	b, err := l.Store.Get(ctx, c)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lies && len(b) > 0 && c.Type() == cid.Raw {
		b[0] ^= 1
		l.told++
	}
	if l.gate != nil && c.Type() == cid.Raw {
		if l.left--; l.left == 0 {
			close(l.gate)
		}
	}
	return b, err
}

func quick() Config {
	return Config{
		HeldTimeout: 300 * time.Millisecond, FindTimeout: time.Second, Stall: 2 * time.Second,
		RepairEvery: 20 * time.Millisecond, RepairAfter: 50 * time.Millisecond, VisitEvery: 20 * time.Millisecond, LookEvery: 40 * time.Millisecond, Window: 1 << 20,
	}
}

func newWorld(t testing.TB, n int) *world {
	w := &world{
		t: t, net: shoaltest.NewNetwork(), dirs: shoaltest.NewDirectories(),
		state: map[shoal.PeerID]shoal.MemberState{}, zones: map[shoal.PeerID]string{},
	}
	w.net.Patience = 300 * time.Millisecond
	for i := range n {
		w.add(shoal.PeerID(fmt.Sprintf("peer-%02d", i)))
	}
	return w
}

func (w *world) add(id shoal.PeerID) *peer {
	p := &peer{w: w, id: id, fs: vfs.NewMem(), dir: "/" + string(id), net: w.net.Node(id)}
	w.set(id, shoal.Alive)
	p.open(quick())
	w.nodes = append(w.nodes, p)
	return p
}

func (w *world) set(id shoal.PeerID, s shoal.MemberState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state[id] = s
}

func (w *world) members() (out []shoal.Member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.state {
		m := shoal.Member{ID: id, State: s}
		if z := w.zones[id]; z != "" {
			m.Attributes.Labels = map[string]string{"zone": z}
		}
		out = append(out, m)
	}
	return out
}

func (p *peer) open(cfg Config) {
	t := p.w.t
	t.Helper()
	s, err := storage.Open(p.dir, storage.Options{FS: p.fs})
	if err != nil {
		t.Fatal(err)
	}
	p.storage = s
	p.corrupt = &liar{Store: s.Blocks()}
	guard := NewGuard(p.corrupt)
	b, err := blobs.New(blobs.Config{Store: guard})
	if err != nil {
		t.Fatal(err)
	}
	p.Data, err = New(cfg, Deps{
		Store: guard, Graph: graph{b}, Peers: p.peers(), Directory: p.w.dirs.Node(p.id), KV: s.KV("data"),
		Members: p.w.members,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.now.Store(p.Data)
	t.Cleanup(func() { p.close() })
}

// peers returns the node's Peers. A node that is opened again takes the handlers over.
func (p *peer) peers() shoal.Peers {
	if p.Data == nil {
		return &handover{Node: p.net, p: p}
	}
	return &handover{Node: p.net, p: p, again: true}
}

// handover routes methods to the present Data of a node, since a name can be registered only once.
type handover struct {
	*shoaltest.Node
	p     *peer
	again bool
}

func (h *handover) Handle(method string, _ shoal.Handler) {
	if h.again {
		return
	}
	p := h.p
	h.Node.Handle(method, func(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
		switch method {
		case "data.held":
			return p.now.Load().serveHeld(ctx, from, req)
		case "data.manifest":
			return p.now.Load().serveManifest(ctx, from, req)
		case "data.check":
			return p.now.Load().serveCheck(ctx, from, req)
		case "data.release":
			return p.now.Load().serveRelease(ctx, from, req)
		case "data.life":
			return p.now.Load().serveLife(ctx, from, req)
		}
		return nil, errors.New("unknown " + method)
	})
}

func (h *handover) HandleStream(method string, _ shoal.StreamHandler) {
	if h.again {
		return
	}
	p := h.p
	h.Node.HandleStream(method, func(ctx context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
		if method == "data.keep" {
			return p.now.Load().serveKeep(ctx, from, req, s)
		}
		return p.now.Load().serveFetch(ctx, from, req, s)
	})
}

// run starts the node's background work.
func (p *peer) run() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		_ = p.Run(ctx)
	}()
}

func (p *peer) close() {
	if p.stop != nil {
		p.stop()
		<-p.done
		p.stop = nil
	}
	if err := p.storage.Close(); err != nil {
		p.w.t.Error(err)
	}
}

// kill stops a node as kill -9 would, and tells the members.
func (p *peer) kill() {
	p.net.Stop()
	p.w.set(p.id, shoal.Down)
}

func (p *peer) revive() {
	p.net.Start()
	p.w.set(p.id, shoal.Alive)
}

// wipe opens the node anew with an empty disk.
func (p *peer) wipe() {
	p.close()
	p.fs = vfs.NewMem()
	p.open(quick())
}

// restart opens the node's directory anew.
func (p *peer) restart() {
	p.close()
	p.open(quick())
	p.revive()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t testing.TB, err error, k shoal.Kind) {
	t.Helper()
	if err == nil || shoal.KindOf(err) != k {
		t.Fatalf("got error %v, want one of kind %s", err, k)
	}
}

// eventually polls for a condition that other goroutines bring about.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("it never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// folder writes files of pseudo-random bytes, the same for the same seed, and returns their folder.
func folder(t testing.TB, seed uint64, files, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "photos")
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range files {
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%3), fmt.Sprintf("f%03d", i))
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name, random(r, size/2+r.IntN(size)), 0o644))
	}
	return dir
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// same compares two folders or files.
func same(t testing.TB, a, b string) {
	t.Helper()
	read := func(root string) map[string][]byte {
		out := map[string][]byte{}
		must(t, filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(p)
			rel, _ := filepath.Rel(root, p)
			out[rel] = data
			return err
		}))
		return out
	}
	x, y := read(a), read(b)
	if len(x) == 0 || len(x) != len(y) {
		t.Fatalf("%d files and %d", len(x), len(y))
	}
	for name, data := range x {
		if !bytes.Equal(data, y[name]) {
			t.Fatalf("%s differs: %d and %d bytes", name, len(data), len(y[name]))
		}
	}
}
