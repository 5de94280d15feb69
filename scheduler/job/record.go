package job

import (
	"io"
	"slices"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/scheduler/cost"
	"github.com/shoal-fabric/shoal/wire"
)

// The kinds of record.
const (
	KindTask = "task"
	KindJob  = "job"
)

// Record is what a node remembers of a task or job. Times are Unix milliseconds, 0 for not yet.
type Record struct {
	ID       shoal.TaskID    `cbor:"id" json:"task"`
	Kind     string          `cbor:"kind" json:"kind"` // "task", "job"
	Home     shoal.PeerID    `cbor:"home" json:"home"` // the node that looks after it
	Peer     shoal.PeerID    `cbor:"peer,omitempty" json:"peer_id,omitempty"`
	Module   string          `cbor:"module" json:"module"`
	Args     []string        `cbor:"args,omitempty" json:"args,omitempty"`
	State    shoal.TaskState `cbor:"state" json:"state"`
	Created  int64           `cbor:"created" json:"created_ms"`
	Started  int64           `cbor:"started,omitempty" json:"started_ms,omitempty"`
	Ended    int64           `cbor:"ended,omitempty" json:"ended_ms,omitempty"`
	Attempts int             `cbor:"attempts,omitempty" json:"attempts,omitempty"`
	Explain  *cost.Explain   `cbor:"explain,omitempty" json:"explain,omitempty"` // why it was given to Peer, at most Explained rows of a kind
	Copies   []Copy          `cbor:"copies,omitempty" json:"copies,omitempty"`   // of a task that was on two nodes at once, the first one first
	Outcome  *shoal.Outcome  `cbor:"outcome,omitempty" json:"outcome,omitempty"`
	Counts   *Counts         `cbor:"counts,omitempty" json:"counts,omitempty"` // of a job
	Err      *wire.Error     `cbor:"err,omitempty" json:"-"`
	Error    string          `cbor:"-" json:"error,omitempty"` // Err as text, filled in for readers
}

// Explained notes why a task was given to its peer.
func (r *Record) Explained(e cost.Explain) {
	if len(e.Choices) > 0 {
		b := e.Brief(Explained)
		r.Explain = &b
	}
}

// Copy is one of several attempts at a task that were on their way at the same time. The task's own
// fields tell of the one whose result counts, or while none has ended of the first.
type Copy struct {
	Peer  shoal.PeerID    `cbor:"peer,omitempty" json:"peer_id,omitempty"`
	State shoal.TaskState `cbor:"state" json:"state"`
	Began int64           `cbor:"began" json:"began_ms"`
	Ended int64           `cbor:"ended,omitempty" json:"ended_ms,omitempty"`
}

// Explained bounds the rows of an explanation in a record: the chosen peer and the next ones, and as
// many refusals. A record is some hundred bytes; thousands are kept.
const Explained = 4

// MaxCopies bounds the copies that are recorded of one task.
const MaxCopies = 16

// Ended reports whether a task in this state has ended.
func Ended(s shoal.TaskState) bool {
	return s == shoal.TaskDone || s == shoal.TaskFailed || s == shoal.TaskCanceled
}

// rank orders the states of a life; a task only moves forwards, except that a retry queues it again.
func rank(s shoal.TaskState) int {
	return slices.Index([]shoal.TaskState{
		shoal.TaskQueued, shoal.TaskFetching, shoal.TaskRunning, shoal.TaskDone,
		shoal.TaskFailed, shoal.TaskCanceled,
	}, s)
}

// Step says whether a task may go from one state to another. What has ended stays as it is.
func Step(from, to shoal.TaskState) bool {
	switch {
	case rank(to) < 0 || Ended(from):
		return false
	case to == shoal.TaskQueued:
		return true
	}
	return rank(to) >= rank(from)
}

// EndState is the state in which an error leaves a task; nil means done.
func EndState(err error) shoal.TaskState {
	switch {
	case err == nil:
		return shoal.TaskDone
	case shoal.KindOf(err) == shoal.Canceled:
		return shoal.TaskCanceled
	}
	return shoal.TaskFailed
}

// Clone returns a copy that shares nothing with r.
func (r Record) Clone() Record {
	r.Args = slices.Clone(r.Args)
	r.Copies = slices.Clone(r.Copies)
	if r.Outcome != nil {
		o := *r.Outcome
		r.Outcome = &o
	}
	if r.Explain != nil {
		e := r.Explain.Brief(len(r.Explain.Choices))
		r.Explain = &e
	}
	if r.Counts != nil {
		c := r.Counts.Clone()
		r.Counts = &c
	}
	if r.Err != nil {
		e := *r.Err
		r.Err, r.Error = &e, e.Err().Error()
	}
	return r
}

// Counts are a job's figures. Bytes are what had to travel, as the nodes that fetched them counted.
type Counts struct {
	Tasks       int            `cbor:"tasks" json:"tasks"`               // of the map stage, or the one task
	Done        int            `cbor:"done" json:"done"`                 // of those
	OnHolders   int            `cbor:"holders" json:"tasks_on_holders"`  // ran where all their input lay before
	ByNode      map[string]int `cbor:"by_node" json:"tasks_by_node"`     // by peer ID
	CodeMoved   uint64         `cbor:"code" json:"code_bytes_moved"`     //
	DataMoved   uint64         `cbor:"data" json:"data_bytes_moved"`     //
	ResultMoved uint64         `cbor:"result" json:"result_bytes_moved"` // outputs on their way to the reducer
	DataRead    uint64         `cbor:"read" json:"data_bytes_read"`      // by the guests of the map stage
	Gas         uint64         `cbor:"gas,omitempty" json:"gas"`         // of all tasks, the reducer's too
	Retries     int            `cbor:"retries" json:"retries"`
	Copies      int            `cbor:"copies,omitempty" json:"copies"`               // second copies of tasks that were late
	CopiesWon   int            `cbor:"copies_won,omitempty" json:"copies_won"`       // of those, that were faster than the first
	CopyMoved   uint64         `cbor:"copy_moved,omitempty" json:"copy_bytes_moved"` // code and data, for copies that did not count
}

// Clone returns a copy that shares nothing with c.
func (c Counts) Clone() Counts {
	by := make(map[string]int, len(c.ByNode))
	for k, v := range c.ByNode {
		by[k] = v
	}
	c.ByNode = by
	return c
}

// Options say how to run one task.
type Options struct {
	Stdin  io.Reader // nil: empty. May be read until it returns, also after the run has ended
	Stdout io.Writer // live; nil: only kept as log where the task runs
	Stderr io.Writer

	On      shoal.PeerID   // only there
	Among   []shoal.PeerID // only one of these; nil: anybody
	Exclude []shoal.PeerID // not there
	Passed  []Passed       // told in the explanation, never chosen
	Holders []shoal.PeerID // known to have all inputs; nil: the scheduler looks for them
	Bytes   uint64         // of all inputs, when Holders is given
	From    []shoal.PeerID // who has code and inputs for sure, besides the holders
	Class   string         // how moved input is counted: "data" (also ""), "result"

	Copy     bool                    // a second copy of a task that is on its way: it shares that one's record
	Attempts int                     // how often to try when peers fail; 0: the default; 1: once
	Placed   func(peer shoal.PeerID) // told before each attempt begins
}

// Passed is a peer that the caller has passed over, and why.
type Passed struct {
	Peer  shoal.PeerID
	Holds bool // all inputs
	Why   string
}

// Tracker keeps the record and the log of something that has a task's life.
type Tracker interface {
	// Update changes the record. A change of state that Step forbids is left out.
	Update(f func(r *Record))
	// Log adds to the log; stderr says to which of the two streams.
	Log(stderr bool, p []byte)
}
