package memnet

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// What is sent one way is lost; what comes is heard. Nothing is reset; the ends find out by themselves.
func TestOneWayCut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const lat = 10 * time.Millisecond
		j := join(t, Config{Latency: same(lat)}, Place{}, Place{})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		cut := func(x, y peer.ID) bool { return x == j.ma.id && y == j.mb.id }
		j.n.Cut(cut)
		write(t, a, "lost")
		write(t, b, "heard")
		read(t, a, "heard")
		b.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		b.SetReadDeadline(time.Time{})
		for _, m := range []struct{ from, to member }{{j.ma, j.mb}, {j.mb, j.ma}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			addr := map[peer.ID]ma.Multiaddr{j.ma.id: ma.StringCast(Address(0)), j.mb.id: j.addr}[m.to.id]
			if _, err := m.from.Dial(ctx, addr, m.to.id); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			cancel()
		}
		// Healed in time, what was lost comes when it is sent again: after 0.2, 0.4, 0.8, 1.6, 3.2 and 6.4 seconds.
		write(t, a, ", and sent again")
		took(t, "retransmission", 12600*time.Millisecond-7*time.Second-lat+lat, func() {
			j.n.Cut(nil)
			read(t, b, "lost, and sent again")
		})
		took(t, "a word", lat, func() { write(t, a, "x"); read(t, b, "x") })
		if j.a.IsClosed() || j.b.IsClosed() {
			t.Fatal("closed though it was healed")
		}
		// For good.
		j.n.Cut(cut)
		begin := time.Now()
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if d := time.Since(begin); d < keepaliveWait || d > keepalive+keepaliveWait {
			t.Errorf("missed after %v", d)
		}
		time.Sleep(time.Second)
		if !j.a.IsClosed() {
			t.Error("the other end has not heard the goodbye")
		}
	})
}

// As long as the other side is heard, an end does not ask whether it is heard.
func TestCutAndChatter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		j := join(t, Config{Latency: same(10 * time.Millisecond)}, Place{}, Place{})
		defer j.close()
		_, b := stream1(t, j.a, j.b)
		j.n.Cut(func(x, y peer.ID) bool { return x == j.ma.id })
		for !j.b.IsClosed() {
			_, _ = b.Write([]byte("are you there?"))
			time.Sleep(time.Second)
		}
		var why *network.ConnError
		if _, err := j.a.AcceptStream(); !errors.As(err, &why) || !why.Remote {
			t.Fatalf("the end that heard all the while has hung up by itself: %v", err)
		}
	})
}

func TestDialsThatFail(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const lat = 10 * time.Millisecond
		j := join(t, Config{Latency: same(lat)}, Place{}, Place{})
		defer j.close()
		fails := func(what string, after time.Duration, want error, to ma.Multiaddr, id peer.ID) {
			t.Helper()
			took(t, what, after, func() {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if _, err := j.ma.Dial(ctx, to, id); !errors.Is(err, want) {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		fails("nobody", 2*lat, syscall.ECONNREFUSED, ma.StringCast(Address(99)), j.mb.id)
		_, err := j.ma.Dial(t.Context(), j.addr, j.ma.id)
		if mismatch := (sec.ErrPeerIDMismatch{}); !errors.As(err, &mismatch) || mismatch.Actual != j.mb.id {
			t.Error(err)
		}
		if _, err := j.ma.Listen(j.addr); !errors.Is(err, syscall.EADDRINUSE) {
			t.Error(err)
		}

		// Behind NAT: nobody gets in, but those who are connected.
		hidden := j.n.member(t, Place{NAT: true})
		l, err := hidden.Listen(ma.StringCast(Address(2)))
		if err != nil {
			t.Fatal(err)
		}
		fails("NAT", 5*time.Second, context.DeadlineExceeded, l.Multiaddr(), hidden.id)
		cn, cf := j.dial(t, hidden)
		c, err := j.mb.Dial(t.Context(), l.Multiaddr(), hidden.id)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		fails("NAT", 5*time.Second, context.DeadlineExceeded, l.Multiaddr(), hidden.id)
		cn.Close()
		time.Sleep(time.Second)
		if _, err := j.mb.Dial(t.Context(), l.Multiaddr(), hidden.id); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Error(err)
		}
		cf.Close()
		l.Close()

		j.listener.Close()
		fails("a closed listener", 2*lat, syscall.ECONNREFUSED, j.addr, j.mb.id)
		j.n.Kill(j.mb.id)
		fails("a dead machine", 5*time.Second, context.DeadlineExceeded, j.addr, j.mb.id)
		if _, err := j.mb.Dial(t.Context(), ma.StringCast(Address(0)), j.ma.id); !errors.Is(err, syscall.ENETDOWN) {
			t.Error(err)
		}
		if s := j.n.Stats(); s.Failed != 8 || s.Dials != 11 || s.Opened != 3 {
			t.Errorf("%+v", s)
		}
	})
}
