package host

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"pgregory.net/rapid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

func echo(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil }

func TestDoor(t *testing.T) {
	for name, listen := range map[string]string{"tcp": loopTCP, "quic": loopQUIC} {
		t.Run(name, func(t *testing.T) {
			h := start(t, "h", Config{Listen: []string{listen}})
			h.HandleDoor("echo", echo)
			h.HandleDoor("who", func(_ context.Context, p shoal.PeerID, _ []byte) ([]byte, error) { return []byte(p), nil })
			h.HandleDoor("no", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
				return nil, &shoal.Error{Kind: shoal.Exists, What: "no", Why: strings.Repeat("because ", 1000), Try: "else", RetryAfter: time.Minute}
			})
			h.HandleDoor("big", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
				return make([]byte, wire.MaxDoor+1), nil
			})
			a := start(t, "a", Config{Listen: []string{listen}})
			meet(t, a, h)
			for _, n := range []int{0, 1, 1000, wire.MaxDoor} {
				req := bytes.Repeat([]byte{'x'}, n)
				if got, err := a.AskDoor(t.Context(), h.ID(), "echo", req); err != nil || !bytes.Equal(got, req) {
					t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
				}
			}
			if got, err := a.AskDoor(t.Context(), h.ID(), "who", nil); shoal.PeerID(got) != a.ID() {
				t.Errorf("asked as %q, %v", got, err)
			}
			_, err := a.AskDoor(t.Context(), h.ID(), "no", nil)
			var e *shoal.Error
			if e, _ = err.(*shoal.Error); e == nil || e.Kind != shoal.Exists || e.Try != "else" || e.RetryAfter != time.Minute {
				t.Errorf("the handler's error: %#v", err)
			}
			if _, err := a.AskDoor(t.Context(), h.ID(), "echo", make([]byte, wire.MaxDoor+1)); shoal.KindOf(err) != shoal.Invalid {
				t.Errorf("a large request: %v, want Invalid", err)
			}
			if _, err := a.AskDoor(t.Context(), h.ID(), "big", nil); shoal.KindOf(err) != shoal.Internal {
				t.Errorf("a large reply: %v, want Internal", err)
			}
			if _, err := a.AskDoor(t.Context(), h.ID(), "else", nil); shoal.KindOf(err) != shoal.Refused || !strings.Contains(err.Error(), "does not offer") {
				t.Errorf("an unknown method: %v, want Refused", err)
			}
			if got, err := h.AskDoor(t.Context(), h.ID(), "echo", []byte("me")); string(got) != "me" {
				t.Errorf("itself: %q, %v", got, err)
			}
			if _, err := h.AskDoor(t.Context(), h.ID(), "else", nil); shoal.KindOf(err) != shoal.Refused {
				t.Errorf("itself, an unknown method: %v", err)
			}
		})
	}
}

func TestDoorRefusesLargeFrames(t *testing.T) {
	h, a := start(t, "h", Config{}), start(t, "a", Config{})
	h.HandleDoor("echo", echo)
	meet(t, a, h)
	id, _ := peer.Decode(string(h.ID()))
	s, err := a.inner.NewStream(t.Context(), id, doorID("echo"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	s.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := s.Write(wire.AppendFrame(nil, make([]byte, wire.MaxDoor+1))[:100]); err != nil {
		t.Fatal(err)
	}
	b, err := wire.ReadFrame(bufReader(s), maxDoorReply)
	var reply doorReply
	if err != nil || wire.Unmarshal("reply", b, &reply) != nil || reply.Err == nil || shoal.Kind(reply.Err.Kind) != shoal.Invalid {
		t.Fatalf("got %q, %v; want an Invalid error", b, err)
	}
}

func TestDoorUnreachable(t *testing.T) {
	a := start(t, "a", Config{DialTimeout: 300 * time.Millisecond})
	h := start(t, "h", Config{})
	if _, err := a.AskDoor(t.Context(), h.ID(), "echo", nil); shoal.KindOf(err) != shoal.Unavailable || !strings.Contains(err.Error(), "no address") {
		t.Errorf("no address: %v", err)
	}
	if _, err := a.AskDoor(t.Context(), "nobody", "echo", nil); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("bad ID: %v", err)
	}
	// A handler that does not answer: the caller's deadline holds.
	stuck := make(chan struct{})
	h.HandleDoor("stuck", func(ctx context.Context, _ shoal.PeerID, _ []byte) ([]byte, error) {
		select {
		case <-stuck:
		case <-ctx.Done():
		}
		return nil, nil
	})
	meet(t, a, h)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := a.AskDoor(ctx, h.ID(), "stuck", nil); shoal.KindOf(err) != shoal.Timeout {
		t.Errorf("no reply: %v, want Timeout", err)
	}
	close(stuck)
	// A peer that goes away in the middle.
	h.HandleDoor("die", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		h.Disconnect(a.ID())
		return nil, nil
	})
	if _, err := a.AskDoor(t.Context(), h.ID(), "die", nil); shoal.KindOf(err) != shoal.Unavailable {
		t.Errorf("the peer went: %v, want Unavailable", err)
	}
}

func TestDoorLimitsEachPeer(t *testing.T) {
	h := start(t, "h", Config{Door: DoorLimits{PeerBurst: 5, PeerRate: 0.001}})
	h.HandleDoor("echo", echo)
	a, b := start(t, "a", Config{}), start(t, "b", Config{})
	meet(t, a, h)
	meet(t, b, h)
	for i := range 8 {
		_, err := a.AskDoor(t.Context(), h.ID(), "echo", bytes.Repeat([]byte{'x'}, 60_000))
		if i < 5 && err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if e, _ := err.(*shoal.Error); i >= 5 && (e == nil || e.Kind != shoal.Overloaded || e.RetryAfter < time.Minute) {
			t.Fatalf("request %d: %#v, want Overloaded with a hint", i, err)
		}
	}
	if _, err := b.AskDoor(t.Context(), h.ID(), "echo", nil); err != nil {
		t.Fatalf("another peer: %v", err)
	}
}

func TestDoorLimitsConcurrency(t *testing.T) {
	h := start(t, "h", Config{Door: DoorLimits{Concurrent: 2}})
	enter, leave := make(chan struct{}), make(chan struct{})
	h.HandleDoor("slow", func(context.Context, shoal.PeerID, []byte) ([]byte, error) {
		enter <- struct{}{}
		<-leave
		return nil, nil
	})
	a := start(t, "a", Config{})
	meet(t, a, h)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := a.AskDoor(t.Context(), h.ID(), "slow", nil); err != nil {
				t.Error(err)
			}
		})
		<-enter
	}
	if _, err := a.AskDoor(t.Context(), h.ID(), "slow", nil); shoal.KindOf(err) != shoal.Overloaded {
		t.Errorf("got %v, want Overloaded", err)
	}
	close(leave)
	wg.Wait()
}

func TestDoorMethodTwicePanics(t *testing.T) {
	h := start(t, "h", Config{})
	h.HandleDoor("echo", echo)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	h.HandleDoor("echo", echo)
}

// TestLimiter holds the limiter against what a bucket may give at most and at least.
func TestLimiter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		burst, rate := float64(rapid.IntRange(1, 20).Draw(t, "burst")), float64(rapid.IntRange(1, 50).Draw(t, "rate"))
		l := newLimiter(burst, rate)
		begin := time.Unix(1000, 0)
		now, given := begin, 0.0
		for range rapid.IntRange(1, 200).Draw(t, "takes") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "ms")) * time.Millisecond)
			wait := l.take("k", now)
			if wait == 0 {
				given++
			} else if again := l.take("k", now.Add(wait+time.Microsecond)); again != 0 {
				t.Fatalf("told to wait %v, then refused for %v more", wait, again)
			} else {
				given, now = given+1, now.Add(wait+time.Microsecond)
			}
			if most := burst + rate*now.Sub(begin).Seconds() + 1e-6; given > most {
				t.Fatalf("gave %v, at most %v", given, most)
			}
		}
		if wait := l.take("other", begin); wait != 0 {
			t.Fatalf("another key waits %v", wait)
		}
	})
}

func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(2, 1)
	now := time.Unix(1000, 0)
	for i := range maxBuckets {
		if l.take(fmt.Sprint(i), now) != 0 {
			t.Fatal("refused early")
		}
	}
	if l.take("one more", now) == 0 || len(l.buckets) != maxBuckets {
		t.Fatalf("%d buckets", len(l.buckets))
	}
	if l.take("one more", now.Add(time.Second)) != 0 { // the others are full again
		t.Fatal("no room was made")
	}
}

func TestSource(t *testing.T) {
	for a, want := range map[string]string{
		"/ip4/10.1.2.3/tcp/1":             "10.1.2.3",
		"/ip6/2001:db8:1:2:3:4:5:6/udp/1": "2001:db8:1:2::/64",
		"/ip6/::ffff:10.1.2.3/tcp/1":      "10.1.2.3",
		"/ip4/127.0.0.1/tcp/1":            "",
		"/ip6/::1/tcp/1":                  "",
		"/dns4/example.org/tcp/1":         "",
		"/ip4/10.0.0.9/tcp/1/p2p-circuit": "10.0.0.9",
		"/ip4/10.1.2.3/udp/4170/quic-v1":  "10.1.2.3",
	} {
		if got, ok := source(ma.StringCast(a)); got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v; want %q", a, got, ok, want)
		}
	}
}

// FuzzDoor has a stranger send bytes instead of a request, over one connection.
func FuzzDoor(f *testing.F) {
	h, a := start(f, "h", Config{Door: DoorLimits{PeerBurst: 1e9}}), start(f, "a", Config{})
	h.HandleDoor("echo", echo)
	meet(f, a, h)
	id, _ := peer.Decode(string(h.ID()))
	f.Add(wire.AppendFrame(nil, []byte("hello")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := a.inner.NewStream(context.Background(), id, doorID("echo"))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Reset()
		s.SetDeadline(time.Now().Add(5 * time.Second))
		s.Write(b)
		s.CloseWrite()
		got, err := wire.ReadFrame(bufReader(s), maxDoorReply)
		if err != nil {
			return // no whole request: no reply
		}
		var reply doorReply
		if err := wire.Unmarshal("reply", got, &reply); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDoorReply has the door of a hostile peer answer.
func FuzzDoorReply(f *testing.F) {
	f.Add(wire.Marshal(doorReply{Body: []byte("x")}))
	f.Add(wire.Marshal(doorReply{Err: &wire.Error{Kind: 200, Why: "x"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var reply doorReply
		if wire.Unmarshal("reply", b, &reply) == nil && reply.Err != nil {
			_ = reply.Err.Err().Error()
		}
	})
}
