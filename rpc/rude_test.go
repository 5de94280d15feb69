package rpc

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
)

func TestPanicIsLogged(t *testing.T) {
	var log syncBuffer
	a, b := newPair(t, tcp, Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	b.Handle("p.panic", func(context.Context, shoal.PeerID, []byte) ([]byte, error) { panic("the reason") })
	_, err := a.Ask(soon(t), b.Self(), "p.panic", nil)
	wantKind(t, err, shoal.Internal, "the reason")
	if got := log.String(); !strings.Contains(got, "p.panic") || !strings.Contains(got, "the reason") {
		t.Fatalf("the log says %q", got)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestRudeAsker speaks the protocol of shared streams by hand, and wrongly. Only its own stream ends.
func TestRudeAsker(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.Handle("rude.echo", echo)
	started, release := hold(b, "rude.wait")
	defer close(release)
	ask := func(id uint64, method string, total int, body string) []byte {
		return appendFrame(nil, &frame{kind: frameAsk, id: id, total: total, method: []byte(method), body: []byte(body)})
	}
	more := func(id uint64, body string) []byte {
		return appendFrame(nil, &frame{kind: frameMore, id: id, body: []byte(body)})
	}
	cancel := appendFrame(nil, &frame{kind: frameCancel, id: 1})
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	for name, c := range map[string]struct {
		send []byte
		ends bool
	}{
		"garbage":               {bytes.Repeat([]byte("GET / HTTP/1.1\r\n\r\n"), 9), true},
		"zeros":                 {make([]byte, 100), true},
		"oversized":             {[]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, true},
		"answer from the asker": {appendFrame(nil, &frame{kind: frameReply, id: 1}), true},
		"doubled ID":            {join(ask(1, "rude.wait", 0, ""), ask(1, "rude.wait", 0, "")), true},
		"doubled ID, coming in": {join(ask(1, "rude.echo", 9, "x"), ask(1, "rude.echo", 0, "")), true},
		"too many parts":        {join(ask(1, "rude.echo", 2, "x"), more(1, "xy")), true},
		"part of a whole":       {join(ask(1, "rude.wait", 1, "x"), more(1, "y")), true},
		"unknown method":        {join(ask(1, "no.such", 9, "x"), more(1, "y")), false},
		"frames after cancel":   {join(ask(1, "rude.echo", 9, "x"), cancel, more(1, "y"), more(1, "z"), cancel), false},
		"cancel of nothing":     {join(cancel, more(7, "x")), false},
		"ID again after cancel": {join(ask(1, "rude.wait", 0, ""), cancel, ask(1, "rude.echo", 1, "x"), cancel), false},
	} {
		s, err := a.host.NewStream(soon(t), b.host.ID(), b.protocol())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(c.send); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.SetReadDeadline(time.Now().Add(10 * time.Second))
		in := bufio.NewReader(s)
		if c.ends {
			for err = nil; err == nil; {
				_, err = readFrame(in)
			}
			if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() {
				t.Errorf("%s: the stream goes on", name)
			}
		} else {
			s.Write(ask(99, "rude.echo", 2, "ok"))
			for f := (frame{}); f.id != 99; {
				if f, err = readFrame(in); err != nil {
					t.Fatalf("%s: the stream ended: %v", name, err)
				}
			}
		}
		s.Reset()
		if got, err := a.Ask(soon(t), b.Self(), "rude.echo", []byte("fine")); err != nil || string(got) != "fine" {
			t.Fatalf("%s: a proper call then gave %q, %v", name, got, err)
		}
	}
	for len(started) > 0 {
		<-started
	}
	eventually(t, "an idle node", func() bool {
		b.handled.mu.Lock()
		defer b.handled.mu.Unlock()
		return b.handled.count == 0 && b.handled.bytes == 0
	})
}

// TestRudeAsked has a peer answer wrongly: the calls fail, and the asker is none the worse.
func TestRudeAsked(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	reply := func(id uint64, total int, body string) []byte {
		return appendFrame(nil, &frame{kind: frameReply, id: id, total: total, body: []byte(body)})
	}
	for name, answer := range map[string][]byte{
		"nothing":      nil,
		"garbage":      []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"oversized":    {0xff, 0xff, 0xff, 0xff, 0x7f},
		"a question":   appendFrame(nil, &frame{kind: frameAsk, id: 1, method: []byte("x")}),
		"part first":   appendFrame(nil, &frame{kind: frameMore, id: 1, body: []byte("x")}),
		"begun twice":  append(reply(1, 9, "x"), reply(1, 9, "x")...),
		"too long":     append(reply(1, 2, "x"), appendFrame(nil, &frame{kind: frameMore, id: 1, body: []byte("xy")})...),
		"no error":     appendFrame(nil, &frame{kind: frameFail, id: 1, body: []byte("xyz")}),
		"cut off":      reply(1, 9, "x"),
		"of strangers": reply(77, 1, "x"),
	} {
		b.host.SetStreamHandler(b.protocol(), func(s network.Stream) {
			readFrame(bufio.NewReader(s))
			s.Write(answer)
			s.CloseWrite()
		})
		_, err := a.Ask(soon(t), b.Self(), "x.y", []byte("z"))
		if shoal.KindOf(err) != shoal.Unavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
	b.host.SetStreamHandler(b.protocol(), b.serve)
	b.Handle("x.y", echo)
	if _, err := a.Ask(soon(t), b.Self(), "x.y", []byte("z")); err != nil {
		t.Fatal(err)
	}
}
