package dht

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-libdht/kad/key/bitstr"
	"github.com/libp2p/go-libp2p-kad-dht/provider/keystore"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"

	"github.com/shoal-fabric/shoal"
)

const (
	maxKey     = 80          // bytes; peers accept no longer key
	settleTime = time.Second // for the first peer to enter the table
)

// hash returns the multihash that k is.
func hash(what string, k shoal.Key) (mh.Multihash, error) {
	h, err := mh.Cast([]byte(k))
	if err != nil || len(h) > maxKey {
		return nil, shoal.E(shoal.Invalid, what, "the key is no multihash of 80 bytes at most", "")
	}
	return h, nil
}

func hashes(what string, keys []shoal.Key) ([]mh.Multihash, error) {
	hs := make([]mh.Multihash, len(keys))
	for i, k := range keys {
		h, err := hash(what, k)
		if err != nil {
			return nil, err
		}
		hs[i] = h
	}
	return hs, nil
}

// Provide implements shoal.Directory.
func (d *DHT) Provide(ctx context.Context, keys ...shoal.Key) error {
	hs, err := hashes("announce", keys)
	if err == nil && ctx.Err() != nil {
		err = shoal.Wrap(shoal.Internal, "announce", ctx.Err())
	}
	if err != nil || len(hs) == 0 {
		return err
	}
	if _, err := d.keys.Put(ctx, hs...); err != nil { // the sweeper, which would do it too, tells nobody if it cannot
		return shoal.Wrap(shoal.Unavailable, "announce", err)
	}
	return shoal.Wrap(shoal.Unavailable, "announce", d.sweep.StartProviding(true, hs...))
}

// Withdraw implements shoal.Directory.
func (d *DHT) Withdraw(ctx context.Context, keys ...shoal.Key) error {
	hs, err := hashes("withdraw", keys)
	if err == nil && ctx.Err() != nil {
		err = shoal.Wrap(shoal.Internal, "withdraw", ctx.Err())
	}
	if err != nil || len(hs) == 0 {
		return err
	}
	return shoal.Wrap(shoal.Unavailable, "withdraw", d.sweep.StopProviding(hs...))
}

// provides reports whether this node announces h. That is not a question to a keystore, but there are few keys, if
// any, whose place in the DHT begins as that of h does.
func (d *DHT) provides(ctx context.Context, h mh.Multihash) bool {
	at := sha256.Sum256(h)
	near, err := d.keys.Get(ctx, beginning(int(binary.BigEndian.Uint16(at[:])), keystore.DefaultPrefixBits))
	return err == nil && slices.ContainsFunc(near, func(k mh.Multihash) bool { return bytes.Equal(k, h) })
}

// beginning is a part of the space of keys: those whose first bits, so many, are n.
func beginning(n, bits int) bitstr.Key {
	if bits == 0 {
		return "" // all
	}
	return bitstr.Key(fmt.Sprintf("%0*b", bits, n))
}

// Find implements shoal.Directory: this node, what it has been told, then a lookup.
func (d *DHT) Find(ctx context.Context, key shoal.Key, limit int) iter.Seq2[shoal.PeerID, error] {
	return func(yield func(shoal.PeerID, error) bool) {
		h, err := hash("find", key)
		if err != nil {
			yield("", err)
			return
		}
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		ctx, trace := traced(ctx)
		defer trace.end()
		self := d.host.ID()
		seen := map[peer.ID]bool{self: true} // the local store's word on this node may be old
		give := func(p peer.ID) bool {
			trace.hop(p, "provider", 0, nil)
			return yield(shoal.PeerID(p.String()), nil)
		}
		if d.provides(ctx, h) {
			if !give(self) || limit == 1 {
				return
			}
		} else {
			delete(seen, self)
		}
		d.settle(ctx)
		want := 0
		if limit > 0 {
			want = limit + 1 // kad-dht counts this node
		}
		for ai := range d.kad.FindProvidersAsync(ctx, cid.NewCidV1(cid.Raw, h), want) {
			if seen[ai.ID] || ai.ID == self {
				continue
			}
			seen[ai.ID] = true
			if !give(ai.ID) {
				return
			}
			if limit > 0 && len(seen) >= limit {
				return
			}
		}
		if ctx.Err() != nil {
			yield("", shoal.Wrap(shoal.Internal, "find", context.Cause(ctx)))
		}
	}
}

// settle waits a moment for the first peer of the table, if there is anybody who may become it: a
// node that has just been started or joined should not say that nobody has anything.
func (d *DHT) settle(ctx context.Context) {
	timeout := time.NewTimer(settleTime)
	defer timeout.Stop()
	for {
		d.mu.Lock()
		grown := d.grown
		d.mu.Unlock()
		if d.kad.RoutingTable().Size() > 0 || len(d.host.Network().Peers()) == 0 {
			return
		}
		select {
		case <-grown:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
