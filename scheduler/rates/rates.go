package rates

import (
	"math"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

const (
	StrikeSeconds = 5.0              // that a strike adds to a peer's cost
	Halving       = 30 * time.Second // in which strikes fade to half
	Fading        = 10 * time.Minute // in which a factor fades to its square root

	maxStrikes = 8
	maxFactor  = 16
	clip       = 1.5  // most that a run's effort counts, against what is known
	maxKept    = 4096 // peers, and modules
)

// Book is all that was learnt.
type Book struct {
	Peers   map[shoal.PeerID]*Peer `cbor:"peers"`
	Modules map[string]*Module     `cbor:"modules"` // by CID
	Compile float64                `cbor:"compile"` // seconds of a compilation besides what the module's size takes; 0 unknown
}

// Peer is what was learnt of one peer. Times are Unix milliseconds.
type Peer struct {
	Runs    uint64  `cbor:"runs"`    // tasks that ended there
	Lost    uint64  `cbor:"lost"`    // tasks that it offered to take and did not run
	Factor  float64 `cbor:"factor"`  // run time over what was expected, at the time of At, at least 1; 0: unknown
	At      int64   `cbor:"at"`      // of the last run
	Strikes float64 `cbor:"strikes"` // at the time of Struck
	Struck  int64   `cbor:"struck"`
	Fetch   float64 `cbor:"fetch"` // bytes/s of code and data that it fetched for tasks; 0: unknown
}

// Module is what was learnt of one module.
type Module struct {
	Runs   uint64  `cbor:"runs"`
	Effort float64 `cbor:"effort"` // seconds of a run times the speed of the core, MB/s of SHA-256
	Gas    float64 `cbor:"gas"`    // per second, on the cores it ran on; 0: unknown
	At     int64   `cbor:"at"`
}

// Run is a task that ended well.
type Run struct {
	Peer    shoal.PeerID
	Module  string
	Seconds float64 // run time
	Speed   float64 // of the core, as the peer says; MB/s of SHA-256; 0 unknown
	Gas     uint64
	Compile float64 // seconds; 0: it was compiled before
	Code    uint64  // bytes of the module, 0 unknown
	Moved   uint64  // bytes of code and data it had to fetch
	Fetch   float64 // seconds that took
}

// New makes an empty book.
func New() *Book { return &Book{Peers: map[shoal.PeerID]*Peer{}, Modules: map[string]*Module{}} }

// Ran learns from a run.
func (b *Book) Ran(r Run, now time.Time) {
	p, m := b.peer(r.Peer, now), b.module(r.Module)
	p.Strikes, p.Struck = b.strikes(p, now)/2, now.UnixMilli()
	p.Runs++
	m.Runs++
	m.At = now.UnixMilli()
	if r.Moved >= 256<<10 && r.Fetch > 0 { // less says more of the latency
		learn(&p.Fetch, float64(r.Moved)/r.Fetch)
	}
	if r.Compile > 0 && r.Code > 0 {
		learn(&b.Compile, max(0, r.Compile-cost.Compiling(r.Code, r.Speed)))
	}
	if r.Seconds > 0.001 && r.Gas > 0 {
		learn(&m.Gas, float64(r.Gas)/r.Seconds)
	}
	if !finite(r.Seconds) || !finite(r.Speed) || r.Speed == 0 {
		return
	}
	factor := b.factor(p, now)
	if m.Effort > 0 {
		const grain = 0.01 // seconds below which a run time says little
		ratio := (r.Seconds + grain) / (m.Effort/r.Speed + grain)
		factor = min(max(factor*math.Pow(ratio/factor, 0.25), 1), maxFactor)
	}
	p.Factor, p.At = factor, now.UnixMilli()
	effort := r.Seconds * r.Speed / factor
	if m.Effort > 0 { // a run that took long raises it only a little: it may be the peer that is slow
		effort = min(effort, m.Effort*clip)
	}
	learn(&m.Effort, effort)
}

// Lost notes that a peer offered to take a task and did not run it.
func (b *Book) Lost(id shoal.PeerID, now time.Time) {
	p := b.peer(id, now)
	p.Lost++
	p.Strikes, p.Struck = min(b.strikes(p, now)+1, maxStrikes), now.UnixMilli()
}

// Doubt is how many seconds a peer's strikes add to its cost now; 0: none worth counting.
func (b *Book) Doubt(id shoal.PeerID, now time.Time) float64 {
	p := b.Peers[id]
	if p == nil {
		return 0
	}
	if s := b.strikes(p, now); s > 0.05 {
		return s * StrikeSeconds
	}
	return 0
}

// Factor is how much longer tasks run on a peer than the speed of its cores lets expect; 1: as expected, or unknown.
func (b *Book) Factor(id shoal.PeerID, now time.Time) float64 {
	if p := b.Peers[id]; p != nil {
		return b.factor(p, now)
	}
	return 1
}

// Fetches is at how many bytes a second a peer got what tasks needed there; 0: unknown.
func (b *Book) Fetches(id shoal.PeerID) float64 {
	if p := b.Peers[id]; p != nil {
		return p.Fetch
	}
	return 0
}

// Effort is a module's; 0: unknown.
func (b *Book) Effort(module string) float64 {
	if m := b.Modules[module]; m != nil {
		return m.Effort
	}
	return 0
}

func (b *Book) strikes(p *Peer, now time.Time) float64 {
	return p.Strikes * faded(p.Struck, now, Halving)
}

func (b *Book) factor(p *Peer, now time.Time) float64 {
	if p.Factor <= 0 {
		return 1
	}
	return math.Pow(p.Factor, faded(p.At, now, Fading))
}

// faded is what is left after the time since at, of what halves in half.
func faded(at int64, now time.Time, half time.Duration) float64 {
	age := max(now.UnixMilli()-at, 0)
	return math.Exp2(-float64(age) / float64(half.Milliseconds()))
}

func learn(mean *float64, v float64) {
	if !finite(v) {
		return
	}
	if *mean == 0 {
		*mean = v
	}
	*mean += (v - *mean) / 8
}

func finite(v float64) bool { return v >= 0 && !math.IsInf(v, 1) }

// peer returns a peer's entry, making room for it: the one that was heard of the longest ago goes.
func (b *Book) peer(id shoal.PeerID, now time.Time) *Peer {
	p := b.Peers[id]
	if p == nil {
		if len(b.Peers) >= maxKept {
			oldest(b.Peers, func(p *Peer) int64 { return max(p.At, p.Struck) })
		}
		p = &Peer{Struck: now.UnixMilli()}
		b.Peers[id] = p
	}
	return p
}

func (b *Book) module(name string) *Module {
	m := b.Modules[name]
	if m == nil {
		if len(b.Modules) >= maxKept {
			oldest(b.Modules, func(m *Module) int64 { return m.At })
		}
		m = &Module{}
		b.Modules[name] = m
	}
	return m
}

// oldest deletes one of the entries with the least time.
func oldest[K comparable, V any](m map[K]V, at func(V) int64) {
	var least K
	when := int64(math.MaxInt64)
	for k, v := range m {
		if t := at(v); t < when {
			least, when = k, t
		}
	}
	delete(m, least)
}

// Sane drops what cannot be, after decoding.
func (b *Book) Sane() {
	if b.Peers == nil {
		b.Peers = map[shoal.PeerID]*Peer{}
	}
	if b.Modules == nil {
		b.Modules = map[string]*Module{}
	}
	if !finite(b.Compile) {
		b.Compile = 0
	}
	for k, p := range b.Peers {
		if p == nil || !finite(p.Factor) || p.Factor > maxFactor || !finite(p.Strikes) || p.Strikes > maxStrikes || !finite(p.Fetch) {
			delete(b.Peers, k)
		}
	}
	for k, m := range b.Modules {
		if m == nil || !finite(m.Effort) || !finite(m.Gas) {
			delete(b.Modules, k)
		}
	}
}
