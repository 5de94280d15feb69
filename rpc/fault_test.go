package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

func echo(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil }

// hold registers a method that answers when release is closed, or when its context ends.
func hold(r *RPC, method string) (started chan struct{}, release chan struct{}) {
	started, release = make(chan struct{}, 1000), make(chan struct{})
	r.Handle(method, func(ctx context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
		started <- struct{}{}
		select {
		case <-release:
			return req, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return started, release
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantKind(t *testing.T, err error, kind shoal.Kind, parts ...string) {
	t.Helper()
	var e *shoal.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got %v (%v), want kind %v", err, shoal.KindOf(err), kind)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Fatalf("got %q, want %q in it", err, part)
		}
	}
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
}

// TestRestart: what was under way fails, was done once, and the next call reaches the new process.
func TestRestart(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	started, _ := hold(b, "r.wait")
	asked := make(chan error, 1)
	go func() {
		_, err := a.Ask(soon(t), b.Self(), "r.wait", []byte("once"))
		asked <- err
	}()
	<-started
	key, at := b.host.Peerstore().PrivKey(b.host.ID()), b.host.Addrs()[0].String()
	b.host.Close()
	wantKind(t, <-asked, shoal.Unavailable, "r.wait", b.Self().Short())
	if len(started) != 0 {
		t.Fatal("the request was executed again")
	}
	_, err := a.Ask(soon(t), b.Self(), "r.wait", nil)
	wantKind(t, err, shoal.Unavailable, "r.wait", b.Self().Short())

	again := newHost(t, at, key)
	r := New(again, Config{Fabric: "test"})
	defer r.Close()
	r.Handle("r.echo", echo)
	eventually(t, "the restarted peer", func() bool {
		// libp2p itself waits some seconds before it dials an address again that has failed.
		a.host.Network().(*swarm.Swarm).Backoff().Clear(again.ID())
		got, err := a.Ask(soon(t), r.Self(), "r.echo", []byte("hello"))
		return err == nil && string(got) == "hello"
	})
}

// TestCrowdSharesAFailedDial: a thousand callers of a dead peer dial it once, not a thousand times.
func TestCrowdSharesAFailedDial(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := &remote{dialing: make(chan struct{}, 1)}
		dials, arrived := 0, make(chan struct{}) // dials: guarded by p.dialing
		dial := func(context.Context) error {
			dials++
			<-arrived
			return shoal.E(shoal.Unavailable, "connect", "nobody there", "")
		}
		for range 1000 {
			go func() {
				if err := p.dial(t.Context(), dial); shoal.KindOf(err) != shoal.Unavailable {
					t.Errorf("got %v", err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if err := p.dial(ctx, dial); !errors.Is(err, context.DeadlineExceeded) { // it waits, but no longer than it may
			t.Errorf("got %v", err)
		}
		close(arrived)
		synctest.Wait()
		if dials != 1 {
			t.Fatalf("%d dials for 1000 callers", dials)
		}
	})
}

// TestFailedDial: the failure to connect reaches both kinds of callers.
func TestFailedDial(t *testing.T) {
	r := New(newHost(t, tcp), Config{Fabric: "test", Connect: func(ctx context.Context, p shoal.PeerID) error {
		return shoal.E(shoal.Unavailable, "connect to "+p.Short(), "nobody there", "")
	}})
	defer r.Close()
	dead := shoal.PeerID("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")
	_, err := r.Ask(soon(t), dead, "x.y", nil)
	wantKind(t, err, shoal.Unavailable, "nobody there")
	_, err = r.Open(soon(t), dead, "x.y", nil)
	wantKind(t, err, shoal.Unavailable, "nobody there")
}

func TestMalformedPeer(t *testing.T) {
	a, _ := newPair(t, tcp, Config{})
	_, err := a.Ask(soon(t), "nobody", "x.y", nil)
	wantKind(t, err, shoal.Invalid, "nobody", "not a peer ID")
}

// TestAskedRefuses: an asker that ignores its own bounds is refused, told when to come again, and
// served again afterwards.
func TestAskedRefuses(t *testing.T) {
	ha, hb := newHost(t, tcp), newHost(t, tcp)
	ha.Peerstore().AddAddrs(hb.ID(), hb.Addrs(), time.Hour)
	a := New(ha, Config{Fabric: "test"})
	b := New(hb, Config{Fabric: "test", MaxCalls: 5, MaxBytes: 100_000, MaxHandlers: 8, MaxHandled: 150_000})
	defer a.Close()
	defer b.Close()
	started, release := hold(b, "o.wait")
	answers := make(chan error, 100)
	ask := func(n int) {
		_, err := a.Ask(soon(t), b.Self(), "o.wait", make([]byte, n))
		answers <- err
	}
	for range 8 {
		go ask(10)
	}
	for range 8 {
		<-started
	}
	ask(10)
	var e *shoal.Error
	if err := <-answers; !errors.As(err, &e) || e.Kind != shoal.Overloaded || e.RetryAfter <= 0 {
		t.Fatalf("the ninth call: %v", err)
	}
	close(release)
	for range 8 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "room", func() bool { return b.handled.try(0) })
	b.handled.leave(0)
	for range 2 { // two of 120 kB are more than b takes from all
		go ask(120_000)
	}
	ask(120_000)
	for range 3 {
		if err := <-answers; err != nil && shoal.KindOf(err) != shoal.Overloaded {
			t.Fatal(err)
		}
	}
	ask(1000)
	if err := <-answers; err != nil {
		t.Fatalf("after the flood: %v", err)
	}
}

// TestAskerWaitsForRoom: beyond MaxCalls callers wait, as long as their context allows.
func TestAskerWaitsForRoom(t *testing.T) {
	a, b := newPair(t, tcp, Config{MaxCalls: 3})
	started, release := hold(b, "w.wait")
	answers := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := a.Ask(soon(t), b.Self(), "w.wait", nil)
			answers <- err
		}()
	}
	for range 3 {
		<-started
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	_, err := a.Ask(ctx, b.Self(), "w.wait", nil)
	wantKind(t, err, shoal.Timeout)
	if len(started) != 0 {
		t.Fatal("the fourth call went out")
	}
	close(release)
	for range 3 {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
}

// TestAbandonedRequest gives up in the middle of large requests; their bytes are not touched after
// that (the race detector looks), and the shared stream goes on.
func TestAbandonedRequest(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.Handle("g.echo", echo)
	if _, err := a.Ask(soon(t), b.Self(), "g.echo", nil); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 3<<20)
	gaveUp := 0
	for i := range 40 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*200*time.Microsecond)
		if _, err := a.Ask(ctx, b.Self(), "g.echo", body); err != nil {
			wantKind(t, err, shoal.Timeout)
			gaveUp++
		}
		cancel()
		body[0], body[len(body)-1] = byte(i), byte(i)
	}
	got, err := a.Ask(soon(t), b.Self(), "g.echo", body)
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if gaveUp == 0 {
		t.Fatal("no request was abandoned")
	}
	eventually(t, "the room of abandoned requests", func() bool {
		b.handled.mu.Lock()
		defer b.handled.mu.Unlock()
		return b.handled.count == 0 && b.handled.bytes == 0
	})
}

// TestGatedPeer: a node that is no member is told so, if the peer says it.
func TestGatedPeer(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.host.SetStreamHandler(b.protocol(), func(s network.Stream) { s.ResetWithError(network.StreamGated) })
	_, err := a.Ask(soon(t), b.Self(), "x.y", nil)
	wantKind(t, err, shoal.Unavailable, "member")
}

// TestOldSharedStreamsGo: a peer that opens many shared streams keeps the newest few.
func TestOldSharedStreamsGo(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.Handle("x.y", echo)
	var streams []network.Stream
	for i := range 3 * maxShared {
		s, err := a.host.NewStream(soon(t), b.host.ID(), b.protocol())
		if err != nil {
			t.Fatal(err)
		}
		s.Write(appendFrame(nil, &frame{kind: frameAsk, id: uint64(i), total: 1, method: []byte("x.y"), body: []byte("z")}))
		if _, err := readFrame(bufio.NewReader(s)); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	p, _ := b.remote(a.Self())
	eventually(t, "the old streams' end", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.serving) == maxShared
	})
	streams[0].SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := streams[0].Read(make([]byte, 1)); err == nil {
		t.Fatal("the oldest stream still works")
	}
}

func TestLinkIsMeasured(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.Handle("l.slow", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
		time.Sleep(40 * time.Millisecond)
		return req, nil
	})
	if got := a.Link(b.Self()); got != (Link{}) {
		t.Fatalf("before any call: %+v", got)
	}
	for range 5 {
		if _, err := a.Ask(soon(t), b.Self(), "l.slow", nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := a.Link(b.Self()); got.RTT <= 0 || got.RTT > 30*time.Millisecond || got.Rate != 0 {
		t.Fatalf("the handler's time is part of %+v", got)
	}
	body := make([]byte, 4<<20)
	b.HandleStream("l.down", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := s.Write(body)
		return err
	})
	b.HandleStream("l.up", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	s, err := a.Open(soon(t), b.Self(), "l.down", nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, s); err != nil || n != int64(len(body)) {
		t.Fatal(n, err)
	}
	down := a.Link(b.Self())
	if down.Rate <= 0 || time.Since(down.At) > time.Minute {
		t.Fatalf("after a download: %+v", down)
	}
	eventually(t, "the sender to be told", func() bool { return b.Link(a.Self()).Rate > 0 })
	if s, err = a.Open(soon(t), b.Self(), "l.up", nil); err != nil {
		t.Fatal(err)
	}
	if n, err := s.(io.ReaderFrom).ReadFrom(bytes.NewReader(body)); err != nil || n != int64(len(body)) {
		t.Fatal(n, err)
	}
	s.CloseWrite()
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	if up := a.Link(b.Self()); !up.At.After(down.At) {
		t.Fatalf("after an upload: %+v", up)
	}
}

// TestHandsAreUsedAgain has more handlers wait for one another than hands may be idle: none may wait for
// a hand, twice in a row, and what stays idle is bounded and ends with Close.
func TestHandsAreUsedAgain(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	const crowd = 3 * spareHands
	var mu sync.Mutex
	var here int
	all := make(chan struct{})
	b.Handle("test.meet", func(ctx context.Context, _ shoal.PeerID, _ []byte) ([]byte, error) {
		mu.Lock()
		met := all
		if here++; here == crowd {
			here, all = 0, make(chan struct{})
			close(met)
		}
		mu.Unlock()
		select {
		case <-met:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var asked sync.WaitGroup
		for range crowd {
			asked.Go(func() {
				if _, err := a.Ask(ctx, b.Self(), "test.meet", nil); err != nil {
					t.Error(err)
				}
			})
		}
		asked.Wait()
		cancel()
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if n := b.crew.spare.Load(); n == spareHands {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d hands are idle, want %d", n, spareHands)
		}
	}
}
