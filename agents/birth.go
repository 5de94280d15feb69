package agents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/agents/directory"
	"github.com/shoal-fabric/shoal/agents/group"
	"github.com/shoal-fabric/shoal/wire"
)

// Births, and what is said of them to directories, go together: a thousand agents are a few turns of their directory, and
// a few messages to each keeper.
const (
	maxBirths    = 64
	birthFlights = 4                // to one keeper: one whose module must be fetched first keeps few others waiting
	birthTime    = 20 * time.Second // what a keeper needs for births: above all to fetch the module
	birthGrace   = time.Second      // for those who come after a majority
)

// newClerks brings births to the directories of owners.
func (a *Agents) newClerks() {
	a.clerks.open = func(owner string) *batcher[directory.Part, directory.Outcome] {
		return &batcher[directory.Part, directory.Outcome]{
			most: directory.MaxParts, flights: 2, run: a.work.Go,
			ask: func(parts []directory.Part) (out []directory.Outcome, err error) {
				ctx, cancel := context.WithTimeout(a.ctx, callTime)
				defer cancel()
				err = a.askDirectory(ctx, shoal.PeerID(owner), "together", directory.Question{Each: parts}, false, &out)
				if err == nil && len(out) != len(parts) {
					err = shoal.E(shoal.Internal, "directory", "it answered to other questions", "")
				}
				if err != nil && a.ctx.Err() == nil {
					a.cfg.Log.Debug("agents: a directory does not answer", "owner", shoal.PeerID(owner).Short(), "err", err)
				}
				return out, err
			},
		}
	}
	a.midwives.open = func(keeper string) *batcher[[]byte, *wire.Error] {
		return &batcher[[]byte, *wire.Error]{
			most: maxBirths, flights: birthFlights, run: a.work.Go,
			ask: func(sealed [][]byte) ([]*wire.Error, error) { return a.askBirths(shoal.PeerID(keeper), sealed) },
		}
	}
}

// enter asks an owner's directory one of the questions that it answers together with others.
func (a *Agents) enter(ctx context.Context, owner shoal.PeerID, method string, q directory.Question) (*directory.Entry, error) {
	out, err := a.clerks.at(string(owner)).file(directory.Part{Method: method, Question: q}).wait(ctx)
	if err == nil && out.Failure != nil {
		err = out.Failure.Err()
	}
	return &out.Entry, err
}

// birth tells the first keepers; it is done when a majority has the agent on disk, and the others had a moment to follow.
func (a *Agents) birth(ctx context.Context, g *Genesis, sealed []byte) error {
	type outcome struct {
		keeper shoal.PeerID
		err    error
	}
	ch := make(chan outcome, len(g.Keepers))
	for _, k := range g.Keepers {
		t := a.midwives.at(string(k.Peer)).file(sealed)
		go func() {
			failure, err := t.wait(ctx)
			if err == nil && failure != nil {
				err = failure.Err()
			}
			ch <- outcome{k.Peer, err}
		}()
	}
	ok, last := 0, error(nil)
	var late <-chan time.Time
	for range g.Keepers {
		select {
		case o := <-ch:
			if o.err != nil {
				last = o.err
				a.stores.forget(o.keeper)
			} else if ok++; ok > len(g.Keepers)/2 && late == nil {
				late = time.After(birthGrace)
			}
			continue
		case <-late: // it goes on there
		}
		break
	}
	if ok > len(g.Keepers)/2 {
		return nil
	}
	return shoal.Wrap(shoal.Unavailable, fmt.Sprintf("%d of its %d keepers have it", ok, len(g.Keepers)), last)
}

// askBirths has a keeper, which may be this node, bear agents.
func (a *Agents) askBirths(keeper shoal.PeerID, sealed [][]byte) (out []*wire.Error, err error) {
	ctx, cancel := context.WithTimeout(a.ctx, birthTime)
	defer cancel()
	if keeper == a.Peers.Self() {
		return a.bear(ctx, keeper, sealed), nil
	}
	b, err := a.Peers.Ask(ctx, keeper, "agents.birth", wire.Marshal(sealed))
	if err == nil {
		err = wire.Unmarshal("answer to births", b, &out)
	}
	if err == nil && len(out) != len(sealed) {
		err = shoal.E(shoal.Internal, "keeper "+keeper.Short(), "it answered to other births", "")
	}
	return out, err
}

func (a *Agents) onBirth(ctx context.Context, from shoal.PeerID, req []byte) ([]byte, error) {
	var sealed [][]byte
	if err := wire.Unmarshal("births", req, &sealed); err != nil {
		return nil, err
	}
	if len(sealed) > maxBirths {
		return nil, shoal.E(shoal.Invalid, "births", fmt.Sprintf("%d at once, more than the limit of %d", len(sealed), maxBirths), "")
	}
	return wire.Marshal(a.bear(ctx, from, sealed)), nil
}

// bear makes this node a keeper of agents that are being born; an answer for each, nil if it is one. Repeating it is no error.
func (a *Agents) bear(ctx context.Context, from shoal.PeerID, sealed [][]byte) []*wire.Error {
	errs := make([]error, len(sealed))
	var batch []shoal.Write
	var places []shoal.Key
	var born []int
	var codes []string
	for i, b := range sealed {
		g, key, err := a.mayBear(ctx, from, b)
		if errs[i] = err; err != nil || g == nil {
			continue
		}
		st := group.Birth(g.Keepers)
		batch = append(batch, a.store.born(key, record{Genesis: b, Generation: st.Generation}, st)...)
		places = append(places, a.placesOf(g, key)...)
		born = append(born, i)
		if !slices.Contains(codes, g.Code) {
			codes = append(codes, g.Code)
		}
	}
	if len(born) > 0 {
		err := a.writer.commit(a.ctx, batch)
		if err == nil {
			err = a.Directory.Provide(a.ctx, places...)
		}
		for _, i := range born {
			errs[i] = err
		}
		for _, code := range codes {
			a.warm(code)
		}
	}
	out := make([]*wire.Error, len(sealed))
	for i, err := range errs {
		if err != nil {
			out[i] = wire.FromError(err)
		}
	}
	return out
}

// mayBear opens a genesis and says whether this node may be a keeper of its agent; nil: it is one.
func (a *Agents) mayBear(ctx context.Context, from shoal.PeerID, sealed []byte) (*Genesis, shoal.Key, error) {
	g, key, signer, err := a.opened(from, sealed)
	if err != nil {
		return nil, "", err
	}
	what := "birth of " + g.Name
	if signer != g.Owner && signer != from && !a.member(signer) { // whoever asks is a member: the gate saw to it
		return nil, "", shoal.E(shoal.Refused, what, "signed by nobody of this fabric", "")
	}
	if !slices.Contains(g.Keepers, group.Keeper{Peer: a.Peers.Self(), Store: a.store.name}) {
		return nil, "", shoal.E(shoal.Refused, what, "this node's disk is not the one that was asked", "create the agent anew")
	}
	_, here, err := a.Table.Get(indexKey(key))
	if err != nil || here {
		return nil, "", err
	}
	gone, err := a.store.gone(key)
	was, err2 := a.store.removed(key)
	switch err = errors.Join(err, err2); {
	case err != nil:
		return nil, "", err
	case gone:
		return nil, "", shoal.E(shoal.Refused, what, "an agent with that key was removed", "create it anew")
	case was > 0: // a birth that comes late must not bring the first history back
		return nil, "", shoal.E(shoal.Refused, what, "this node kept it, and was replaced", "look the name up again: the agent lives with other keepers")
	}
	if err := a.keepCode(ctx, g.Code, from); err != nil {
		return nil, "", shoal.Wrap(shoal.Unavailable, what, err)
	}
	return g, key, nil
}

// opened opens a genesis; what this node tells itself it has made, or opened, before.
func (a *Agents) opened(from shoal.PeerID, sealed []byte) (*Genesis, shoal.Key, shoal.PeerID, error) {
	if from != a.Peers.Self() {
		return openGenesis(a.Members.Fabric(), sealed)
	}
	g, err := readGenesis(sealed)
	return g, keyOf(sealed), from, err
}

// warm makes code ready, so that a first call, or a takeover, need not wait for it.
func (a *Agents) warm(code string) {
	a.work.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, time.Minute)
		defer cancel()
		if _, err := a.behaviour(ctx, code); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("agents: code is not ready here", "code", code, "err", err)
		}
	})
}
