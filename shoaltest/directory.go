package shoaltest

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
)

// Directories is a directory in memory that several nodes share. What one provides, all find at
// once. Like any directory it may be wrong, when a test says so.
type Directories struct {
	mu    sync.Mutex
	hints map[shoal.Key][]shoal.PeerID // in the order of their announcement
	fail  error
	found int
}

// NewDirectories returns an empty directory.
func NewDirectories() *Directories { return &Directories{hints: map[shoal.Key][]shoal.PeerID{}} }

// Node returns the directory as the node called id uses it.
func (d *Directories) Node(id shoal.PeerID) *Directory { return &Directory{id: id, all: d} }

// Plant notes that peer has key, whether or not it has: a stale or false hint.
func (d *Directories) Plant(key shoal.Key, peer shoal.PeerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.hints[key], peer) {
		d.hints[key] = append(d.hints[key], peer)
	}
}

// Expire drops what peer announced, as time does when peer is gone.
func (d *Directories) Expire(peer shoal.PeerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k := range d.hints {
		d.drop(k, peer)
	}
}

// Fail has every Find end with err after what it found, and Provide return it; nil ends that.
func (d *Directories) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// Lookups returns how many times Find was called.
func (d *Directories) Lookups() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

func (d *Directories) drop(k shoal.Key, peer shoal.PeerID) {
	d.hints[k] = slices.DeleteFunc(d.hints[k], func(p shoal.PeerID) bool { return p == peer })
	if len(d.hints[k]) == 0 {
		delete(d.hints, k)
	}
}

// Directory is one node's view of a Directories.
type Directory struct {
	id  shoal.PeerID
	all *Directories
}

// Provide implements shoal.Directory.
func (d *Directory) Provide(ctx context.Context, keys ...shoal.Key) error {
	if err := d.check(ctx, "provide", keys...); err != nil {
		return err
	}
	for _, k := range keys {
		d.all.Plant(k, d.id)
	}
	return nil
}

// Withdraw implements shoal.Directory; here what peers noted expires at once.
func (d *Directory) Withdraw(ctx context.Context, keys ...shoal.Key) error {
	if err := d.check(ctx, "withdraw", keys...); err != nil {
		return err
	}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	for _, k := range keys {
		d.all.drop(k, d.id)
	}
	return nil
}

// Find implements shoal.Directory.
func (d *Directory) Find(ctx context.Context, key shoal.Key, limit int) iter.Seq2[shoal.PeerID, error] {
	return func(yield func(shoal.PeerID, error) bool) {
		start := time.Now()
		hop := func(p shoal.PeerID, event string, found int) {
			if f := shoal.Trace(ctx); f != nil {
				f(shoal.Hop{Peer: p, Event: event, Found: found, After: time.Since(start)})
			}
		}
		fault := d.check(ctx, "find", key)
		d.all.mu.Lock()
		d.all.found++
		peers := slices.Clone(d.all.hints[key])
		d.all.mu.Unlock()
		if fault != nil && shoal.KindOf(fault) == shoal.Invalid {
			yield("", fault)
			return
		}
		if i := slices.Index(peers, d.id); i > 0 { // this node first: it costs nothing to ask
			peers = slices.Insert(slices.Delete(peers, i, i+1), 0, d.id)
		}
		hop(d.id, "ask", 0)
		hop(d.id, "answer", len(peers))
		for i, p := range peers {
			if ctx.Err() != nil || limit > 0 && i == limit {
				break
			}
			hop(p, "provider", 0)
			if !yield(p, nil) {
				return
			}
			if limit > 0 && i == limit-1 {
				return
			}
		}
		if fault == nil {
			fault = shoal.Wrap(shoal.Internal, "find", ctx.Err())
		}
		if fault != nil {
			yield("", fault)
		}
	}
}

func (d *Directory) check(ctx context.Context, what string, keys ...shoal.Key) error {
	for _, k := range keys {
		if _, err := cid.Cast(append([]byte{1, cid.Raw}, k...)); err != nil {
			return shoal.E(shoal.Invalid, what, "the key is no multihash", "")
		}
	}
	if ctx.Err() != nil {
		return shoal.Wrap(shoal.Internal, what, ctx.Err())
	}
	d.all.mu.Lock()
	defer d.all.mu.Unlock()
	return d.all.fail
}
