package blobs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	corehost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/shoaltest"
)

// swapper is a node with nothing but bitswap.
type swapper struct {
	*Blobs
	store   *counter
	host    corehost.Host
	mu      sync.Mutex
	members map[shoal.PeerID]bool
	public  map[cid.Cid]bool
}

func newSwapper(t testing.TB) *swapper {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		t.Fatal(err)
	}
	s := &swapper{
		host: h, store: &counter{Store: shoaltest.NewStore()},
		members: map[shoal.PeerID]bool{}, public: map[cid.Cid]bool{},
	}
	s.Blobs, err = New(Config{
		Store: s.store, Host: h, Stall: 10 * time.Second, Connect: 2 * time.Second,
		Member: func(p shoal.PeerID) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.members[p]
		},
		Public: func(c cid.Cid) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.public[c]
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		h.Close()
	})
	return s
}

func (s *swapper) id() shoal.PeerID { return shoal.PeerID(s.host.ID().String()) }

func (s *swapper) addr() string { return s.host.Addrs()[0].String() + "/p2p/" + s.host.ID().String() }

func (s *swapper) admit(p shoal.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[p] = true
}

func (s *swapper) publish(t testing.TB, root cid.Cid) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.Walk(context.Background(), root, s.store.Get, func(c cid.Cid, _ int, _ bool) error {
		s.public[c] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, b *Blobs, seed uint64, n int) (shoal.Manifest, []byte) {
	t.Helper()
	data := noise(seed, n)
	m := mustImport(t, b, filepath.Join(write(t, map[string]string{"f": string(data)}), "f"), ImportOptions{})
	return m, data
}

func TestFetch(t *testing.T) {
	a, b := newSwapper(t), newSwapper(t)
	a.admit(b.id())
	m, data := put(t, a.Blobs, 1, 64<<20)
	start := time.Now()
	if err := b.Fetch(context.Background(), m.Root, []string{a.addr()}); err != nil {
		t.Fatal(err)
	}
	t.Logf("64 MiB at %.0f MB/s", 67.1/time.Since(start).Seconds())
	if got := content(t, b.Blobs, b.store.Store, m.Root); !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrived, not the same", len(got))
	}
	if b.store.calls > 8 {
		t.Errorf("%d puts for 64 MiB", b.store.calls)
	}
	calls := b.store.calls
	if err := b.Fetch(context.Background(), m.Root, nil); err != nil || b.store.calls != calls {
		t.Errorf("fetching what is there: %v, %d puts", err, b.store.calls-calls)
	}
}

// TestStrangersGetThePublicOnly, also when they are connected and ask for single blocks.
func TestStrangersGetThePublicOnly(t *testing.T) {
	a, stranger, member := newSwapper(t), newSwapper(t), newSwapper(t)
	a.admit(member.id())
	open, _ := put(t, a.Blobs, 1, 3<<20)
	secret, _ := put(t, a.Blobs, 2, 3<<20)
	a.publish(t, open.Root)
	ctx := context.Background()
	if err := stranger.Fetch(ctx, open.Root, []string{a.addr()}); err != nil {
		t.Errorf("public data: %v", err)
	}
	held := stranger.store.Held()
	stranger.cfg.Stall = 500 * time.Millisecond
	err := stranger.Fetch(ctx, secret.Root, []string{a.addr()})
	if shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(fmt.Sprint(err), "no block came for 500ms") {
		t.Errorf("secret data: %v", err)
	}
	var inner cid.Cid
	_ = a.Walk(ctx, secret.Root, a.store.Get, func(c cid.Cid, _ int, leaf bool) error {
		inner = c
		return nil
	})
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := stranger.Fetch(short, inner, []string{a.addr()}); shoal.KindOf(err) != shoal.Timeout {
		t.Errorf("a leaf of secret data: %v", err)
	}
	if stranger.store.Held() != held {
		t.Error("the stranger has got something")
	}
	if err := member.Fetch(ctx, secret.Root, []string{a.addr()}); err != nil {
		t.Errorf("a member: %v", err)
	}
}

// TestFetchSourceDies: one of two sources goes away in the middle; the other has all.
func TestFetchSourceDies(t *testing.T) {
	a, b, c := newSwapper(t), newSwapper(t), newSwapper(t)
	a.admit(c.id())
	b.admit(c.id())
	m, data := put(t, a.Blobs, 1, 48<<20)
	put(t, b.Blobs, 1, 48<<20)
	var once sync.Once
	var got atomic.Int64
	watch := &watcher{counter: c.store, size: func() {
		if got.Add(1) == 20 { // a third of the leaves has been looked at
			once.Do(func() { go a.host.Close() })
		}
	}}
	c.cfg.Store = watch
	if err := c.Fetch(context.Background(), m.Root, []string{a.addr(), b.addr()}); err != nil {
		t.Fatal(err)
	}
	if read := content(t, c.Blobs, c.store.Store, m.Root); !bytes.Equal(read, data) {
		t.Error("not the same")
	}
	if got.Load() < 20 {
		t.Error("the source did not die")
	}
}

// watcher tells of each look into the store.
type watcher struct {
	*counter
	size func()
}

func (w *watcher) Size(ctx context.Context, c cid.Cid) (int, error) {
	w.size()
	return w.counter.Size(ctx, c)
}

// TestFetchResumes: what a broken fetch has written is not fetched again.
func TestFetchResumes(t *testing.T) {
	a, b := newSwapper(t), newSwapper(t)
	a.admit(b.id())
	m, data := put(t, a.Blobs, 1, 48<<20)
	ctx, cancel := context.WithCancel(context.Background())
	first := &watcher{counter: b.store, size: func() {
		if b.store.bytes() > 10<<20 {
			cancel()
		}
	}}
	b.cfg.Store = first
	if err := b.Fetch(ctx, m.Root, []string{a.addr()}); shoal.KindOf(err) != shoal.Canceled {
		t.Fatalf("canceled: %v", err)
	}
	before := b.store.bytes()
	if before == 0 || before > 47<<20 {
		t.Fatalf("%d bytes before the cancel", before)
	}
	b.cfg.Store = b.store
	if err := b.Fetch(context.Background(), m.Root, []string{a.addr()}); err != nil {
		t.Fatal(err)
	}
	if twice := b.store.bytes() - len(data); twice > 64<<10 {
		t.Errorf("%d bytes were written twice", twice)
	}
	if got := content(t, b.Blobs, b.store.Store, m.Root); !bytes.Equal(got, data) {
		t.Error("not the same")
	}
}

func TestFetchFaults(t *testing.T) {
	a, b := newSwapper(t), newSwapper(t)
	b.cfg.Stall = 500 * time.Millisecond
	lone, _ := newTest(t)
	ctx := context.Background()
	some := shoal.BlockCID([]byte("some"))
	for _, c := range []struct {
		name string
		b    *Blobs
		root cid.Cid
		from []string
		kind shoal.Kind
		says string
	}{
		{"no network", lone, some, nil, shoal.Refused, "no network"},
		{"no address", b.Blobs, some, []string{"10.0.0.7:4001"}, shoal.Invalid, "give an address like"},
		{"no peer", b.Blobs, some, []string{"/ip4/127.0.0.1/tcp/1"}, shoal.Invalid, "give an address like"},
		{"codec", b.Blobs, cid.NewCidV1(cid.DagCBOR, some.Hash()), nil, shoal.Invalid, "wrong codec"},
		{
			"nobody listens", b.Blobs, some,
			[]string{"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWLqJ6eDmmGGCfFnDsfRGX9QtKr1Yv5kQ5tS3Qd5pPz9bE"},
			shoal.Unavailable, "no source can be reached: 12D3KooW",
		},
		{"nobody has it", b.Blobs, some, []string{a.addr()}, shoal.Unavailable, "no block came for 500ms, 1 are asked for"},
	} {
		err := c.b.Fetch(ctx, c.root, c.from)
		says := fmt.Sprint(err)
		if shoal.KindOf(err) != c.kind || !strings.Contains(says, c.says) || strings.Contains(says, "\n") {
			t.Errorf("%s: %v (%v), want %q", c.name, err, shoal.KindOf(err), c.says)
		}
	}
}

// TestGarbage: whatever a stranger writes to bitswap's protocols, the node goes on.
func TestGarbage(t *testing.T) {
	a, b := newSwapper(t), newSwapper(t)
	a.admit(b.id())
	m, _ := put(t, a.Blobs, 1, 2<<20)
	evil, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	defer evil.Close()
	sources, err := parseSources("", []string{a.addr()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := evil.Connect(ctx, sources[0]); err != nil {
		t.Fatal(err)
	}
	protocols := []protocol.ID{"/ipfs/bitswap/1.2.0", "/ipfs/bitswap/1.1.0", "/ipfs/bitswap/1.0.0", "/ipfs/bitswap"}
	for _, p := range protocols {
		for seed, size := range []int{1, 100, 5000, 5 << 20} {
			s, err := evil.NewStream(ctx, a.host.ID(), p)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.SetDeadline(time.Now().Add(5 * time.Second))
			if seed%2 == 1 { // a message of the right length, with garbage in it
				_, _ = s.Write(binary.AppendUvarint(nil, uint64(size)))
			}
			_, _ = s.Write(noise(uint64(seed), size))
			_ = s.CloseWrite()
			_, _ = s.Read(make([]byte, 1))
			_ = s.Reset()
		}
	}
	if err := b.Fetch(ctx, m.Root, []string{a.addr()}); err != nil {
		t.Errorf("after garbage: %v", err)
	}
}

// TestIdle: bitswap costs few goroutines, and Close ends them.
func TestIdle(t *testing.T) {
	h, err := libp2p.New(libp2p.NoListenAddrs)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	before := runtime.NumGoroutine()
	b, err := New(Config{Store: shoaltest.NewStore(), Host: h})
	if err != nil {
		t.Fatal(err)
	}
	started := runtime.NumGoroutine() - before
	if started > 40 {
		t.Errorf("bitswap started %d goroutines", started)
	}
	t.Logf("%d goroutines", started)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+2; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines before, %d after Close", before, runtime.NumGoroutine())
		}
	}
}

func BenchmarkFetch(bm *testing.B) {
	a := newSwapper(bm)
	m, _ := put(bm, a.Blobs, 1, 128<<20)
	bm.SetBytes(128 << 20)
	for bm.Loop() {
		b := newSwapper(bm)
		b.store.drop = true
		a.admit(b.id())
		if err := b.Fetch(context.Background(), m.Root, []string{a.addr()}); err != nil {
			bm.Fatal(err)
		}
	}
}
