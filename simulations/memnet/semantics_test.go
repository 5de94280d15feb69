package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// joined is a connection and the network that it is of.
type joined struct {
	n        *Net
	ma, mb   member
	a, b     transport.CapableConn // a dialed
	addr     ma.Multiaddr
	listener transport.Listener
}

func join(t *testing.T, cfg Config, from, to Place) *joined {
	t.Helper()
	n := New(cfg)
	j := &joined{n: n, ma: n.member(t, from), mb: n.member(t, to)}
	var err error
	if j.listener, err = j.mb.Listen(ma.StringCast(Address(1))); err != nil {
		t.Fatal(err)
	}
	if _, err = j.ma.Listen(ma.StringCast(Address(0))); err != nil {
		t.Fatal(err)
	}
	j.addr = j.listener.Multiaddr()
	j.a, j.b = j.dial(t, j.ma)
	return j
}

// dial connects from to mb.
func (j *joined) dial(t *testing.T, from member) (near, far transport.CapableConn) {
	t.Helper()
	near, err := from.Dial(t.Context(), j.addr, j.mb.id)
	if err != nil {
		t.Fatal(err)
	}
	if far, err = j.listener.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// stream opens one from near and has far accept it, with a byte that was said.
func stream1(t *testing.T, near, far transport.CapableConn) (a, b network.MuxedStream) {
	t.Helper()
	a, err := near.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, a, "!")
	if b, err = far.AcceptStream(); err != nil {
		t.Fatal(err)
	}
	read(t, b, "!")
	return a, b
}

func write(t *testing.T, s network.MuxedStream, what string) {
	t.Helper()
	if n, err := s.Write([]byte(what)); err != nil || n != len(what) {
		t.Fatalf("wrote %d of %d: %v", n, len(what), err)
	}
}

func read(t *testing.T, s network.MuxedStream, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(s, b); err != nil || string(b) != want {
		t.Fatalf("%q instead of %q: %v", b, want, err)
	}
}

// took reports how long f takes, which must be want.
func took(t *testing.T, what string, want time.Duration, f func()) {
	t.Helper()
	begin := time.Now()
	f()
	if d := time.Since(begin); d != want {
		t.Errorf("%s took %v, not %v", what, d, want)
	}
}

func (j *joined) close() {
	j.a.Close()
	j.b.Close()
	j.listener.Close()
}

func TestLatencyIsExact(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		there, back := 12345678*time.Nanosecond, 7654321*time.Nanosecond
		j := join(t, Config{Latency: func(a, b int) time.Duration {
			return []time.Duration{there, back}[a]
		}}, Place{Region: 0}, Place{Region: 1})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		took(t, "there", there, func() { write(t, a, "x"); read(t, b, "x") })
		took(t, "back", back, func() { write(t, b, "y"); read(t, a, "y") })
		j.n.Slow(func(a, b peer.ID) float64 {
			if a == j.ma.id {
				return 3
			}
			return 1
		})
		took(t, "slowed", 3*there, func() { write(t, a, "x"); read(t, b, "x") })
		took(t, "back", back, func() { write(t, b, "y"); read(t, a, "y") })
		j.n.Slow(nil)
		took(t, "a dial", HandshakeTrips*(there+back), func() {
			c, err := j.ma.Dial(t.Context(), j.addr, j.mb.id)
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
		})
		took(t, "a hangup", there, func() {
			j.a.Close()
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) {
				t.Error(err)
			}
		})
	})
}

// However late packets are, a stream's bytes stay in order; between streams they may pass one another.
func TestOrderUnderJitter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		j := join(t, Config{Latency: same(10 * time.Millisecond), Jitter: 3, Loss: func(int, int) float64 { return 0.05 }}, Place{}, Place{Down: 1e6})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		begin, last := time.Now(), time.Duration(0)
		var want []byte
		go func() {
			for i := range 2000 {
				_, _ = a.Write([]byte{byte(i), byte(i >> 8)})
				time.Sleep(time.Millisecond)
			}
			a.CloseWrite()
		}()
		for i := range 2000 {
			want = append(want, byte(i), byte(i>>8))
		}
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, in order: %v; %v", len(got), bytes.Equal(got, want), err)
		}
		if last = time.Since(begin); last < 2*time.Second || last > 4*time.Second {
			t.Errorf("took %v", last)
		}
		passed := false
		for range 100 {
			var sent [2]network.MuxedStream
			for i := range sent {
				sent[i], _ = j.a.OpenStream(t.Context())
				write(t, sent[i], string(rune('0'+i)))
			}
			for i := range sent {
				s, err := j.b.AcceptStream()
				if err != nil {
					t.Fatal(err)
				}
				first := make([]byte, 1)
				if _, err := s.Read(first); err != nil {
					t.Fatal(err)
				}
				passed = passed || i == 0 && first[0] == '1'
				s.Close()
			}
			sent[0].Close()
			sent[1].Close()
		}
		if !passed {
			t.Error("streams wait for one another")
		}
	})
}

// A loss is a delay: of the retransmission time, and as often as it should.
func TestLossDelays(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const lat, p = 20 * time.Millisecond, 0.2
		j := join(t, Config{Latency: same(lat), Loss: func(int, int) float64 { return p }, Seed: 7}, Place{}, Place{})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		late, all := 0, 2000
		for range all {
			begin := time.Now()
			write(t, a, "x")
			read(t, b, "x")
			d := time.Since(begin) - lat
			if d%(200*time.Millisecond) != 0 {
				t.Fatalf("late by %v", d)
			}
			late += int(d / (200 * time.Millisecond))
		}
		if mean, want := float64(late)/float64(all), p/(1-p); math.Abs(mean-want) > 0.05 {
			t.Errorf("%.3f losses a packet, %.3f are due", mean, want)
		}
	})
}

func TestDeadlines(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		j := join(t, Config{Latency: same(time.Millisecond)}, Place{}, Place{})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		b.SetReadDeadline(time.Now().Add(time.Second))
		took(t, "a read", time.Second, func() {
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
		b.SetReadDeadline(time.Time{})
		took(t, "a read that is called off", time.Minute, func() {
			time.AfterFunc(time.Minute, func() { b.SetReadDeadline(time.Now()) })
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
		b.SetReadDeadline(time.Now().Add(time.Minute)) // the other way about: what comes in time is read
		took(t, "a read", time.Second+time.Millisecond, func() {
			time.AfterFunc(time.Second, func() { _, _ = a.Write([]byte("z")) })
			read(t, b, "z")
		})
		a.SetWriteDeadline(time.Now().Add(time.Second))
		took(t, "a write", time.Second, func() {
			n, err := a.Write(make([]byte, window+1))
			if !errors.Is(err, os.ErrDeadlineExceeded) || n != window-2 { // two are not credited yet
				t.Error(n, err)
			}
		})
		a.SetDeadline(time.Time{})
	})
}

func TestResetsAndHalfCloses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const lat = 5 * time.Millisecond
		j := join(t, Config{Latency: same(lat)}, Place{}, Place{})
		defer j.close()
		buf := make([]byte, 8)

		a, b := stream1(t, j.a, j.b) // half closes
		write(t, a, "last words")
		a.CloseWrite()
		if got, err := io.ReadAll(b); string(got) != "last words" || err != nil {
			t.Error(string(got), err)
		}
		if _, err := a.Write(buf); err == nil {
			t.Error("written after the close")
		}
		write(t, b, "an answer")
		read(t, a, "an answer")
		a.CloseRead()
		if _, err := a.Read(buf); err == nil || errors.Is(err, io.EOF) {
			t.Error(err)
		}
		a.Close()
		b.Close()

		a, b = stream1(t, j.a, j.b) // a reset
		write(t, b, "never read")
		took(t, "a reset", lat, func() {
			a.ResetWithError(77)
			var e *network.StreamError
			if _, err := b.Read(buf); !errors.As(err, &e) || e.ErrorCode != 77 || !e.Remote || !errors.Is(err, network.ErrReset) {
				t.Error(err)
			}
		})
		for _, s := range []network.MuxedStream{a, b} {
			if _, err := s.Write(buf); !errors.Is(err, network.ErrReset) {
				t.Error(err)
			}
		}
		if _, err := a.Read(buf); !errors.Is(err, network.ErrReset) {
			t.Error(err)
		}

		a, b = stream1(t, j.a, j.b) // a reset after all was said changes nothing
		write(t, a, "done")
		a.Close()
		a.Reset()
		if got, err := io.ReadAll(b); string(got) != "done" || err != nil {
			t.Error(string(got), err)
		}

		a, _ = stream1(t, j.a, j.b) // those who wait are woken
		go func() { time.Sleep(time.Second); a.Reset() }()
		took(t, "a read", time.Second, func() {
			if _, err := a.Read(buf); !errors.Is(err, network.ErrReset) {
				t.Error(err)
			}
		})
		a, _ = stream1(t, j.a, j.b)
		go func() { time.Sleep(time.Second); j.b.Close() }()
		took(t, "a read", time.Second+lat, func() {
			if _, err := a.Read(buf); !errors.Is(err, network.ErrReset) {
				t.Error(err)
			}
		})
		if _, err := j.a.OpenStream(context.Background()); err == nil || !j.a.IsClosed() {
			t.Error("the connection is open")
		}
		if _, err := j.a.AcceptStream(); err == nil {
			t.Error("the connection is open")
		}
	})
}
