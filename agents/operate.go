package agents

import (
	"context"

	"github.com/shoal-fabric/shoal"
)

// Operations are what the group of an agent does when it is asked, beside calls of methods. They find the leader as
// calls do.
const (
	opHere    = "here" // nothing: the agent is awake, and the answer says where
	opMove    = "move"
	opUpgrade = "upgrade"
	opHistory = "history"
)

// operate asks the leader of an agent for an operation.
func (a *Agents) operate(ctx context.Context, agent string, q question) ([]byte, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, operationTime)
		defer cancel()
	}
	key, err := a.Resolve(ctx, agent)
	if err != nil {
		return nil, err
	}
	q.Key, q.Caller = []byte(key), string(a.Peers.Self())
	out, err := a.ask(ctx, key, &q)
	return out, shoal.Wrap(shoal.Unavailable, q.Op+" of agent "+agent, err)
}

// operationTime bounds an operation whose caller names no deadline.
const operationTime = 10 * callTime

// operation does one, at the leader.
func (x *actor) operation(ctx context.Context, from shoal.PeerID, q *question) ([]byte, error) {
	switch q.Op {
	case opHere:
		return nil, nil
	case opMove:
		return nil, x.moveByHand(ctx, from, shoal.PeerID(q.Payload))
	case opUpgrade:
		return x.upgrade(ctx, from, q.Payload)
	case opHistory:
		return x.history()
	}
	return nil, shoal.E(shoal.Invalid, "agent", "no operation "+q.Op, "check that both nodes run the same version of shoal")
}
