package scheduler

import (
	"context"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/mount"
)

// Deps is what the scheduler needs of other rooms.
type Deps struct {
	Peers     shoal.Peers
	Data      Data
	Runner    shoal.Runner
	Members   Members
	KV        shoal.KV
	Link      func(p shoal.PeerID) (rtt time.Duration, rate float64) // measured; zeros: unknown. nil: nothing is
	Agents    shoal.Agents                                           // what tasks call; nil: none
	Shared    shoal.Drafts                                           // mergeable state that tasks use; nil: none
	Directory shoal.Directory                                        // for fabrics without a member table; nil: none

	// Probe has the rate of the link to a peer measured, in the background and within its own bounds, as a decision lacks it.
	// nil: it cannot be.
	Probe func(p shoal.PeerID)
	// Probed reports whether the rate that Link tells was measured by a probe alone. nil: it was not.
	Probed func(p shoal.PeerID) bool

	// Used is told of each input that a task here read, and how long it took to fetch it; 0: it was here. nil: nobody asks.
	Used func(c cid.Cid, took time.Duration)

	// Room says why a task with this code and these limits could not come here now, besides the queue; nil if it
	// could. wait: it would have to wait for another's end, whatever slots are free. An error is a *shoal.Error:
	// of kind Refused it will not be otherwise later. nil: nothing is in the way.
	Room func(code cid.Cid, limits shoal.Limits) (wait bool, err error)
}

// Members is the member table, or what this node knows of it.
type Members interface {
	// Table lists the other members this node knows.
	Table() []shoal.Member
	// Since lists those of them whose record or state changed after a mark, the departed too, and the mark to
	// ask with next. all: these are all there are.
	Since(mark uint64) (rows []shoal.Member, next uint64, all bool)
	Lookup(p shoal.PeerID) (shoal.Member, bool)
	// Record asks p itself.
	Record(ctx context.Context, p shoal.PeerID) (shoal.Member, error)
	Self() shoal.Member
}

// Data is where inputs and modules lie.
type Data interface {
	// Ensure fetches what this node lacks of a graph and returns how many bytes had to travel.
	// class is "code", "data" or "result"; from names peers that should have it.
	Ensure(ctx context.Context, c cid.Cid, class string, from []shoal.PeerID) (moved uint64, err error)
	// Missing returns the bytes of a graph that are here, and those known to be missing: none only
	// when all of it is here.
	Missing(ctx context.Context, c cid.Cid) (have, missing uint64, err error)
	// Open gives the files of a graph that is here, until ctx ends. A graph that is a single file is a
	// folder with that one file in it.
	Open(ctx context.Context, c cid.Cid) (Tree, error)
	// Adopt keeps a local file or folder and returns its CID and bytes.
	Adopt(ctx context.Context, path string) (c cid.Cid, bytes uint64, err error)
	// Where finds who holds which partitions.
	Where(ctx context.Context, c cid.Cid) ([]shoal.Holder, shoal.Manifest, error)
}

// Tree is the files of a dataset.
type Tree = mount.Tree
