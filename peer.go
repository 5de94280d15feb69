package shoal

import "time"

// PeerID is a libp2p peer ID in its text form ("12D3KooW..."). Hands convert; minds compare.
type PeerID string

// Short returns the last eight characters, which is what people read aloud.
func (p PeerID) Short() string {
	if len(p) > 8 {
		return string(p[len(p)-8:])
	}
	return string(p)
}

// Attributes describe a peer's machine. They change rarely; the peer signs them.
type Attributes struct {
	OS      string            `cbor:"os" json:"os"`
	Arch    string            `cbor:"arch" json:"arch"`
	CPUs    int               `cbor:"cpus" json:"cpus"`     // logical processors
	Memory  uint64            `cbor:"memory" json:"memory"` // bytes
	Disk    uint64            `cbor:"disk" json:"disk"`     // bytes, of the file system that holds the node's directory
	GPUs    []GPU             `cbor:"gpus,omitempty" json:"gpus,omitempty"`
	Labels  map[string]string `cbor:"labels,omitempty" json:"labels,omitempty"`
	Version string            `cbor:"version" json:"version"`             // of the shoal binary
	HashMBs float64           `cbor:"hash_mbs,omitempty" json:"hash_mbs"` // measured at start: SHA-256 of one core, MB/s

	Executors []string `cbor:"executors,omitempty" json:"executors,omitempty"` // native ones that the operator allows, by name
}

// GPU is one graphics processor.
type GPU struct {
	Vendor string `cbor:"vendor" json:"vendor"` // "nvidia", "amd", "intel"
	Model  string `cbor:"model" json:"model"`
	Memory uint64 `cbor:"memory" json:"memory"` // bytes
	ID     string `cbor:"id,omitempty" json:"id,omitempty"`
}

// Load is the fast-changing part of a peer's state, as the peer last said it.
type Load struct {
	Slots     int     `cbor:"slots" json:"slots"`         // tasks it runs at once
	Running   int     `cbor:"running" json:"running"`     // tasks running
	Queued    int     `cbor:"queued" json:"queued"`       // tasks waiting
	TaskSecs  float64 `cbor:"task_s" json:"task_s"`       // mean run time of its recent tasks, seconds
	DiskFree  uint64  `cbor:"disk_free" json:"disk_free"` // bytes
	HeldBytes uint64  `cbor:"held" json:"held"`           // bytes of blocks kept
}

// MemberState is what a node believes of another member.
type MemberState string

// The states of a member.
const (
	Alive     MemberState = "alive"     // heard from within the liveness window
	Suspect   MemberState = "suspect"   // silent for a while; not chosen for new work
	Down      MemberState = "down"      // silent for longer; expected back
	Left      MemberState = "left"      // drained and said goodbye
	Forgotten MemberState = "forgotten" // declared dead for good by a member
)

// Member is a row of the member table. Every fact carries its age.
type Member struct {
	ID         PeerID
	Addresses  []string // multiaddrs without /p2p
	Attributes Attributes
	Load       Load
	State      MemberState
	Seq        uint64    // version of the signed record
	Seen       time.Time // when this node last had news of it, first or second hand
}
