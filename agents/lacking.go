package agents

import (
	"context"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/group"
)

// tell tells another keeper, now and then, what this node lacks of an agent that it is told of: its state is damaged
// ("agents.damaged"), so that it keeps nothing that counts and is replaced as one that is gone; or it never heard of the
// agent's birth ("agents.unborn").
func (a *Agents) tell(to shoal.PeerID, key shoal.Key, what string) {
	now := a.instant()
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.told[key]; a.closed || ok && now < last.Add(a.cfg.Suspect) {
		return
	}
	a.told[key] = now
	a.work.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, a.cfg.Suspect)
		defer cancel()
		if what == "agents.unborn" && !a.unborn(key) {
			return
		}
		_, _ = a.Peers.Ask(ctx, to, what, []byte(key)) // or at its next message
	})
}

// unborn reports whether this node has nothing of an agent, and never had.
func (a *Agents) unborn(key shoal.Key) bool {
	if len(key) != keyLen {
		return false
	}
	_, here, err := a.Table.Get(indexKey(key))
	gone, err2 := a.store.gone(key)
	was, err3 := a.store.removed(key)
	return err == nil && err2 == nil && err3 == nil && !here && !gone && was == 0
}

// onDamaged notes that a keeper's state is damaged.
func (a *Agents) onDamaged(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	x, err := a.get(shoal.Key(req))
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.damaged == nil {
		x.damaged = map[shoal.PeerID]group.Instant{}
	}
	x.damaged[from] = a.instant()
	return nil, nil
}

// onUnborn tells a first keeper of the birth that it missed: it was away, and two were enough to begin with. Its disk must
// be the one that was asked then, which the keeper sees to itself.
func (a *Agents) onUnborn(_ context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	x, err := a.get(shoal.Key(req))
	if err != nil {
		return nil, err
	}
	first := slices.ContainsFunc(x.genesis.Keepers, func(k group.Keeper) bool { return k.Peer == from })
	a.fellows.doubt(from, a.instant())
	if first && x.rec.Generation == group.Birth(x.genesis.Keepers).Generation {
		a.midwives.at(string(from)).file(x.rec.Genesis)
	}
	return nil, nil
}
