package scheduler

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/rates"
	"github.com/shoal-fabric/shoal/wire"
)

const (
	ratesKey  = "rates"
	ratesKept = time.Minute // how often they are written, at most: what is lost with a crash is learnt again
	maxSizes  = 4096        // modules whose size is remembered
)

// openRates reads what was learnt before the node stopped.
func openRates(kv shoal.KV, cfg Config) *rates.Book {
	b := rates.New()
	raw, err := kv.Get(ratesKey)
	if err == nil {
		if err = wire.Unmarshal("learnt rates", raw, b); err != nil {
			cfg.Log.Warn("learnt rates are unreadable and dropped", "error", err)
			b = rates.New()
		}
	}
	b.Sane()
	return b
}

// keepRates writes them from time to time.
func (s *Scheduler) keepRates() {
	t := time.NewTicker(ratesKept)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := s.saveRates(); err != nil {
				s.cfg.Log.Warn("learnt rates are not on disk", "error", err)
			}
		case <-s.life.Done():
			return
		}
	}
}

func (s *Scheduler) saveRates() error {
	s.mu.Lock()
	if !s.learnt {
		s.mu.Unlock()
		return nil
	}
	s.learnt = false
	raw := wire.Marshal(s.rates)
	s.mu.Unlock()
	return shoal.Wrap(shoal.Internal, "keep learnt rates", s.d.KV.Set(ratesKey, raw))
}

// learn takes in what a task took.
func (s *Scheduler) learn(module cid.Cid, out shoal.Outcome) {
	speed, code := s.place.hashMBs(out.Peer), s.place.size(module)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learnt = true
	s.rates.Ran(rates.Run{
		Peer: out.Peer, Module: module.String(), Seconds: out.Seconds, Speed: speed, Gas: out.Gas, Compile: out.Compile, Code: cmp.Or(code.body, code.bytes),
		Moved: out.CodeMoved + out.DataMoved, Fetch: out.Fetch,
	}, time.Now())
}

// lost notes that a peer offered to take a task and did not run it.
func (s *Scheduler) lost(p shoal.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learnt = true
	s.rates.Lost(p, time.Now())
}

// effort is what a run of a module takes, and what compiling takes besides: see cost.Facts.
func (s *Scheduler) effort(module cid.Cid) (work, base float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rates.Effort(module.String()), s.rates.Compile
}

// trust is how many seconds of doubt there are of a peer, and how much slower it is than it says.
func (s *Scheduler) trust(p shoal.PeerID) (doubt, factor float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	return s.rates.Doubt(p, now), s.rates.Factor(p, now)
}

// fetches is at how many bytes a second a peer got what tasks needed there; 0: unknown.
func (s *Scheduler) fetches(p shoal.PeerID) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rates.Fetches(p)
}

// correct takes in what was learnt of a candidate.
func (p *placer) correct(c *cost.Peer) {
	doubt, factor := p.s.trust(c.ID)
	c.Doubt, c.HashMBs = doubt, cmp.Or(c.HashMBs, cost.DefaultHashMBs)/factor
}

// PeerRate is what this node has measured of a peer and learnt from its tasks. Zero: unknown.
type PeerRate struct {
	Peer    shoal.PeerID `json:"peer_id"`
	RTT     float64      `json:"rtt_s"`       // seconds
	Bytes   float64      `json:"bytes_per_s"` // over the link to it
	Probed  bool         `json:"probed"`      // that was measured by a probe; else by real traffic
	Fetch   float64      `json:"fetch_bytes_per_s"`
	HashMBs float64      `json:"hash_mbs"` // as it says
	Factor  float64      `json:"factor"`   // run time over what its speed lets expect, fading to 1
	Runs    uint64       `json:"runs"`     // tasks of this node that ended there
	Lost    uint64       `json:"lost"`     // that it offered to take and did not run
	Doubt   float64      `json:"doubt_s"`  // seconds that adds to its cost now
}

// ModuleRate is what this node has learnt of a module from its own tasks.
type ModuleRate struct {
	Module string  `json:"module"`
	Runs   uint64  `json:"runs"`
	Gas    float64 `json:"gas_per_s"` // instructions per second, on the cores it ran on
	Effort float64 `json:"effort"`    // seconds of a run, times the speed of the core in MB/s of SHA-256
}

// Rates is everything that placement has learnt, peers by ID and modules with most runs first.
type Rates struct {
	Compile float64      `json:"compile_s"` // of a compilation, besides what the module's size takes
	Peers   []PeerRate   `json:"peers"`
	Modules []ModuleRate `json:"modules"`
}

// Rates shows the learnt rates, of all known peers.
func (s *Scheduler) Rates(context.Context) Rates {
	ids := map[shoal.PeerID]shoal.Member{s.self: s.d.Members.Self()}
	for _, m := range s.d.Members.Table() {
		ids[m.ID] = m
	}
	var out Rates
	now := time.Now()
	s.mu.Lock()
	out.Compile = s.rates.Compile
	for id, p := range s.rates.Peers {
		m := ids[id]
		delete(ids, id)
		out.Peers = append(out.Peers, PeerRate{
			Peer: id, Fetch: p.Fetch, HashMBs: m.Attributes.HashMBs, Factor: s.rates.Factor(id, now), Runs: p.Runs, Lost: p.Lost, Doubt: s.rates.Doubt(id, now),
		})
	}
	for name, m := range s.rates.Modules {
		if c, err := cid.Decode(name); err == nil {
			name = shoal.CodeName(c)
		}
		out.Modules = append(out.Modules, ModuleRate{name, m.Runs, m.Gas, m.Effort})
	}
	s.mu.Unlock()
	for id, m := range ids { // nothing ran there yet
		out.Peers = append(out.Peers, PeerRate{Peer: id, HashMBs: m.Attributes.HashMBs, Factor: 1})
	}
	for i := range out.Peers {
		if p := &out.Peers[i]; s.d.Link != nil && p.Peer != s.self {
			rtt, rate := s.d.Link(p.Peer)
			p.RTT, p.Bytes = rtt.Seconds(), rate
			p.Probed = s.d.Probed != nil && s.d.Probed(p.Peer)
		}
	}
	slices.SortFunc(out.Peers, func(a, b PeerRate) int { return cmp.Compare(a.Peer, b.Peer) })
	slices.SortFunc(out.Modules, func(a, b ModuleRate) int {
		return cmp.Or(cmp.Compare(b.Runs, a.Runs), cmp.Compare(a.Module, b.Module))
	})
	return out
}
