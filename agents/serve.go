package agents

import (
	"context"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// onCall answers a call from another node.
func (a *Agents) onCall(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var q question
	if err := wire.View("call of an agent", req, &q); err != nil {
		return nil, err
	}
	if len(q.Payload) > turn.MaxPayload || len(q.Series) > MaxSeries || (q.Method == "") == (q.Op == "") || len(q.Method) > turn.MaxName || len(q.Chain.Agents) > maxDepth+1 {
		return nil, shoal.E(shoal.Invalid, "call of an agent", "payload, method or chain beyond the limits", "")
	}
	ans, err := a.serve(ctx, from, &q)
	if err != nil {
		ans = &answer{Failure: wire.FromError(err)}
	}
	return wire.Marshal(ans), nil
}

// serve answers a question about an agent that this node may keep.
func (a *Agents) serve(ctx context.Context, from shoal.PeerID, q *question) (*answer, error) {
	if q.Caller == "" {
		q.Caller = string(from)
	}
	key := shoal.Key(q.Key)
	for try := 0; ; try++ {
		x, err := a.get(key)
		if err == nil {
			var ans *answer
			if ans, err = x.serve(ctx, from, q); err == nil {
				return ans, nil
			}
			if x.gone() && try < 3 {
				continue // it left memory in between
			}
		}
		if shoal.KindOf(err) == shoal.NotFound && x == nil {
			if gone, gerr := a.store.gone(key); gerr == nil && gone {
				return nil, shoal.E(shoal.NotFound, "agent "+KeyText(key), "it was removed", "")
			}
			return &answer{}, nil // elsewhere, perhaps
		}
		return nil, err
	}
}

func (x *actor) gone() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dead != nil
}

// patience is how long a call waits here for a leader before its caller asks elsewhere.
const patience = 2 * time.Second

// serve processes a question if this node leads the agent; the answer says who does otherwise.
func (x *actor) serve(ctx context.Context, from shoal.PeerID, q *question) (*answer, error) {
	if at, err := x.leads(ctx); at != nil || err != nil {
		return at, err
	}
	var out []byte
	var err error
	switch {
	case q.Op != "":
		out, err = x.operation(ctx, from, q)
	case q.Method == migrate:
		err = noMigrate()
	case len(q.Series) > 0:
		out, err = x.series(ctx, q)
	case q.Read:
		out, err = x.read(ctx, q)
	default:
		out, err = x.process(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	ans := &answer{Reply: out, Done: true}
	x.mu.Lock()
	defer x.mu.Unlock()
	if at := (order{x.rec.Generation, x.mark.Conf.Index, x.epoch}); !x.open || at != q.Known {
		ans.At = x.place()
	}
	return ans, nil
}

// leads returns nothing once this node leads the agent, or where it is instead.
func (x *actor) leads(ctx context.Context) (*answer, error) {
	x.mu.Lock()
	here := x.open && x.dead == nil
	x.mu.Unlock()
	if here {
		return nil, nil
	}
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		x.mu.Lock()
		switch {
		case x.dead != nil:
			defer x.mu.Unlock()
			return nil, x.dead
		case x.open:
			x.mu.Unlock()
			return nil, nil
		}
		if err := x.g.Campaign(x.a.instant()); err != nil { // another leads
			at := &answer{At: x.place()}
			x.flush()
			x.mu.Unlock()
			return at, nil
		}
		x.prepare()
		x.flush()
		ch, open := x.changed, x.open
		x.mu.Unlock()
		if open {
			continue
		}
		select {
		case <-ch:
		case <-end.C:
			if err := x.why(nil); err != nil {
				return nil, err
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			return &answer{At: x.place()}, nil
		case <-ctx.Done():
			return nil, x.why(ctx.Err())
		}
	}
}

// why says what a call waited for when its time ran out.
func (x *actor) why(err error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	missing := ""
	for _, m := range x.mark.Conf.Members {
		if _, suspected := x.a.post.life(m.Peer); suspected {
			missing += " " + m.Peer.Short()
		}
	}
	if missing == "" {
		return err
	}
	return &shoal.Error{
		Kind: shoal.Unavailable, What: "agent " + x.genesis.Name, Why: "too few of its keepers answer; silent:" + missing,
		Try: "bring them back, or wait until they are replaced", Err: err,
	}
}

// place says where the agent is, as this keeper knows. The caller holds mu.
func (x *actor) place() place {
	s := x.g.Status()
	p := place{Epoch: s.Epoch, Order: order{s.Generation, s.Conf.Index, s.Epoch}, Leader: s.Leader.Peer}
	for _, m := range s.Conf.Members {
		p.Keepers = append(p.Keepers, m.Peer)
	}
	return p
}

// process has a call or a message processed in its turn.
func (x *actor) process(ctx context.Context, q *question) ([]byte, error) {
	return x.enqueue(ctx, &mail{
		m:      turn.Message{Method: q.Method, Payload: q.Payload, Request: q.Request, From: q.From},
		caller: q.Caller, chain: q.Chain, ctx: ctx,
	})
}

// enqueue puts something into the mailbox and waits for what comes of it.
func (x *actor) enqueue(ctx context.Context, m *mail) ([]byte, error) {
	type outcome struct {
		reply []byte
		err   error
	}
	ch := make(chan outcome, 1)
	m.done = func(reply []byte, err error) { ch <- outcome{reply, err} }
	x.mu.Lock()
	err := x.dead
	if err == nil {
		err = x.put(m)
	}
	if err == nil && !x.open {
		x.mail = x.mail[:len(x.mail)-1]
		err = notHere()
	}
	x.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case o := <-ch:
		return o.reply, o.err
	case <-ctx.Done():
		return nil, x.why(ctx.Err())
	}
}
