package agents

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/shoaltest"
	"github.com/shoal-fabric/shoal/shoaltest/agenttest"
)

// world is some nodes over one network and directory in memory.
type world struct {
	since map[shoal.PeerID]time.Time
	shelf shelf
	rtt   time.Duration           // as nodes have measured it; 0: they have not
	zones map[shoal.PeerID]string // labels of nodes; set before anything runs that reads them
	t     testing.TB
	net   *shoaltest.Network
	dirs  *shoaltest.Directories
	cfg   Config
	root  ed25519.PrivateKey
	// shared is mergeable state; nil: there is none.
	shared *agenttest.Shared
	nodes  []*peer
	begun  time.Time

	mu    sync.Mutex
	state map[shoal.PeerID]shoal.MemberState
	mute  map[shoal.PeerID]bool // whoever opens a stream to them waits

	natives map[string]Native // of nodes that begin from now on
}

// peer is one node of a world. It may be killed and begun again, with its disk or without.
type peer struct {
	*Agents
	w     *world
	key   ed25519.PrivateKey
	id    shoal.PeerID
	net   *shoaltest.Node
	table *shoaltest.Table
	stop  context.CancelFunc
	done  chan struct{}

	mu       sync.Mutex
	handlers map[string]any
}

// newWorld begins n nodes, the first of which founds the fabric.
func newWorld(t testing.TB, n int, cfg Config) *world {
	w := &world{
		t: t, net: shoaltest.NewNetwork(), dirs: shoaltest.NewDirectories(), cfg: cfg, begun: time.Now(),
		root: key(1000), state: map[shoal.PeerID]shoal.MemberState{}, since: map[shoal.PeerID]time.Time{}, mute: map[shoal.PeerID]bool{},
	}
	if testing.Verbose() && w.cfg.Log == nil {
		w.cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for range n {
		w.add()
	}
	t.Cleanup(w.close)
	return w
}

func key(n int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(n))
	return ed25519.NewKeyFromSeed(seed)
}

func public(k ed25519.PrivateKey) shoal.PeerID {
	return capability.PeerIDOf(k.Public().(ed25519.PublicKey))
}

func (w *world) add() *peer {
	k := key(len(w.nodes))
	p := &peer{w: w, key: k, id: public(k), table: shoaltest.NewTable(), handlers: map[string]any{}}
	p.net = w.net.Node(p.id)
	w.nodes = append(w.nodes, p)
	w.setState(p.id, shoal.Alive)
	p.begin()
	if len(w.nodes) == 1 {
		must(w.t, p.FoundOwner(w.root, public(w.root)))
	}
	return p
}

func (w *world) setState(id shoal.PeerID, s shoal.MemberState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state[id] = s
	w.since[id] = time.Now()
}

func (w *world) close() {
	for _, p := range w.nodes {
		if p.Agents != nil {
			p.end()
			must(w.t, p.Agents.Close())
		}
	}
}

// begin opens the node's part, as a process that starts does.
func (p *peer) begin() {
	var shared shoal.Drafts
	if p.w.shared != nil {
		shared = p.w.shared
	}
	a, err := New(p.w.cfg, Deps{
		Shared: shared,
		Peers:  (*late)(p), Directory: p.w.dirs.Node(p.id), Table: p.table, Members: view{p}, Code: natives{}, Data: library{p}, Key: p.key, Natives: p.w.natives,
		Link: func(shoal.PeerID) (time.Duration, float64) { return p.w.rtt, 0 }, Boottime: func() time.Duration { return time.Since(p.w.begun) + time.Hour },
	})
	must(p.w.t, err)
	p.Agents = a
	p.net.Start() // not before: the handlers of the process that was killed would take in what comes
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.done = cancel, make(chan struct{})
	go func() {
		defer close(p.done)
		_ = a.Run(ctx)
	}()
}

func (p *peer) end() {
	p.stop()
	<-p.done
}

// kill ends the node as kill -9 does: nobody is told.
func (p *peer) kill() {
	p.net.Stop()
	p.end()
	a := p.Agents
	p.Agents = nil
	a.mu.Lock()
	a.closed = true
	list := slices.Collect(maps.Values(a.awake))
	a.mu.Unlock()
	a.cancel()
	for _, x := range list {
		x.evict(closing())
	}
	a.work.Wait()
	a.post.work.Wait()
}

// restart begins a killed node again.
func (p *peer) restart() { p.begin() }

// late is the node's network, whose handlers change when it begins again.
type late peer

func (l *late) Self() shoal.PeerID { return l.id }

func (l *late) Ask(ctx context.Context, to shoal.PeerID, method string, request []byte) ([]byte, error) {
	return l.net.Ask(ctx, to, method, request)
}

func (l *late) Open(ctx context.Context, to shoal.PeerID, method string, request []byte) (shoal.Stream, error) {
	l.w.mu.Lock()
	mute := l.w.mute[to]
	l.w.mu.Unlock()
	if mute {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return l.net.Open(ctx, to, method, request)
}

func (l *late) set(method string, h any) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.handlers[method]
	l.handlers[method] = h
	return !known
}

func (l *late) get(method string) any {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handlers[method]
}

func (l *late) Handle(method string, h shoal.Handler) {
	if l.set(method, h) {
		l.net.Handle(method, func(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
			return l.get(method).(shoal.Handler)(ctx, from, req)
		})
	}
}

func (l *late) HandleStream(method string, h shoal.StreamHandler) {
	if l.set(method, h) {
		l.net.HandleStream(method, func(ctx context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
			return l.get(method).(shoal.StreamHandler)(ctx, from, req, s)
		})
	}
}

func (w *world) member(id shoal.PeerID, s shoal.MemberState) shoal.Member {
	m := shoal.Member{ID: id, State: s, Seen: w.since[id]}
	if zone := w.zones[id]; zone != "" {
		m.Attributes.Labels = map[string]string{"zone": zone}
	}
	return m
}

// view is the member table of a node.
type view struct{ p *peer }

func (v view) Fabric() string     { return "test" }
func (v view) Root() shoal.PeerID { return public(v.p.w.root) }
func (v view) Self() shoal.Member {
	v.p.w.mu.Lock()
	defer v.p.w.mu.Unlock()
	return v.p.w.member(v.p.id, shoal.Alive)
}

func (v view) Table() (list []shoal.Member) {
	v.p.w.mu.Lock()
	defer v.p.w.mu.Unlock()
	for id, s := range v.p.w.state {
		if id != v.p.id {
			list = append(list, v.p.w.member(id, s))
		}
	}
	slices.SortFunc(list, func(a, b shoal.Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return list
}

// natives is code written in Go.
type natives struct{}

func (natives) Keep(context.Context, string, ...shoal.PeerID) error { return nil }

func (natives) Behaviour(_ context.Context, code string) (shoal.Behaviour, error) {
	switch code {
	case "counter":
		return counter{}, nil
	case "sharer":
		return sharer, nil
	case "heavy":
		return heavy{}, nil
	case "thousands":
		return thousands, nil
	case "hopper":
		return hopper, nil
	case "stubborn":
		return stubborn, nil
	case "pair":
		return pair{}, nil
	case "reader":
		return bookworm, nil
	}
	return nil, shoal.E(shoal.Invalid, "code "+code, "unknown", "")
}

// pair keeps one number under two keys. Between the two it takes its time.
type pair struct{}

func (pair) Methods() []string                            { return []string{"get", "set"} }
func (pair) Open(context.Context) (shoal.Instance, error) { return pair{}, nil }
func (pair) Broken() bool                                 { return false }
func (pair) Close()                                       {}

func (pair) Turn(_ context.Context, t *shoal.Turn) ([]byte, error) {
	if t.Method == "set" {
		if err := t.State.Put([]byte("a"), t.Payload); err != nil {
			return nil, err
		}
		return nil, t.State.Put([]byte("b"), t.Payload)
	}
	a, _, err := t.State.Get([]byte("a"))
	if err != nil {
		return nil, err
	}
	time.Sleep(10 * time.Millisecond)
	b, _, err := t.State.Get([]byte("b"))
	if err != nil {
		return nil, err
	}
	list, err := t.State.Scan(nil, nil, 10)
	if err != nil || len(list) != 2 {
		return nil, fmt.Errorf("%d keys, %w", len(list), err)
	}
	return fmt.Appendf(nil, "%s %s %s %s", a, b, list[0].Value, list[1].Value), nil
}

// fails counts the turns that failed as they were told, and lastFail is when the last did.
var fails, lastFail atomic.Int64

// counter counts, in its state and in its memory, which must agree.
type counter struct{}

func (counter) Methods() []string {
	return []string{"add", "fail", "get", "later", "pass", "soon", "tell", "wait"}
}

func (counter) Open(context.Context) (shoal.Instance, error) { return &counting{}, nil }

type counting struct {
	loaded bool
	n      uint64
}

func (*counting) Broken() bool { return false }
func (*counting) Close()       {}

func (c *counting) Turn(ctx context.Context, t *shoal.Turn) ([]byte, error) {
	b, ok, err := t.State.Get([]byte("n"))
	if err != nil {
		return nil, err
	}
	n := uint64(0)
	if ok {
		n = binary.BigEndian.Uint64(b)
	}
	if c.loaded && c.n != n && !t.Read {
		return nil, shoal.E(shoal.Internal, "counter", fmt.Sprintf("it remembers %d, its state is %d", c.n, n), "")
	}
	switch t.Method {
	case "get":
		return fmt.Append(nil, n), nil
	case "soon":
		return nil, t.Out.Timer("s", time.Second, string(t.Payload), nil)
	case "wait":
		time.Sleep(5 * time.Second)
		return nil, nil
	case "add", "fail":
		n++
		c.loaded, c.n = true, n
		if err := t.State.Put([]byte("n"), binary.BigEndian.AppendUint64(nil, n)); err != nil {
			return nil, err
		}
		if t.Method == "fail" {
			fails.Add(1)
			lastFail.Store(time.Now().UnixMilli())
			return nil, shoal.E(shoal.Failed, "counter", "as it was told", "")
		}
		return fmt.Append(nil, n), nil
	case "later":
		return nil, t.Out.Timer("t", time.Minute, "add", nil)
	case "tell":
		return nil, t.Out.Send(string(t.Payload), "add", nil)
	case "pass":
		return t.Out.Call(ctx, string(t.Payload), "add", nil)
	}
	return nil, shoal.E(shoal.NotFound, "counter", "no method "+t.Method, "")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *peer) create(name string, replicas int) *Created {
	p.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := p.Create(ctx, CreateOptions{Name: name, Code: "counter", Replicas: replicas})
	must(p.w.t, err)
	return c
}

// call calls an agent, within ten seconds.
func (p *peer) call(agent, method, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := p.Call(ctx, agent, shoal.CallRequest{Method: method, Payload: []byte(payload)})
	return string(b), err
}

func (p *peer) wantCall(want, agent, method, payload string) {
	p.w.t.Helper()
	got, err := p.call(agent, method, payload)
	if err != nil || got != want {
		p.w.t.Fatalf("%s of %s: %q, %v; want %q", method, agent, got, err, want)
	}
}

func (p *peer) read(agent string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	b, err := p.Call(ctx, agent, shoal.CallRequest{Method: "get", Read: true})
	return string(b), err
}

func contains(list []shoal.PeerID, p shoal.PeerID) bool { return slices.Contains(list, p) }

func itoa(n int) string { return fmt.Sprint(n) }

// lines keeps what is written, to be counted.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}
