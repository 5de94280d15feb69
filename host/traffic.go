package host

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Traffic counts bytes.
type Traffic struct {
	In  uint64 `json:"in"`
	Out uint64 `json:"out"`
}

// Names in Traffic's map that are no protocols.
const (
	negotiation = "negotiation" // bytes of streams before they have a protocol
	others      = "others"      // protocols beyond maxProtocols
)

const maxProtocols = 1024

// Traffic returns the bytes that crossed the streams of each protocol since New, as the connections
// counted them, exact at the time of the call. "negotiation" is what was said to agree on protocols.
func (h *Host) Traffic() map[string]Traffic {
	counters := *h.traffic.counters.Load()
	out := make(map[string]Traffic, len(counters))
	for id, c := range counters {
		out[string(id)] = Traffic{In: c.in.Load(), Out: c.out.Load()}
	}
	return out
}

// traffic implements libp2p's bandwidth reporter. The one that comes with libp2p adds up once a
// second only; this one is exact, and counts no rates and no peers, which nobody asks for.
type traffic struct {
	mu       sync.Mutex                               // held to add a counter
	counters atomic.Pointer[map[protocol.ID]*counter] // replaced whole, so that counting takes no lock
}

type counter struct{ in, out atomic.Uint64 }

var _ metrics.Reporter = (*traffic)(nil)

func newTraffic() *traffic {
	t := &traffic{}
	t.counters.Store(&map[protocol.ID]*counter{negotiation: {}, others: {}})
	return t
}

// of returns the counter of a protocol.
func (t *traffic) of(id protocol.ID) *counter {
	if id == "" {
		id = negotiation
	}
	if c, ok := (*t.counters.Load())[id]; ok {
		return c
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.counters.Load()
	if c, ok := old[id]; ok {
		return c
	}
	if len(old) >= maxProtocols {
		return old[others]
	}
	counters := maps.Clone(old)
	c := &counter{}
	counters[id] = c
	t.counters.Store(&counters)
	return c
}

func (t *traffic) LogSentMessage(int64) {}
func (t *traffic) LogRecvMessage(int64) {}

func (t *traffic) LogSentMessageStream(n int64, id protocol.ID, _ peer.ID) {
	t.of(id).out.Add(uint64(n))
}

func (t *traffic) LogRecvMessageStream(n int64, id protocol.ID, _ peer.ID) {
	t.of(id).in.Add(uint64(n))
}

func (t *traffic) GetBandwidthForPeer(peer.ID) metrics.Stats { return metrics.Stats{} }

func (t *traffic) GetBandwidthForProtocol(id protocol.ID) metrics.Stats {
	if c, ok := (*t.counters.Load())[id]; ok {
		return c.stats()
	}
	return metrics.Stats{}
}

func (t *traffic) GetBandwidthTotals() metrics.Stats {
	var sum metrics.Stats
	for _, c := range *t.counters.Load() {
		s := c.stats()
		sum.TotalIn += s.TotalIn
		sum.TotalOut += s.TotalOut
	}
	return sum
}

func (t *traffic) GetBandwidthByPeer() map[peer.ID]metrics.Stats { return nil }

func (t *traffic) GetBandwidthByProtocol() map[protocol.ID]metrics.Stats {
	out := map[protocol.ID]metrics.Stats{}
	for id, c := range *t.counters.Load() {
		out[id] = c.stats()
	}
	return out
}

func (t *traffic) Reset()             {}
func (t *traffic) TrimIdle(time.Time) {}

func (c *counter) stats() metrics.Stats {
	return metrics.Stats{TotalIn: int64(c.in.Load()), TotalOut: int64(c.out.Load())}
}
