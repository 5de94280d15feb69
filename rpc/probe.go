package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

// A probe measures a link that nothing large has crossed yet: the peer sends probeBytes. A young connection sends few bytes in
// each round trip, so what counts is not how long all of it took but the fastest window of it: in that, bytes followed one
// another as the link lets them.
const (
	probeMethod = "link.probe"
	probeBytes  = 256 << 10
	probeChunk  = 16 << 10 // smaller than a part: the meters of streams leave it alone
	probeWindow = 64 << 10
	probeTime   = 5 * time.Second
	probesAsked = 2                // at once, by this node and of it
	probeAgain  = 10 * time.Minute // of one peer
	maxProbed   = 4096             // peers of which is remembered when
)

// probes bounds the probes that this node sends, or serves.
type probes struct {
	mu    sync.Mutex
	busy  int
	since map[shoal.PeerID]time.Time
}

// begin admits a probe with a peer; the caller calls end if it does.
func (p *probes) begin(id shoal.PeerID, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.since[id]; p.busy >= probesAsked || ok && now.Sub(at) < probeAgain {
		return false
	}
	if p.since == nil || len(p.since) >= maxProbed {
		p.since = map[shoal.PeerID]time.Time{}
	}
	p.since[id] = now
	p.busy++
	return true
}

func (p *probes) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
}

// Probe measures the rate from a peer to this node, in bytes a second, and makes it the link's until real traffic tells better.
// It is Refused when this peer was probed within ten minutes, or two others are being.
func (r *RPC) Probe(ctx context.Context, p shoal.PeerID) (float64, error) {
	what := "probe " + p.Short()
	if !r.asking.begin(p, time.Now()) {
		return 0, shoal.E(shoal.Refused, what, "it was probed a moment ago, or others are being", "")
	}
	defer r.asking.end()
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	s, err := r.Open(ctx, p, probeMethod, nil)
	if err != nil {
		return 0, err
	}
	defer s.Reset()
	defer context.AfterFunc(ctx, s.Reset)()
	rate, err := fastest(s)
	if err != nil {
		return 0, shoal.Wrap(shoal.Unavailable, what, err)
	}
	peer, err := r.remote(p)
	if err != nil {
		return 0, err
	}
	peer.meter.probed(rate, time.Now())
	return rate, nil
}

// fastest reads what a probe sends, and returns the rate of the fastest window. Bytes that came while the reader was busy seem
// to come at once: what is faster than the machine's memory would be is not believed.
func fastest(r io.Reader) (rate float64, err error) {
	type mark struct {
		at    time.Time
		bytes int
	}
	var marks []mark
	buf := make([]byte, probeChunk)
	total := 0
	for total < probeBytes {
		n, err := io.ReadFull(r, buf)
		total += n
		if n > 0 {
			marks = append(marks, mark{time.Now(), total})
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, err
		}
		if err != nil {
			break
		}
	}
	if total < probeBytes {
		return 0, io.ErrUnexpectedEOF
	}
	const least = 20 * time.Microsecond
	for i, from := range marks {
		for _, to := range marks[i+1:] {
			if n := to.bytes - from.bytes; n >= probeWindow {
				rate = max(rate, float64(n)/max(to.at.Sub(from.at), least).Seconds())
				break
			}
		}
	}
	return rate, nil
}

// serveProbe sends what a probe measures.
func (r *RPC) serveProbe(ctx context.Context, from shoal.PeerID, _ []byte, s shoal.Stream) error {
	if !r.asked.begin(from, time.Now()) {
		return shoal.E(shoal.Overloaded, "probe", "it was probed by you a moment ago, or others do", "")
	}
	defer r.asked.end()
	defer context.AfterFunc(ctx, s.Reset)()
	late := time.AfterFunc(probeTime, s.Reset)
	defer late.Stop()
	chunk := make([]byte, probeChunk)
	for range probeBytes / probeChunk {
		if _, err := s.Write(chunk); err != nil {
			return err
		}
	}
	return s.CloseWrite()
}

// probed takes in what a probe has measured, where nothing is known from real traffic.
func (m *meter) probed(rate float64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rate > 0 && (m.link.Rate == 0 || m.link.Probed) {
		m.link.Rate, m.link.Probed, m.link.At = rate, true, now
	}
}
