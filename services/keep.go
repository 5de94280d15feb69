package services

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
)

// Run looks after the instances here, and after the definitions that this node keeps, until ctx ends.
func (s *Services) Run(ctx context.Context) error {
	look, tend := time.NewTicker(s.cfg.Look), time.NewTicker(s.cfg.Tend)
	defer look.Stop()
	defer tend.Stop()
	tending := make(chan struct{}, 1)
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			s.look(round)
		case <-tend.C:
			if !s.enter() {
				return nil
			}
			go func() {
				defer s.work.Done()
				select {
				case tending <- struct{}{}:
					s.tend(ctx)
					<-tending
				default: // the last time still goes on
				}
			}()
		}
	}
}

// At how many looks a host tells the others what it has, and at how many it looks for others that it does not know.
const (
	tellEvery = 4
	meetEvery = 40
)

// look has hosts close what they have no use for, and tell one another what they have.
func (s *Services) look(round int) {
	s.mu.Lock()
	hosts := s.list()
	s.mu.Unlock()
	now := time.Now()
	for _, h := range hosts {
		h.mu.Lock()
		h.weed()
		h.decide(now, "")
		st := h.stateLocked(now)
		was := h.told
		h.told = st.Instances > 0
		h.met = h.met && h.told
		check := st.Instances > 0 && now.Sub(h.checked) > s.cfg.Check
		if check {
			h.checked = now
		}
		old := st.Instances == 0 && len(h.queue) == 0 && now.Sub(h.used) > remembered
		h.mu.Unlock()
		if old {
			s.mu.Lock()
			delete(s.hosts, h.key)
			s.mu.Unlock()
		}
		if was != (st.Instances > 0) {
			s.announce(h.key, st.Instances > 0)
		}
		if check {
			s.aside(func(ctx context.Context) { s.check(ctx, h) })
		}
		if round%meetEvery == 0 && st.Instances > 0 {
			s.aside(h.meet)
		}
		if round%tellEvery == 0 && (st.Instances > 0 || was) {
			h.exchange(st)
		}
	}
}

// weed has idle instances go that broke by themselves, as a process does that is not well. The lock is held.
func (h *host) weed() {
	h.idle = slices.DeleteFunc(h.idle, func(w *worker) bool {
		if !w.p.Broken() {
			return false
		}
		w.stop = true
		w.wake <- struct{}{}
		return true
	})
}

// remembered is how long what a host did is remembered after its last instance has gone.
const remembered = time.Hour

// aside does something that may take a while.
func (s *Services) aside(f func(ctx context.Context)) {
	if !s.enter() {
		return
	}
	go func() {
		defer s.work.Done()
		ctx, cancel := context.WithTimeout(s.life, 5*time.Second)
		defer cancel()
		f(ctx)
	}()
}

// announce says in the directory that this node has instances, or has none any more.
func (s *Services) announce(key shoal.Key, here bool) {
	s.aside(func(ctx context.Context) {
		var err error
		if here {
			err = s.Directory.Provide(ctx, key)
		} else {
			err = s.Directory.Withdraw(ctx, key)
		}
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("services: announce", "err", err)
		}
	})
}

// exchange tells the other hosts what this one has, and hears what they have.
func (h *host) exchange(st state) {
	others := h.tell()
	for _, o := range others[:min(len(others), maxAsked)] {
		h.s.aside(func(ctx context.Context) { h.greet(ctx, o.Peer, st, others) })
	}
}

// greet exchanges what this host has for what another has.
func (h *host) greet(ctx context.Context, p shoal.PeerID, st state, others []told) {
	ctx, cancel := context.WithTimeout(ctx, h.s.cfg.OfferWait)
	defer cancel()
	a, err := h.s.askPeer(ctx, p, &askRequest{Key: []byte(h.key), Host: true, State: st, Others: others})
	if err != nil {
		return
	}
	h.hear([]told{{Peer: p, State: a.State}})
	h.hear(a.Others)
}

// meet looks for other hosts, among all members of a small fabric, or those that the directory names.
func (h *host) meet(ctx context.Context) {
	st := h.state()
	var wait sync.WaitGroup
	for _, p := range h.s.everybody(ctx, h.key) {
		if p != h.s.self {
			wait.Go(func() { h.greet(ctx, p, st, h.tell()) })
		}
	}
	wait.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met = true
}

// check looks whether a service is still defined, and closes what is here if not.
func (s *Services) check(ctx context.Context, h *host) {
	n, err := s.Names.Find(ctx, h.spec.Name)
	kind := shoal.KindOf(err)
	if err == nil && n.Key != h.key || err != nil && (kind == shoal.NotFound || kind == shoal.Invalid) {
		h.retire()
	}
}

// tend keeps the modules of the services that this node keeps the definitions of, and, where it is the first to, sees that
// those have their least number of instances.
func (s *Services) tend(ctx context.Context) {
	var kept []Named
	first := map[shoal.Key]bool{}
	err := s.Names.Kept(func(n Named, is bool) {
		kept = append(kept, n)
		first[n.Key] = is
	})
	if err != nil {
		s.cfg.Log.Warn("services: what this node keeps", "err", err)
	}
	for _, n := range kept {
		spec, err := open(n.Key, n.Spec)
		if err != nil {
			continue
		}
		if spec.Code != "" {
			bounded, cancel := context.WithTimeout(ctx, time.Minute)
			if err := s.Code.Keep(bounded, spec.Code); err != nil && ctx.Err() == nil {
				s.cfg.Log.Warn("the module of a service cannot be kept", "service", spec.Name, "err", err)
			}
			cancel()
		}
		if first[n.Key] && spec.Min > 0 {
			s.least(ctx, n, spec)
		}
	}
}

// least opens what a service lacks of its least number of instances.
func (s *Services) least(ctx context.Context, n Named, spec *Spec) {
	c := &caller{s: s, name: spec.Name, key: n.Key, sealed: n.Spec, spec: spec, looked: time.Now(), hosts: map[shoal.PeerID]*seen{}}
	sv, _ := c.survey(ctx, nil)
	c.mu.Lock()
	have := c.instances()
	c.mu.Unlock()
	for have < spec.Min && ctx.Err() == nil {
		spread := sv
		spread.answers = map[shoal.PeerID]*askAnswer{}
		for p, a := range sv.answers { // rather where there are none
			if a.State.Instances == 0 {
				spread.answers[p] = a
			}
		}
		best, ok := c.choose(spec, &spread)
		if !ok {
			if best, ok = c.choose(spec, &sv); !ok {
				s.cfg.Log.Warn("a service has fewer instances than it should", "service", spec.Name, "has", have, "least", spec.Min)
				return
			}
		}
		if err := c.openAt(ctx, best.peer, best.kind, 1); err != nil {
			s.cfg.Log.Warn("an instance cannot be opened", "service", spec.Name, "peer", best.peer.Short(), "err", err)
			delete(sv.answers, best.peer)
			continue
		}
		have++
		if a := sv.answers[best.peer]; a != nil {
			a.State.Instances++
			a.Load.Running++
		}
	}
}
