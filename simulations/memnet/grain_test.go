package memnet

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal/internal/bubble"
)

// TestGrain: with a grain packets arrive at multiples of it, in order, half of it early or late at most, and neither on the whole; links
// take as long as without one.
func TestGrain(t *testing.T) {
	const (
		grain = 100 * time.Microsecond
		lat   = 1230 * time.Microsecond
		times = 400
		rate  = 10e6
		many  = 50 // of 16 KiB
	)
	bubble.Test(t, func(t *testing.T) {
		cfg := Config{Latency: func(int, int) time.Duration { return lat }, Jitter: 0.3, Seed: 1, Grain: grain}
		began := time.Now()
		j := join(t, cfg, Place{}, Place{Up: rate, Down: rate})
		defer j.close()
		a, b := stream1(t, j.a, j.b)
		var late float64
		for i := range times {
			time.Sleep(time.Duration(i*37%101) * time.Microsecond)
			sent, text := time.Now(), fmt.Sprintf("%04d", i)
			write(t, a, text)
			read(t, b, text)
			if at := time.Since(began); at%grain != 0 {
				t.Fatalf("it arrived at %v", at)
			}
			d := time.Since(sent) - lat
			late += d.Seconds()
			if d < -grain/2 || d > lat*3/10+grain/2+time.Microsecond {
				t.Fatalf("it took %v more than the latency", d)
			}
		}
		if mean, want := late/times, 0.15*lat.Seconds(); math.Abs(mean-want) > 0.1*grain.Seconds() {
			t.Errorf("on the whole packets are %.1f us late, jitter makes it %.1f", mean*1e6, want*1e6)
		}
		begin, chunk := time.Now(), string(make([]byte, piece))
		go func() {
			for range many {
				write(t, b, chunk)
			}
		}()
		for range many {
			read(t, a, chunk)
		}
		if d, want := time.Since(begin).Seconds(), many*piece/rate; math.Abs(d-want) > 2*lat.Seconds() {
			t.Errorf("%d bytes took %.4f s, at their rate %.4f", many*piece, d, want)
		}
	})
}
