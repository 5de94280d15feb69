package plans

import (
	"bytes"
	"context"
	"fmt"
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
	"github.com/shoal-fabric/shoal/scheduler"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// fabric is a few schedulers on doubles: a network, runners and data in memory.
type fabric struct {
	t     testing.TB
	net   *shoaltest.Network
	nodes []*peer

	mu    sync.Mutex
	sets  map[cid.Cid]fstest.MapFS
	names map[cid.Cid]string    // of graphs that are single files
	split map[cid.Cid][]cid.Cid // partitions of datasets
}

// peer is one node of the fabric. It is its scheduler's Data and Members.
type peer struct {
	f       *fabric
	id      shoal.PeerID
	node    *shoaltest.Node
	board   *board
	runner  *shoaltest.Runner
	kv      *shoaltest.KV
	plansKV *shoaltest.KV
	dir     string
	cfg     scheduler.Config
	plans   Config
	s       *scheduler.Scheduler
	p       *Plans

	mu        sync.Mutex
	held      map[cid.Cid]bool
	labels    map[string]string
	slow      float64 // how many times longer than elsewhere a run takes; 0: once
	hidden    bool    // knows no member table
	seesDeath bool    // the table knows at once who is dead
	states    map[shoal.PeerID]shoal.MemberState
	moved     map[string]uint64 // by class
	dead      bool
}

func newFabric(t testing.TB, n int, change func(i int, c *scheduler.Config)) *fabric {
	return newFabricWith(t, n, change, Config{})
}

func newFabricWith(t testing.TB, n int, change func(i int, c *scheduler.Config), plans Config) *fabric {
	f := &fabric{t: t, net: shoaltest.NewNetwork(), sets: map[cid.Cid]fstest.MapFS{}, names: map[cid.Cid]string{}, split: map[cid.Cid][]cid.Cid{}}
	for i := range n {
		id := shoal.PeerID(fmt.Sprintf("12D3KooWtestpeer%08d", i))
		p := &peer{
			f: f, id: id, node: f.net.Node(id), runner: shoaltest.NewRunner(), kv: shoaltest.NewKV(), plansKV: shoaltest.NewKV(), dir: t.TempDir(),
			held: map[cid.Cid]bool{}, states: map[shoal.PeerID]shoal.MemberState{}, moved: map[string]uint64{},
		}
		p.plans = plans
		p.plans.Distrust, p.plans.Relocate, p.plans.Save = 500*time.Millisecond, time.Second, 10*time.Millisecond
		p.cfg = scheduler.Config{Slots: 2, Dir: p.dir, Seed: uint64(i + 1), Silence: 4 * time.Second, OfferWait: 2 * time.Second}
		if change != nil {
			change(i, &p.cfg)
		}
		p.board = &board{Node: p.node, asked: map[string]shoal.Handler{}, opened: map[string]shoal.StreamHandler{}}
		f.nodes = append(f.nodes, p)
	}
	for _, p := range f.nodes {
		p.start()
	}
	t.Cleanup(func() {
		for _, p := range f.nodes {
			if p.s != nil {
				p.p.Close()
				p.s.Close()
			}
		}
	})
	return f
}

func (p *peer) start() {
	var err error
	p.s, err = scheduler.New(p.cfg, scheduler.Deps{Peers: p.board, Data: p, Runner: slowed{p.runner, p}, Members: p, KV: p.kv})
	if err != nil {
		p.f.t.Fatal(err)
	}
	p.p, err = New(p.plans, Deps{
		Tasks: p.s, Data: p, Members: p, KV: p.plansKV,
		Combine: func(_ context.Context, entries []Entry) (cid.Cid, error) { return p.f.combine(p, entries), nil },
	})
	if err != nil {
		p.f.t.Fatal(err)
	}
}

// slowed is a runner on a machine that may be slower than others.
type slowed struct {
	*shoaltest.Runner
	p *peer
}

func (s slowed) Run(ctx context.Context, r shoal.Run) (shoal.Ran, error) {
	began := time.Now()
	ran, err := s.Runner.Run(ctx, r)
	s.p.mu.Lock()
	slow := s.p.slow
	s.p.mu.Unlock()
	if slow <= 1 || err != nil {
		return ran, err
	}
	t := time.NewTimer(time.Duration(float64(time.Since(began)) * (slow - 1)))
	defer t.Stop()
	select {
	case <-t.C:
		ran.Seconds *= slow
		return ran, nil
	case <-ctx.Done():
		return ran, shoal.Wrap(shoal.Canceled, "run", ctx.Err())
	}
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

// data makes a dataset of n partitions; partition i is held by two nodes of at.
func (f *fabric) data(n int, at ...int) (root cid.Cid, words map[string]int) {
	words = map[string]int{}
	var parts []cid.Cid
	for i := range n {
		text := fmt.Sprintf("common word%d word%d\n", i, i%7)
		for _, w := range strings.Fields(text) {
			words[w]++
		}
		c := shoal.BlockCID([]byte("part " + text))
		f.set(c, fstest.MapFS{fmt.Sprintf("f%d.txt", i): {Data: []byte(text)}}, at[i%len(at)], at[(i+1)%len(at)])
		parts = append(parts, c)
	}
	root = shoal.BlockCID(fmt.Appendf(nil, "root %v", parts))
	f.split[root] = parts
	return root, words
}

// combine makes a folder of graphs.
func (f *fabric) combine(p *peer, entries []Entry) cid.Cid {
	all := fstest.MapFS{}
	for _, e := range entries {
		files, _ := f.files(e.CID)
		for name, file := range files {
			all[e.Name+"/"+name] = file
		}
	}
	c := shoal.BlockCID(fmt.Append(nil, entries))
	f.set(c, all)
	p.hold(c)
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

func (p *peer) Open(_ context.Context, c cid.Cid) (scheduler.Tree, error) {
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
	parts := p.f.split[c]
	if parts == nil {
		if files, _ := p.f.files(c); files == nil {
			return nil, m, shoal.E(shoal.NotFound, c.String(), "nobody has it", "")
		}
		parts = []cid.Cid{c}
	}
	m = shoal.Manifest{Root: c, Name: "d"}
	for _, part := range parts {
		_, size := p.f.files(part)
		m.Bytes += size
		m.Partitions = append(m.Partitions, shoal.Partition{CID: part, Bytes: size})
	}
	for _, q := range p.f.nodes {
		h := shoal.Holder{Peer: q.id, Asked: time.Now()}
		for i, part := range parts {
			if q.has(part) {
				h.Partitions = append(h.Partitions, i)
				h.Bytes += m.Partitions[i].Bytes
			}
		}
		if len(h.Partitions) > 0 {
			hs = append(hs, h)
		}
	}
	return hs, m, nil
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
	if of.isDead() && p.seesDeath {
		state = shoal.Down
	}
	return shoal.Member{
		ID: of.id, State: state, Seq: 1, Seen: time.Now(),
		Attributes: shoal.Attributes{OS: "linux", CPUs: 4, Memory: 8 << 30, Labels: of.labels, HashMBs: 1000},
		Load:       of.s.Load(),
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
	for _, m := range p.Table() {
		if m.ID == id {
			return m, true
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

func newKV() *shoaltest.KV { return shoaltest.NewKV() }

// board is a node whose handlers may be replaced, as those of a node that starts again are.
type board struct {
	*shoaltest.Node
	mu     sync.Mutex
	asked  map[string]shoal.Handler
	opened map[string]shoal.StreamHandler
}

func (b *board) Handle(method string, h shoal.Handler) {
	b.mu.Lock()
	known := b.asked[method] != nil
	b.asked[method] = h
	b.mu.Unlock()
	if !known {
		b.Node.Handle(method, func(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
			b.mu.Lock()
			h := b.asked[method]
			b.mu.Unlock()
			return h(ctx, from, req)
		})
	}
}

func (b *board) HandleStream(method string, h shoal.StreamHandler) {
	b.mu.Lock()
	known := b.opened[method] != nil
	b.opened[method] = h
	b.mu.Unlock()
	if !known {
		b.Node.HandleStream(method, func(ctx context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
			b.mu.Lock()
			h := b.opened[method]
			b.mu.Unlock()
			return h(ctx, from, req, s)
		})
	}
}
