package rpc

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/internal/bubble"
)

func TestProbe(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rate, err := a.Probe(ctx, b.Self())
	if err != nil {
		t.Fatal(err)
	}
	if l := a.Link(b.Self()); !l.Probed || l.Rate != rate || rate < 1e6 {
		t.Errorf("%v, the link says %+v", rate, l)
	}
	if _, err := a.Probe(ctx, b.Self()); shoal.KindOf(err) != shoal.Refused {
		t.Errorf("a second probe: %v", err)
	}
	a.asking.since = nil // a peer that does not hold back is refused by the other side
	if _, err := a.Probe(ctx, b.Self()); err == nil {
		t.Error("the peer serves as many as anybody asks for")
	}
	// Real traffic tells better.
	m := &a.peers[b.Self()].meter
	m.moved(10<<20, time.Second, time.Now())
	if l := a.Link(b.Self()); l.Probed || l.Rate != 10<<20 {
		t.Errorf("after real traffic %+v", l)
	}
	m.probed(1, time.Now())
	if l := a.Link(b.Self()); l.Probed || l.Rate != 10<<20 {
		t.Errorf("a probe counts for more than traffic: %+v", l)
	}
}

// paced hands out bytes as a young connection over a link does: a few in the first round trip, twice as many in the next.
type paced struct {
	rtt    time.Duration
	rate   float64
	window int
	left   int // of this round trip
	begun  time.Time
}

func (p *paced) Read(b []byte) (int, error) {
	if p.left == 0 {
		if p.window > 0 {
			time.Sleep(max(0, p.rtt-time.Since(p.begun)))
		}
		p.window = max(2*p.window, 14<<10)
		p.left, p.begun = p.window, time.Now()
	}
	n := min(len(b), p.left, 1400)
	time.Sleep(time.Duration(float64(n) / p.rate * float64(time.Second)))
	p.left -= n
	return n, nil
}

func TestFastestSeesTheLink(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for _, want := range []float64{1.25e6, 12.5e6, 50e6} {
			begun := time.Now()
			got, err := fastest(&paced{rtt: 40 * time.Millisecond, rate: want})
			if err != nil || got < 0.7*want || got > 1.3*want {
				t.Errorf("a link of %.0f bytes/s: measured %.0f in %v, %v", want, got, time.Since(begun), err)
			}
		}
	})
	if _, err := fastest(io.LimitReader(&paced{rate: 1e9}, probeBytes-1)); err == nil {
		t.Error("a probe that is cut short counts")
	}
}

func TestProbesAreBounded(t *testing.T) {
	var p probes
	now := time.Now()
	if !p.begin("a", now) || !p.begin("b", now) || p.begin("c", now) {
		t.Error("two at once")
	}
	p.end()
	if p.begin("a", now.Add(probeAgain-1)) || !p.begin("a", now.Add(probeAgain)) {
		t.Error("once in ten minutes")
	}
}

// TestOneBlockTellsTheRate: a block of 256 KiB with what goes before it is the least that datasets are commonly cut into. A node that
// was given no more must not be without any rate.
func TestOneBlockTellsTheRate(t *testing.T) {
	a, b := newPair(t, tcp, Config{})
	b.HandleStream("l.block", func(_ context.Context, _ shoal.PeerID, _ []byte, s shoal.Stream) error {
		_, err := s.Write(make([]byte, 40+256<<10))
		return err
	})
	s, err := a.Open(soon(t), b.Self(), "l.block", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, s); err != nil {
		t.Fatal(err)
	}
	if l := a.Link(b.Self()); l.Rate <= 0 || l.Probed {
		t.Fatalf("after a block: %+v", l)
	}
}
