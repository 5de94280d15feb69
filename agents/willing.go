package agents

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/wire"
)

// willing is what a node says when it is asked to keep agents.
type willing struct {
	Store string `cbor:"s"`
}

func (a *Agents) onKeep(context.Context, shoal.PeerID, []byte) ([]byte, error) {
	return wire.Marshal(willing{Store: a.store.name}), nil
}

// stores remembers for a moment what peers said: who makes a thousand agents need not ask for each. A peer that has
// another disk by then refuses the birth.
type stores struct {
	mu   sync.Mutex
	list map[shoal.PeerID]said
}

type said struct {
	store string
	at    time.Time
}

const saidLife = time.Second // no longer: one that is gone would be waited for at each birth

// storeOf returns the store of a peer that would keep agents.
func (a *Agents) storeOf(ctx context.Context, p shoal.PeerID) (string, error) {
	a.stores.mu.Lock()
	was, ok := a.stores.list[p]
	a.stores.mu.Unlock()
	if ok && time.Since(was.at) < saidLife {
		return was.store, nil
	}
	store, err := a.askStore(ctx, p)
	if err != nil {
		return "", err
	}
	a.stores.mu.Lock()
	defer a.stores.mu.Unlock()
	a.stores.list[p] = said{store, time.Now()}
	return store, nil
}

func (s *stores) forget(p shoal.PeerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, p)
}
