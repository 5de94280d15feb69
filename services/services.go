package services

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/match"
)

// Services is a node's part in the fabric's services: as a caller, as a host, and as a keeper of what they are. Its
// methods may be called from many goroutines.
type Services struct {
	Deps
	cfg   Config
	self  shoal.PeerID
	begun time.Time

	life context.Context // ends with Close
	end  context.CancelFunc
	work sync.WaitGroup

	draining atomic.Bool

	mu      sync.Mutex
	closed  bool
	hosts   map[shoal.Key]*host
	callers map[string]*caller // by name, as callers say it
	needs   map[string]*match.Needs
}

// maxHosts is how many services a node remembers to have had a part in.
const maxHosts = 1024

// New registers the methods at d.Peers. Run starts the work in the background.
func New(cfg Config, d Deps) (*Services, error) {
	for name, missing := range map[string]bool{
		"peers": d.Peers == nil, "directory": d.Directory == nil, "members": d.Members == nil, "names": d.Names == nil,
		"code": d.Code == nil, "link": d.Link == nil, "load": d.Load == nil,
	} {
		if missing {
			return nil, shoal.E(shoal.Invalid, "open services", "no "+name+" was given", "")
		}
	}
	s := &Services{
		Deps: d, cfg: cfg.withDefaults(), self: d.Peers.Self(), begun: time.Now(), hosts: map[shoal.Key]*host{}, callers: map[string]*caller{},
		needs: map[string]*match.Needs{},
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.serve()
	return s, nil
}

// Close ends what runs here. Calls that wait fail.
func (s *Services) Close() error {
	s.mu.Lock()
	s.closed = true
	hosts := s.list()
	s.mu.Unlock()
	s.end()
	for _, h := range hosts {
		h.retire()
	}
	s.work.Wait()
	return nil
}

// Drain has this node take no more calls, and waits until those that it took are done.
func (s *Services) Drain(ctx context.Context) error {
	s.draining.Store(true)
	for {
		s.mu.Lock()
		hosts := s.list()
		s.mu.Unlock()
		busy := slices.ContainsFunc(hosts, func(h *host) bool { st := h.state(); return st.Busy+st.Waiting > 0 })
		if !busy {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return shoal.Wrap(shoal.Timeout, "services", ctx.Err())
		}
	}
}

// closing says why nothing new is begun here, or nil.
func (s *Services) closing() error {
	if s.draining.Load() || s.life.Err() != nil {
		return shoal.E(shoal.Unavailable, "service", "this node is stopping", "ask another node")
	}
	return nil
}

// enter counts work that Close waits for; false when Close has begun.
func (s *Services) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// list is all hosts. The lock is held.
func (s *Services) list() (list []*host) {
	for _, h := range s.hosts {
		list = append(list, h)
	}
	return list
}

// host returns this node's part in a service, beginning one if sealed is given; nil if there is none.
func (s *Services) host(key shoal.Key, sealed []byte) (*host, error) {
	s.mu.Lock()
	h := s.hosts[key]
	s.mu.Unlock()
	if h != nil || len(sealed) == 0 {
		return h, nil
	}
	spec, err := open(key, sealed)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hosts[key]; h != nil {
		return h, nil
	}
	if len(s.hosts) >= maxHosts {
		return nil, shoal.E(shoal.Overloaded, "service "+spec.Name, "this node has too many", "ask another")
	}
	now := time.Now()
	h = &host{
		s: s, key: key, sealed: slices.Clone(sealed), spec: spec, workers: map[*worker]struct{}{}, opening: map[string]int{},
		each: map[string]float64{}, others: map[shoal.PeerID]heard{}, used: now, checked: now,
	}
	s.hosts[key] = h
	return h, nil
}

// room says why there can be no instance of an implementation here now; nil if there can.
func (s *Services) room(spec *Spec, kind string) error {
	if kind != Native {
		return nil
	}
	if s.Programs == nil {
		return shoal.E(shoal.Refused, shoal.ExecPrefix+spec.Exec, "this node has no executors", "")
	}
	return s.Programs.Room(spec.Exec)
}

// fits says why a member's machine is not for an implementation; nil if it is.
func (s *Services) fits(spec *Spec, kind string, m *shoal.Member) error {
	src := spec.requirement(kind)
	s.mu.Lock()
	n := s.needs[src]
	s.mu.Unlock()
	if n == nil {
		var err error
		if n, err = match.Compile(src, shoal.Limits{}); err != nil {
			return shoal.Wrap(shoal.Invalid, "requirements", err)
		}
		s.mu.Lock()
		if len(s.needs) >= 256 {
			clear(s.needs)
		}
		s.needs[src] = n
		s.mu.Unlock()
	}
	if v := n.Check(m, time.Now()); !v.OK {
		kind := shoal.Refused
		if v.Retry {
			kind = shoal.Unavailable
		}
		return shoal.E(kind, "", v.Reason, "")
	}
	return nil
}

// openProgram makes an instance.
func (s *Services) openProgram(ctx context.Context, key shoal.Key, spec *Spec, kind string) (Program, error) {
	if kind == Wasm {
		return s.openReactor(ctx, key, spec)
	}
	if s.Programs == nil {
		return nil, s.room(spec, kind)
	}
	return s.Programs.Open(ctx, spec.Exec, spec.Method)
}

// reason is an error in the words of a refusal.
func reason(err error) string {
	var e *shoal.Error
	if errors.As(err, &e) {
		return cmp.Or(e.Why, e.Error())
	}
	return err.Error()
}

func isGone(err error) bool { return errors.Is(err, errRemoved) }
