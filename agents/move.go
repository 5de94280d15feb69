package agents

import (
	"context"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/keepers"
	"github.com/shoal-fabric/shoal/agents/turn"
)

// movePause is how often a move looks whether it can take its next step.
const movePause = 20 * time.Millisecond

// Move has an agent live on a peer, which becomes a keeper of it if it was none: it learns the agent's state, takes
// the place of another keeper in one change, and leadership is handed over. Calls go on meanwhile; those that
// meet the change of leaders are asked again. Moving to where it is does nothing.
func (a *Agents) Move(ctx context.Context, agent string, to shoal.PeerID) error {
	what := "move agent " + agent
	if err := a.fits(ctx, to); err != nil {
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, operationTime)
		defer cancel()
	}
	key, err := a.Resolve(ctx, agent)
	if err != nil {
		return err
	}
	for {
		for _, q := range []question{{Op: opMove, Payload: []byte(to)}, {Op: opHere}} {
			if _, err := a.operate(ctx, KeyText(key), q); err != nil {
				return shoal.Wrap(shoal.Unavailable, what, err)
			}
		}
		if at, _ := a.places.get(key); at.Leader == to {
			return nil
		}
		select { // another took over in between
		case <-time.After(movePause):
		case <-ctx.Done():
			return shoal.Wrap(shoal.Timeout, what, ctx.Err())
		}
	}
}

// fits reports why a peer cannot keep an agent, or nil.
func (a *Agents) fits(ctx context.Context, to shoal.PeerID) error {
	what := "peer " + to.Short()
	switch s, known := a.look()[to]; {
	case a.departs(to):
		return shoal.E(shoal.Refused, what, "it is leaving the fabric", "choose another: 'shoal peers' lists them")
	case !known:
		return shoal.E(shoal.NotFound, what, "it is no member that this node knows", "'shoal peers' lists them")
	case s != shoal.Alive:
		return shoal.E(shoal.Refused, what, "it is "+string(s), "choose another: 'shoal peers' lists them")
	}
	_, err := a.askKeeper(ctx, to)
	return err
}

func (x *actor) keptBy(p shoal.PeerID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.ContainsFunc(x.mark.Conf.Members, func(m group.Member) bool { return m.Peer == p })
}

// moveByHand is move for somebody who says so. The history has it, and so the next leader knows: what the agent reads does
// not draw it away again for a while.
func (x *actor) moveByHand(ctx context.Context, by, to shoal.PeerID) error {
	if to == x.a.Peers.Self() {
		return nil
	}
	if err := x.mayMove(to); err != nil {
		return err
	}
	x.record(turn.Event{What: turn.Moved, To: to, By: by})
	return x.move(ctx, to)
}

// mayMove reports why a peer must not keep the agent, or nil.
func (x *actor) mayMove(to shoal.PeerID) error {
	for _, m := range append(x.a.Members.Table(), x.a.self()) {
		if why := x.a.unfit(x.genesis.Needs, m); m.ID == to && why != "" && !x.keptBy(to) {
			return shoal.E(shoal.Refused, "peer "+to.Short(), "it does not fit the agent's requirement: "+why, "choose another: 'shoal peers --where' finds those that fit")
		}
	}
	return nil
}

// move takes the steps of a move, at the leader, until the target leads or another does.
func (x *actor) move(ctx context.Context, to shoal.PeerID) error {
	if err := x.mayMove(to); err != nil {
		return err
	}
	x.mu.Lock()
	for x.maintaining { // repair is at it; it takes a few seconds at most
		x.mu.Unlock()
		if err := pause(ctx); err != nil {
			return err
		}
		x.mu.Lock()
	}
	x.maintaining = true
	epoch := x.epoch
	gone, like := x.gonePeers(x.a.look()), x.a.like(to)
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		x.maintaining = false
		x.mu.Unlock()
	}()
	var newcomer group.Keeper
	var handed group.Instant // leadership, last: a transfer comes about within a lease, or not at all
	for {
		x.mu.Lock()
		if x.dead != nil || !x.open || x.epoch != epoch {
			x.mu.Unlock()
			return nil // who leads now is asked next
		}
		x.used = x.a.instant()
		step := keepers.Step{}
		if !x.mark.Conf.Joint() {
			step = keepers.Swap(x.mark.Conf, to, x.self, gone, like)
		}
		here := step.Lead == x.self
		learn := step.Learn && newcomer.Peer == ""
		if !here && !learn && (step.Lead == 0 || handed == 0 || x.used > handed.Add(2*x.a.cfg.Lease)) {
			if step.Lead > 0 {
				handed = x.used
			}
			x.take(step, newcomer)
		}
		x.mu.Unlock()
		switch {
		case here:
			return nil
		case learn:
			var err error
			if newcomer, err = x.a.askKeeper(ctx, to); err != nil {
				return shoal.Wrap(shoal.Unavailable, "peer "+to.Short(), err)
			}
			continue
		}
		if err := pause(ctx); err != nil {
			return err // what was begun is undone by whoever looks after the keepers
		}
	}
}

// take has the group take a step of a move; if it cannot yet, it is asked again. The caller holds mu.
func (x *actor) take(s keepers.Step, newcomer group.Keeper) {
	now, err := x.a.instant(), error(nil)
	switch {
	case s.Learn:
		err = x.g.Change(now, group.Change{Learn: []group.Keeper{newcomer}})
	case s.Lead > 0:
		err = x.g.Transfer(now, s.Lead)
	case len(s.Promote) > 0:
		err = x.g.Change(now, group.Change{Promote: s.Promote, Remove: s.Remove})
	}
	if err != nil {
		x.a.cfg.Log.Debug("agent: a move waits", "agent", x.genesis.Name, "err", err)
	}
	x.flush()
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(movePause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
