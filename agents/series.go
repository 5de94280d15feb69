package agents

import (
	"context"
	"fmt"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// Most that a series may have.
const (
	MaxSeries   = 128
	seriesBytes = turn.MaxPayload
)

// One is a request of a series: named as in shoal.CallRequest, where both must be given.
type One struct {
	Payload []byte
	Request string
	Begun   int64 // Unix milliseconds
}

// part is a One as it crosses the wire.
type part struct {
	Payload []byte       `cbor:"p,omitempty"`
	Request turn.Request `cbor:"q"`
}

// ended is what came of a series.
type ended struct {
	Done    int         `cbor:"d,omitempty"` // succeeded
	Failure *wire.Error `cbor:"x,omitempty"` // of the one after them
}

// Series has an agent process requests to one method, each in a turn of its own, in their order: one is begun when those
// before it have succeeded. They share their commits. It returns how many succeeded, and the error of the one after them: what comes
// after that was not begun. Timeout, Unavailable, Canceled: it is unknown what happened beyond done; the same series may be
// repeated. Replies are not returned: a call by the same request gets them.
func (a *Agents) Series(ctx context.Context, agent, method string, list []One) (done int, err error) {
	what := "call " + agent + " " + method
	q := question{Method: method, Series: make([]part, len(list))}
	size := 0
	for i, one := range list {
		if one.Request == "" || one.Begun <= 0 {
			return 0, shoal.E(shoal.Invalid, what, "a request of a series has no name", "")
		}
		size += len(one.Payload)
		q.Series[i] = part{one.Payload, turn.Request{Session: turn.Session(one.Begun, one.Request), Number: 1}}
	}
	if size > seriesBytes || len(list) > MaxSeries || len(list) == 0 || method == "" || len(method) > turn.MaxName {
		return 0, shoal.E(shoal.Invalid, what, fmt.Sprintf("%d requests of %d bytes in all, or an impossible method", len(list), size),
			fmt.Sprintf("the limits are %d and %d", MaxSeries, seriesBytes))
	}
	key, err := a.Resolve(ctx, agent)
	if err != nil {
		return 0, err
	}
	q.Key = []byte(key)
	q.Chain = q.Chain.begun(a.cfg.Now())
	out, err := a.insist(ctx, key, &q)
	if err != nil {
		if shoal.KindOf(err) == shoal.NotFound {
			a.names.renamed(agent, a.Members.Root()) // the name may have another key by now
		}
		return 0, shoal.Wrap(shoal.Unavailable, what, err)
	}
	var got ended
	if err := wire.Unmarshal("answer of an agent", out, &got); err != nil {
		return 0, err
	}
	if got.Done < 0 || got.Done > len(list) {
		return 0, shoal.E(shoal.Corrupt, what, "more answers than requests", "")
	}
	if got.Failure != nil {
		err = shoal.Wrap(shoal.Failed, what, got.Failure.Err())
	}
	return got.Done, err
}

// chained are messages of which one is begun only when those before it have succeeded. The actor's mu guards it.
type chained struct{ broken bool }

// series processes the requests of a series.
func (x *actor) series(ctx context.Context, q *question) ([]byte, error) {
	c := &chained{}
	ends := make([]chan error, len(q.Series))
	list := make([]*mail, len(q.Series))
	for i := range q.Series {
		end := make(chan error, 1)
		ends[i] = end
		list[i] = &mail{
			m:      turn.Message{Method: q.Method, Payload: q.Series[i].Payload, Request: q.Series[i].Request},
			caller: q.Caller, chain: q.Chain, ctx: ctx, chained: c, done: func(_ []byte, err error) { end <- err },
		}
	}
	x.mu.Lock()
	err := x.dead
	switch {
	case err != nil:
	case !x.open:
		err = notHere()
	case len(x.mail)+len(list) > x.a.cfg.Mailbox:
		err = x.full()
	case x.mustDie(list[0]):
		err = die(x.genesis.Name)
	default:
		x.mail = append(x.mail, list...)
		x.work()
	}
	x.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var out ended
	for _, end := range ends {
		select {
		case err = <-end:
		case <-ctx.Done():
			return nil, x.why(ctx.Err())
		}
		if err == nil {
			out.Done++
			continue
		}
		switch shoal.KindOf(err) {
		case shoal.Unavailable, shoal.Overloaded, shoal.Timeout, shoal.Canceled:
			return nil, err // the whole may be tried again
		}
		out.Failure = wire.FromError(err)
		return wire.Marshal(out), nil
	}
	return wire.Marshal(out), nil
}

// stopped is told of a message before which another has failed.
func stopped() error {
	return shoal.E(shoal.Unavailable, "agent", "a request before it in the series failed: it was not begun", "")
}
