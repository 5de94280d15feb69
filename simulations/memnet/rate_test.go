package memnet

import (
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// A writer waits while nobody reads, and no longer.
func TestBackpressure(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const lat = time.Millisecond
		j := join(t, Config{Latency: same(lat)}, Place{}, Place{})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		write(t, a, string(make([]byte, window-1))) // the first byte is not credited yet
		done := false
		go func() {
			_, _ = a.Write(make([]byte, window/2))
			done = true
		}()
		time.Sleep(time.Hour)
		if done {
			t.Fatal("more than the window was written")
		}
		read(t, b, string(make([]byte, window/2-2)))
		time.Sleep(time.Second)
		if done {
			t.Fatal("written before there was room")
		}
		read(t, b, "\x00")
		time.Sleep(lat)
		synctest.Wait()
		if !done {
			t.Fatal("not written though there is room")
		}
	})
}

// rates reads from streams for a second, and returns what came on each, in bytes a second.
func rates(t *testing.T, streams ...network.MuxedStream) []float64 {
	t.Helper()
	counts := make([]atomic.Int64, len(streams))
	for i, s := range streams {
		go func() {
			b := make([]byte, 4096)
			for {
				n, err := s.Read(b)
				if counts[i].Add(int64(n)); err != nil {
					return
				}
			}
		}()
	}
	time.Sleep(time.Second) // until it flows
	synctest.Wait()
	out := make([]float64, len(streams))
	for i := range out {
		out[i] = -float64(counts[i].Load())
	}
	time.Sleep(time.Second)
	synctest.Wait()
	for i := range out {
		out[i] += float64(counts[i].Load())
	}
	return out
}

func pour(s network.MuxedStream, piece int) {
	for b := make([]byte, piece); ; {
		if _, err := s.Write(b); err != nil {
			return
		}
	}
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.05*want {
		t.Errorf("%s: %.0f bytes a second, %.0f are due", what, got, want)
	}
}

func TestBandwidth(t *testing.T) {
	const mb = 1e6
	cfg := Config{Latency: same(20 * time.Millisecond)}
	bubble := func(name string, from, to Place, f func(t *testing.T, j *joined)) {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				j := join(t, cfg, from, to)
				f(t, j)
				j.close()
			})
		})
	}
	bubble("one packet", Place{Up: mb}, Place{Down: 2 * mb}, func(t *testing.T, j *joined) {
		a, b := stream1(t, j.a, j.b)
		time.Sleep(time.Second)
		took(t, "1000 bytes", 21*time.Millisecond, func() { write(t, a, string(make([]byte, 1000))); read(t, b, string(make([]byte, 1000))) })
		took(t, "1000 bytes back", 20*time.Millisecond, func() { write(t, b, string(make([]byte, 1000))); read(t, a, string(make([]byte, 1000))) })
	})
	bubble("the receiver is slower", Place{Up: 2 * mb}, Place{Down: mb}, func(t *testing.T, j *joined) {
		a, b := stream1(t, j.a, j.b)
		time.Sleep(time.Second)
		took(t, "1 MB", 1020*time.Millisecond, func() { write(t, a, string(make([]byte, mb))); read(t, b, string(make([]byte, mb))) })
	})
	bubble("two streams, one link", Place{Up: mb}, Place{}, func(t *testing.T, j *joined) {
		a1, b1 := stream1(t, j.a, j.b)
		a2, b2 := stream1(t, j.a, j.b)
		go pour(a1, 100000)
		go pour(a2, 1<<20)
		r := rates(t, b1, b2)
		near(t, "one", r[0], mb/2)
		near(t, "the other", r[1], mb/2)
	})
	bubble("two senders, one receiver", Place{Up: 5 * mb}, Place{Down: mb}, func(t *testing.T, j *joined) {
		c := j.n.member(t, Place{Up: 3 * mb})
		cn, cf := j.dial(t, c)
		a1, b1 := stream1(t, j.a, j.b)
		a2, b2 := stream1(t, cn, cf)
		go pour(a1, 1<<20)
		go pour(a2, 1<<20)
		r := rates(t, b1, b2)
		near(t, "one", r[0], mb/2)
		near(t, "the other", r[1], mb/2)
		cn.Close()
		cf.Close()
	})
	bubble("one who cannot take his share", Place{Up: 5 * mb}, Place{Down: mb}, func(t *testing.T, j *joined) {
		c := j.n.member(t, Place{Up: mb / 4})
		cn, cf := j.dial(t, c)
		a1, b1 := stream1(t, j.a, j.b)
		a2, b2 := stream1(t, cn, cf)
		go pour(a1, 1<<20)
		go pour(a2, 1<<20)
		r := rates(t, b1, b2)
		near(t, "the fast one", r[0], mb*3/4)
		near(t, "the slow one", r[1], mb/4)
		cn.Close()
		cf.Close()
	})
	bubble("a word amid a flood", Place{Up: mb}, Place{Down: mb}, func(t *testing.T, j *joined) {
		a1, b1 := stream1(t, j.a, j.b)
		a2, b2 := stream1(t, j.a, j.b)
		go pour(a1, 1<<20)
		go rates(t, b1)
		time.Sleep(2 * time.Second)
		begin := time.Now()
		write(t, a2, "word")
		read(t, b2, "word")
		if d := time.Since(begin); d > 20*time.Millisecond+5*piece*time.Second/mb {
			t.Errorf("a word waited %v behind another stream", d)
		}
	})
}
