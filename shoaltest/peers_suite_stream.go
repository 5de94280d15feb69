package shoaltest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func streamCases() []peersCase {
	return []peersCase{
		{"stream/echo", testStreamEcho},
		{"stream/large", testStreamLarge},
		{"stream/half close", testStreamHalfClose},
		{"stream/error comes after the bytes", testStreamError},
		{"stream/error of a handler that reads nothing", testStreamRefusal},
		{"stream/panic", testStreamPanic},
		{"stream/reset by the asker", testStreamReset},
		{"stream/reset by the handler", testStreamHandlerReset},
		{"stream/close by the asker", testStreamClose},
		{"stream/context ends", testStreamContext},
		{"stream/deadline", testStreamDeadline},
		{"stream/late calls", testStreamLate},
		{"stream/does not block asks", testStreamBesideAsk},
	}
}

func (p *peersPair) open(t *testing.T, method string, request []byte) shoal.Stream {
	t.Helper()
	s, err := p.Open(p.ctx, p.to, method, request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Reset)
	return s
}

func testStreamEcho(t *testing.T, p *peersPair) {
	p.b.HandleStream("s.echo", func(_ context.Context, from shoal.PeerID, req []byte, s shoal.Stream) error {
		if _, err := s.Write([]byte(string(from) + string(req))); err != nil {
			return err
		}
		_, err := io.Copy(s, s)
		return err
	})
	s := p.open(t, "s.echo", []byte("|request|"))
	want := string(p.Self()) + "|request|"
	if got := readN(t, s, len(want)); string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	for _, word := range []string{"a", "bcd", string(pattern(70_000))} {
		if _, err := io.WriteString(s, word); err != nil {
			t.Fatal(err)
		}
		if got := readN(t, s, len(word)); string(got) != word {
			t.Fatalf("got %d bytes that differ from the %d sent", len(got), len(word))
		}
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(make([]byte, 10)); n != 0 || err != io.EOF {
		t.Fatalf("at the end: %d, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func testStreamLarge(t *testing.T, p *peersPair) {
	p.b.HandleStream("s.echo", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
	s := p.open(t, "s.echo", nil)
	want := pattern(9<<20 + 17)
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(want)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
	if err := wait(t, "the writer", sent); err != nil {
		t.Fatal(err)
	}
}

func testStreamHalfClose(t *testing.T, p *peersPair) {
	// The handler closes its direction first and still reads the whole of the other.
	got := make(chan string, 1)
	p.b.HandleStream("s.half", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		if err := s.CloseWrite(); err != nil {
			return err
		}
		b, err := io.ReadAll(s)
		got <- string(b)
		return err
	})
	s := p.open(t, "s.half", nil)
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("after the handler's CloseWrite: %d, %v", n, err)
	}
	if _, err := io.WriteString(s, "still heard"); err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	if b := wait(t, "the handler", got); b != "still heard" {
		t.Fatalf("the handler read %q", b)
	}
}

func testStreamError(t *testing.T, p *peersPair) {
	body := pattern(100_000)
	p.b.HandleStream("s.fail", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		s.Write(body)
		return &shoal.Error{Kind: shoal.NotFound, What: "block 7", Why: "not here", Try: "ask another"}
	})
	s := p.open(t, "s.fail", nil)
	got, err := io.ReadAll(s)
	wantError(t, err, shoal.NotFound, "block 7: not here: ask another")
	if !bytes.Equal(got, body) {
		t.Fatalf("got %d bytes before the error, want %d", len(got), len(body))
	}
}

func testStreamRefusal(t *testing.T, p *peersPair) {
	// A handler refuses an upload without reading it: the asker's Write ends, and Read says why.
	p.b.HandleStream("s.refuse", func(context.Context, shoal.PeerID, []byte, shoal.Stream) error {
		return shoal.E(shoal.Refused, "upload", "no room for it", "")
	})
	s := p.open(t, "s.refuse", nil)
	piece := make([]byte, 1<<20)
	for range 40 {
		if _, err := s.Write(piece); err != nil {
			break
		}
	}
	_, err := io.ReadAll(s)
	wantError(t, err, shoal.Refused, "no room for it")
}

func testStreamPanic(t *testing.T, p *peersPair) {
	p.b.HandleStream("s.panic", func(context.Context, shoal.PeerID, []byte, shoal.Stream) error { panic("oh") })
	_, err := io.ReadAll(p.open(t, "s.panic", nil))
	wantError(t, err, shoal.Internal, "panic")
}

// cutOff registers a handler that reads to the end and tells how it ended.
func cutOff(p *peersPair) (started <-chan int, ended <-chan error) {
	start, end := make(chan int, 1), make(chan error, 1)
	p.b.HandleStream("s.cut", func(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		n, _ := s.Read(make([]byte, 3))
		start <- n
		_, err := io.Copy(io.Discard, s)
		<-ctx.Done()
		end <- err
		return err
	})
	return start, end
}

func testStreamReset(t *testing.T, p *peersPair) {
	started, ended := cutOff(p)
	s := p.open(t, "s.cut", nil)
	io.WriteString(s, "abc")
	wait(t, "the handler's start", started)
	s.Reset()
	wantError(t, wait(t, "the handler's end", ended), shoal.Unavailable, "")
	if _, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("Read after Reset: %v", err)
	}
}

func testStreamHandlerReset(t *testing.T, p *peersPair) {
	p.b.HandleStream("s.broken", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		io.ReadFull(s, make([]byte, 3))
		s.Reset()
		return nil
	})
	s := p.open(t, "s.broken", nil)
	io.WriteString(s, "abc")
	_, err := io.ReadAll(s)
	wantError(t, err, shoal.Unavailable, "")
}

func testStreamClose(t *testing.T, p *peersPair) {
	// The asker closes early: what it wrote arrives whole, and the handler's context ends.
	started, ended := cutOff(p)
	s := p.open(t, "s.cut", nil)
	io.WriteString(s, "abc")
	wait(t, "the handler's start", started)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, "the handler's end", ended); err != nil {
		t.Fatal(err)
	}
}

func testStreamContext(t *testing.T, p *peersPair) {
	started, ended := cutOff(p)
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	s, err := p.Open(ctx, p.to, "s.cut", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	io.WriteString(s, "abc")
	wait(t, "the handler's start", started)
	read := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 1))
		read <- err
	}()
	cancel()
	wantError(t, wait(t, "Read's return", read), shoal.Canceled, "")
	if err := wait(t, "the handler's end", ended); err == nil {
		t.Fatal("the handler took the broken stream for a whole one")
	}
}

func testStreamDeadline(t *testing.T, p *peersPair) {
	p.b.HandleStream("s.deadline", func(ctx context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		if _, ok := ctx.Deadline(); !ok {
			return shoal.E(shoal.Internal, "s.deadline", "no deadline", "")
		}
		_, err := io.WriteString(s, "ok")
		return err
	})
	if got, err := io.ReadAll(p.open(t, "s.deadline", nil)); err != nil || string(got) != "ok" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func testStreamLate(t *testing.T, p *peersPair) {
	p.b.HandleStream("s.late", func(context.Context, shoal.PeerID, []byte, shoal.Stream) error { return nil })
	s := p.open(t, "s.late", nil)
	if _, err := io.ReadAll(s); err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	if _, err := s.Write([]byte("x")); err == nil {
		t.Fatal("Write after CloseWrite succeeded")
	}
	s.Close()
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Fatal("Read after Close succeeded")
	}
	s.Close()
	s.Reset()
}

func testStreamBesideAsk(t *testing.T, p *peersPair) {
	p.b.Handle("s.ask", func(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) { return req, nil })
	p.b.HandleStream("s.flood", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		for piece := make([]byte, 1<<20); ; {
			if _, err := s.Write(piece); err != nil {
				return err
			}
		}
	})
	s := p.open(t, "s.flood", nil)
	readN(t, s, 1<<20) // the flood has begun; nobody reads the rest
	for range 20 {
		if _, err := p.Ask(p.ctx, p.to, "s.ask", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
}

func readN(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("read %d of %d bytes: %v", got, n, err)
	}
	return b
}
