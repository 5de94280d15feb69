package agents

import (
	"context"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/turn"
	"github.com/shoal-fabric/shoal/wire"
)

// nameIn completes a service's name: the owner, and the name in that owner's directory.
func (a *Agents) nameIn(what, typed string) (owner shoal.PeerID, name string, err error) {
	o := CreateOptions{Name: typed}
	if owner, err = a.ownerOf(&o); err == nil {
		err = directory.CheckName(o.Name)
	}
	if err == nil && o.Name == directoryName {
		err = shoal.E(shoal.Invalid, what, "the name is that of the owner's directory", "choose another")
	}
	return owner, o.Name, err
}

// ServiceName completes a service's name as a user typed it: in the fabric's own directory the name alone, else behind
// its owner's whole ID.
func (a *Agents) ServiceName(typed string) (string, error) {
	owner, name, err := a.nameIn("service "+typed, typed)
	if err != nil || owner == a.Members.Root() {
		return name, err
	}
	return string(owner) + "/" + name, nil
}

// Define gives a name that nobody has to a service, in the directory in which agents have theirs. Exists: an agent or
// another service has it.
func (a *Agents) Define(ctx context.Context, name string, key shoal.Key, spec []byte) error {
	what := "create service " + name
	owner, name, err := a.nameIn(what, name)
	if err != nil {
		return err
	}
	var e directory.Entry
	q := directory.Question{Name: name, Key: []byte(key), Spec: spec}
	if err := a.askDirectory(ctx, owner, "define", q, false, &e); err != nil {
		return shoal.Wrap(shoal.Unavailable, what, err)
	}
	if shoal.Key(e.Key) == key {
		return nil
	}
	return a.taken(ctx, owner, what, &e)
}

// Defined finds a service by its name. NotFound: there is none. Invalid: the name is an agent's.
func (a *Agents) Defined(ctx context.Context, name string) (*directory.Entry, error) {
	what := "service " + name
	owner, name, err := a.nameIn(what, name)
	if err != nil {
		return nil, err
	}
	var e directory.Entry
	err = a.askDirectory(ctx, owner, "lookup", directory.Question{Name: name}, true, &e)
	switch {
	case err != nil && shoal.KindOf(err) == shoal.NotFound: // the directory was not: that says nothing of the name
		return nil, shoal.E(shoal.Unavailable, what, err.Error(), "")
	case err != nil:
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	case e.Name == "":
		return nil, shoal.E(shoal.NotFound, what, "its owner's directory has no such name", "see them with 'shoal service ls'")
	case !e.Service:
		return nil, shoal.E(shoal.Invalid, what, "the name is an agent's", "call it with 'shoal agent call'")
	}
	return &e, nil
}

// Undefine frees the name of a service.
func (a *Agents) Undefine(ctx context.Context, name string) (*directory.Entry, error) {
	e, err := a.Defined(ctx, name)
	if err != nil {
		return nil, err
	}
	owner, _, err := a.nameIn("", name)
	if err != nil {
		return nil, err
	}
	err = a.askDirectory(ctx, owner, "remove", directory.Question{Name: e.Name, Key: e.Key}, false, nil)
	return e, shoal.Wrap(shoal.Unavailable, "remove service "+name, err)
}

// Definitions lists the services in an owner's directory ("": the fabric's).
func (a *Agents) Definitions(ctx context.Context, owner shoal.PeerID) (list []directory.Entry, err error) {
	if owner, err = a.owner(owner); err != nil {
		return nil, err
	}
	for after := ""; ; {
		var page []directory.Entry
		if err := a.askDirectory(ctx, owner, "services", directory.Question{After: after}, true, &page); err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return list, nil
		}
		list = append(list, page...)
		after = page[len(page)-1].Name
	}
}

// KeptServices yields the services in the directories that this node keeps, as its own copies have them, which may lag behind a
// little; nobody is asked or woken. first: of all keepers that live, this node is the first.
func (a *Agents) KeptServices(yield func(owner shoal.PeerID, e directory.Entry, first bool)) error {
	f := a.look()
	for key, owner := range a.directories() {
		rec, _, mark, err := a.store.glance(key)
		if err != nil {
			return err
		}
		var living []shoal.PeerID
		for _, m := range mark.Conf.Members {
			if f[m.Peer] == shoal.Alive {
				living = append(living, m.Peer)
			}
		}
		first := len(living) > 0 && slices.Min(living) == a.Peers.Self()
		for p, err := range turn.Own(a.store.state(key, rec), directory.Services) {
			var e directory.Entry
			if err == nil {
				err = wire.Unmarshal("entry of a directory", p.Value, &e)
			}
			if err != nil {
				return err
			}
			yield(owner, e, first)
		}
	}
	return nil
}
