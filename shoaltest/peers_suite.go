package shoaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// stranger is a well-formed peer ID that no node has.
const stranger = shoal.PeerID("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")

// patience bounds each wait of a suite for something that must happen.
const patience = 20 * time.Second

// TestPeers holds an implementation of shoal.Peers against the contract. newPair returns two fresh
// nodes that can reach each other, without methods; it cleans up through t.
func TestPeers(t *testing.T, newPair func(t *testing.T) (a, b shoal.Peers)) {
	for _, way := range []string{"there", "back", "self"} {
		for _, c := range append(askCases(), streamCases()...) {
			t.Run(way+"/"+c.name, func(t *testing.T) {
				a, b := newPair(t)
				switch way {
				case "back":
					a, b = b, a
				case "self":
					b = a
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				c.run(t, &peersPair{Peers: a, b: b, to: b.Self(), ctx: ctx})
			})
		}
	}
	t.Run("nobody", func(t *testing.T) {
		a, _ := newPair(t)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := a.Ask(ctx, stranger, "x.y", nil)
		wantError(t, err, shoal.Unavailable, stranger.Short())
		_, err = a.Open(ctx, stranger, "x.y", nil)
		wantError(t, err, shoal.Unavailable, stranger.Short())
	})
}

// peersPair is the asker, and what is asked.
type peersPair struct {
	shoal.Peers
	b   shoal.Peers
	to  shoal.PeerID
	ctx context.Context
}

type peersCase struct {
	name string
	run  func(t *testing.T, p *peersPair)
}

func askCases() []peersCase {
	return []peersCase{
		{"ask", testAsk},
		{"sizes", testAskSizes},
		{"bytes are not shared", testAskCopies},
		{"errors", testAskErrors},
		{"panic", testAskPanic},
		{"unknown method", testUnknownMethod},
		{"registering twice", testRegisterTwice},
		{"deadline", testAskDeadline},
		{"cancel", testAskCancel},
		{"ended context", testAskEnded},
		{"slow does not block", testAskSlow},
		{"many at once", testAskMany},
	}
}

func testAsk(t *testing.T, p *peersPair) {
	p.b.Handle("echo.say", func(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
		return fmt.Appendf(nil, "%s from %s", req, from), nil
	})
	got, err := p.Ask(p.ctx, p.to, "echo.say", []byte("hello"))
	if want := "hello from " + string(p.Self()); err != nil || string(got) != want {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func testAskSizes(t *testing.T, p *peersPair) {
	p.b.Handle("size.echo", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
	p.b.Handle("size.more", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
		return make([]byte, wire.MaxFrame+1), nil
	})
	for _, n := range []int{0, 1, 1000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000, wire.MaxFrame} {
		req := pattern(n)
		got, err := p.Ask(p.ctx, p.to, "size.echo", req)
		if err != nil || !bytes.Equal(got, req) {
			t.Fatalf("%d bytes: got %d bytes, %v", n, len(got), err)
		}
	}
	_, err := p.Ask(p.ctx, p.to, "size.echo", make([]byte, wire.MaxFrame+1))
	wantError(t, err, shoal.Invalid, "limit")
	_, err = p.Ask(p.ctx, p.to, "size.more", nil)
	wantError(t, err, shoal.Invalid, "limit")
}

func testAskCopies(t *testing.T, p *peersPair) {
	kept := []byte("kept by the handler")
	p.b.Handle("copy.scribble", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
		clear(req)
		return kept, nil
	})
	req := []byte("kept by the caller")
	got, err := p.Ask(p.ctx, p.to, "copy.scribble", req)
	if err != nil || string(req) != "kept by the caller" {
		t.Fatalf("the request is now %q, %v", req, err)
	}
	clear(got)
	if string(kept) != "kept by the handler" {
		t.Fatalf("the handler's bytes are now %q", kept)
	}
}

func testAskErrors(t *testing.T, p *peersPair) {
	full := &shoal.Error{
		Kind: shoal.Overloaded, What: "run x", Why: "the queue is full", Try: "later",
		RetryAfter: 1500 * time.Millisecond, Err: io.ErrNoProgress,
	}
	p.b.Handle("fail.full", func(context.Context, shoal.PeerID, []byte) ([]byte, error) { return nil, full })
	p.b.Handle("fail.wrapped", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		return nil, fmt.Errorf("around: %w", full)
	})
	p.b.Handle("fail.plain", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		return []byte("not to be seen"), errors.New("just so")
	})
	for _, method := range []string{"fail.full", "fail.wrapped"} {
		_, err := p.Ask(p.ctx, p.to, method, nil)
		var e *shoal.Error
		if !errors.As(err, &e) || e.Kind != full.Kind || e.Try != full.Try || e.RetryAfter != full.RetryAfter ||
			!strings.Contains(err.Error(), "run x: the queue is full") {
			t.Fatalf("%s: got %#v", method, err)
		}
	}
	got, err := p.Ask(p.ctx, p.to, "fail.plain", nil)
	wantError(t, err, shoal.Internal, "just so")
	if got != nil {
		t.Fatalf("an error came with the reply %q", got)
	}
}

func testAskPanic(t *testing.T, p *peersPair) {
	calls := 0
	p.b.Handle("panic.once", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		if calls++; calls == 1 {
			panic("oh")
		}
		return nil, nil
	})
	_, err := p.Ask(p.ctx, p.to, "panic.once", nil)
	wantError(t, err, shoal.Internal, "panic")
	if _, err := p.Ask(p.ctx, p.to, "panic.once", nil); err != nil {
		t.Fatalf("after a panic: %v", err)
	}
}

func testUnknownMethod(t *testing.T, p *peersPair) {
	_, err := p.Ask(p.ctx, p.to, "no.such", []byte("x"))
	wantError(t, err, shoal.Unavailable, "no.such")
	s, err := p.Open(p.ctx, p.to, "no.such", []byte("x"))
	if err == nil { // it may also show at the first Read
		_, err = s.Read(make([]byte, 1))
		s.Reset()
	}
	wantError(t, err, shoal.Unavailable, "no.such")
}

func testRegisterTwice(t *testing.T, p *peersPair) {
	ask := func(context.Context, shoal.PeerID, []byte) ([]byte, error) { return nil, nil }
	stream := func(context.Context, shoal.PeerID, []byte, shoal.Stream) error { return nil }
	p.b.Handle("twice.ask", ask)
	p.b.HandleStream("twice.stream", stream)
	for name, again := range map[string]func(){
		"Handle":       func() { p.b.Handle("twice.ask", ask) },
		"HandleStream": func() { p.b.HandleStream("twice.stream", stream) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a method registered before did not panic", name)
				}
			}()
			again()
		}()
	}
}

func testAskDeadline(t *testing.T, p *peersPair) {
	ended := make(chan error, 1)
	p.b.Handle("slow.wait", func(ctx context.Context, _ shoal.PeerID, _ []byte) ([]byte, error) {
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > 300*time.Millisecond {
			ended <- fmt.Errorf("the handler's deadline is %v (%v) away", time.Until(d), ok)
			return nil, nil
		}
		<-ctx.Done()
		ended <- nil
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithTimeout(p.ctx, 200*time.Millisecond)
	defer cancel()
	_, err := p.Ask(ctx, p.to, "slow.wait", nil)
	wantError(t, err, shoal.Timeout, "")
	if err := wait(t, "the handler's end", ended); err != nil {
		t.Fatal(err)
	}
}

func testAskCancel(t *testing.T, p *peersPair) {
	started, ended := make(chan error, 1), make(chan error, 1)
	p.b.Handle("slow.wait", func(ctx context.Context, _ shoal.PeerID, _ []byte) ([]byte, error) {
		started <- nil
		<-ctx.Done()
		ended <- nil
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		_, err := p.Ask(ctx, p.to, "slow.wait", nil)
		asked <- err
	}()
	wait(t, "the handler's start", started)
	cancel()
	wantError(t, wait(t, "Ask's return", asked), shoal.Canceled, "")
	wait(t, "the handler's end", ended)
}

func testAskEnded(t *testing.T, p *peersPair) {
	p.b.Handle("never.called", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		t.Error("the handler was called")
		return nil, nil
	})
	ctx, cancel := context.WithCancel(p.ctx)
	cancel()
	_, err := p.Ask(ctx, p.to, "never.called", nil)
	wantError(t, err, shoal.Canceled, "")
	_, err = p.Open(ctx, p.to, "never.called", nil)
	wantError(t, err, shoal.Canceled, "")
}

func testAskSlow(t *testing.T, p *peersPair) {
	release, slow := make(chan struct{}), make(chan error, 1)
	p.b.Handle("slow.wait", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		<-release
		return nil, nil
	})
	p.b.Handle("fast.go", func(context.Context, shoal.PeerID, []byte) ([]byte, error) { return nil, nil })
	go func() {
		_, err := p.Ask(p.ctx, p.to, "slow.wait", nil)
		slow <- err
	}()
	for range 20 {
		if _, err := p.Ask(p.ctx, p.to, "fast.go", nil); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	if err := wait(t, "the slow call", slow); err != nil {
		t.Fatal(err)
	}
}

func testAskMany(t *testing.T, p *peersPair) {
	p.b.Handle("many.twice", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
		return append(req, req...), nil
	})
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			req := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1+i*i%3000)
			got, err := p.Ask(p.ctx, p.to, "many.twice", req)
			if err != nil || !bytes.Equal(got, append(req, req...)) {
				t.Errorf("call %d: got %d bytes, %v; want %d", i, len(got), err, 2*len(req))
			}
		})
	}
	all.Wait()
}

// pattern returns n bytes that do not repeat in a period of a power of two.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

func wantError(t *testing.T, err error, kind shoal.Kind, part string) {
	t.Helper()
	var e *shoal.Error
	if !errors.As(err, &e) || e.Kind != kind || !strings.Contains(err.Error(), part) {
		t.Fatalf("got error %v (%v); want one of kind %v with %q", err, shoal.KindOf(err), kind, part)
	}
}

// wait returns what comes out of c, within patience.
func wait[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited %v in vain for %s", patience, what)
	}
	return v
}
