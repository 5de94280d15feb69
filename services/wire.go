package services

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// state is what a host says of its part in a service. Callers and other hosts remember it for a while.
type state struct {
	Instances int   `cbor:"i,omitempty"` // open, or being opened
	Busy      int   `cbor:"b,omitempty"`
	Waiting   int   `cbor:"w,omitempty"`
	Each      int64 `cbor:"e,omitempty"` // microseconds that an instance takes for a call
	Full      bool  `cbor:"f,omitempty"` // no instance can be added
}

// sane is what can be of what a peer says.
func (s state) sane() state {
	s.Instances, s.Busy, s.Waiting = min(max(0, s.Instances), MaxInstances), min(max(0, s.Busy), MaxInstances), min(max(0, s.Waiting), 1<<20)
	s.Each = min(max(0, s.Each), int64(time.Hour/time.Microsecond))
	return s
}

// when is the moment of which news is told.
func (t told) when(now time.Time) time.Time {
	return now.Add(-time.Duration(min(max(0, t.Age), 1e9)) * time.Millisecond)
}

// told is the state of a host that somebody else tells of.
type told struct {
	Peer  shoal.PeerID `cbor:"p"`
	State state        `cbor:"s"`
	Age   int64        `cbor:"a,omitempty"` // milliseconds
}

// callRequest brings a call to a host. Sealed is what the service is: it is left out where the host is believed to know, and
// a host that knows no service of that key answers so.
type callRequest struct {
	Key     []byte `cbor:"k"`
	Sealed  []byte `cbor:"d,omitempty"`
	Payload []byte `cbor:"p,omitempty"`
	Patient bool   `cbor:"w,omitempty"` // let it wait, however long the queue is
	Kind    string `cbor:"o,omitempty"` // the implementation to open if there is nothing open
	Others  []told `cbor:"h,omitempty"`
}

// callAnswer says what came of it.
type callAnswer struct {
	Reply   []byte      `cbor:"r,omitempty"`
	Failure *wire.Error `cbor:"x,omitempty"` // of the call
	Refused *wire.Error `cbor:"n,omitempty"` // it has not run: another host may take it
	Unknown bool        `cbor:"u,omitempty"` // nor here: no service of that key is known
	Gone    bool        `cbor:"g,omitempty"` // nor here: it is not defined any more
	State   state       `cbor:"s,omitzero"`
	Others  []told      `cbor:"h,omitempty"`
}

// askRequest asks what a peer has of a service, and what it could have. Of a host it says what that has itself.
type askRequest struct {
	Key    []byte `cbor:"k"`
	Sealed []byte `cbor:"d,omitempty"` // with it offers are asked for
	Host   bool   `cbor:"i,omitempty"` // the asker has the State
	State  state  `cbor:"s,omitzero"`
	Others []told `cbor:"h,omitempty"`
	Full   bool   `cbor:"f,omitempty"` // Figures are asked for
}

type askAnswer struct {
	State   state     `cbor:"s,omitzero"`
	Others  []told    `cbor:"h,omitempty"`
	Offers  []offer   `cbor:"o,omitempty"`
	Figures *Figures  `cbor:"f,omitempty"`
	Gone    bool      `cbor:"g,omitempty"`
	Load    peerFacts `cbor:"l,omitzero"`
}

// peerFacts are those of an offer's cost that do not depend on the implementation.
type peerFacts struct {
	Slots   int     `cbor:"s,omitempty"`
	Running int     `cbor:"r,omitempty"`
	HashMBs float64 `cbor:"h,omitempty"`
}

// offer is what an instance of an implementation would take to open, and a call then.
type offer struct {
	Kind     string `cbor:"k"`
	Refusal  string `cbor:"r,omitempty"`
	Retry    bool   `cbor:"t,omitempty"`
	Size     uint64 `cbor:"z,omitempty"` // bytes of the module
	Missing  uint64 `cbor:"m,omitempty"` // of those, not there
	Compiled bool   `cbor:"c,omitempty"`
	Each     int64  `cbor:"e,omitempty"` // microseconds of a call there; 0: unknown
}

// openRequest has a peer open instances.
type openRequest struct {
	Key    []byte `cbor:"k"`
	Sealed []byte `cbor:"d"`
	Kind   string `cbor:"o,omitempty"`
	Count  int    `cbor:"n"`
	Others []told `cbor:"h,omitempty"`
}

// maxTold is how many hosts one message names.
const maxTold = 32

func (s *Services) serve() {
	s.Peers.Handle("services.call", s.onCall)
	s.Peers.Handle("services.ask", s.onAsk)
	s.Peers.Handle("services.open", s.onOpen)
	s.Peers.Handle("services.drop", s.onDrop)
	s.Peers.Handle("services.keep", s.onKeep)
}

func (s *Services) onCall(ctx context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
	var q callRequest
	if err := wire.View("call of a service", b, &q); err != nil {
		return nil, err
	}
	return wire.Marshal(s.take(ctx, from, &q)), nil
}

// take processes a call here, as a host.
func (s *Services) take(ctx context.Context, from shoal.PeerID, q *callRequest) *callAnswer {
	refuse := func(err error) *callAnswer { return &callAnswer{Refused: wire.FromError(err)} }
	if len(q.Payload) > MaxPayload {
		return refuse(tooLong("call", len(q.Payload)))
	}
	if err := s.closing(); err != nil {
		return refuse(err)
	}
	h, err := s.host(shoal.Key(q.Key), q.Sealed)
	if err != nil {
		return refuse(err)
	}
	if h == nil {
		return &callAnswer{Unknown: true}
	}
	h.hear(q.Others)
	reply, err := h.submit(ctx, Call{Payload: q.Payload, Caller: from}, q.Patient, q.Kind)
	a := &callAnswer{Reply: reply, State: h.state()}
	var not notRun
	switch {
	case err == nil:
	case errors.As(err, &not):
		a.Refused, a.Others = wire.FromError(err), h.tell()
	case isGone(err):
		a.Gone = true
	default:
		a.Failure = wire.FromError(err)
	}
	return a
}

func (s *Services) onAsk(ctx context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
	var q askRequest
	if err := wire.Unmarshal("question about a service", b, &q); err != nil {
		return nil, err
	}
	a, err := s.say(ctx, from, &q)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(a), nil
}

// say answers what this node has of a service, and could have.
func (s *Services) say(ctx context.Context, from shoal.PeerID, q *askRequest) (*askAnswer, error) {
	key := shoal.Key(q.Key)
	a := &askAnswer{}
	h, err := s.host(key, nil)
	if err != nil {
		return nil, err
	}
	if h != nil {
		if q.Host {
			h.hear([]told{{Peer: from, State: q.State}})
		}
		h.hear(q.Others)
		a.State, a.Others, a.Gone = h.state(), h.tell(), h.isGone()
		if q.Full {
			a.Figures = h.figures()
		}
	}
	if len(q.Sealed) == 0 {
		return a, nil
	}
	spec, err := open(key, q.Sealed)
	if err != nil {
		return nil, err
	}
	a.Load, a.Offers = s.facts(), s.offers(ctx, h, spec)
	return a, nil
}

// facts are those of this node.
func (s *Services) facts() peerFacts {
	l := s.Load()
	f := peerFacts{Slots: s.cfg.Slots, Running: l.Running + l.Queued, HashMBs: s.Members.Self().Attributes.HashMBs}
	s.mu.Lock()
	hosts := s.list()
	s.mu.Unlock()
	for _, h := range hosts {
		f.Running += h.state().Busy
	}
	return f
}

// offers says of each implementation what it would take to have one more of it here.
func (s *Services) offers(ctx context.Context, h *host, spec *Spec) (list []offer) {
	self := s.Members.Self()
	self.State, self.Load = shoal.Alive, s.Load()
	for _, kind := range spec.kinds() {
		o := offer{Kind: kind}
		err := s.fits(spec, kind, &self)
		if err == nil {
			err = s.closing()
		}
		if err == nil {
			err = s.room(spec, kind)
		}
		if err == nil && h != nil {
			err = h.roomLeft()
		}
		if err != nil {
			o.Refusal, o.Retry = reason(err), shoal.Retryable(err)
		}
		if kind == Wasm {
			o.Size, o.Missing, o.Compiled = s.Code.Here(ctx, spec.Code)
		} else {
			o.Compiled = true
		}
		if h != nil {
			o.Each = h.eachOf(kind)
		}
		list = append(list, o)
	}
	return list
}

func (s *Services) onOpen(ctx context.Context, _ shoal.PeerID, b []byte) ([]byte, error) {
	var q openRequest
	if err := wire.Unmarshal("request for instances", b, &q); err != nil {
		return nil, err
	}
	st, err := s.openHere(ctx, &q)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(st), nil
}

// openHere opens instances on this node, and waits until they are there.
func (s *Services) openHere(ctx context.Context, q *openRequest) (state, error) {
	if err := s.closing(); err != nil {
		return state{}, err
	}
	h, err := s.host(shoal.Key(q.Key), q.Sealed)
	if err != nil {
		return state{}, err
	}
	if h == nil {
		return state{}, shoal.E(shoal.Invalid, "request for instances", "it does not say of what", "")
	}
	h.hear(q.Others)
	if err := h.add(q.Kind, min(q.Count, s.cfg.Slots)); err != nil {
		return h.state(), err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if busy, err := h.beginning(); !busy {
			return h.state(), err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return h.state(), nil
		}
	}
}

// onKeep brings a service's module here, durably, before the service has its name.
func (s *Services) onKeep(ctx context.Context, from shoal.PeerID, b []byte) ([]byte, error) {
	if err := s.closing(); err != nil {
		return nil, err
	}
	return nil, s.Code.Keep(ctx, string(b), from)
}

// onDrop hears that a service is not defined any more, and looks for itself.
func (s *Services) onDrop(ctx context.Context, _ shoal.PeerID, b []byte) ([]byte, error) {
	h, err := s.host(shoal.Key(b), nil)
	if err == nil && h != nil {
		s.check(ctx, h)
	}
	return nil, err
}

func tooLong(what string, n int) error {
	return shoal.E(shoal.Invalid, what, fmt.Sprintf("a payload of %d bytes, more than the limit of %d", n, MaxPayload), "put it as data and pass its CID")
}
