package agents

import (
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// errNowhere is behind the error that nobody is found who keeps an agent: it may be removed, or its keepers down.
var errNowhere = errors.New("no keeper is found")

// locate finds peers that keep an agent: those that this node's disk names, or whoever is asked in a small fabric, or the directory. vain:
// those named so far were asked in vain. Then this node's disk is not believed alone, nor who answers first: a keeper that was away
// may have missed that it was replaced, and all with whom it kept the agent.
func (a *Agents) locate(ctx context.Context, key shoal.Key, vain bool) (place, error) {
	at, err := a.ownPlace(key)
	sure := err == nil && !vain
	if !sure {
		at, sure = a.askAround(ctx, key, at, vain)
	}
	found := map[shoal.PeerID]bool{}
	for _, p := range at.Keepers {
		found[p] = true
	}
	if !sure {
		find, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		for p, err := range a.Directory.Find(find, key, MaxReplicas) {
			if err != nil {
				break
			}
			found[p] = true
		}
	}
	if len(found) == 0 {
		return place{}, &shoal.Error{
			Kind: shoal.NotFound, What: "agent " + KeyText(key), Why: "nobody who was asked keeps it",
			Try: "if its keepers are down, bring one back", Err: errNowhere,
		}
	}
	list := make([]shoal.PeerID, 0, len(found))
	for p := range found {
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return place{Keepers: list, Order: at.Order}, nil
}

// ownPlace is where an agent is as this node's disk has it, without waking it.
func (a *Agents) ownPlace(key shoal.Key) (place, error) {
	rec, term, mark, err := a.store.glance(key)
	if err != nil {
		return place{}, err
	}
	p := place{Order: order{rec.Generation, mark.Conf.Index, term}}
	for _, m := range mark.Conf.Members {
		p.Keepers = append(p.Keepers, m.Peer)
	}
	return p, nil
}

// small is how many members are asked one by one.
const small = 32

// near are the members that are asked one by one: all of few; of many those who are connected, since to call the others costs more than to ask
// the directory.
func (a *Agents) near() (peers []shoal.PeerID) {
	for _, m := range a.Members.Table() {
		if m.State == shoal.Alive {
			peers = append(peers, m.ID)
		}
	}
	if len(peers) > small && a.Connected != nil {
		open := map[shoal.PeerID]bool{}
		for _, p := range a.Connected() {
			open[p] = true
		}
		peers = slices.DeleteFunc(peers, func(p shoal.PeerID) bool { return !open[p] })
	}
	return peers[:min(len(peers), small)]
}

// askAround asks members where an agent is, and returns the latest of what they say and this node has. It is sure of the first answer;
// or, if what was heard so far was in vain, once most of the keepers that are named say the same, for without most of them nobody else
// can have been made a keeper.
func (a *Agents) askAround(ctx context.Context, key shoal.Key, best place, vain bool) (at place, sure bool) {
	peers := a.near()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	ch := make(chan *place, len(peers))
	for _, p := range peers {
		a.work.Go(func() {
			var at place
			b, err := a.Peers.Ask(ctx, p, "agents.where", []byte(key))
			if err != nil || wire.Unmarshal("place of an agent", b, &at) != nil {
				ch <- nil
				return
			}
			ch <- &at
		})
	}
	same := min(len(best.Keepers), 1) // this node, if it keeps the agent
	for range peers {
		at := <-ch
		if at == nil || len(at.Keepers) == 0 {
			continue
		}
		now, was := at.Order, best.Order
		now.Term, was.Term = 0, 0 // elections change no keepers
		switch {
		case same == 0 || was.less(now):
			best, same = *at, 1
		case now == was:
			same++
		}
		if !vain || same > len(best.Keepers)/2 {
			return best, true
		}
	}
	return best, false
}

// onWhere tells what this keeper knows of an agent's place, without waking it.
func (a *Agents) onWhere(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	key := shoal.Key(req)
	a.mu.Lock()
	x := a.awake[key]
	a.mu.Unlock()
	if x != nil && !x.gone() {
		x.mu.Lock()
		defer x.mu.Unlock()
		return wire.Marshal(x.place()), nil
	}
	p, err := a.ownPlace(key)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(p), nil
}
