package rpc

import (
	"context"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
)

// TestCutOffIsNoEnd: whatever way a stream breaks, no reader sees io.EOF.
func TestCutOffIsNoEnd(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	head := func(kind byte, n int, payload string) string {
		h := make([]byte, headSize)
		putHead(h, kind, n)
		return string(h) + payload
	}
	for name, sent := range map[string]string{
		"nothing":              "",
		"in a header":          "\x00\x01",
		"in a chunk":           head(recordData, 10, "12345"),
		"between chunks":       head(recordData, 5, "12345"),
		"in an error":          head(recordFail, 10, "x"),
		"garbage":              head(recordFail, 3, "xyz"),
		"unknown record":       head(200, 1, "x"),
		"oversized chunk":      head(recordData, chunkSize+1, "x"),
		"oversized error":      head(recordFail, maxFail+1, "x"),
		"an end with bytes":    head(recordEnd, 1, "x"),
		"close with too much":  head(recordClose, maxSaid+1, strings.Repeat("x", maxSaid+1)),
		"reset in the middle":  head(recordData, 5, "12345") + "RESET",
		"a chunk of the asker": string(opening(0, []byte("what"))),
	} {
		b.host.SetStreamHandler(b.streamProtocol("c.cut"), func(s network.Stream) {
			io.ReadFull(s, make([]byte, 2)) // the empty request
			bytes, reset := strings.CutSuffix(sent, "RESET")
			io.WriteString(s, bytes)
			if reset {
				s.Reset()
			}
			s.Close()
		})
		s, err := a.Open(soon(t), b.Self(), "c.cut", nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(s)
		wantKind(t, err, shoal.Unavailable, "c.cut", b.Self().Short())
		if _, again := s.Read(make([]byte, 1)); again != err {
			t.Errorf("%s: then %v, and later %v", name, err, again)
		}
		s.Close()
	}
}

// TestAskerCutOff is the same for what a handler reads, and wants its context to end.
func TestAskerCutOff(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	read := make(chan error, 1)
	b.HandleStream("c.cut", func(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := io.ReadAll(s)
		<-ctx.Done()
		read <- err
		return err
	})
	h := make([]byte, headSize)
	putHead(h, recordData, 9)
	for name, sent := range map[string]string{
		"nothing": "", "in a header": "\x00", "in a chunk": string(h) + "123",
	} {
		s, err := a.host.NewStream(soon(t), b.host.ID(), b.streamProtocol("c.cut"))
		if err != nil {
			t.Fatal(err)
		}
		s.Write(append(opening(0, nil), sent...))
		s.CloseWrite()
		if err := <-read; shoal.KindOf(err) != shoal.Unavailable {
			t.Errorf("%s: the handler read %v", name, err)
		}
		s.Reset()
	}
}

// TestBadOpening: what does not begin with a request never reaches the handler.
func TestBadOpening(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.HandleStream("o.bad", func(context.Context, shoal.PeerID, []byte, shoal.Stream) error {
		t.Error("the handler was called")
		return nil
	})
	for name, sent := range map[string]string{
		"garbage": "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "oversized": "\xff\xff\xff\x0f", "no budget": "\x00",
		"endless budget": "\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cut off": "\x09abc",
	} {
		s, err := a.host.NewStream(soon(t), b.host.ID(), b.streamProtocol("o.bad"))
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte(sent))
		s.CloseWrite()
		s.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, err = s.Read(make([]byte, 1))
		if timeout, ok := err.(interface{ Timeout() bool }); err == nil || ok && timeout.Timeout() {
			t.Errorf("%s: the stream goes on: %v", name, err)
		}
		s.Reset()
	}
}

// TestResetBehindUnreadBytes: the handler's context ends although it reads nothing and the reset
// lies behind bytes that nobody has read.
func TestResetBehindUnreadBytes(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	started, ended := make(chan struct{}), make(chan struct{})
	b.HandleStream("u.wait", func(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		io.ReadFull(s, make([]byte, 10))
		close(started)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	s, err := a.Open(soon(t), b.Self(), "u.wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Write(make([]byte, 100_000))
	<-started
	s.Reset()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the handler was not told")
	}
}

// TestStreamsAreBounded: one too many is refused with a hint, and there is room again afterwards.
func TestStreamsAreBounded(t *testing.T) {
	a, b := newPair(t, tcp, Config{MaxStreams: 3})
	b.HandleStream("b.echo", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	var streams []shoal.Stream
	for range 3 {
		s, err := a.Open(soon(t), b.Self(), "b.echo", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("x"))
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	s, err := a.Open(soon(t), b.Self(), "b.echo", []byte("one too many"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(make([]byte, 1))
	wantKind(t, err, shoal.Overloaded)
	for _, s := range streams {
		s.Close()
	}
	p, _ := b.remote(a.Self())
	eventually(t, "room", func() bool {
		p.opened.mu.Lock()
		defer p.opened.mu.Unlock()
		return p.opened.count == 0
	})
	s, err = a.Open(soon(t), b.Self(), "b.echo", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
}

// TestReadToTheEndFreesTheStream: an asker that reads to the end and forgets to close leaves nothing.
func TestReadToTheEndFreesTheStream(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.HandleStream("f.some", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := s.Write(make([]byte, 300_000))
		return err
	})
	for range 20 {
		s, err := a.Open(soon(t), b.Self(), "f.some", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*RPC{a, b} {
		eventually(t, "the streams' end", func() bool {
			for _, c := range r.host.Network().Conns() {
				for _, s := range c.GetStreams() {
					if s.Protocol() == a.streamProtocol("f.some") {
						return false
					}
				}
			}
			return true
		})
	}
}

// TestCloseLeavesNothing: handlers, streams and goroutines end with Close.
func TestCloseLeavesNothing(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	started, _ := hold(b, "e.wait")
	b.HandleStream("e.read", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		started <- struct{}{}
		_, err := io.Copy(io.Discard, s)
		return err
	})
	answers := make(chan error, 10)
	for range 5 {
		go func() {
			_, err := a.Ask(soon(t), b.Self(), "e.wait", nil)
			answers <- err
		}()
		s, err := a.Open(soon(t), b.Self(), "e.read", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := s.Read(make([]byte, 1))
			answers <- err
		}()
	}
	for range 10 {
		<-started
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		wantKind(t, <-answers, shoal.Unavailable)
	}
	_, err := b.Ask(soon(t), a.Self(), "x.y", nil)
	wantKind(t, err, shoal.Unavailable, "stopping")
	a.Close()
	eventually(t, "the goroutines' end", func() bool {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for _, g := range strings.Split(string(stacks), "\n\n") {
			if strings.Contains(g, "shoal/rpc.(*") && !strings.Contains(g, "testing.tRunner") {
				return false
			}
		}
		return true
	})
}

// TestStreamsHoldConnections: while a stream is open neither end closes the connection for its age.
func TestStreamsHoldConnections(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.HandleStream("c.stay", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	})
	held := func() bool {
		return a.host.ConnManager().IsProtected(b.host.ID(), "stream") && b.host.ConnManager().IsProtected(a.host.ID(), "stream")
	}
	free := func() bool {
		return !a.host.ConnManager().IsProtected(b.host.ID(), "stream") && !b.host.ConnManager().IsProtected(a.host.ID(), "stream")
	}
	var streams []shoal.Stream
	for range 2 {
		s, err := a.Open(soon(t), b.Self(), "c.stay", nil)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	eventually(t, "held by both ends", held)
	streams[0].Close()
	time.Sleep(20 * time.Millisecond)
	if !held() {
		t.Error("one of two streams is closed, and the connection is free to go")
	}
	streams[1].Reset()
	eventually(t, "free at both ends", free)
}
