package plans

import (
	"context"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// Deps is what plans need of other rooms.
type Deps struct {
	Tasks   Tasks
	Data    Data
	Members Members
	KV      shoal.KV
	// Combine makes one folder of several graphs; nil: outputs without a reducer stay apart.
	Combine func(ctx context.Context, entries []Entry) (cid.Cid, error)
	// Keep has this node keep a job's output until it is unpinned, and announce it; nil: it is a
	// cached graph like any other.
	Keep func(ctx context.Context, c cid.Cid) error
}

// Entry is a graph under a name.
type Entry struct {
	Name string
	CID  cid.Cid
}

// Tasks runs tasks; the scheduler does it.
type Tasks interface {
	// NewID names a task or job whose home is this node.
	NewID() shoal.TaskID
	Run(ctx context.Context, t shoal.Task, o job.Options) (shoal.Outcome, cost.Explain, error)
	// Track keeps the record of a job.
	Track(r job.Record, cancel func()) (job.Tracker, error)
}

// Data is where inputs and outputs lie; as in scheduler.Data.
type Data interface {
	Where(ctx context.Context, c cid.Cid) ([]shoal.Holder, shoal.Manifest, error)
	Ensure(ctx context.Context, c cid.Cid, class string, from []shoal.PeerID) (moved uint64, err error)
	Missing(ctx context.Context, c cid.Cid) (have, missing uint64, err error)
}

// Members is the member table; as in scheduler.Members.
type Members interface {
	Table() []shoal.Member
	Record(ctx context.Context, p shoal.PeerID) (shoal.Member, error)
	Self() shoal.Member
}
