package agents

import (
	"context"
	"crypto/ed25519"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/capability"
)

// FoundOwner makes the directory of an owner whose key this node has, unless there is one already.
func (a *Agents) FoundOwner(root ed25519.PrivateKey, owner shoal.PeerID) error {
	if _, ok, err := a.Table.Get(ownerKey(owner)); err != nil || ok {
		return err
	}
	g := Genesis{
		Fabric: a.Members.Fabric(), Owner: owner, Name: directoryName, Nonce: make([]byte, 16), Code: DirectoryCode, Replicas: 3,
		Keepers: []group.Keeper{{Peer: a.Peers.Self(), Store: a.store.name}}, At: a.cfg.Now().UnixMilli(),
	}
	sealed, key := g.seal(root)
	rec := sealOwnerRecord(root, ownerRecord{Fabric: g.Fabric, Directory: []byte(key), Number: 1, Genesis: sealed})
	st := group.Birth(g.Keepers)
	batch := append(a.store.all(key, record{Genesis: sealed, Generation: st.Generation}, st), shoal.Write{Key: ownerKey(owner), Value: rec})
	if err := a.Table.Commit(true, batch...); err != nil {
		return err
	}
	return a.Directory.Provide(a.ctx, key, ownerPlace(g.Fabric, owner))
}

// LearnOwner takes over what another node of this process knows of an owner.
func (a *Agents) LearnOwner(from *Agents, owner shoal.PeerID) error {
	sealed, ok, err := from.Table.Get(ownerKey(owner))
	if err != nil || !ok {
		return err
	}
	return a.Table.Commit(true, shoal.Write{Key: ownerKey(owner), Value: sealed})
}

// ownerPlace is the key under which the keepers of an owner's directory are found in the DHT.
func ownerPlace(fabric string, owner shoal.PeerID) shoal.Key {
	return shoal.DataKey(shoal.BlockCID([]byte("directory of " + string(owner) + " in " + fabric)))
}

// directoryOf returns the key of an owner's directory: as this node knows, or as a member says with the
// owner's signature.
func (a *Agents) directoryOf(ctx context.Context, owner shoal.PeerID) (shoal.Key, error) {
	a.names.mu.Lock()
	key := a.names.owners[owner]
	a.names.mu.Unlock()
	if key != "" {
		return key, nil
	}
	sealed, ok, err := a.Table.Get(ownerKey(owner))
	if err != nil {
		return "", err
	}
	if !ok {
		if sealed, err = a.askOwner(ctx, owner); err != nil {
			return "", err
		}
	}
	r, err := openOwner(a.Members.Fabric(), owner, sealed)
	if err != nil {
		return "", err
	}
	if !ok {
		if err := a.Table.Commit(true, shoal.Write{Key: ownerKey(owner), Value: sealed}); err != nil {
			return "", err
		}
	}
	a.names.mu.Lock()
	defer a.names.mu.Unlock()
	a.names.owners[owner] = shoal.Key(r.Directory)
	return shoal.Key(r.Directory), nil
}

// askOwner asks members for the signed record of an owner: those that this node is in touch with, then the keepers of
// the directory that the DHT names.
func (a *Agents) askOwner(ctx context.Context, owner shoal.PeerID) (sealed []byte, err error) {
	last := error(shoal.E(shoal.NotFound, "owner "+owner.Short(), "no member that answers knows the owner's directory",
		"check the owner's name, and that the node is connected ('shoal peers')"))
	try := func(p shoal.PeerID) bool {
		ask, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		b, err := a.Peers.Ask(ask, p, "agents.owner", []byte(owner))
		if err == nil {
			if _, err = openOwner(a.Members.Fabric(), owner, b); err == nil {
				sealed = b
				return true
			}
		}
		if shoal.KindOf(err) != shoal.NotFound {
			last = err
		}
		return false
	}
	for _, m := range a.Members.Table() {
		if m.State == shoal.Alive && (try(m.ID) || ctx.Err() != nil) {
			return sealed, ctx.Err()
		}
	}
	for p, err := range a.Directory.Find(ctx, ownerPlace(a.Members.Fabric(), owner), MaxReplicas) {
		if err == nil && p != a.Peers.Self() && (try(p) || ctx.Err() != nil) {
			return sealed, ctx.Err()
		}
	}
	return nil, last
}

func (a *Agents) onOwner(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	b, ok, err := a.Table.Get(ownerKey(shoal.PeerID(req)))
	if err == nil && !ok {
		err = shoal.E(shoal.NotFound, "owner "+shoal.PeerID(req).Short(), "not known here", "")
	}
	return b, err
}

// placesOf are the keys under which this node is found as the keeper of an agent.
func (a *Agents) placesOf(g *Genesis, key shoal.Key) []shoal.Key {
	if g.Code == DirectoryCode {
		return []shoal.Key{key, ownerPlace(g.Fabric, g.Owner)}
	}
	return []shoal.Key{key}
}

// ownerPlaces are those keys for the directories that are kept here.
func (a *Agents) ownerPlaces() (list []shoal.Key) {
	for _, owner := range a.directories() {
		list = append(list, ownerPlace(a.Members.Fabric(), owner))
	}
	return list
}

// directories yields those that are kept here, and whose they are.
func (a *Agents) directories() iter.Seq2[shoal.Key, shoal.PeerID] {
	return func(yield func(shoal.Key, shoal.PeerID) bool) {
		for p, err := range a.Table.Scan([]byte{atOwner}, []byte{atOwner + 1}) {
			if err != nil {
				return
			}
			owner := shoal.PeerID(p.Key[1:])
			r, err := openOwner(a.Members.Fabric(), owner, p.Value)
			if err != nil {
				continue
			}
			key := shoal.Key(r.Directory)
			if _, ok, err := a.Table.Get(indexKey(key)); err == nil && ok && !yield(key, owner) {
				return
			}
		}
	}
}

// ownerOf takes the owner out of the name of an agent that is to be made.
func (a *Agents) ownerOf(o *CreateOptions) (shoal.PeerID, error) {
	key, owner, name, err := parseAgent(o.Name)
	if err == nil && key != "" {
		err = directory.CheckName("") // no key may look like a name
	}
	if err != nil {
		return "", err
	}
	o.Name = name
	return a.owner(owner)
}

// owner completes what a user typed for an owner: nothing for the fabric's own, or the end of the ID of one whose
// directory this node knows.
func (a *Agents) owner(typed shoal.PeerID) (shoal.PeerID, error) {
	const whole = 40 // characters; IDs have more
	switch {
	case typed == "":
		return a.Members.Root(), nil
	case len(typed) >= whole:
		return typed, nil
	}
	found := shoal.PeerID("")
	for _, o := range a.Owners() {
		if len(typed) >= 6 && strings.HasSuffix(string(o), string(typed)) {
			if found != "" {
				return "", shoal.E(shoal.Invalid, "owner "+string(typed), "it could be "+string(found)+" or "+string(o), "type more of it")
			}
			found = o
		}
	}
	if found == "" {
		return "", shoal.E(shoal.NotFound, "owner "+string(typed), "this node knows none whose ID ends so", "type the whole ID, as 'shoal owner new' printed it")
	}
	return found, nil
}

// Owners lists the owners whose directories this node knows.
func (a *Agents) Owners() (list []shoal.PeerID) {
	for p, err := range a.Table.Scan([]byte{atOwner}, []byte{atOwner + 1}) {
		if err != nil {
			return list
		}
		list = append(list, shoal.PeerID(p.Key[1:]))
	}
	return list
}

// Owns reports whether typed is an owner whose directory this node knows, by ID or the end of it.
func (a *Agents) Owns(typed string) bool {
	if _, err := capability.PublicKey(shoal.PeerID(typed)); err == nil {
		return true
	}
	owner, err := a.owner(shoal.PeerID(typed))
	return typed != "" && err == nil && slices.Contains(a.Owners(), owner)
}

// Leader returns where an agent was last seen to live, as far as this node knows; "": it does not.
func (a *Agents) Leader(key shoal.Key) shoal.PeerID {
	at, _ := a.places.get(key)
	return at.Leader
}
