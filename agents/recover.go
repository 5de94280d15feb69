package agents

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/capability"
	"github.com/shoal-fabric/shoal/wire"
)

// When most keepers of an agent are gone for good it refuses, and waits for them. Recovery is the last resort: one
// keeper that is left begins a new generation from the log that it has. Turns that only the others had are lost.
// Generations are won by compare-and-swap in the directory (for a directory, by its owner's signature), so there is
// one winner for each. Keepers of the older generation that come back are sealed: they keep their state, and do not
// use it.

// Recovery says how a generation began.
type Recovery struct {
	Fabric     string         `cbor:"f"`
	Agent      []byte         `cbor:"k"`
	Generation uint64         `cbor:"g"`
	Keeper     group.Keeper   `cbor:"p"` // whose log it goes on from
	Former     []group.Keeper `cbor:"o"` // who kept it before
	At         int64          `cbor:"a"` // Unix milliseconds
}

const sealRecovery = "agent-recovery"

// Recovered is what came of one.
type Recovered struct {
	Key        string         `json:"key"`
	Name       string         `json:"name"`
	Generation uint64         `json:"generation"`
	Keeper     shoal.PeerID   `json:"keeper"`
	Missing    []shoal.PeerID `json:"missing"` // keepers that did not answer
}

// glance is what a keeper has of an agent, for those who compare logs.
type glance struct {
	Generation uint64         `cbor:"g"`
	Sealed     uint64         `cbor:"s"`
	Conf       group.Conf     `cbor:"c"`
	Last       group.Position `cbor:"l"`
	Genesis    []byte         `cbor:"b"`
	peer       shoal.PeerID
}

func (g glance) order() [4]uint64 {
	return [4]uint64{g.Generation, g.Conf.Index, g.Last.Term, g.Last.Index}
}

// Recover begins a new generation of an agent most of whose keepers are gone. ownerKey returns the key of an owner if
// it is here, else nil; a directory's recovery wants it. Refused: the agent needs no recovery, or acceptLoss is false.
func (a *Agents) Recover(
	ctx context.Context, agent string, acceptLoss bool, ownerKey func(shoal.PeerID) (ed25519.PrivateKey, error),
) (*Recovered, error) {
	what := "recover agent " + agent
	key, err := a.Resolve(ctx, agent)
	if err != nil {
		return nil, err
	}
	best, voters, missing, err := a.survivors(ctx, key)
	if err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	g, _, _, err := openGenesis(a.Members.Fabric(), best.Genesis)
	if err != nil {
		return nil, err
	}
	out := &Recovered{Key: KeyText(key), Name: g.Name, Keeper: best.peer, Missing: missing}
	names := make([]string, len(missing))
	for i, p := range missing {
		names[i] = p.Short()
	}
	switch {
	case 2*len(missing) < voters:
		return nil, shoal.E(shoal.Refused, what, fmt.Sprintf("%d of its %d keepers answer, which is enough", voters-len(missing), voters),
			"call it: those that are gone are replaced after a while")
	case !acceptLoss:
		return nil, shoal.E(shoal.Refused, what, fmt.Sprintf("turns that only the missing keepers have (%s) would be lost",
			strings.Join(names, ", ")), "bring one of them back; or, if they are gone for good, add --accept-loss")
	}
	signer := a.Key
	if g.Code == DirectoryCode {
		own, err := ownerKey(g.Owner)
		if err != nil {
			return nil, err
		}
		if own == nil {
			return nil, shoal.E(shoal.Refused, what, "a directory's recovery is signed by its owner, whose key this node has not",
				"run it where the owner was made; the fabric's own root key can be brought here: 'shoal key import'")
		}
		signer, out.Generation = own, best.Generation+1
	} else if out.Generation, err = a.winGeneration(ctx, g, key, best.Generation); err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	r := Recovery{
		Fabric: g.Fabric, Agent: []byte(key), Generation: out.Generation, Keeper: best.keeper(), At: a.cfg.Now().UnixMilli(),
	}
	for _, m := range best.Conf.Members {
		r.Former = append(r.Former, m.Keeper)
	}
	sealed := wire.Marshal(capability.Seal(signer, sealRecovery, wire.Marshal(r)))
	if _, err := a.Peers.Ask(ctx, best.peer, "agents.recover", sealed); err != nil {
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	a.places.note(key, place{Leader: best.peer, Keepers: []shoal.PeerID{best.peer}, Order: order{Generation: out.Generation}})
	return out, nil
}

func (g glance) keeper() (k group.Keeper) {
	for _, m := range g.Conf.Members {
		if m.Peer == g.peer {
			k = m.Keeper
		}
	}
	return k
}

// survivors asks all that may keep an agent for what they have. It returns the best of it, and of the keepers that
// this one knows how many vote and which of them do not answer.
func (a *Agents) survivors(ctx context.Context, key shoal.Key) (best glance, voters int, missing []shoal.PeerID, err error) {
	ask, found := map[shoal.PeerID]bool{}, map[shoal.PeerID]glance{}
	at, err := a.locate(ctx, key, true) // what this node has may be of long ago
	if err != nil {
		return best, 0, nil, err
	}
	peers := at.Keepers
	for len(peers) > 0 { // those know of others
		var more []shoal.PeerID
		for _, p := range peers {
			if ask[p] {
				continue
			}
			ask[p] = true
			one, cancel := context.WithTimeout(ctx, patience)
			b, err := a.Peers.Ask(one, p, "agents.glance", []byte(key))
			cancel()
			var g glance
			if err != nil || wire.Unmarshal("what a keeper has", b, &g) != nil {
				continue
			}
			g.peer = p
			found[p] = g
			for _, m := range g.Conf.Members {
				more = append(more, m.Peer)
			}
		}
		peers = more
	}
	for _, g := range found {
		o, b := g.order(), best.order()
		if best.peer == "" || slices.Compare(o[:], b[:]) > 0 {
			if m, ok := member(g.Conf, g.peer); ok && m.Role != group.Learner {
				best = g
			}
		}
	}
	if best.peer == "" {
		return best, 0, nil, shoal.E(shoal.Unavailable, "", "no keeper of it answers", "bring one back: without any there is nothing to recover from")
	}
	for _, m := range best.Conf.Members {
		if m.Role == group.Learner {
			continue
		}
		voters++
		if _, ok := found[m.Peer]; !ok {
			missing = append(missing, m.Peer)
		}
	}
	return best, voters, missing, nil
}

func member(c group.Conf, p shoal.PeerID) (group.Member, bool) {
	i := slices.IndexFunc(c.Members, func(m group.Member) bool { return m.Peer == p })
	if i < 0 {
		return group.Member{}, false
	}
	return c.Members[i], true
}

// winGeneration gets the next generation of an agent for this recovery, and nobody else's.
func (a *Agents) winGeneration(ctx context.Context, g *Genesis, key shoal.Key, now uint64) (uint64, error) {
	e, err := a.find(ctx, g.Owner, g.Name)
	if err != nil {
		return 0, err
	}
	q := directory.Question{Name: g.Name, Key: []byte(key), Generation: e.Generation + 1}
	if err := a.askDirectory(ctx, g.Owner, "recover", q, false, nil); err != nil {
		return 0, err
	}
	return max(now, q.Generation) + 1, nil // births are generation 1, and the directory counts from 0
}

// onGlance tells what this node has of an agent, if it can be read.
func (a *Agents) onGlance(_ context.Context, _ shoal.PeerID, req []byte) ([]byte, error) {
	key := shoal.Key(req)
	rec, st, err := a.store.load(key)
	if err != nil && rec.Sealed > 0 {
		rec, st, err = a.store.read(key, rec)
	}
	if err != nil {
		return nil, err
	}
	g := glance{Generation: rec.Generation, Sealed: rec.Sealed, Conf: st.Mark.Conf, Last: st.Mark.Position, Genesis: rec.Genesis}
	for _, e := range st.Entries {
		g.Last = e.Position
	}
	return wire.Marshal(g), nil
}

// openRecovery verifies a signed recovery: by the owner, or, but for directories, by a member.
func (a *Agents) openRecovery(from shoal.PeerID, sealed []byte) (r Recovery, key shoal.Key, rec record, err error) {
	what := "recovery of an agent"
	var env capability.Envelope
	if err := wire.Unmarshal(what, sealed, &env); err != nil {
		return r, "", rec, err
	}
	b, err := env.Open(sealRecovery)
	if err != nil {
		return r, "", rec, shoal.Wrap(shoal.Invalid, what, err)
	}
	if err := wire.Unmarshal(what, b, &r); err != nil {
		return r, "", rec, err
	}
	if key = shoal.Key(r.Agent); r.Fabric != a.Members.Fabric() || len(key) != keyLen || r.Generation < 2 {
		return r, "", rec, shoal.E(shoal.Invalid, what, "for another fabric, or malformed", "")
	}
	at, ok, err := a.Table.Get(indexKey(key))
	if err == nil && !ok {
		err = shoal.E(shoal.NotFound, "agent "+KeyText(key), "this node does not keep it", "")
	}
	if err == nil {
		err = stored(at, &rec)
	}
	if err != nil {
		return r, key, rec, err
	}
	g, _, _, err := openGenesis(r.Fabric, rec.Genesis)
	if err == nil && env.Signer != g.Owner && (g.Code == DirectoryCode || env.Signer != from && !a.member(env.Signer)) {
		err = shoal.E(shoal.Refused, what, "signed by nobody who may", "")
	}
	return r, key, rec, err
}

// onRecover makes this node the first keeper of a new generation.
func (a *Agents) onRecover(_ context.Context, from shoal.PeerID, sealed []byte) ([]byte, error) {
	r, key, rec, err := a.openRecovery(from, sealed)
	if err != nil {
		return nil, err
	}
	self := group.Keeper{Peer: a.Peers.Self(), Store: a.store.name}
	switch {
	case rec.Generation == r.Generation && string(rec.Recovery) == string(sealed):
		return nil, nil // an earlier try did it
	case r.Keeper != self:
		return nil, shoal.E(shoal.Refused, "recovery", "it is meant for another disk", "")
	case max(rec.Generation, rec.Sealed) >= r.Generation:
		return nil, shoal.E(shoal.Refused, "recovery", "a later generation is known here", "look again: 'shoal agent show'")
	}
	had, err := a.hold(key)
	if err != nil {
		return nil, err
	}
	defer a.letGo(key)
	if had != nil {
		had.evict(shoal.E(shoal.Unavailable, "agent "+KeyText(key), "it is being recovered", "try again"))
	}
	if err := a.writer.commit(a.ctx, nil); err != nil { // what the group had on its way to the disk comes first
		return nil, err
	}
	_, st, err := a.store.read(key, rec)
	if err != nil {
		return nil, err
	}
	if st, err = st.Recovered(r.Generation, self); err != nil {
		return nil, err
	}
	now := record{Genesis: rec.Genesis, Generation: r.Generation, Recovery: sealed, Slot: rec.Slot}
	batch := append(a.store.all(key, now, st), shoal.Write{Key: append([]byte{atLeft}, key...), Delete: true})
	if err := a.writer.commit(a.ctx, batch); err != nil {
		return nil, err
	}
	a.mu.Lock()
	delete(a.promises, key) // they were of another group
	a.mu.Unlock()
	a.cfg.Log.Warn("agent: recovered from what this node has", "agent", KeyText(key), "generation", r.Generation)
	a.work.Go(func() { a.sealFormer(sealed, r) })
	return nil, nil
}

// sealFormer tells those who kept an agent before that a new generation goes on without them.
func (a *Agents) sealFormer(sealed []byte, r Recovery) {
	for _, k := range r.Former {
		if k.Peer == a.Peers.Self() {
			continue
		}
		ask, cancel := context.WithTimeout(a.ctx, patience)
		_, err := a.Peers.Ask(ask, k.Peer, "agents.seal", sealed)
		cancel()
		a.cfg.Log.Debug("agent: a former keeper is told", "agent", KeyText(shoal.Key(r.Agent)), "peer", k.Peer.Short(), "err", err)
	}
}

// onSeal puts what this node has of an older generation out of use.
func (a *Agents) onSeal(_ context.Context, from shoal.PeerID, sealed []byte) ([]byte, error) {
	r, key, rec, err := a.openRecovery(from, sealed)
	if err != nil || max(rec.Generation, rec.Sealed) >= r.Generation {
		return nil, err
	}
	had, err := a.hold(key)
	if err != nil {
		return nil, err
	}
	defer a.letGo(key)
	if had != nil {
		had.evict(sealedOff(key, record{Generation: rec.Generation, Sealed: r.Generation}))
	}
	if err := a.writer.commit(a.ctx, a.store.sealing(key, rec, r.Generation)); err != nil {
		return nil, err
	}
	return nil, a.Directory.Withdraw(a.ctx, key)
}
