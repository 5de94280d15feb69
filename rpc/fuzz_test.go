package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// fed is a libp2p stream whose peer has sent some bytes and then the end.
type fed struct {
	network.Stream
	in  io.Reader
	out bytes.Buffer
}

func (f *fed) Read(b []byte) (int, error)       { return f.in.Read(b) }
func (f *fed) Write(b []byte) (int, error)      { return f.out.Write(b) }
func (f *fed) Close() error                     { return nil }
func (f *fed) CloseWrite() error                { return nil }
func (f *fed) Reset() error                     { return nil }
func (f *fed) SetWriteDeadline(time.Time) error { return nil }

func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, &frame{
		kind: frameAsk, id: 1, budget: time.Second, total: 3, method: []byte("a.b"), body: []byte("xy"),
	}))
	f.Add(appendFrame(nil, &frame{kind: frameReply, id: 1 << 40, spent: 1, total: 1, body: []byte("x")}))
	f.Add(appendFrame(nil, &frame{kind: frameCancel, id: 3}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, err := readFrame(bufio.NewReader(bytes.NewReader(appendFrame(nil, &got))))
		if err != nil || again.kind != got.kind || again.id != got.id || again.budget != got.budget ||
			again.total != got.total || !bytes.Equal(again.method, got.method) || !bytes.Equal(again.body, got.body) {
			t.Fatalf("%+v came back as %+v, %v", got, again, err)
		}
	})
}

// FuzzServer feeds the asked's side. Whatever comes, it ends when the stream does, has given all room
// back, and has answered nothing but frames.
func FuzzServer(f *testing.F) {
	r := New(newHost(f, tcp), Config{Fabric: "fuzz", MaxCalls: 4, MaxBytes: 1 << 20})
	f.Cleanup(func() { r.Close() })
	r.Handle("f.echo", echo)
	ask := func(id uint64, total int, body string) []byte {
		return appendFrame(nil, &frame{kind: frameAsk, id: id, total: total, method: []byte("f.echo"), body: []byte(body)})
	}
	f.Add(ask(1, 2, "ab"))
	f.Add(append(ask(1, 3, "a"), appendFrame(nil, &frame{kind: frameMore, id: 1, body: []byte("bc")})...))
	f.Add(append(ask(1, 3, "a"), appendFrame(nil, &frame{kind: frameCancel, id: 1})...))
	f.Add(append(ask(1, 3, "a"), ask(1, 1, "b")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newRemote(r, "", "fuzz")
		raw := &fed{in: bytes.NewReader(b)}
		r.serveShared(p, raw)
		if p.handled.count != 0 || p.handled.bytes != 0 || r.handled.count != 0 || r.handled.bytes != 0 ||
			len(p.serving) != 0 {
			t.Fatalf("left behind: %+v, %+v", p.handled, r.handled)
		}
		for in := bufio.NewReader(&raw.out); ; {
			got, err := readFrame(in)
			if err == io.EOF {
				return
			}
			if err != nil || got.kind == frameAsk || got.kind == frameCancel {
				t.Fatalf("answered %+v, %v", got, err)
			}
		}
	})
}

// FuzzClient feeds the asker's side while calls wait: all of them end.
func FuzzClient(f *testing.F) {
	r := New(newHost(f, tcp), Config{Fabric: "fuzz"})
	f.Cleanup(func() { r.Close() })
	f.Add(appendFrame(nil, &frame{kind: frameReply, id: 1, total: 2, body: []byte("ab")}))
	f.Add(appendFrame(nil, &frame{kind: frameFail, id: 2, body: encodeError(io.ErrNoProgress)}))
	f.Add(append(appendFrame(nil, &frame{kind: frameReply, id: 2, total: 2, body: []byte("a")}),
		appendFrame(nil, &frame{kind: frameMore, id: 2, body: []byte("b")})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newRemote(r, "", "fuzz")
		asked := make(chan struct{})
		c := newClient(p, &fed{in: io.MultiReader(waitReader(asked), bytes.NewReader(b))})
		if !r.begin() {
			t.Fatal("closed")
		}
		go c.run()
		done := make(chan int, 2)
		for range 2 {
			go func() {
				reply, err := c.ask(context.Background(), "f.x", []byte("?"))
				var ours *shoal.Error
				if err != nil && !errors.As(err, &ours) && err != errUnsent {
					t.Errorf("%v is no *shoal.Error", err)
				}
				done <- len(reply)
			}()
		}
		for registered := false; !registered; time.Sleep(time.Microsecond) {
			c.mu.Lock()
			registered = len(c.calls) == 2
			c.mu.Unlock()
		}
		close(asked)
		for range 2 {
			if n := <-done; n > len(b) {
				t.Fatalf("a reply of %d bytes out of %d", n, len(b))
			}
		}
	})
}

// waitReader is empty, and ends when the channel is closed.
type waitReader chan struct{}

func (w waitReader) Read([]byte) (int, error) {
	<-w
	return 0, io.EOF
}

// FuzzStream feeds one side of a stream: reading ends, with io.EOF only after an end that was said.
func FuzzStream(f *testing.F) {
	record := func(kind byte, payload string) []byte {
		b := make([]byte, headSize)
		putHead(b, kind, len(payload))
		return append(b, payload...)
	}
	f.Add(append(record(recordData, "abc"), record(recordEnd, "")...))
	f.Add(append(record(recordData, ""), record(recordClose, "\x01\x02")...))
	f.Add(append(record(recordData, "abc"), record(recordFail, string(encodeError(io.ErrNoProgress)))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, asker := range []bool{true, false} {
			raw := &fed{in: bytes.NewReader(b)}
			s := newStream(raw, bufio.NewReaderSize(raw, readAhead), "fuzz", &meter{})
			s.asker = asker
			watched := make(chan struct{})
			if asker {
				close(watched)
			} else {
				go func() {
					defer close(watched)
					s.watch()
				}()
			}
			got, err := io.ReadAll(s)
			if len(got) > len(b) || err == nil && len(b) < headSize {
				t.Fatalf("%d bytes and %v out of %d", len(got), err, len(b))
			}
			s.Close()
			<-watched
		}
	})
}

func FuzzOpening(f *testing.F) {
	f.Add(opening(time.Second, []byte("request")))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		budget, request, err := readOpening(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		again, same, err := readOpening(bufio.NewReader(bytes.NewReader(opening(budget, request))))
		if err != nil || again != budget || !bytes.Equal(same, request) || len(request) > wire.MaxFrame {
			t.Fatalf("%v and %d bytes came back as %v and %d, %v", budget, len(request), again, len(same), err)
		}
	})
}
