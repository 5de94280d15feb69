package dht_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht"
	"github.com/shoal-fabric/shoal/shoaltest"
)

const fabricID = "testfabric"

// patience bounds what a loaded machine may take.
const patience = 15 * time.Second

// node is a DHT on a real host on loopback.
type node struct {
	*dht.DHT
	host host.Host
	id   shoal.PeerID
}

// fabric is a set of nodes that know who is a member.
type fabric struct {
	t      *testing.T
	cfg    dht.Config
	tables bool // each node keeps its hints in a table

	mu      sync.Mutex
	members map[shoal.PeerID]bool
}

func newFabric(t *testing.T, cfg dht.Config) *fabric {
	f := &fabric{t: t, cfg: cfg, members: map[shoal.PeerID]bool{}}
	f.cfg.Fabric = fabricID
	f.cfg.IsMember = func(_ context.Context, p shoal.PeerID) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.members[p]
	}
	return f
}

// patient is for tests that are not about time: nobody is taken for dead on a busy machine.
func patient() dht.Config { return dht.Config{Step: 5 * time.Second} }

func newHost(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport),
		libp2p.DisableRelay(), libp2p.DisableMetrics(),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func (f *fabric) admit(p shoal.PeerID, is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[p] = is
}

// start makes h a node; it is a member.
func (f *fabric) start(h host.Host) *node {
	f.t.Helper()
	n := &node{host: h, id: shoal.PeerID(h.ID().String())}
	f.admit(n.id, true)
	cfg := f.cfg
	if f.tables {
		cfg.Table = shoaltest.NewTable()
	}
	var err error
	if n.DHT, err = dht.New(h, cfg); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { n.DHT.Close() })
	return n
}

// mesh starts n nodes that are connected to one another and in one another's tables.
func (f *fabric) mesh(n int) (nodes []*node) {
	f.t.Helper()
	for range n {
		nodes = append(nodes, f.start(newHost(f.t)))
	}
	for i, a := range nodes {
		for _, b := range nodes[:i] {
			f.connect(a, b)
		}
	}
	for _, a := range nodes {
		f.until("a full table", func() bool { return len(a.Peers()) == n-1 })
	}
	return nodes
}

func (f *fabric) connect(a, b *node) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	for {
		err := a.host.Connect(ctx, peer.AddrInfo{ID: b.host.ID(), Addrs: b.host.Addrs()})
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			f.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // a busy machine: libp2p waits after a dial that failed
	}
}

// until polls for cond.
func (f *fabric) until(what string, cond func() bool) {
	f.t.Helper()
	for start := time.Now(); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > patience {
			f.t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// heard waits until d finds exactly want under key and returns how long that took.
func (f *fabric) heard(d *node, key shoal.Key, want ...*node) time.Duration {
	f.t.Helper()
	var ids []shoal.PeerID
	for _, n := range want {
		ids = append(ids, n.id)
	}
	slices.Sort(ids)
	start := time.Now()
	f.until("what was announced", func() bool {
		got, err := shoaltest.Found(f.t.Context(), d, key, 0)
		slices.Sort(got)
		return err == nil && slices.Equal(got, ids)
	})
	return time.Since(start)
}

func testKey(i any) shoal.Key { return shoal.NameKey("test", fmt.Sprint(i)) }

func TestDirectory(t *testing.T) {
	for _, tables := range []bool{false, true} {
		t.Run(fmt.Sprint("tables ", tables), func(t *testing.T) {
			shoaltest.DirectorySuite(t, func(t *testing.T, n int) (ds []shoaltest.DirectoryNode) {
				f := newFabric(t, patient())
				f.tables = tables
				for _, n := range f.mesh(n) {
					ds = append(ds, shoaltest.DirectoryNode{ID: n.id, Directory: n.DHT})
				}
				return ds
			})
		})
	}
}

// TestSizes: in fabrics of any small size, what one node provides, alone or many keys at once, all
// others find within moments.
func TestSizes(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 12} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			f := newFabric(t, patient())
			nodes := f.mesh(n)
			provide := func(d *node, keys ...shoal.Key) {
				if err := d.Provide(t.Context(), keys...); err != nil {
					t.Fatal(err)
				}
			}
			var many []shoal.Key
			for i := range 50 {
				many = append(many, testKey(i))
			}
			start := time.Now()
			provide(nodes[0], testKey("one"))
			provide(nodes[n-1], many...)
			for _, d := range nodes {
				f.heard(d, testKey("one"), nodes[0])
				f.heard(d, many[0], nodes[n-1])
				f.heard(d, many[49], nodes[n-1])
			}
			took := time.Since(start)
			t.Logf("%d nodes: heard everywhere after %v", n, took.Round(time.Millisecond))
			if took > 5*time.Second && !underRace {
				t.Errorf("too slow")
			}
		})
	}
}

// TestJoinLate: what was announced before anybody listened is heard by those who come later, also by
// one who comes back with an empty memory.
func TestJoinLate(t *testing.T) {
	f := newFabric(t, patient())
	a := f.start(newHost(t))
	if err := a.Provide(t.Context(), testKey("early"), testKey("early 2"), testKey("early 3")); err != nil {
		t.Fatal(err)
	}
	b := f.start(newHost(t))
	f.connect(b, a)
	t.Logf("heard after %v", f.heard(b, testKey("early"), a))
	c := f.start(newHost(t))
	f.connect(c, b) // knows a by b's word only
	f.heard(c, testKey("early 3"), a)

	// b alone must know by itself, before and after it lost its memory.
	f.until("b to be told", func() bool { return b.knows(t, testKey("early"), a.id) })
	if err := b.DHT.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range b.host.Network().Peers() {
		b.host.Network().ClosePeer(p)
	}
	b = f.start(b.host)
	if b.knows(t, testKey("early"), a.id) {
		t.Fatal("it remembers; the test proves nothing")
	}
	f.connect(b, a)
	f.until("b to be told again", func() bool { return b.knows(t, testKey("early 2"), a.id) })

	// And the restarted node is heard again when it provides again.
	if err := b.Provide(t.Context(), testKey("again")); err != nil {
		t.Fatal(err)
	}
	f.heard(a, testKey("again"), b)
	f.heard(c, testKey("again"), b)
}

// knows reports whether d itself keeps the hint that p has key: it is all that the first moment of
// Find yields.
func (d *node) knows(t *testing.T, key shoal.Key, p shoal.PeerID) (found bool) {
	asked := false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx = shoal.WithTrace(ctx, func(h shoal.Hop) { asked = asked || h.Event == "ask" })
	got, _ := shoaltest.Found(ctx, d, key, 1)
	return slices.Contains(got, p) && !asked
}

// TestMembersOnly: a stranger that speaks the protocol, and is connected, enters no table, learns
// nothing and is not believed.
func TestMembersOnly(t *testing.T) {
	f := newFabric(t, patient())
	nodes := f.mesh(3)
	everybody := newFabric(t, patient())
	everybody.cfg.IsMember = func(context.Context, shoal.PeerID) bool { return true }
	stranger := everybody.start(newHost(t))
	for _, n := range nodes {
		if err := n.Provide(t.Context(), testKey("secret")); err != nil {
			t.Fatal(err)
		}
		f.connect(stranger, n)
		stranger.AddPeer(n.id, nil)
	}
	for _, n := range nodes {
		f.heard(n, testKey("secret"), nodes...)
	}
	if err := stranger.Provide(t.Context(), testKey("secret"), testKey("lie")); err != nil {
		t.Fatal(err)
	}
	if got, _ := shoaltest.Found(t.Context(), stranger, testKey("secret"), 0); len(got) != 1 {
		t.Errorf("the stranger found %v", got)
	}
	for _, n := range nodes {
		if slices.Contains(n.Peers(), stranger.id) {
			t.Error("the stranger is in a table")
		}
		f.heard(n, testKey("lie"))
	}
	// Once admitted it takes part, without a new connection.
	f.admit(stranger.id, true)
	for _, n := range nodes {
		n.AddPeer(stranger.id, nil)
		f.until("the former stranger in the table", func() bool { return slices.Contains(n.Peers(), stranger.id) })
	}
	f.until("its table", func() bool { return len(stranger.Peers()) == 3 })
	f.heard(nodes[0], testKey("lie"), stranger)
	// And out again.
	f.admit(stranger.id, false)
	nodes[0].RemovePeer(stranger.id)
	if slices.Contains(nodes[0].Peers(), stranger.id) {
		t.Error("still in the table")
	}
}

func TestFindPeer(t *testing.T) {
	f := newFabric(t, patient())
	a, b, c := f.start(newHost(t)), f.start(newHost(t)), f.start(newHost(t))
	f.connect(a, b)
	f.connect(c, b)
	f.until("tables", func() bool { return len(b.Peers()) == 2 && len(a.Peers()) > 0 && len(c.Peers()) > 0 })
	addrs, err := a.FindPeer(t.Context(), c.id)
	if err != nil || !slices.Contains(addrs, c.host.Addrs()[0].String()) {
		t.Errorf("got %v, %v", addrs, err)
	}
	if addrs, err := a.FindPeer(t.Context(), a.id); err != nil || len(addrs) == 0 {
		t.Errorf("itself: %v, %v", addrs, err)
	}
	if _, err := a.FindPeer(t.Context(), "12D3"); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("garbage: %v", err)
	}
	nobody := newHost(t)
	if _, err := a.FindPeer(t.Context(), shoal.PeerID(nobody.ID().String())); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("nobody: %v", err)
	}
	alone := newFabric(t, patient()).start(newHost(t))
	if _, err := alone.FindPeer(t.Context(), a.id); shoal.KindOf(err) != shoal.NotFound {
		t.Errorf("alone: %v", err)
	}
}

func TestConfig(t *testing.T) {
	h := newHost(t)
	if _, err := dht.New(h, dht.Config{Fabric: "f"}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("no IsMember: %v", err)
	}
	everybody := func(context.Context, shoal.PeerID) bool { return true }
	if _, err := dht.New(h, dht.Config{IsMember: everybody}); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("no fabric: %v", err)
	}
}

// TestBootstrap: a node without any connection finds the fabric at the addresses it is given, a wrong
// one among them, and from there everybody.
func TestBootstrap(t *testing.T) {
	f := newFabric(t, patient())
	nodes := f.mesh(4)
	f.cfg.Bootstrap = func() []string {
		return []string{"nonsense", nodes[2].host.Addrs()[0].String() + "/p2p/" + nodes[2].host.ID().String()}
	}
	n := f.start(newHost(t))
	f.until("a full table", func() bool { return len(n.Peers()) == 4 })
}

// TestAddPeer: a peer that is named with its address is dialed and enters the table, on both sides.
func TestAddPeer(t *testing.T) {
	f := newFabric(t, patient())
	a, b := f.start(newHost(t)), f.start(newHost(t))
	addr := b.host.Addrs()[0].String()
	a.AddPeer("nonsense", []string{addr})
	a.AddPeer(a.id, nil)
	a.AddPeer(b.id, []string{"nonsense", addr + "/p2p/" + string(a.id), addr + "/p2p/" + string(b.id)})
	f.until("both tables", func() bool {
		return slices.Equal(a.Peers(), []shoal.PeerID{b.id}) && slices.Equal(b.Peers(), []shoal.PeerID{a.id})
	})
	a.RemovePeer("nonsense")
}
