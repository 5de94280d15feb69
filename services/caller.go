package services

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// caller is what this node knows of a service that it calls.
type caller struct {
	s    *Services
	name string

	mu      sync.Mutex
	key     shoal.Key
	sealed  []byte
	spec    *Spec
	looked  time.Time // when the name was last looked up
	hosts   map[shoal.PeerID]*seen
	growing time.Time     // a further host is looked for until then, or was not found
	finding chan struct{} // closed when whoever looks for a first host is done
	rent    rent
}

// seen is a host as this caller knows it.
type seen struct {
	state  state
	at     time.Time
	flight int // calls sent there and not answered
	knows  bool
}

// forgotten is how long a host is remembered of which nothing is heard.
const forgotten = 90 * time.Second

// CallOptions of one call.
type CallOptions struct {
	// Idempotent has the call sent to another host also when it is not known whether it ran.
	Idempotent bool
}

// Call has a service process a payload, up to 1 MiB, and returns the reply. It happens at most once, unless the service, or
// the caller, says that it may be repeated. Unavailable: it is not known whether it happened. Overloaded: it did not.
func (s *Services) Call(ctx context.Context, name string, payload []byte, o CallOptions) ([]byte, error) {
	what := "call " + name
	if len(payload) > MaxPayload {
		return nil, tooLong(what, len(payload))
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.CallTime)
		defer cancel()
	}
	for try := 0; ; try++ {
		c, err := s.caller(ctx, name)
		if err != nil {
			return nil, err
		}
		reply, err := c.call(ctx, payload, o)
		if isGone(err) && try < 2 { // by that name there may be another by now
			c.forget()
			continue
		}
		return reply, called(what, err)
	}
}

// called says which call failed, and what to do if its time was over.
func called(what string, err error) error {
	if err == nil {
		return nil
	}
	err = shoal.Wrap(shoal.Unavailable, what, err)
	var e *shoal.Error
	if errors.As(err, &e) && e.Kind == shoal.Timeout && e.Try == "" {
		e.Try = "give it more time with --timeout; whether it happened is not known"
	}
	return err
}

// caller finds what a name stands for.
func (s *Services) caller(ctx context.Context, name string) (*caller, error) {
	s.mu.Lock()
	c := s.callers[name]
	if c == nil {
		if len(s.callers) >= maxHosts {
			clear(s.callers)
		}
		c = &caller{s: s, name: name, hosts: map[shoal.PeerID]*seen{}}
		s.callers[name] = c
	}
	s.mu.Unlock()
	c.mu.Lock()
	age := time.Since(c.looked)
	known := c.spec != nil
	if known && age > s.cfg.NameLife && s.enter() { // it goes on meanwhile
		c.looked = time.Now()
		go func() {
			defer s.work.Done()
			look, cancel := context.WithTimeout(s.life, 5*time.Second)
			defer cancel()
			if err := c.look(look); err != nil && (shoal.KindOf(err) == shoal.NotFound || shoal.KindOf(err) == shoal.Invalid) {
				c.forget()
			}
		}()
	}
	c.mu.Unlock()
	if known {
		return c, nil
	}
	return c, c.look(ctx)
}

// look asks the directory.
func (c *caller) look(ctx context.Context) error {
	n, err := c.s.Names.Find(ctx, c.name)
	if err != nil {
		return err
	}
	spec, err := open(n.Key, n.Spec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looked = time.Now(); c.key != n.Key {
		c.key, c.sealed, c.spec, c.hosts, c.rent = n.Key, n.Spec, spec, map[shoal.PeerID]*seen{}, rent{}
	}
	return nil
}

func (c *caller) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spec, c.key = nil, ""
}

// call brings a call to a host.
func (c *caller) call(ctx context.Context, payload []byte, o CallOptions) ([]byte, error) {
	c.mu.Lock()
	spec := c.spec
	c.mu.Unlock()
	if spec == nil {
		return nil, errGone(c.name)
	}
	tried := tries{}
	patient := false
	var last error
	for round := 0; ; round++ {
		to, kind, err := c.target(ctx, len(payload), tried, patient)
		if err != nil && ctx.Err() == nil && tried.forgive() { // nobody else: it waits where it was refused
			patient = true
			continue
		}
		if err != nil {
			if last != nil && ctx.Err() == nil {
				err = last
			}
			return nil, err
		}
		a, err := c.send(ctx, to, payload, kind, patient)
		switch {
		case err != nil && (ctx.Err() != nil || shoal.KindOf(err) == shoal.Timeout || shoal.KindOf(err) == shoal.Canceled):
			return nil, err // the caller's time is over: the host's copy of the deadline may be a little earlier
		case err != nil:
			c.lost(to)
			if !errors.Is(err, shoal.ErrUnsent) && !spec.Idempotent && !o.Idempotent {
				return nil, unclear(to, err)
			}
			tried[to], last = out, err
		case a.Gone:
			return nil, errGone(c.name)
		case a.Refused != nil:
			last = a.Refused.Err()
			switch shoal.KindOf(last) {
			case shoal.Overloaded:
				tried[to] = busy
				if patient && round > 8 { // queues that are full to the brim
					return nil, last
				}
				if patient = !c.better(tried); !patient {
					break
				}
				// Where it would wait least it waits, while another host is looked for.
				c.grow(tried)
				tried.forgive()
				if round > 2 {
					select {
					case <-time.After(time.Duration(10+rand.IntN(40)) * time.Millisecond):
					case <-ctx.Done():
					}
				}
			case shoal.Invalid, shoal.Failed: // it is the same everywhere
				return nil, last
			default:
				tried[to] = out
				c.lost(to)
			}
		case a.Failure != nil:
			return nil, a.Failure.Err()
		default:
			return a.Reply, nil
		}
		if len(tried) > 16 {
			return nil, last
		}
	}
}

// tries are the hosts that a call was not taken by, and why.
type tries map[shoal.PeerID]why

type why int

const (
	busy why = iota // it may yet wait there
	out
)

// forgive forgets those that were busy, and reports whether there were any.
func (t tries) forgive() (any bool) {
	for p, w := range t {
		if w == busy {
			delete(t, p)
			any = true
		}
	}
	return any
}

// has reports whether a host was tried.
func (t tries) has(p shoal.PeerID) bool {
	_, ok := t[p]
	return ok
}

func unclear(to shoal.PeerID, err error) error {
	return &shoal.Error{
		Kind: shoal.Unavailable, What: "host " + to.Short(), Why: "it went away before it answered: " + reason(err),
		Try: "whether the call happened is not known; a service that is created with --idempotent is called again elsewhere", Err: err,
	}
}

// send asks one host, which may be this node itself.
func (c *caller) send(ctx context.Context, to shoal.PeerID, payload []byte, kind string, patient bool) (*callAnswer, error) {
	c.mu.Lock()
	h := c.hosts[to]
	if h == nil {
		h = &seen{}
		c.hosts[to] = h
	}
	h.flight++
	q := callRequest{Key: []byte(c.key), Payload: payload, Patient: patient, Kind: kind}
	if !h.knows {
		q.Sealed, q.Others = c.sealed, c.told()
	}
	sealed := c.sealed
	c.mu.Unlock()
	a, err := c.ask(ctx, to, &q)
	if err == nil && a.Unknown { // it has begun anew since
		q.Sealed = sealed
		a, err = c.ask(ctx, to, &q)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h.flight--
	if err != nil {
		return nil, err
	}
	h.knows = true
	h.state, h.at = a.State.sane(), time.Now()
	if len(a.Others) > 0 {
		c.learn(a.Others)
	}
	if to != c.s.self && a.Refused == nil {
		c.pay(to, len(payload))
	}
	return a, nil
}

func (c *caller) ask(ctx context.Context, to shoal.PeerID, q *callRequest) (*callAnswer, error) {
	if to == c.s.self { // a function call
		return c.s.take(ctx, to, q), nil
	}
	b, err := c.s.Peers.Ask(ctx, to, "services.call", wire.Marshal(q))
	if err != nil {
		return nil, err
	}
	var a callAnswer
	return &a, wire.View("answer of a service", b, &a)
}

// told lists the hosts that this caller knows. The lock is held.
func (c *caller) told() (list []told) {
	now := time.Now()
	for _, p := range slices.Sorted(maps.Keys(c.hosts)) {
		if h := c.hosts[p]; h.state.Instances > 0 && now.Sub(h.at) < fresh && len(list) < maxTold {
			list = append(list, told{p, h.state, now.Sub(h.at).Milliseconds()})
		}
	}
	return list
}

// learn takes in what a host says of others. The lock is held.
func (c *caller) learn(list []told) {
	now := time.Now()
	for _, t := range list[:min(len(list), maxTold)] {
		at := t.when(now)
		t.State = t.State.sane()
		h := c.hosts[t.Peer]
		if h == nil && t.State.Instances > 0 {
			c.hosts[t.Peer] = &seen{state: t.State, at: at}
		} else if h != nil && at.After(h.at) {
			h.state, h.at = t.State, at
		}
	}
	for p, h := range c.hosts {
		if now.Sub(h.at) > forgotten && h.flight == 0 {
			delete(c.hosts, p)
		}
	}
}

// lost forgets a host that could not be reached.
func (c *caller) lost(p shoal.PeerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.hosts, p)
}

// predicted is how long a call sent there takes, in seconds: the queue as it was said to be, and what was sent there since;
// the call itself; and the way. The lock is held.
func (c *caller) predicted(p shoal.PeerID, h *seen, bytes int) (wait, total float64) {
	each := max(float64(h.state.Each)/1e6, 1e-6)
	ahead := h.flight + 1 - h.state.Instances
	if age := time.Since(h.at); age < time.Second { // else it is another queue by now
		ahead = max(ahead, h.state.Waiting+h.state.Busy+1-h.state.Instances)
	}
	wait = float64(max(0, ahead)) * each / float64(max(1, h.state.Instances))
	total = wait + each
	if p != c.s.self {
		rtt, rate := c.s.Link(p)
		total += rtt.Seconds()
		if rate > 0 {
			total += float64(bytes) / rate
		}
	}
	return wait, total
}

// target chooses a host: of two, this node first, the one where the call is likely to be done earlier. If no host is
// known it finds one, or a peer to become one, and the implementation to open there.
func (c *caller) target(ctx context.Context, bytes int, tried tries, patient bool) (to shoal.PeerID, kind string, err error) {
	for {
		c.mu.Lock()
		if c.spec == nil { // forgotten meanwhile
			c.mu.Unlock()
			return "", "", errGone(c.name)
		}
		now := time.Now()
		var list []shoal.PeerID
		for p, h := range c.hosts {
			if h.state.Instances > 0 && !tried.has(p) && now.Sub(h.at) < forgotten {
				list = append(list, p)
			}
		}
		if len(list) > 0 {
			to, wait := c.draw(list, bytes, patient)
			grow := wait > c.spec.Target.Seconds()
			c.mu.Unlock()
			if grow {
				c.grow(tried)
			}
			return to, "", nil
		}
		if c.finding == nil {
			c.finding = make(chan struct{})
			c.mu.Unlock()
			to, kind, err := c.first(ctx, tried)
			c.mu.Lock()
			close(c.finding)
			c.finding = nil
			c.mu.Unlock()
			return to, kind, err
		}
		wait := c.finding
		c.mu.Unlock()
		select {
		case <-wait: // whoever looked has sent its call there
		case <-ctx.Done():
			return "", "", ctx.Err()
		}
	}
}

// draw is the choice between two, or, for a call that will wait, among all. The lock is held.
func (c *caller) draw(list []shoal.PeerID, bytes int, all bool) (best shoal.PeerID, wait float64) {
	slices.Sort(list)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	if i := slices.Index(list, c.s.self); i > 0 {
		list[0], list[i] = list[i], list[0]
	}
	if !all {
		list = list[:min(2, len(list))]
	}
	least := 0.0
	for i, p := range list {
		w, total := c.predicted(p, c.hosts[p], bytes)
		if i == 0 || total < least {
			best, wait, least = p, w, total
		}
	}
	return best, wait
}

// better reports whether a host is known that did not refuse, and where a call need not wait too long.
func (c *caller) better(tried tries) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, h := range c.hosts {
		if c.spec != nil && !tried.has(p) && h.state.Instances > 0 {
			if wait, _ := c.predicted(p, h, 0); wait <= c.spec.Target.Seconds() {
				return true
			}
		}
	}
	return false
}
