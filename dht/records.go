package dht

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/dht/record"
)

// FindPeer returns addresses of p, without /p2p: known ones, else looked up. NotFound: nobody who was
// asked knows p.
func (d *DHT) FindPeer(ctx context.Context, p shoal.PeerID) ([]string, error) {
	what := "find peer " + p.Short()
	id, err := peer.Decode(string(p))
	if err != nil {
		return nil, shoal.E(shoal.Invalid, what, "not a peer ID", "copy it whole; it begins with 12D3KooW")
	}
	ai := peer.AddrInfo{ID: id, Addrs: d.host.Addrs()}
	if id != d.host.ID() {
		d.settle(ctx)
		ai, err = d.kad.FindPeer(ctx, id)
	}
	if err == nil && len(ai.Addrs) == 0 { // it called us just now, and has not said yet where it listens
		soon, cancel := context.WithTimeout(ctx, settleTime)
		defer cancel()
		if a, ok := <-d.host.Peerstore().AddrStream(soon, id); ok {
			ai.Addrs = append(ai.Addrs, a)
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, shoal.Wrap(shoal.Canceled, what, ctx.Err())
	case err == nil && len(ai.Addrs) == 0, errors.Is(err, routing.ErrNotFound), errors.Is(err, kb.ErrLookupFailure):
		return nil, shoal.E(shoal.NotFound, what, "nobody who was asked knows its address", "")
	case err != nil:
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	addrs := make([]string, len(ai.Addrs))
	for i, a := range ai.Addrs {
		addrs[i] = a.String()
	}
	return addrs, nil
}

// PutRecord puts p's sealed record (see dht/record) to the peers closest to its key. This node's own
// is also handed to peers that come later. Exists: there is a newer one. The peers keep it for twice
// Config.Validity, so put it again before.
func (d *DHT) PutRecord(ctx context.Context, p shoal.PeerID, sealed []byte) error {
	what, key := "put record of "+p.Short(), record.Key(p)
	if err := d.judge.Validate(key, sealed); err != nil {
		return shoal.Wrap(shoal.Invalid, what, err)
	}
	if sealed = bytes.Clone(sealed); string(p) == d.host.ID().String() {
		d.mu.Lock()
		if i, err := d.judge.Select(key, [][]byte{sealed, d.self}); err == nil && i == 0 {
			d.self = sealed
		}
		d.mu.Unlock()
	}
	err := d.kad.PutValue(announcing(ctx), key, sealed)
	switch {
	case ctx.Err() != nil:
		return shoal.Wrap(shoal.Canceled, what, ctx.Err())
	case errors.Is(err, kb.ErrLookupFailure): // a node alone keeps it until somebody comes
		return nil
	case err != nil && strings.Contains(err.Error(), "with an older value"): // kad-dht's only word for it
		return shoal.E(shoal.Exists, what, "there is a newer one", "")
	}
	return shoal.Wrap(shoal.Unavailable, what, err)
}

// GetRecord returns the latest record of p that is found, sealed and verified.
func (d *DHT) GetRecord(ctx context.Context, p shoal.PeerID) ([]byte, error) {
	what := "record of " + p.Short()
	if _, err := peer.Decode(string(p)); err != nil {
		return nil, shoal.E(shoal.Invalid, what, "not a peer ID", "copy it whole; it begins with 12D3KooW")
	}
	d.settle(ctx)
	val, err := d.kad.GetValue(ctx, record.Key(p))
	switch {
	case ctx.Err() != nil:
		return nil, shoal.Wrap(shoal.Canceled, what, ctx.Err())
	case errors.Is(err, routing.ErrNotFound), errors.Is(err, kb.ErrLookupFailure):
		return nil, shoal.E(shoal.NotFound, what, "nobody who was asked has it", "")
	case err != nil:
		return nil, shoal.Wrap(shoal.Unavailable, what, err)
	}
	return slices.Clone(val), nil
}
