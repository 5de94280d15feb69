package agents

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/keepers"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// question is a call of an agent as it crosses the wire.
type question struct {
	Key     []byte       `cbor:"k"`
	Method  string       `cbor:"m"`
	Payload []byte       `cbor:"p,omitempty"`
	Read    bool         `cbor:"r,omitempty"`
	Op      string       `cbor:"o,omitempty"` // not a method: something that the group does
	Request turn.Request `cbor:"q,omitzero"`
	From    turn.Source  `cbor:"f,omitzero"`  // a message out of another agent's outbox
	Caller  string       `cbor:"c,omitempty"` // "": whoever sends it
	Chain   chain        `cbor:"h,omitzero"`
	Series  []part       `cbor:"s,omitempty"` // instead of Payload and Request
	Known   order        `cbor:"n,omitzero"`  // the asker knows the place as of then: it need not be told again
}

// answer is what a keeper says to a question.
type answer struct {
	Reply []byte `cbor:"r,omitempty"`
	Done  bool   `cbor:"d,omitempty"` // Reply is the reply; else it is elsewhere
	At    place  `cbor:"p,omitzero"`
	// Failure is what the keeper has against the question: other errors are those of the way to it.
	Failure *wire.Error `cbor:"x,omitempty"`
}

// callTime bounds a call whose caller names no deadline.
const callTime = 30 * time.Second

// Call implements shoal.Agents.
func (a *Agents) Call(ctx context.Context, agent string, r shoal.CallRequest) ([]byte, error) {
	if len(r.Payload) > turn.MaxPayload {
		return nil, shoal.E(shoal.Invalid, "call "+agent, fmt.Sprintf("a payload of %d bytes, more than the limit of %d",
			len(r.Payload), turn.MaxPayload), "put it as data and pass its CID")
	}
	if r.Method == "" || len(r.Method) > turn.MaxName {
		return nil, shoal.E(shoal.Invalid, "call "+agent, "no method, or one whose name is too long", "name the method after the agent")
	}
	if _, bounded := ctx.Deadline(); !bounded {
		l := within(ctx, callTime)
		defer l.done()
		ctx = l
	}
	for try := 0; ; try++ {
		key, err := a.Resolve(ctx, agent)
		if err != nil {
			return nil, err
		}
		out, err := a.callKey(ctx, key, agent, r)
		if err != nil && try == 0 && shoal.KindOf(err) == shoal.NotFound && a.names.renamed(agent, a.Members.Root()) {
			continue // the name may have another key by now
		}
		return out, err
	}
}

func (a *Agents) callKey(ctx context.Context, key shoal.Key, agent string, r shoal.CallRequest) ([]byte, error) {
	q := question{Key: []byte(key), Method: r.Method, Payload: r.Payload, Read: r.Read}
	switch {
	case r.Read:
	case r.Request != "" && r.Begun > 0:
		q.Request = turn.Request{Session: turn.Session(r.Begun, r.Request), Number: 1}
	case r.Request != "":
		q.Request = turn.Named(r.Request)
	default:
		var done func()
		q.Request, done = a.sessions.request(key, a.cfg.Now())
		defer done()
	}
	q.Chain = q.Chain.begun(a.cfg.Now())
	out, err := a.insist(ctx, key, &q)
	return out, called(agent, r.Method, q.Request, err)
}

// insist asks until the question need not make way for another chain of calls: then it was as if it had never been.
func (a *Agents) insist(ctx context.Context, key shoal.Key, q *question) ([]byte, error) {
	for {
		out, err := a.ask(ctx, key, q)
		if !dies(err) {
			return out, err
		}
		select {
		case <-time.After(time.Duration(1+rand.IntN(10)) * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// called says which call failed, and how to ask again when it is not known what came of it.
func called(agent, method string, r turn.Request, err error) error {
	if err == nil {
		return nil
	}
	err = shoal.Wrap(shoal.Unavailable, "call "+agent+" "+method, err)
	var e *shoal.Error
	if errors.As(err, &e) && r.Session != "" && e.Try == "" {
		switch e.Kind {
		case shoal.Timeout, shoal.Unavailable, shoal.Canceled:
			if id, named := strings.CutPrefix(r.Session, "id:"); named {
				e.Try = "what came of it is not known: call again with --request-id " + id + ", it will not happen twice"
			} else {
				e.Try = "what came of it is not known; with --request-id a call can be repeated safely"
			}
		}
	}
	return err
}

// ask brings a question to whoever leads the agent, following what keepers say of one another, until ctx
// ends. Asking again is safe: the question bears the request's name.
func (a *Agents) ask(ctx context.Context, key shoal.Key, q *question) ([]byte, error) {
	var last error
	var body []byte
	var tried tries
	quiet := &silence{}
	for wait, round := 10*time.Millisecond, 0; ; round++ {
		to, known, err := a.target(ctx, key, tried)
		if err == nil {
			tried.add(to)
			var ans *answer
			if to == a.Peers.Self() {
				q.Known = known
				ans, err = a.serve(ctx, to, q)
			} else {
				if body == nil || q.Known != known {
					q.Known = known
					body = wire.Marshal(q)
				}
				ans, err = a.try(ctx, key, to, body, quiet)
			}
			switch {
			case err == nil && ans.Done:
				if ans.At.Order != (order{}) {
					a.places.note(key, ans.At)
				}
				return ans.Reply, nil
			case err == nil:
				a.places.moved(key, to, ans.At)
				if ans.At.Leader != "" && ans.At.Leader != to && tried.of(ans.At.Leader) < 3 {
					continue // at once
				}
				last = shoal.E(shoal.Unavailable, "", "no keeper leads it now", "")
			case ctx.Err() != nil:
				return nil, timedOut(ctx, err, quiet)
			case !again(err):
				return nil, err
			default:
				a.places.failed(key, to)
				last = err
			}
		} else if last == nil || shoal.KindOf(err) == shoal.NotFound {
			last = err
		}
		if round > 3 && shoal.KindOf(last) == shoal.NotFound && !(errors.Is(last, errNowhere) && a.newcomer()) {
			return nil, last
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, 250*time.Millisecond)
		case <-ctx.Done():
			if last == nil {
				last = ctx.Err()
			}
			return nil, timedOut(ctx, last, quiet)
		}
	}
}

// newcomer reports whether this node began so short a while ago that whom it does not find may be there all the same: it is
// in touch with few others yet.
func (a *Agents) newcomer() bool { return a.instant() < a.begun.Add(meetTime) }

const meetTime = 15 * time.Second

// timedOut tells the end of the caller's patience, with the last thing that went wrong.
func timedOut(ctx context.Context, last error, quiet *silence) error {
	kind := shoal.KindOf(ctx.Err())
	why := "the deadline passed"
	if kind == shoal.Canceled {
		why = "the caller gave up"
	}
	if why += quiet.names(); kind != shoal.KindOf(last) {
		why += "; last: " + last.Error()
	}
	return &shoal.Error{Kind: kind, Why: why, Err: ctx.Err()}
}

// again reports whether an error leaves the chance that another keeper, or a later moment, does better.
func again(err error) bool {
	switch shoal.KindOf(err) {
	case shoal.Unavailable, shoal.Overloaded:
		return true
	}
	return false
}

// second is after how long without an answer another keeper is asked as well.
const second = 700 * time.Millisecond

// try asks one keeper. If that takes long, the others are asked besides: the peer may be gone without a word,
// or the agent may have another leader by now. Asking twice is safe.
func (a *Agents) try(ctx context.Context, key shoal.Key, to shoal.PeerID, body []byte, quiet *silence) (*answer, error) {
	ctx, cancel := cancelable(ctx)
	defer cancel()
	var better atomic.Pointer[answer]
	hedge := time.AfterFunc(second, func() {
		if ans := a.others(ctx, key, to, body, quiet); ans != nil {
			better.Store(ans)
			cancel()
		}
	})
	ans, err := a.askPeer(ctx, to, body, quiet)
	hedge.Stop()
	if b := better.Load(); err != nil && b != nil {
		return b, nil
	}
	return ans, err
}

// silence is who did not answer a question.
type silence struct {
	mu    sync.Mutex
	peers map[shoal.PeerID]bool // nil: all answered so far
}

func (s *silence) note(p shoal.PeerID, quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers == nil && quiet {
		s.peers = map[shoal.PeerID]bool{}
	}
	if s.peers != nil {
		s.peers[p] = quiet
	}
}

// names lists them in words that follow others.
func (s *silence) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for p, quiet := range s.peers {
		if quiet {
			list = append(list, p.Short())
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return "; silent: " + strings.Join(list, " ")
}

// others asks the keepers but for one, until one of them answers the question or names another leader.
func (a *Agents) others(ctx context.Context, key shoal.Key, but shoal.PeerID, body []byte, quiet *silence) *answer {
	for round := 0; ctx.Err() == nil; round++ {
		at, _ := a.places.get(key)
		if keepers.Anew(round, len(at.Keepers)) {
			if found, err := a.locate(ctx, key, round > 0); err == nil {
				at.Keepers = found.Keepers
			}
		}
		for _, p := range at.Keepers {
			if p == but {
				continue
			}
			one, cancel := context.WithTimeout(ctx, patience+second)
			ans, err := a.askPeer(one, p, body, quiet)
			cancel()
			if err == nil && (ans.Done || ans.At.Leader != "" && ans.At.Leader != but) {
				return ans
			}
		}
		select {
		case <-time.After(second / 4):
		case <-ctx.Done():
		}
	}
	return nil
}

// askPeer asks a keeper, which may be this node itself. A peer that cannot be reached, or is no member any more, is
// Unavailable: others may answer.
func (a *Agents) askPeer(ctx context.Context, to shoal.PeerID, body []byte, quiet *silence) (*answer, error) {
	b, err := a.Peers.Ask(ctx, to, "agents.call", body)
	quiet.note(to, err != nil && to != a.Peers.Self())
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, err
	case err != nil && !again(err):
		return nil, &shoal.Error{Kind: shoal.Unavailable, What: "keeper " + to.Short(), Why: err.Error(), Err: err}
	case err != nil:
		return nil, err
	}
	var ans answer
	if err := wire.Unmarshal("answer of an agent", b, &ans); err != nil {
		return nil, err
	}
	if ans.Failure != nil {
		return nil, ans.Failure.Err()
	}
	return &ans, nil
}
