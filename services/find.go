package services

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/wire"
)

// maxAsked is how many peers are asked at once.
const maxAsked = 8

// small is how many members a fabric may have for all of them to be asked, as long as the table has them.
const small = 32

// survey is what candidates said.
type survey struct {
	answers map[shoal.PeerID]*askAnswer
	refused []string // who is out, and why
	retry   bool     // of those, some may be in later
}

// candidates are the members whose machines fit, this node among them.
func (c *caller) candidates(spec *Spec, without tries) (list []shoal.PeerID, s survey) {
	self := c.s.Members.Self()
	self.State = shoal.Alive
	all := append(c.s.Members.Table(), self)
	for i := range all {
		m := &all[i]
		if m.State != shoal.Alive || without.has(m.ID) {
			continue
		}
		var out error
		fit := slices.ContainsFunc(spec.kinds(), func(kind string) bool {
			err := c.s.fits(spec, kind, m)
			if err != nil {
				out = err
			}
			return err == nil
		})
		if fit {
			list = append(list, m.ID)
		} else if s.refused = append(s.refused, m.ID.Short()+": "+reason(out)); shoal.Retryable(out) {
			s.retry = true
		}
	}
	return list, s
}

// survey asks peers what they have and could have: those that may have instances, this node, and others at random.
func (c *caller) survey(ctx context.Context, without tries) (survey, *Spec) {
	c.mu.Lock()
	spec, key := c.spec, c.key
	q := askRequest{Key: []byte(c.key), Sealed: c.sealed, Others: c.told()}
	c.mu.Unlock()
	if spec == nil {
		return survey{}, nil
	}
	list, s := c.candidates(spec, without)
	s.answers = map[shoal.PeerID]*askAnswer{}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if i := slices.Index(list, c.s.self); i > 0 {
		list[0], list[i] = list[i], list[0]
	}
	ask := list[:min(len(list), maxAsked)]
	if len(list) >= small || len(list) <= 1 { // others than those in the table may have some
		for _, p := range c.s.holders(ctx, key) {
			if !without.has(p) && !slices.Contains(ask, p) {
				ask = append(ask, p)
			}
		}
	}
	bounded, cancel := context.WithTimeout(ctx, c.s.cfg.OfferWait)
	defer cancel()
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, p := range ask {
		wait.Go(func() {
			a, err := c.s.askPeer(bounded, p, &q)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.refused, s.retry = append(s.refused, p.Short()+": "+reason(err)), true
				return
			}
			s.answers[p] = a
		})
	}
	wait.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, a := range s.answers {
		if a.Gone || a.State.Instances == 0 {
			continue
		}
		if h := c.hosts[p]; h == nil {
			c.hosts[p] = &seen{state: a.State.sane(), at: time.Now()}
		} else {
			h.state, h.at = a.State.sane(), time.Now()
		}
		c.learn(a.Others)
	}
	return s, spec
}

// holders are the peers that the directory names as hosts of a service.
func (s *Services) holders(ctx context.Context, key shoal.Key) (list []shoal.PeerID) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.OfferWait)
	defer cancel()
	for p, err := range s.Directory.Find(ctx, key, maxAsked) {
		if err != nil {
			break
		}
		list = append(list, p)
	}
	return list
}

// askPeer asks one peer about a service; this node itself by a function call.
func (s *Services) askPeer(ctx context.Context, p shoal.PeerID, q *askRequest) (*askAnswer, error) {
	if p == s.self {
		return s.say(ctx, p, q)
	}
	b, err := s.Peers.Ask(ctx, p, "services.ask", wire.Marshal(q))
	if err != nil {
		return nil, err
	}
	var a askAnswer
	return &a, wire.Unmarshal("answer about a service", b, &a)
}

// choice is where a further instance is opened, and of what.
type choice struct {
	peer shoal.PeerID
	kind string
	cost float64
}

// choose picks, of what was offered, the cheapest peer and implementation, by the cost of tasks. An implementation whose speed
// nobody knows counts as the fastest that is known. The lock is not held.
func (c *caller) choose(spec *Spec, s *survey) (best choice, ok bool) {
	fastest := map[string]int64{}
	var any int64
	for _, a := range s.answers {
		for _, o := range a.Offers {
			if o.Each > 0 && (fastest[o.Kind] == 0 || o.Each < fastest[o.Kind]) {
				fastest[o.Kind] = o.Each
			}
			if o.Each > 0 && (any == 0 || o.Each < any) {
				any = o.Each
			}
		}
	}
	for _, kind := range spec.kinds() {
		var peers []cost.Peer
		f := cost.Facts{Task: shoal.TaskID(spec.Name), Seed: rand.Uint64()}
		each := fastest[kind]
		if each == 0 {
			each = any
		}
		for p, a := range s.answers {
			for _, o := range a.Offers {
				if o.Kind != kind {
					continue
				}
				if o.Refusal != "" {
					s.refused = append(s.refused, p.Short()+": "+o.Refusal)
					s.retry = s.retry || o.Retry
					continue
				}
				f.Code = max(f.Code, o.Size)
				rtt, rate := c.s.Link(p)
				if p == c.s.self {
					rtt = 0
				}
				own := o.Each
				if own == 0 {
					own = each
				}
				peers = append(peers, cost.Peer{
					ID: p, Self: p == c.s.self, Slots: a.Load.Slots, Running: a.Load.Running, TaskSecs: max(float64(own)/1e6, 1e-3),
					Code: o.Missing, Rate: rate, RTT: rtt, Compiled: o.Compiled, HashMBs: a.Load.HashMBs,
				})
			}
		}
		f.Work = float64(each) / 1e6 * cost.DefaultHashMBs
		e := cost.Decide(f, peers, nil)
		if d, is := e.Chosen(); is && (!ok || d.Total < best.cost) {
			best, ok = choice{d.Peer, kind, d.Total}, true
		}
	}
	return best, ok
}

// known sums up the instances of hosts. The lock is held.
func (c *caller) instances() (n int) {
	for _, h := range c.hosts {
		if time.Since(h.at) < fresh {
			n += h.state.Instances
		}
	}
	return n
}

// first finds a host where none is known: one that has instances, or a peer that can open one.
func (c *caller) first(ctx context.Context, tried tries) (shoal.PeerID, string, error) {
	s, spec := c.survey(ctx, tried)
	if spec == nil {
		return "", "", errGone(c.name)
	}
	var list []shoal.PeerID
	c.mu.Lock()
	for p, h := range c.hosts {
		if h.state.Instances > 0 && !tried.has(p) {
			list = append(list, p)
		}
	}
	if len(list) > 0 {
		p, _ := c.draw(list, 0, true)
		c.mu.Unlock()
		return p, "", nil
	}
	c.mu.Unlock()
	best, ok := c.choose(spec, &s)
	if !ok {
		return "", "", nobody(&s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[best.peer]; h == nil || h.state.Instances == 0 { // others send their calls there as well
		c.hosts[best.peer] = &seen{state: state{Instances: 1}, at: time.Now()}
	}
	return best.peer, best.kind, nil
}

// nobody says why no peer takes a service.
func nobody(s *survey) error {
	e := shoal.E(shoal.Refused, "", "no peer fits", "ask for less, or add a node that fits")
	if s.retry {
		e.Kind, e.Try = shoal.Unavailable, "try again later"
	}
	slices.Sort(s.refused)
	s.refused = slices.Compact(s.refused)
	if n := len(s.refused); n > 3 {
		s.refused = append(s.refused[:3:3], fmt.Sprintf("and %d more", n-3))
	}
	if len(s.refused) > 0 {
		e.Why += " (" + strings.Join(s.refused, "; ") + ")"
	}
	return e
}

// How often a caller looks for a further host: the next time after one was found, and after none was.
const (
	growAgain = 100 * time.Millisecond
	growLater = time.Second
)

// grow looks for a further host, in the background, once at a time. Hosts that refused are not asked.
func (c *caller) grow(tried tries) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.spec == nil || now.Before(c.growing) || c.spec.Max > 0 && c.instances() >= c.spec.Max || !c.s.enter() {
		return
	}
	c.growing = now.Add(c.s.cfg.OpenWait)
	without := maps.Clone(tried)
	if without == nil {
		without = tries{}
	}
	for p, h := range c.hosts { // they grow by themselves
		if h.state.Instances > 0 {
			without[p] = busy
		}
	}
	go func() {
		defer c.s.work.Done()
		ctx, cancel := context.WithTimeout(c.s.life, c.s.cfg.OpenWait)
		defer cancel()
		pause := growLater
		if c.growOnce(ctx, without) {
			pause = growAgain
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.growing = time.Now().Add(pause/2 + rand.N(pause)) // so that many callers do not do it at once
	}()
}

// growOnce opens an instance on a further peer, and reports whether there is one.
func (c *caller) growOnce(ctx context.Context, without tries) bool {
	s, spec := c.survey(ctx, without)
	if spec == nil {
		return false
	}
	for range 3 {
		best, ok := c.choose(spec, &s)
		if !ok {
			return false
		}
		if c.openAt(ctx, best.peer, best.kind, 1) == nil {
			return true
		}
		delete(s.answers, best.peer)
	}
	return false
}

// openAt has a peer open instances, and waits for them.
func (c *caller) openAt(ctx context.Context, p shoal.PeerID, kind string, n int) error {
	c.mu.Lock()
	q := openRequest{Key: []byte(c.key), Sealed: c.sealed, Kind: kind, Count: n, Others: c.told()}
	c.mu.Unlock()
	var st state
	var err error
	if p == c.s.self {
		st, err = c.s.openHere(ctx, &q)
	} else {
		var b []byte
		if b, err = c.s.Peers.Ask(ctx, p, "services.open", wire.Marshal(q)); err == nil {
			err = wire.Unmarshal("state of a host", b, &st)
		}
	}
	if err != nil {
		return err
	}
	st = st.sane()
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[p]; h != nil {
		h.state, h.at, h.knows = st, time.Now(), true
	} else {
		c.hosts[p] = &seen{state: st, at: time.Now(), knows: true}
	}
	return nil
}
