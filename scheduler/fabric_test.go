package scheduler

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// fabric is a few schedulers on doubles: a network, runners and data in memory.
type fabric struct {
	t     testing.TB
	net   *shoaltest.Network
	nodes []*peer

	mu    sync.Mutex
	sets  map[cid.Cid]fstest.MapFS
	names map[cid.Cid]string // of graphs that are single files
	herd  cid.Cid            // what burst runs
}

// peer is one node of the fabric. It is its scheduler's Data and Members.
type peer struct {
	f      *fabric
	id     shoal.PeerID
	node   *shoaltest.Node
	runner *shoaltest.Runner
	kv     *shoaltest.KV
	dir    string
	cfg    Config
	s      *Scheduler

	mu     sync.Mutex
	held   map[cid.Cid]bool
	labels map[string]string
	execs  []string // native executors
	room   func(cid.Cid, shoal.Limits) (bool, error)
	runs   shoal.Runner // nil: runner
	hidden bool         // knows no member table
	states map[shoal.PeerID]shoal.MemberState
	moved  map[string]uint64 // by class
	used   func(c cid.Cid, took time.Duration)
	probed func(p shoal.PeerID)
	dead   bool
	jam    bool                        // takes tasks and begins none
	stale  map[shoal.PeerID]shoal.Load // what the table says of others, whatever they do
}

func newFabric(t testing.TB, n int, change func(i int, c *Config)) *fabric {
	f := &fabric{t: t, net: shoaltest.NewNetwork(), sets: map[cid.Cid]fstest.MapFS{}, names: map[cid.Cid]string{}}
	for i := range n {
		id := shoal.PeerID(fmt.Sprintf("12D3KooWtestpeer%08d", i))
		p := &peer{
			f: f, id: id, node: f.net.Node(id), runner: shoaltest.NewRunner(), kv: shoaltest.NewKV(), dir: t.TempDir(),
			held: map[cid.Cid]bool{}, states: map[shoal.PeerID]shoal.MemberState{}, moved: map[string]uint64{},
		}
		p.cfg = Config{Slots: 2, Dir: p.dir, Seed: uint64(i + 1), Silence: 4 * time.Second, OfferWait: 2 * time.Second}
		if change != nil {
			change(i, &p.cfg)
		}
		f.nodes = append(f.nodes, p)
	}
	for _, p := range f.nodes {
		p.start()
	}
	t.Cleanup(f.stop)
	return f
}

// stop closes all nodes, once.
func (f *fabric) stop() {
	for _, p := range f.nodes {
		if p.s != nil {
			p.s.Close()
			p.s = nil
		}
	}
}

func (p *peer) start() {
	var err error
	var runs shoal.Runner = p.runner
	if p.runs != nil {
		runs = p.runs
	}
	if p.s, err = New(p.cfg, Deps{Peers: jammed{p.node, p}, Data: p, Runner: runs, Members: p, KV: p.kv, Link: p.link, Room: p.room, Used: p.used, Probe: p.probed}); err != nil {
		p.f.t.Fatal(err)
	}
}

// link is what the node has measured: others are the farther the higher their number.
func (p *peer) link(to shoal.PeerID) (time.Duration, float64) {
	if p.stale == nil {
		return 0, 0
	}
	i := slices.IndexFunc(p.f.nodes, func(q *peer) bool { return q.id == to })
	return time.Millisecond * time.Duration(1+i), 100e6
}

// kill is kill -9.
func (p *peer) kill() {
	p.node.Stop()
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
}

func (p *peer) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// module registers a guest on all nodes; holders have its bytes.
func (f *fabric) module(name string, g shoaltest.Guest, holders ...int) cid.Cid {
	wasm := []byte("\x00asm" + name)
	var c cid.Cid
	for _, p := range f.nodes {
		c = p.runner.Register(wasm, g)
	}
	f.set(c, fstest.MapFS{name: {Data: wasm}}, holders...)
	f.names[c] = name
	return c
}

// data makes a dataset of files held by some nodes.
func (f *fabric) data(content string, holders ...int) cid.Cid {
	c := shoal.BlockCID([]byte("data " + content))
	f.set(c, fstest.MapFS{"sub/file.txt": {Data: []byte(content)}}, holders...)
	return c
}

func (f *fabric) set(c cid.Cid, files fstest.MapFS, holders ...int) {
	f.mu.Lock()
	f.sets[c] = files
	f.mu.Unlock()
	for _, i := range holders {
		f.nodes[i].hold(c)
	}
}

func (f *fabric) files(c cid.Cid) (fstest.MapFS, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n uint64
	for _, file := range f.sets[c] {
		n += uint64(len(file.Data))
	}
	return f.sets[c], n
}

func (p *peer) hold(c cid.Cid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[c] = true
}

func (p *peer) drop(c cid.Cid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, c)
}

func (p *peer) has(c cid.Cid) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[c] && !p.dead
}

func (p *peer) Ensure(ctx context.Context, c cid.Cid, class string, _ []shoal.PeerID) (uint64, error) {
	if p.has(c) {
		return 0, nil
	}
	files, size := p.f.files(c)
	if files == nil || !slices.ContainsFunc(p.f.nodes, func(q *peer) bool { return q.has(c) }) {
		return 0, shoal.E(shoal.NotFound, c.String(), "nobody has it", "")
	}
	p.hold(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved[class] += size
	return size, ctx.Err()
}

func (p *peer) Missing(_ context.Context, c cid.Cid) (uint64, uint64, error) {
	_, size := p.f.files(c)
	if p.has(c) {
		return size, 0, nil
	}
	return 0, max(size, 1), nil
}

func (p *peer) Open(_ context.Context, c cid.Cid) (Tree, error) {
	files, _ := p.f.files(c)
	if !p.has(c) {
		return nil, shoal.E(shoal.NotFound, c.String(), "not here", "")
	}
	return &tree{MapFS: files, root: c, lone: p.f.names[c]}, nil
}

func (p *peer) Adopt(_ context.Context, path string) (cid.Cid, uint64, error) {
	files := fstest.MapFS{}
	var all bytes.Buffer
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		rel, _ := filepath.Rel(path, name)
		files[rel] = &fstest.MapFile{Data: b}
		fmt.Fprintf(&all, "%s\x00%d\x00%s", rel, len(b), b)
		return err
	})
	c := shoal.BlockCID(all.Bytes())
	p.f.set(c, files)
	p.hold(c)
	_, size := p.f.files(c)
	return c, size, err
}

func (p *peer) Where(_ context.Context, c cid.Cid) (hs []shoal.Holder, m shoal.Manifest, err error) {
	files, size := p.f.files(c)
	if files == nil {
		return nil, m, shoal.E(shoal.NotFound, c.String(), "nobody has it", "")
	}
	for _, q := range p.f.nodes {
		if q.has(c) {
			hs = append(hs, shoal.Holder{Peer: q.id, Partitions: []int{0}, Bytes: size, Asked: time.Now()})
		}
	}
	return hs, shoal.Manifest{Root: c, Name: "d", Bytes: size, Partitions: []shoal.Partition{{CID: c, Bytes: size}}}, nil
}

type tree struct {
	fstest.MapFS
	root cid.Cid
	lone string
	read atomic.Uint64
}

func (t *tree) BytesRead() uint64 { return t.read.Load() }

func (t *tree) CID(path string) (cid.Cid, error) {
	if path == t.lone {
		return t.root, nil
	}
	return shoal.BlockCID([]byte(path)), nil
}

func (t *tree) Open(name string) (fs.File, error) {
	f, err := t.MapFS.Open(name)
	if err == nil {
		if info, e := f.Stat(); e == nil && !info.IsDir() {
			t.read.Add(uint64(info.Size()))
		}
	}
	return f, err
}

func (p *peer) member(of *peer) shoal.Member {
	p.mu.Lock()
	state := p.states[of.id]
	p.mu.Unlock()
	if state == "" {
		state = shoal.Alive
	}
	load, ok := p.stale[of.id]
	if !ok {
		load = of.s.Load()
	}
	return shoal.Member{
		ID: of.id, State: state, Seq: 1, Seen: time.Now(),
		Attributes: shoal.Attributes{OS: "linux", CPUs: 4, Memory: 8 << 30, Labels: of.labels, HashMBs: 1000, Executors: of.execs},
		Load:       load,
	}
}

func (p *peer) Table() (out []shoal.Member) {
	for _, q := range p.f.nodes {
		if q != p && !p.hidden && q.s != nil {
			out = append(out, p.member(q))
		}
	}
	return out
}

func (p *peer) Since(uint64) ([]shoal.Member, uint64, bool) { return p.Table(), 1, true }

func (p *peer) Lookup(id shoal.PeerID) (shoal.Member, bool) {
	for _, q := range p.f.nodes {
		if q.id == id && q != p && !p.hidden && q.s != nil {
			return p.member(q), true
		}
	}
	return shoal.Member{}, false
}

func (p *peer) Record(_ context.Context, id shoal.PeerID) (shoal.Member, error) {
	for _, q := range p.f.nodes {
		if q.id == id && !q.isDead() {
			return p.member(q), nil
		}
	}
	return shoal.Member{}, shoal.E(shoal.Unavailable, "record", "no answer", "")
}

func (p *peer) Self() shoal.Member { return p.member(p) }

// within fails the test when f does not end in time, and shows where all goroutines are.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

// lockedBuffer is a buffer that is written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// guests used in several tests.
func hello(_ context.Context, r shoal.Run) (int, error) {
	fmt.Fprintln(r.Stdout, "hello", strings.Join(r.Args, " "))
	fmt.Fprintln(r.Stderr, "on stderr")
	return 0, nil
}

func echo(_ context.Context, r shoal.Run) (int, error) {
	_, err := io.Copy(r.Stdout, r.Stdin)
	return 0, err
}

type cidOf = cid.Cid

func shoaltestKV() *shoaltest.KV { return shoaltest.NewKV() }
