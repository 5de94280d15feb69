package plans

import (
	"context"
	"io"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/plans/graph"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/scheduler/job"
)

// Job is what to run.
type Job struct {
	ID     shoal.TaskID // "": a new one
	Module cid.Cid
	Args   []string
	Data   []shoal.Input
	Each   bool     // one task per partition of Data; else one task over all of it
	Reduce *cid.Cid // with Each

	ReduceArgs []string
	Needs      string // CEL
	Limits     shoal.Limits
	On         shoal.PeerID   // all tasks there
	From       []shoal.PeerID // who has the modules, besides this node
	Detach     bool           // goes on when the context of Start has ended

	// What is printed: by the one task, live; with Each by all tasks, see print.go, but with a reducer
	// only its own standard output. Nil: it is kept in the logs only. They are not written to at the
	// same time, nor after the end; only one that blocks while the job is canceled may be, once.
	Stdout, Stderr io.Writer
}

// Result is what came of a job.
type Result struct {
	job.Counts
	Exit    int            `cbor:"exit" json:"exit"`                                 // the reducer's; without one, the first that is not zero
	Output  string         `cbor:"output" json:"output_cid,omitempty"`               // CID, "" for nothing
	Outputs []string       `cbor:"outputs,omitempty" json:"output_cids,omitempty"`   // per task, without a reducer
	Peer    shoal.PeerID   `cbor:"peer" json:"peer_id"`                              // where the reducer, or the one task, ran
	Seconds float64        `cbor:"seconds" json:"seconds"`                           // of the whole job
	Explain []cost.Explain `cbor:"-" json:"explain"`                                 // why the tasks were placed as they were: of the first MaxExplained, and of those that ran
	Reduced cost.Explain   `cbor:"reduced,omitempty" json:"reduce_explain,omitzero"` // that of the reducer
}

// MaxExplained bounds the tasks whose placement is explained.
const MaxExplained = 1000

// Event tells of one task of a job. Index counts the partitions; the reducer comes after the last.
type Event struct {
	Index   int
	State   string // "started", "copied" (a second copy was started), "done", "failed" (the job fails), "retried"
	Peer    shoal.PeerID
	Why     string // of copied, failed and retried
	Done    int    // tasks of the map stage that have finished
	Total   int
	Seconds float64 // of done: how long it ran; of copied: how long it had been on its way
}

// Handle is a job that runs, or has ended. Its methods are safe for concurrent use.
type Handle struct {
	id     shoal.TaskID
	cancel context.CancelCauseFunc
	events chan Event
	done   chan struct{}

	mu     sync.Mutex
	counts graph.Counts
	result Result
	err    error
}

// eventRoom is how many events wait for a slow reader; later ones are dropped until there is room.
const eventRoom = 4096

func newHandle(id shoal.TaskID, cancel context.CancelCauseFunc) *Handle {
	return &Handle{id: id, cancel: cancel, events: make(chan Event, eventRoom), done: make(chan struct{})}
}

// ID returns the job's name.
func (h *Handle) ID() shoal.TaskID { return h.id }

// Events returns the job's events; the channel closes at its end. A reader that is slower than the
// job misses some: each has the counts of its moment.
func (h *Handle) Events() <-chan Event { return h.events }

// Progress returns how far the job is, by node. It is at most a moment old.
func (h *Handle) Progress() graph.Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

// Done closes when the job has ended.
func (h *Handle) Done() <-chan struct{} { return h.done }

// Wait waits for the end. The end of ctx ends the wait, not the job.
func (h *Handle) Wait(ctx context.Context) (Result, error) {
	select {
	case <-h.done:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.result, h.err
	case <-ctx.Done():
		return Result{}, shoal.Wrap(shoal.Canceled, "wait for job "+string(h.id), ctx.Err())
	}
}

// Cancel ends the job; its tasks are canceled where they run.
func (h *Handle) Cancel() {
	h.cancel(shoal.E(shoal.Canceled, "job "+string(h.id), "canceled", ""))
}

func (h *Handle) event(e Event) {
	select {
	case h.events <- e:
	default:
	}
}

func (h *Handle) progress(c graph.Counts) {
	h.mu.Lock()
	h.counts = c
	h.mu.Unlock()
}

func (h *Handle) end(r Result, err error) {
	h.mu.Lock()
	h.result, h.err = r, err
	h.mu.Unlock()
	close(h.events)
	close(h.done)
}
