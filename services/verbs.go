package services

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Definition is what a service is, for people and programs.
type Definition struct {
	Name       string  `json:"name"`
	Key        string  `json:"key"`
	Code       string  `json:"code,omitempty"` // CID of the module
	Exec       string  `json:"exec,omitempty"` // native executor
	Method     string  `json:"method"`
	Min        int     `json:"min"`
	Max        int     `json:"max,omitempty"` // no limit if left out
	TargetMS   float64 `json:"target_wait_ms"`
	IdleS      float64 `json:"idle_s"`
	Needs      string  `json:"needs,omitempty"`
	Idempotent bool    `json:"idempotent,omitempty"`
	CreatedMS  int64   `json:"created_ms"` // Unix milliseconds
}

// Show is a service and its instances over the fabric.
type Show struct {
	Definition
	Instances int    `json:"instances"`
	Waiting   int    `json:"waiting"`
	Calls     uint64 `json:"calls"`
	Hosts     []Host `json:"hosts"`
	Silent    int    `json:"silent,omitempty"` // peers that did not say what they have
}

// Host is the part of one peer.
type Host struct {
	Peer      shoal.PeerID `json:"peer_id"`
	Instances int          `json:"instances"`
	Busy      int          `json:"busy"`
	Waiting   int          `json:"waiting"`
	Figures
}

// Figures are what a host did since it first had an instance. Quantiles are of its last 512 calls, the wait included.
type Figures struct {
	Calls   uint64            `cbor:"c,omitempty" json:"calls"`
	Failed  uint64            `cbor:"f,omitempty" json:"failed"`
	SentOn  uint64            `cbor:"r,omitempty" json:"sent_on"` // refused, as they were better off elsewhere
	By      map[string]uint64 `cbor:"k,omitempty" json:"calls_by,omitempty"`
	Batch   float64           `cbor:"b,omitempty" json:"batch"`      // calls that were handed over together, on average
	Limit   int               `cbor:"l,omitempty" json:"batch_most"` // that would be now
	P50     float64           `cbor:"m,omitempty" json:"p50_ms"`
	P99     float64           `cbor:"n,omitempty" json:"p99_ms"`
	Opened  uint64            `cbor:"o,omitempty" json:"opened"`
	OpenS   float64           `cbor:"s,omitempty" json:"open_s"` // that the last instance took to open
	Failure string            `cbor:"e,omitempty" json:"failure,omitempty"`
}

func definition(n Named, s *Spec) Definition {
	return Definition{
		Name: s.Name, Key: keyText(n.Key), Code: s.Code, Exec: s.Exec, Method: s.Method, Min: s.Min, Max: s.Max, TargetMS: s.Target.Seconds() * 1000,
		IdleS: s.Idle.Seconds(), Needs: s.Needs, Idempotent: s.Idempotent, CreatedMS: n.At,
	}
}

// Create gives a name to a service. Exists: an agent or a service has it. Invalid: it cannot be.
func (s *Services) Create(ctx context.Context, spec Spec) (*Definition, error) {
	what := "create service " + spec.Name
	if err := spec.check(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.OpenWait)
	defer cancel()
	var err error
	if spec.Name, err = s.Names.Full(spec.Name); err != nil {
		return nil, err
	}
	if spec.Code != "" {
		if err := s.Code.Keep(ctx, spec.Code, s.self); err != nil {
			return nil, shoal.Wrap(shoal.Invalid, what, err)
		}
		b, err := s.Code.Behaviour(ctx, spec.Code)
		if err != nil {
			return nil, shoal.Wrap(shoal.Invalid, what, err)
		}
		if !slices.Contains(b.Methods(), spec.Method) {
			return nil, shoal.Wrap(shoal.Invalid, what, noMethod(spec.Method, b.Methods()))
		}
	}
	if spec.Code != "" {
		s.spread(ctx, spec.Code)
	}
	sealed, key := spec.seal()
	if err := s.Names.Define(ctx, spec.Name, key, sealed); err != nil {
		return nil, err
	}
	d := definition(Named{Key: key, At: time.Now().UnixMilli()}, &spec)
	return &d, nil
}

// copies is how many members besides its maker have a service's module from the begin. The keepers of its definition follow.
const copies = 2

// spread has other members keep a module: the node on which a service is made may be lost the next moment.
func (s *Services) spread(ctx context.Context, module string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	table := s.Members.Table()
	rand.Shuffle(len(table), func(i, j int) { table[i], table[j] = table[j], table[i] })
	got := make(chan bool, len(table))
	asked, have := 0, 0
	next := func() {
		for len(table) > 0 {
			m := table[0]
			if table = table[1:]; m.State != shoal.Alive || !s.enter() {
				continue
			}
			asked++
			go func() {
				defer s.work.Done()
				_, err := s.Peers.Ask(ctx, m.ID, "services.keep", []byte(module))
				got <- err == nil
			}()
			return
		}
	}
	for range copies {
		next()
	}
	for ; asked > 0; asked-- {
		if <-got {
			have++
		} else {
			next()
		}
	}
	if have == 0 {
		s.cfg.Log.Info("no other member has the module of a service yet", "module", module)
	}
}

// List lists the services of an owner, "" for the fabric's, in order of names.
func (s *Services) List(ctx context.Context, owner shoal.PeerID) ([]Definition, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTime)
	defer cancel()
	named, err := s.Names.List(ctx, owner)
	if err != nil {
		return nil, err
	}
	list := make([]Definition, 0, len(named))
	for _, n := range named {
		spec, err := open(n.Key, n.Spec)
		if err != nil { // of another version of shoal
			list = append(list, Definition{Name: n.Name, Key: keyText(n.Key), CreatedMS: n.At})
			continue
		}
		list = append(list, definition(n, spec))
	}
	return list, nil
}

// Remove frees a service's name. Its instances are closed within seconds.
func (s *Services) Remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTime)
	defer cancel()
	n, err := s.Names.Remove(ctx, name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.callers, name)
	s.mu.Unlock()
	hear, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	for _, p := range s.everybody(hear, n.Key) {
		wait.Go(func() { _, _ = s.Peers.Ask(hear, p, "services.drop", []byte(n.Key)) }) // who does not hear of it looks itself
	}
	wait.Wait()
	return nil
}

// everybody lists the peers to ask who has instances: all members of a small fabric, those that the directory names in a
// larger one, and this node.
func (s *Services) everybody(ctx context.Context, key shoal.Key) []shoal.PeerID {
	list := []shoal.PeerID{s.self}
	table := s.Members.Table()
	for _, m := range table {
		if m.State == shoal.Alive && len(table) < small {
			list = append(list, m.ID)
		}
	}
	if len(list) <= 1 {
		list = append(list, s.holders(ctx, key)...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Show describes a service, with what each host says of its part.
func (s *Services) Show(ctx context.Context, name string) (*Show, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTime)
	defer cancel()
	n, err := s.Names.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	spec, err := open(n.Key, n.Spec)
	if err != nil {
		return nil, err
	}
	out := &Show{Definition: definition(n, spec), Hosts: []Host{}}
	ask, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, p := range s.everybody(ask, n.Key) {
		wait.Go(func() {
			a, err := s.askPeer(ask, p, &askRequest{Key: []byte(n.Key), Full: true})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				out.Silent++
			case a.Figures != nil:
				out.Hosts = append(out.Hosts, Host{p, a.State.Instances, a.State.Busy, a.State.Waiting, *a.Figures})
				out.Instances += a.State.Instances
				out.Waiting += a.State.Waiting
				out.Calls += a.Figures.Calls
			}
		})
	}
	wait.Wait()
	slices.SortFunc(out.Hosts, func(a, b Host) int { return cmp.Compare(a.Peer, b.Peer) })
	return out, nil
}

// figures are what this host did.
func (h *host) figures() *Figures {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &Figures{
		Calls: h.seen.calls, Failed: h.seen.failed, SentOn: h.seen.refused, By: maps.Clone(h.seen.by), Opened: h.seen.opens, OpenS: h.seen.last.Seconds(),
	}
	if h.seen.batches > 0 {
		f.Batch = float64(h.seen.calls) / float64(h.seen.batches)
	}
	for w := range h.workers {
		f.Limit = max(f.Limit, w.size.Now())
	}
	f.P50, f.P99 = h.seen.quantiles()
	if h.failed != nil {
		f.Failure = h.failed.Error()
	}
	return f
}

// keyText writes a service's key as people see it.
func keyText(k shoal.Key) string { return cid.NewCidV1(cid.Raw, []byte(k)).String() }
