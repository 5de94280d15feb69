package agents

import (
	"context"
	"errors"
	"sort"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// errNowhere is behind the error that nobody is found who keeps an agent: it may be removed, or its keepers down.
var errNowhere = errors.New("no keeper is found")

// locate finds peers that keep an agent: this node, those that the directory names, and in a small fabric
// whoever says so when asked.
func (a *Agents) locate(ctx context.Context, key shoal.Key) ([]shoal.PeerID, error) {
	found := map[shoal.PeerID]bool{}
	if _, _, mark, err := a.store.glance(key); err == nil {
		for _, m := range mark.Conf.Members {
			found[m.Peer] = true
		}
	}
	if len(found) == 0 {
		a.askAround(ctx, key, found)
	}
	if len(found) == 0 {
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
		return nil, &shoal.Error{
			Kind: shoal.NotFound, What: "agent " + KeyText(key), Why: "nobody who was asked keeps it",
			Try: "if its keepers are down, bring one back", Err: errNowhere,
		}
	}
	list := make([]shoal.PeerID, 0, len(found))
	for p := range found {
		list = append(list, p)
	}
	sort.Slice(list, func(i, j int) bool { return list[i] < list[j] })
	return list, nil
}

// small is how many members are asked one by one.
const small = 32

func (a *Agents) askAround(ctx context.Context, key shoal.Key, found map[shoal.PeerID]bool) {
	var peers []shoal.PeerID
	for _, m := range a.Members.Table() {
		if m.State == shoal.Alive && len(peers) < small {
			peers = append(peers, m.ID)
		}
	}
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
	for range peers {
		if at := <-ch; at != nil && len(at.Keepers) > 0 {
			for _, k := range at.Keepers {
				found[k] = true
			}
			return // a keeper knows the others
		}
	}
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
	rec, term, mark, err := a.store.glance(key)
	if err != nil {
		return nil, err
	}
	p := place{Order: order{rec.Generation, mark.Conf.Index, term}}
	for _, m := range mark.Conf.Members {
		p.Keepers = append(p.Keepers, m.Peer)
	}
	return wire.Marshal(p), nil
}
