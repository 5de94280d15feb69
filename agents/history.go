package agents

import (
	"context"

	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// news returns what the agent's history lacks: that this epoch began, or that others keep it; nil if nothing.
// The entry that is proposed next bears it. The caller holds mu.
func (x *actor) news() *turn.Event {
	c, gen := x.mark.Conf, x.rec.Generation
	begins := x.noted.Epoch != x.epoch || x.noted.Generation != gen
	if !x.open || !begins && (x.noted.Conf == c.Index || c.Joint()) {
		return nil
	}
	e := &turn.Event{
		What: turn.Kept, At: x.a.cfg.Now().UnixMilli(), Epoch: x.epoch, Generation: gen, Leader: x.a.Peers.Self(), Conf: c.Index,
	}
	if begins {
		e.What = turn.Lives
	}
	for _, m := range c.Members {
		if m.Role != group.Learner && m.Role != group.Outgoing {
			e.Keepers = append(e.Keepers, m.Peer)
		}
	}
	x.noted = turn.Noted{Epoch: x.epoch, Generation: gen, Conf: c.Index}
	return e
}

// record writes something into the history, and what the history lacks before it, by entries of their own. It need not be
// there when this returns: what the leader does next comes after it in the log.
func (x *actor) record(e turn.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.open || x.dead != nil {
		return
	}
	if lacks := x.news(); lacks != nil {
		x.propose(&turn.Entry{Kind: turn.Note, At: lacks.At, Event: lacks}, func(error) {})
	}
	e.At, e.Epoch, e.Generation, e.Leader = x.a.cfg.Now().UnixMilli(), x.epoch, x.rec.Generation, x.a.Peers.Self()
	if x.open {
		x.propose(&turn.Entry{Kind: turn.Note, At: e.At, Event: &e}, func(error) {})
	}
}

// noteSoon writes what the history lacks by an entry of its own, unless another one takes it along first. The
// caller holds mu.
func (x *actor) noteSoon() {
	x.a.work.Go(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if e := x.news(); e != nil {
			x.propose(&turn.Entry{Kind: turn.Note, At: e.At, Event: e}, func(error) {}) // or the next entry says it
		}
	})
}

// History lists what happened to an agent: where it lived, who kept it, what code it ran; the oldest first, of the
// last turn.KeptEvents.
func (a *Agents) History(ctx context.Context, agent string) (list []turn.Event, err error) {
	b, err := a.operate(ctx, agent, question{Op: opHistory})
	if err != nil {
		return nil, err
	}
	return list, wire.Unmarshal("history of an agent", b, &list)
}

func (x *actor) history() ([]byte, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list, err := turn.History(x.state)
	if err == nil && len(list) == 0 {
		list = []turn.Event{}
	}
	return encode(list, err)
}

// program returns the code in force: that of the newest manifest, or of the genesis.
func program(v turn.View, g *Genesis) (string, error) {
	m, err := turn.ReadMeta(v)
	if err == nil && len(m.Code) > 0 {
		return string(m.Code), nil
	}
	return g.Code, err
}
