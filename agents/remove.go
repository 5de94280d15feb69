package agents

import (
	"context"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
)

// Remove ends an agent for good: its name is free first, then its keepers forget its state and remember its key,
// under which nothing is born again. Keepers that cannot be reached keep what they have, and are too few to
// act on it.
func (a *Agents) Remove(ctx context.Context, agent string) error {
	what := "remove agent " + agent
	s, err := a.Show(ctx, agent)
	if err != nil {
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	if s.Code == DirectoryCode {
		return shoal.E(shoal.Refused, what, "it is an owner's directory: all names would be lost", "")
	}
	key, _, _, err := parseAgent(s.Key)
	if err != nil {
		return err
	}
	err = a.askDirectory(ctx, s.Owner, "remove", directory.Question{Name: s.Name, Key: []byte(key)}, false, nil)
	if err != nil && shoal.KindOf(err) != shoal.NotFound { // not found: an earlier try got so far
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	a.names.forget(string(s.Owner) + "/" + s.Name)
	errs := make(chan error, len(s.Keepers))
	for _, p := range s.Keepers {
		a.work.Go(func() {
			ask, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			_, err := a.Peers.Ask(ask, p, "agents.remove", []byte(key))
			errs <- err
		})
	}
	gone := 0
	for range s.Keepers {
		if e := <-errs; e == nil {
			gone++
		} else {
			err = e
		}
	}
	if gone <= len(s.Keepers)/2 {
		return shoal.Wrap(shoal.Unavailable, what+": its name is free, but too few keepers answer", err)
	}
	a.places.forget(key)
	return nil
}

func (n *names) forget(full string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list.Remove(full)
}

// onRemove forgets an agent's state, and keeps in mind that it is gone.
func (a *Agents) onRemove(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	key := shoal.Key(req)
	if len(key) == 0 || len(key) > maxKey {
		return nil, shoal.E(shoal.Invalid, "remove agent", "no key", "")
	}
	had, err := a.hold(key)
	if err != nil {
		return nil, err
	}
	defer a.letGo(key)
	if had != nil {
		had.evict(shoal.E(shoal.NotFound, "agent "+KeyText(key), "it was removed", ""))
	}
	batch := []shoal.Write{
		{Key: goneKey(key), Value: []byte{1}},
		{Key: indexKey(key), Delete: true},
		{Key: groupKey(key, 0), Delete: true, End: groupKey(key, 0xff)},
	}
	if had != nil && had.due > 0 {
		batch = append(batch, shoal.Write{Key: dueKey(had.due, key), Delete: true})
	}
	// After what the group had on its way to the disk.
	if err := a.writer.commit(a.ctx, batch); err != nil {
		return nil, err
	}
	return nil, a.Directory.Withdraw(a.ctx, key)
}
