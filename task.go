package shoal

import (
	"time"

	"github.com/ipfs/go-cid"
)

// TaskID names one task: "t" and 26 letters and digits; a job's tasks are "ID/0", "ID/1", ...
type TaskID string

// Input is a dataset or partition that a task reads under /data/<Name>.
type Input struct {
	Name string  `cbor:"name"`
	CID  cid.Cid `cbor:"cid"`
}

// Limits bound one run. Zero means the runner's default.
type Limits struct {
	Memory uint64        `cbor:"memory,omitempty"` // bytes of guest memory
	Time   time.Duration `cbor:"time,omitempty"`   // wall time, compilation apart
	Output uint64        `cbor:"output,omitempty"` // bytes under /out
	Gas    uint64        `cbor:"gas,omitempty"`    // work, in instructions; zero: as much as time allows
}

// Task is one run of a function: code, inputs, requirements.
type Task struct {
	ID     TaskID   `cbor:"id"`
	Job    TaskID   `cbor:"job,omitempty"` // the job it belongs to
	Owner  PeerID   `cbor:"owner"`         // the node that asked for it
	Module cid.Cid  `cbor:"module"`        // raw block or UnixFS file with a WebAssembly binary; or an ExecCID
	Args   []string `cbor:"args,omitempty"`
	Inputs []Input  `cbor:"inputs,omitempty"`
	Stdin  bool     `cbor:"stdin,omitempty"` // whether input is streamed to it
	Needs  string   `cbor:"needs,omitempty"` // CEL over attributes, load and labels
	Limits Limits   `cbor:"limits"`
	// Created is when it was asked for, in Unix milliseconds, by that node's clock: the same for all of its tries.
	Created int64 `cbor:"at,omitempty"`
}

// TaskState is where a task is in its life.
type TaskState string

// The states of a task. Done means that the program ended, with whatever exit code.
const (
	TaskQueued   TaskState = "queued"
	TaskFetching TaskState = "fetching"
	TaskRunning  TaskState = "running"
	TaskDone     TaskState = "done"
	TaskFailed   TaskState = "failed"
	TaskCanceled TaskState = "canceled"
)

// Outcome is what came of a task. Bytes are counted at the connections.
type Outcome struct {
	Peer      PeerID  `cbor:"peer" json:"peer_id"`
	Exit      int     `cbor:"exit" json:"exit"`
	Gas       uint64  `cbor:"gas,omitempty" json:"gas"`                     // work, in instructions
	Output    string  `cbor:"output,omitempty" json:"output_cid,omitempty"` // CID of /out, "" when it stayed empty
	OutBytes  uint64  `cbor:"out_bytes" json:"output_bytes"`
	Seconds   float64 `cbor:"seconds" json:"seconds"`       // run time
	Over      float64 `cbor:"over,omitempty" json:"over_s"` // seconds from the limit it met to its end; see Ran
	Wait      float64 `cbor:"wait" json:"wait_s"`           // seconds in the queue
	Fetch     float64 `cbor:"fetch" json:"fetch_s"`         // seconds of fetching code and data
	Compile   float64 `cbor:"compile" json:"compile_s"`     // seconds of compiling, 0 when cached
	CodeMoved uint64  `cbor:"code" json:"code_bytes_moved"` // bytes of code that had to travel
	DataMoved uint64  `cbor:"data" json:"data_bytes_moved"` // bytes of input that had to travel
	DataRead  uint64  `cbor:"read" json:"data_bytes_read"`  // bytes of input the guest read
	Holder    bool    `cbor:"holder" json:"holder"`         // whether the runner held all inputs beforehand

	Devices []string `cbor:"devices,omitempty" json:"devices,omitempty"` // of a native executor: those that were its own, by ID
	Bounds  string   `cbor:"bounds,omitempty" json:"bounds,omitempty"`   // of a native executor: how its limits were held
}
