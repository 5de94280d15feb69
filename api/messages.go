package api

import (
	"encoding/json"

	"github.com/shoal-fabric/shoal"
	"github.com/shoal-fabric/shoal/data"
	"github.com/shoal-fabric/shoal/scheduler/cost"
)

// Event is one line of a streaming answer. Type says which other field is set.
type Event struct {
	Type     string          `json:"event"` // progress, stdout, stderr, note, hop, task, code, explain, message, result, error
	Progress *Progress       `json:"progress,omitempty"`
	Data     []byte          `json:"data,omitempty"` // stdout, stderr
	Text     string          `json:"text,omitempty"` // note, code
	Hop      *Hop            `json:"hop,omitempty"`
	Task     *TaskEvent      `json:"task,omitempty"`
	Explain  *cost.Explained `json:"explain,omitempty"` // explain: of a run that fails
	Message  *TopicMessage   `json:"message,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    *Error          `json:"error,omitempty"`
}

// Progress says how far a verb is. Unit is "bytes", "blocks", "tasks" or "agents"; Total is 0 while unknown.
type Progress struct {
	Phase string `json:"phase"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Unit  string `json:"unit"`
}

// Hop is one step of a lookup, for 'where --trace'.
type Hop struct {
	Peer    shoal.PeerID `json:"peer_id"`
	Event   string       `json:"step"`
	Found   int          `json:"found,omitempty"`
	AfterMS float64      `json:"after_ms"`
	Error   string       `json:"error,omitempty"`
}

// TaskEvent tells of one task of a job.
type TaskEvent struct {
	Index   int          `json:"index"`
	State   string       `json:"state"` // started, copied, done, failed, retried
	Peer    shoal.PeerID `json:"peer_id,omitempty"`
	Why     string       `json:"why,omitempty"`
	Done    int          `json:"done"`
	Total   int          `json:"total"`
	Seconds float64      `json:"seconds,omitempty"`
}

// InviteRequest asks for an invite. TTLSeconds 0: it does not expire; Uses 0: any number.
type InviteRequest struct {
	TTLSeconds float64 `json:"ttl_s,omitempty"`
	Uses       int     `json:"uses,omitempty"`
}

// PutRequest asks the node to take a file or folder of this machine. Path is absolute.
type PutRequest struct {
	Path           string      `json:"path"`
	Name           string      `json:"name,omitempty"`
	Replicas       int         `json:"replicas,omitempty"`
	Split          shoal.Split `json:"split,omitempty"`
	Public         bool        `json:"public,omitempty"`
	InPlace        bool        `json:"in_place,omitempty"`
	PartitionBytes int64       `json:"partition_bytes,omitempty"`
	Needs          string      `json:"needs,omitempty"` // CEL over attributes
}

// PutResult is what put did.
type PutResult struct {
	CID        string         `json:"cid"`
	Name       string         `json:"name"`
	Bytes      uint64         `json:"bytes"`
	Partitions int            `json:"partitions"`
	Replicas   int            `json:"replicas"`
	Needs      string         `json:"needs,omitempty"`
	Holders    []HolderResult `json:"holders"`
	Warnings   []string       `json:"warnings,omitempty"`
	Seconds    float64        `json:"seconds"`
}

// HolderResult is a peer that holds part of a dataset.
type HolderResult struct {
	Peer       shoal.PeerID `json:"peer_id"`
	Partitions []int        `json:"partitions"`
	Extra      []int        `json:"extra,omitempty"` // of these, the copies beyond the replicas
	Bytes      uint64       `json:"bytes"`
	AgeS       float64      `json:"age_s"`
}

// GetRequest asks the node to write a dataset, or one path in it, to a path of this machine.
type GetRequest struct {
	CID    string `json:"cid"`
	Sub    string `json:"sub,omitempty"`
	Out    string `json:"out"`
	NoKeep bool   `json:"no_keep,omitempty"`
	From   string `json:"from,omitempty"` // multiaddr of a bitswap server
}

// GetResult is what get wrote.
type GetResult struct {
	CID     string  `json:"cid"`
	Out     string  `json:"out"`
	Bytes   uint64  `json:"bytes"`
	Moved   uint64  `json:"bytes_moved"`
	Seconds float64 `json:"seconds"`
}

// Entry is one name in a dataset.
type Entry struct {
	Name  string `json:"name"`
	Dir   bool   `json:"dir"`
	Bytes uint64 `json:"bytes"`
}

// PinResult is a pinned dataset.
type PinResult struct {
	CID   string `json:"cid"`
	Name  string `json:"name,omitempty"`
	Bytes uint64 `json:"bytes"`
}

// GCResult is what a collection freed.
type GCResult struct {
	Bytes  uint64 `json:"bytes"`
	Blocks int    `json:"blocks"`
}

// InputRequest names a dataset for a task. Name "" means the dataset's own.
type InputRequest struct {
	CID  string `json:"cid"`
	Name string `json:"name,omitempty"`
}

// RunRequest asks for a run. For a streamed run it is the first line of the body, and Input lines follow.
type RunRequest struct {
	Module      string         `json:"module"` // CID or example:NAME
	Args        []string       `json:"args,omitempty"`
	Data        []InputRequest `json:"data,omitempty"`
	Each        bool           `json:"each,omitempty"`
	Reduce      string         `json:"reduce,omitempty"` // CID or example:NAME
	Needs       string         `json:"needs,omitempty"`
	On          shoal.PeerID   `json:"on,omitempty"` // run there and nowhere else
	TimeoutS    float64        `json:"time_limit_s,omitempty"`
	Gas         uint64         `json:"gas,omitempty"` // limit per task
	Memory      uint64         `json:"memory,omitempty"`
	OutputBytes uint64         `json:"output,omitempty"` // limit under /out
	Detach      bool           `json:"detach,omitempty"`
	Stdin       bool           `json:"stdin,omitempty"` // whether Input lines follow
	ExplainAll  bool           `json:"explain,omitempty"`
}

// Input is one line of standard input for a streamed run. The last has EOF.
type Input struct {
	Data []byte `json:"data,omitempty"`
	EOF  bool   `json:"eof,omitempty"`
}

// RunResult is what came of one task or of a job.
type RunResult struct {
	Task       shoal.TaskID         `json:"task"`
	Peer       shoal.PeerID         `json:"peer_id,omitempty"`
	Exit       int                  `json:"exit"`
	Gas        uint64               `json:"gas"` // of all tasks
	Seconds    float64              `json:"seconds"`
	Output     string               `json:"output_cid,omitempty"`
	Outputs    []string             `json:"output_cids,omitempty"`
	CodeMoved  uint64               `json:"code_bytes_moved"`
	DataMoved  uint64               `json:"data_bytes_moved"`
	DataRead   uint64               `json:"data_bytes_read"`
	ResultMove uint64               `json:"result_bytes_moved"`
	Tasks      int                  `json:"tasks"`
	OnHolders  int                  `json:"tasks_on_holders"`
	ByNode     map[shoal.PeerID]int `json:"tasks_by_node,omitempty"`
	Retries    int                  `json:"retries"`
	Copies     int                  `json:"copies"`           // second copies of tasks that were late
	CopiesWon  int                  `json:"copies_won"`       // of those, that were faster than the first
	CopyMoved  uint64               `json:"copy_bytes_moved"` // code and data, for copies that did not count
	Detached   bool                 `json:"detached,omitempty"`
	Explain    *cost.Explained      `json:"explain,omitempty"`
}

// ModuleResult answers an upload or an inspection.
type ModuleResult struct {
	CID string `json:"cid"`
	shoal.ModuleInfo
}

// Dataset is a dataset of which this node keeps a part.
type Dataset struct {
	CID        string `json:"cid"`
	Name       string `json:"name"`
	Bytes      uint64 `json:"bytes"`
	Held       int    `json:"partitions_here"`
	Partitions int    `json:"partitions"`
	Pinned     bool   `json:"pinned"`
	Public     bool   `json:"public"`

	Extra []data.Extra `json:"extra,omitempty"` // copies here beyond the replicas asked for, and why
}
